"""VoiceToFace: a recording in, faces out. The command line, the web studio and notebooks call it."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from voice2face_gan.audio.decode import source_name
from voice2face_gan.audio.log_mel import FeatureSettings
from voice2face_gan.audio.vad import VadSettings
from voice2face_gan.audio.voice import voice_features
from voice2face_gan.data.records import GENDERS
from voice2face_gan.errors import CheckpointError, DataError, VoiceToFaceError
from voice2face_gan.faces.pixels import to_image
from voice2face_gan.faces.png import synthetic_metadata
from voice2face_gan.generate_options import GenerateOptions
from voice2face_gan.models.checkpoint import Checkpoint, load_checkpoint, shown_name
from voice2face_gan.models.voice_face_model import FACES_PER_BATCH, VoiceFaceModel
from voice2face_gan.recording_warnings import recording_warning
from voice2face_gan.results import Generation
from voice2face_gan.voice_embedding import (
    VoiceEmbedding,
    interpolated,
    mean_embedding,
    reflect_gender,
    without_input,
)

_SECONDS_PER_BATCH = 160.0  # of recordings, after which faces do not wait for more clips


class VoiceToFace(VoiceFaceModel):
    """A trained model, ready for recordings.

        v2f = VoiceToFace.from_pretrained("default")
        faces = v2f.generate("clip.wav", variants=4)

    A call changes nothing in the object: every option is an argument, and several threads may share a model.

    Args:
        checkpoint: a loaded checkpoint with a generator.
        name: the name in messages and in images' metadata.
        device: device of the networks.
    Raises:
        CheckpointError: its VAD settings are wrong.
    """

    def __init__(self, checkpoint: Checkpoint, name: str, device: str | torch.device = "cpu"):
        super().__init__(checkpoint, name, device)
        self.features = FeatureSettings.from_dict(checkpoint.features)
        try:
            self.vad = VadSettings(**checkpoint.vad)
        except (TypeError, DataError) as error:
            raise CheckpointError(
                f"The checkpoint '{name}': its vad settings are wrong ({error})."
            ) from error

    @classmethod
    def from_pretrained(
        cls, name: str | Path = "default", device: str | torch.device = "cpu"
    ) -> "VoiceToFace":
        """Load a model.

        Args:
            name: "default", "speech2face", "r3gan", "wen2019-small" or "synthetic" (shipped; the last for the
                synthetic world), a checkpoint folder, a run folder, or a model on the Hugging Face hub,
                "owner/name" or "owner/name@revision" (needs the extra `hub`).
            device: "cpu", "cuda", ...
        Raises:
            CheckpointError: it is missing or damaged, or the hub does not give it.
        """
        checkpoint = load_checkpoint(name)
        return cls(checkpoint, shown_name(name, checkpoint), device)

    def push_to_hub(
        self,
        repo_id: str,
        private: bool = False,
        token: str | None = None,
        message: str = "Upload with voice2face-gan",
        licence: str | None = None,
    ) -> str:
        """Publish the model on the Hugging Face hub, with a model card; needs the extra `hub`.

        Networks that were changed since they were loaded are uploaded as they are now.

        Args:
            repo_id: "owner/name"; made if there is none.
            private: make it visible to its owner alone.
            token: with the right to write; default: that of `hf auth login` or HF_TOKEN.
            message: message of the commit.
            licence: licence of the weights, as the hub spells licences ("mit", "cc-by-nc-4.0", ...).
        Returns:
            The model's address.
        Raises:
            CheckpointError: no right to write, no network, or the hub refuses.
        """
        from voice2face_gan.publish import publish_checkpoint

        return publish_checkpoint(self.checkpoint, repo_id, private, token, message, licence)["url"]

    def generate(
        self,
        clip,
        variants: int = 1,
        seed: int = 0,
        gender: str = "auto",
        size: int | None = None,
        *,
        strength: float | None = None,
        noise_scale: float = 1.0,
        track: int | None = None,
        start: float | None = None,
        end: float | None = None,
    ) -> list[Image.Image]:
        """Faces for one recording.

        Args:
            clip: a path, bytes, a binary file, or (array, sampling rate).
            variants, seed, gender, size, strength, noise_scale: see `GenerateOptions`.
            track: the recording's sound track, counted from 1; None for the best that is not silent.
            start, end: the part of the recording that is taken, in seconds; None for its beginning and end.
        Returns:
            `variants` PIL images, RGB, with text metadata for PNG in `.info`.
        Raises:
            VoiceToFaceError: an option out of its range.
            AudioError: the recording cannot be opened, or has no such track or part.
            NoSpeechError: too little speech in it.
            CheckpointError: the model cannot choose a gender, or has no strength to set.
        """
        options = {"variants": variants, "seed": seed, "gender": gender, "size": size}
        options |= {"strength": strength, "noise_scale": noise_scale}
        return self.generate_detailed(clip, track=track, start=start, end=end, **options).faces

    def generate_detailed(self, clip, **options) -> Generation:
        """Faces for one recording, with what was found in it; arguments and errors as of `generate`."""
        (generation,) = self.generate_many([clip], **options)
        return _raised(generation)

    def generate_many(
        self,
        clips: Iterable,
        *,
        track: int | None = None,
        start: float | None = None,
        end: float | None = None,
        **options,
    ) -> Iterator[Generation | VoiceToFaceError]:
        """For each clip in order the result of `generate_detailed`, or the error that it would raise.

        A clip's images do not depend on the other clips. Memory is bounded however many there are.

        Args:
            clips: each as `generate` takes one.
            track, start, end: as in `generate`, of each clip.
            options: fields of `GenerateOptions`.
        Raises:
            VoiceToFaceError, CheckpointError: as `check_options`.
        """
        chosen = self.check_options(**options)
        group: list[VoiceEmbedding | VoiceToFaceError] = []
        seconds = 0.0
        for item in self.embeddings(clips, track=track, start=start, end=end):
            group.append(item)
            seconds += 0.0 if isinstance(item, VoiceToFaceError) else item.seconds
            if len(group) * chosen.variants >= FACES_PER_BATCH or seconds >= _SECONDS_PER_BATCH:
                yield from self._generations(group, chosen)
                group, seconds = [], 0.0
        yield from self._generations(group, chosen)

    def generate_together(
        self,
        clips: Iterable,
        *,
        track: int | None = None,
        start: float | None = None,
        end: float | None = None,
        **options,
    ) -> list[Image.Image]:
        """One face, or its variants, from several recordings of one speaker.

        The generator gets the mean of the predicted embeddings, weighted by seconds of speech; it is of unit
        norm where the model's embeddings are (`mean_embedding`).

        Args:
            clips: each as `generate` takes one.
            track, start, end: as in `generate`, of each clip.
            options: fields of `GenerateOptions`.
        Returns:
            `variants` PIL images.
        Raises:
            VoiceToFaceError: as `generate`; the first clip that fails decides. To go on without it, give the
                good results of `embeddings(clips)` to `generate_together_detailed`.
        """
        self.check_options(**options)
        voices = [_raised(item) for item in self.embeddings(clips, track=track, start=start, end=end)]
        return self.generate_together_detailed(voices, **options).faces

    def generate_together_detailed(self, voices: Sequence[VoiceEmbedding], **options) -> Generation:
        """Like `generate_together`, from results of `embeddings`.

        Args:
            voices: at least one, all of one speaker.
            options: fields of `GenerateOptions`.
        Returns:
            Seconds are sums; probabilities are means weighted by seconds of speech.
        Raises:
            VoiceToFaceError: no voices, or as `check_options`.
        """
        chosen = self.check_options(**options)
        mean = mean_embedding(voices, self.controls.normalise_embedding)
        mean.warning = recording_warning(mean.voice, **mean.probabilities)
        (generation,) = self._generations([mean], chosen)
        return generation

    def interpolate(
        self,
        a,
        b,
        n: int = 7,
        *,
        gender: str = "auto",
        size: int | None = None,
        strength: float | None = None,
        **part,
    ) -> list[Image.Image]:
        """A morph: faces on the straight way from one voice to another, without noise.

        Step k of 0 to n - 1 decodes the mean of both inputs of the generator with the weights 1 - t and t,
        t = k / (n - 1), scaled to unit norm where the model's embeddings are. So the first and the last image
        are the plain answers of `generate`, before rounding the same numbers.

        Args:
            a, b: recordings, as `generate` takes one.
            n: number of images, 2 or more.
            gender, size, strength: as in `GenerateOptions`, of both.
            part: track, start and end, as in `generate`, of both.
        Returns:
            n PIL images, RGB, with text metadata for PNG in `.info`.
        Raises:
            VoiceToFaceError, AudioError, NoSpeechError, CheckpointError: as `generate`; fewer than 2 images.
        """
        options = self.check_options(gender=gender, size=size, strength=strength)
        if n < 2:
            raise VoiceToFaceError(f"a morph has 2 images or more, not {n}.")
        voices = [_raised(item) for item in self.embeddings([a, b], **part)]
        reflected = (self.reflect_gender(voice.embedding, gender) for voice in voices)
        ends = [self.condition(e, options.strength) for e in reflected]
        e = interpolated(*ends, n, self.controls.normalise_embedding)
        images = [to_image(face, size or self.image_side) for face in self.decode(e, noise_scale=0)]
        for k, image in enumerate(images, 1):
            image.info = synthetic_metadata(self.name, Morph=f"{k} of {n}")
        return images

    def check_options(self, **options) -> GenerateOptions:
        """The options of a call, once this model is known to support them.

        Raises:
            VoiceToFaceError: an option out of its range.
            CheckpointError: the model has no voice encoder, cannot choose a gender, or has no strength to
                set.
        """
        chosen = GenerateOptions(**options)
        self.check_takes_voices()
        self.with_strength(chosen.strength)
        trained_on = self.checkpoint.info.get("gender", "all")
        if chosen.gender in ("auto", trained_on) or self.checkpoint.gender_probe is not None:
            return chosen
        if trained_on in GENDERS:
            raise CheckpointError(
                f"The checkpoint '{self.name}' was trained on {trained_on} voices and faces only; "
                f"use one trained with --gender {chosen.gender} or all."
            )
        raise CheckpointError(
            f"The checkpoint '{self.name}' cannot choose a gender: its training data had no gender labels."
        )

    def embed_clip(
        self, clip, *, track: int | None = None, start: float | None = None, end: float | None = None
    ) -> Tensor:
        """The voice embedding of a whole recording: float32 (embedding,) on the CPU.

        It is the e that the voice encoder predicts from the speech in the recording, the same numbers that
        `v2f-gan embed` writes: before the strength, of unit norm where the model's embeddings are. The
        recording's face is `decode(condition(e)[None], noise_scale=0)`.

        Args:
            clip, track, start, end: as in `generate`.
        Raises:
            AudioError: the recording cannot be opened, or has no such track or part.
            NoSpeechError: too little speech in it.
        """
        return self._embedding(clip, track=track, start=start, end=end).embedding

    def embed_clips(self, clips: Iterable, **part) -> Tensor:
        """`embed_clip` of each clip: float32 (clips, embedding) on the CPU; (0, embedding) for no clips.

        Args:
            part: track, start and end, as in `generate`.
        Raises:
            AudioError, NoSpeechError: as `embed_clip`, for the first clip that fails. `embeddings` goes on.
        """
        rows = [_raised(item).embedding for item in self.embeddings(clips, **part)]
        return torch.stack(rows) if rows else torch.zeros(0, self.checkpoint.encoder_config.embedding)

    def embeddings(
        self,
        clips: Iterable,
        *,
        track: int | None = None,
        start: float | None = None,
        end: float | None = None,
    ) -> Iterator[VoiceEmbedding | VoiceToFaceError]:
        """For each clip in order its voice embedding with seconds and warning, or the error that it raises.

        Clips are opened one after the other as they are asked for.

        Args:
            clips: each as `generate` takes one.
            track, start, end: as in `generate`, of each clip.
        """
        for clip in clips:
            try:
                yield self._embedding(clip, track=track, start=start, end=end)
            except VoiceToFaceError as error:
                yield error

    def _embedding(self, clip, **part) -> VoiceEmbedding:
        self.check_takes_voices()
        takes = self.encoder.takes
        voice = voice_features(clip, vad=self.vad, features=self.features, takes=takes, **part)
        e, probabilities = self.encode(voice.encoder_input)
        e = e.clone()  # made outside of inference mode, so that others may train on it
        warning = recording_warning(voice, **probabilities)
        return VoiceEmbedding(source_name(clip), e, without_input(voice), probabilities, warning)

    def reflect_gender(self, e: Tensor, gender: str) -> Tensor:
        """A predicted embedding (embedding,) on the wanted side of the gender probe (`voice_embedding`)."""
        return reflect_gender(e, self.checkpoint.gender_probe, gender, self.controls.normalise_embedding)

    def _generations(self, group, options: GenerateOptions) -> Iterator[Generation | VoiceToFaceError]:
        """Generations of voice embeddings; errors among them keep their places."""
        variants, seed = options.variants, options.seed
        good = [item for item in group if not isinstance(item, VoiceToFaceError)]
        faces = iter(())
        if good:
            reflected = (self.reflect_gender(item.embedding, options.gender) for item in good)
            inputs = (self.condition(e, options.strength) for e in reflected)
            e = torch.cat([self.variant_embeddings(e, variants, seed, options.noise_scale) for e in inputs])
            z = self.noise(variants, seed, options.noise_scale)
            if z is not None:
                z[0] = 0  # the first variant is the plain answer
                z = z.repeat(len(good), 1)
            faces = iter(self.decode(e, z).split(variants))
        for item in group:
            if isinstance(item, VoiceToFaceError):
                yield item
                continue
            images = [to_image(face, options.size or self.image_side) for face in next(faces)]
            for number, image in enumerate(images, 1):
                image.info = synthetic_metadata(self.name, Seed=str(seed), Variant=str(number))
            yield Generation(
                item.name,
                item.seconds,
                item.speech_seconds,
                self.female(item.embedding),
                images,
                item.warning,
                **item.probabilities,
                audio=item.voice.audio,
                speech_level_db=item.voice.speech_level_db,
            )


def _raised(item):
    """The item, unless it is an error, which is raised."""
    if isinstance(item, VoiceToFaceError):
        raise item
    return item
