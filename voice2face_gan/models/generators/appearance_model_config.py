"""Dimensions and settings of an appearance model (appearance_model.py)."""

from dataclasses import dataclass
from typing import ClassVar

from voice2face_gan.faces.mean_shape import POINTS
from voice2face_gan.models.generators.detail import SMALLEST
from voice2face_gan.models.generators.face_decoder import FaceDecoderConfig
from voice2face_gan.models.settings import GeneratorSettings


@dataclass(frozen=True)
class AppearanceModelConfig(GeneratorSettings):
    """Dimensions of the appearance model; the table `generator` of a checkpoint's config.json.

    Args:
        embedding: numbers of e.
        side: of the network's image in pixels, a multiple of 8.
        narrow, linear, head_gain: of the face decoder (FaceDecoderConfig), whose side is texture_side.
        image_side: of an image where no other is asked for; smaller ones are made from the network's.
        texture_side: of the texture, which is enlarged to the image's side; a multiple of 16.
        shape_components, texture_components: of what e leaves open in landmarks and texture.
        flow_width, flow_blocks, flow_steps: of the flow.
        detail_channels: of the diffusion that draws detail, at 1/2, 1/4 and 1/8 of the texture's side; empty
            for none.
        detail_steps: evaluations of it.
        detail_smallest: standard deviation of the noise that the last one takes away.
        detail: factor of the detail that is drawn for hair and background.
        face_detail: the same from brows to chin, where a sample of it costs likeness.
        detail_noise: standard deviation of the noise that hair is drawn from, 1 as in training.
        background_noise: the same for face, ears, neck and background, which are calm and plain with less.
        colour_noise: factor of the colours of all that noise; below 1 foreheads and hair have no red patches.
        hair_contrast: mean of that noise beyond the hair, as much below 0 on it: so that hair and heads end
            somewhere (hair_contrast.py). 0 for none.
        coarse_blur: pixels, an odd number, that the coarse image is averaged over three times above the
            brows, before detail is drawn: its hairline is a trace of many faces'. 1 for none.
        detail_guidance: how far hair follows coarse image and e beyond what the diffusion estimates, but for
            colours; above 1 it is clearer, and each evaluation takes twice as long.
        channels: of the refiner, at 1/2, 1/4 and 1/8 of the side.
        film: the refiner's gains depend on e and coefficients, beside the image that it is given.
        truncation: factor of all noise; below 1 faces are nearer to what is usual (the truncation trick,
            Brock et al., ICLR 2019).
        texture_noise: texture components that get noise, the leading ones. They draw light, complexion and
            hair; of the later ones a sample is a trace of glasses, or hair that ends on a forehead.
        own_noise: size of each e's own noise beside z: below 1 plain answers are nearer to what is usual than
            variants.
        expression: "neutral", all faces have closed lips, whose corners are little below their middle, and
            open eyes, and are turned little; "drawn", lips, lids and noses are where e and coefficients put
            them.
        facial_hair: "whole", a face has a moustache or none; "drawn", as much of one as e and coefficients
            draw.
        glasses: "none", or "drawn", as much of them.
        ears: "whole", both are drawn anew where some of them is drawn (ears.py); "drawn", they are as detail
            draws them.
        symmetry: how far both sides of a coarse face are made alike, in shape and texture, and the noise that
            its shoulders are drawn from, 0 to 1: no voice tells light from one side or a turned head, and
            half of either is a line along the nose, half a moustache or one shoulder. Hair is not the same on
            both sides.
        skin: "even", it is without hard lines along the nose or a patch around the mouth, brows and lips
            do not vanish, and it is of colours that skin has (skin.py); "drawn", as e and coefficients draw
            it.
        refinement: factor of what the refiner adds to eyes, nose and mouth, 0 to 1; it learns at 1.
        hair_refinement: the same for forehead, hair and jaw; below 1 there are fewer specks on foreheads.
        background_refinement: share of the refiner's work that is kept beyond the head, 0 to 1: a background
            that is drawn from principal components has no edges that could be sharpened, and becomes stripes.
            The discriminator sees as much of it.
        face_scale: how much larger its faces are than the template of faces/align.py lays them, as those were
            that it learned from.
    """

    type: ClassVar[str] = "appearance_model"
    int8: ClassVar[tuple[str, ...]] = ("diffusion.", "flow.", "texture.", "decoder.texture_head.")
    channels_last: ClassVar[bool] = True
    outside_weights: ClassVar[tuple[str, ...]] = (
        "image_side",
        "flow_steps",
        "detail_steps",
        "detail_smallest",
        "detail",
        "face_detail",
        "detail_noise",
        "background_noise",
        "colour_noise",
        "hair_contrast",
        "coarse_blur",
        "detail_guidance",
        "truncation",
        "texture_noise",
        "own_noise",
        "expression",
        "facial_hair",
        "glasses",
        "ears",
        "symmetry",
        "skin",
        "head_gain",
        "refinement",
        "hair_refinement",
        "background_refinement",
    )

    embedding: int = 64
    side: int = 128
    image_side: int = 64
    texture_side: int = 64
    narrow: int = 64
    linear: int = 64
    head_gain: float = 0.4
    shape_components: int = 40
    texture_components: int = 128
    flow_width: int = 384
    flow_blocks: int = 4
    flow_steps: int = 8
    detail_channels: tuple[int, ...] = ()
    detail_steps: int = 5
    detail_smallest: float = SMALLEST
    detail: float = 1.0
    face_detail: float = 0.1
    detail_noise: float = 0.45
    background_noise: float = 0.3
    colour_noise: float = 0.4
    hair_contrast: float = 0.13
    coarse_blur: int = 7
    detail_guidance: float = 1.0
    channels: tuple[int, ...] = (24, 48, 96)
    film: bool = False
    truncation: float = 0.75
    texture_noise: int = 24
    own_noise: float = 0.6
    expression: str = "neutral"
    facial_hair: str = "whole"
    glasses: str = "none"
    ears: str = "whole"
    symmetry: float = 1.0
    skin: str = "even"
    refinement: float = 0.85
    hair_refinement: float = 0.35
    background_refinement: float = 0.0
    face_scale: float = 1.0

    def __post_init__(self) -> None:
        self.make_tuples("channels")
        # A recipe reads a list whose default is empty as one of floats.
        widths = tuple(int(n) if n == int(n) else n for n in self.detail_channels)
        object.__setattr__(self, "detail_channels", widths)
        self.decoder  # noqa: B018 (checks its settings)
        shares = ("symmetry", "refinement", "hair_refinement", "background_refinement", "hair_contrast")
        shares += ("detail", "face_detail", "detail_noise", "background_noise", "colour_noise")
        least = ("embedding", "texture_side", "texture_components", "flow_width", "flow_blocks", "flow_steps")
        self.check(
            {
                "side must be a multiple of 8 pixels, such as 64 or 128": self.side > 0
                and self.side % 8 == 0,
                **{f"{name} must be 1 or more": getattr(self, name) >= 1 for name in least},
                f"shape_components must be 1 to {2 * POINTS}": 1 <= self.shape_components <= 2 * POINTS,
                "texture_side must not be above side": self.texture_side <= self.side,
                "channels must be three numbers, 1 or more": len(self.channels) == 3
                and all(n >= 1 for n in self.channels),
                "detail_channels must be three multiples of 8, or empty": not widths
                or (len(widths) == 3 and all(n > 0 and n % 8 == 0 for n in widths)),
                "detail_steps must be 1 or more": self.detail_steps >= 1,
                "coarse_blur must be an odd number, 1 or more": self.coarse_blur >= 1
                and self.coarse_blur % 2 == 1,
                "detail_smallest must be above 0 and at most 10": 0 < self.detail_smallest <= 10,
                "detail_guidance must be 1 or more": self.detail_guidance >= 1,
                "side must be a multiple of texture_side where there are detail_channels": not widths
                or self.side % self.texture_side == 0,
                "truncation must not be negative": self.truncation >= 0,
                "texture_noise must not be negative": self.texture_noise >= 0,
                "own_noise must not be negative": self.own_noise >= 0,
                "expression must be neutral or drawn": self.expression in ("neutral", "drawn"),
                "facial_hair must be whole or drawn": self.facial_hair in ("whole", "drawn"),
                "glasses must be none or drawn": self.glasses in ("none", "drawn"),
                "ears must be whole or drawn": self.ears in ("whole", "drawn"),
                "skin must be even or drawn": self.skin in ("even", "drawn"),
                **{f"{name} must be between 0 and 1": 0 <= getattr(self, name) <= 1 for name in shares},
                "face_scale must be above 0": self.face_scale > 0,
                "image_side must be 8 to 4096": 8 <= self.image_side <= 4096,
            }
        )

    @property
    def decoder(self) -> FaceDecoderConfig:
        """Of the face decoder; refused as one with such settings is."""
        return FaceDecoderConfig(
            embedding=self.embedding,
            side=self.texture_side,
            narrow=self.narrow,
            linear=self.linear,
            head_gain=self.head_gain if self.linear else 1.0,
            face_scale=self.face_scale,
        )

    @property
    def distilled(self) -> bool:
        """Whether the diffusion has learned few evaluations, and most levels of noise no more."""
        return bool(self.detail_channels) and self.detail_smallest > SMALLEST

    @property
    def may_differ(self) -> tuple[str, ...]:
        """A model without detail may be given it."""
        return self.outside_weights + (() if self.detail_channels else ("detail_channels",))

    @property
    def z_dim(self) -> int:
        """Numbers of noise, one for each coefficient."""
        return self.shape_components + self.texture_components
