"""Base of the frozen dataclasses that a checkpoint's config.json keeps: each one checks itself."""

from dataclasses import asdict, fields
from typing import ClassVar, Self

from voice2face_gan.errors import CheckpointError


class Settings:
    """Settings that survive JSON.

    Attributes:
        table: name of the table in config.json that they are kept in.
        type: name of the network in models/registry.py; "" where there is one kind alone.
    """

    table: ClassVar[str]
    type: ClassVar[str] = ""

    def to_dict(self) -> dict:
        """Plain settings: the type, where there is one, then each field; lists instead of tuples."""
        kind = {"type": self.type} if self.type else {}
        return kind | {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    @classmethod
    def from_dict(cls, settings: dict) -> Self:
        """The settings that `to_dict` gave.

        Raises:
            CheckpointError: an unknown setting, or a value outside its range.
        """
        given = {k: v for k, v in settings.items() if k != "type" or not cls.type}
        unknown = sorted(set(given) - {f.name for f in fields(cls)})
        if unknown:
            of_type = f" of the type '{cls.type}'" if cls.type else ""
            raise CheckpointError(f"The table {cls.table}{of_type} has no setting '{unknown[0]}'.")
        return cls(**given)

    def make_tuples(self, *names: str) -> None:
        """Turns the fields of these names, lists as JSON and TOML give them, into tuples."""
        for name in names:
            object.__setattr__(self, name, tuple(getattr(self, name)))

    def check(self, sentences: dict[str, bool]) -> None:
        """
        Args:
            sentences: each begins with a field's name and says what must hold; True where it does.
        Raises:
            CheckpointError: one does not hold.
        """
        for sentence, holds in sentences.items():
            if not holds:
                raise CheckpointError(f"{self.table}.{sentence}.")


class GeneratorSettings(Settings):
    """Base of the generators' configurations; the table `generator` of a checkpoint's config.json."""

    table: ClassVar[str] = "generator"
    outside_weights: ClassVar[tuple[str, ...]] = ()  # settings that no weight depends on
    # Names that weights begin with which a half-precision file has in 8 bits.
    int8: ClassVar[tuple[str, ...]] = ()
    # Its convolutions run channels last: loaded weights lie so, else each call copies them first.
    channels_last: ClassVar[bool] = False
    side: int

    @property
    def image_side(self) -> int:
        """Side of an image in pixels where none is asked for: the network's own."""
        return self.side

    @property
    def may_differ(self) -> tuple[str, ...]:
        """Settings in which a recipe that starts from this generator's weights may differ from it."""
        return self.outside_weights
