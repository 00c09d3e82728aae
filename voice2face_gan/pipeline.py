"""A clip in, faces out: what the command line, the web studio and a notebook all call."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from voice2face_gan.audio.decode import source_name
from voice2face_gan.audio.log_mel import FeatureSettings
from voice2face_gan.audio.vad import VadSettings
from voice2face_gan.audio.voice import VoiceFeatures, voice_features
from voice2face_gan.data.records import FEMALE, GENDERS
from voice2face_gan.errors import CheckpointError, DataError, VoiceToFaceError
from voice2face_gan.faces.pixels import to_image, to_uint8
from voice2face_gan.models.checkpoint import SHIPPED, Checkpoint, load_checkpoint
from voice2face_gan.models.conditioning import Controls, condition, normalise_embedding
from voice2face_gan.models.hub import hub_name
from voice2face_gan.models.probes import read_voice
from voice2face_gan.results import Generation
from voice2face_gan.version import __version__
from voice2face_gan.voice_embedding import VoiceEmbedding, mean_embedding, without_log_mel

VARIANT_NOISE = 0.05  # Wen's training noise: what variants differ by where a model has no noise of its own
VARIANT_RESIDUAL = 0.5  # of what the voice leaves open in its embedding: all of it drowns what it tells
MAX_STRENGTH = 10.0  # beyond, every face is a caricature of noise
SHORT_SPEECH = 2.0  # seconds; below this a warning is due
NO_SPEECH = 0.5  # probability of speech below which a warning is due: something else is then more likely
# Probability of a child above which one is due: hardly any adult is above (training/probes/input_quality.py).
CHILD_VOICE = 0.8
# Probability of several speakers above which one is due; most recordings are of one. The default probe gives
# more to 1 of 100 validation people's recordings, and to 74 of 100 of two people, half of each.
SEVERAL_VOICES = 0.95
STEADY = 1.2  # nats; a log-mel that varies less is no speech (audio/voice.py); where no speech probe tells
# What the speech found must reach, else it is none; of 2,351 real clips all of half a second or more do.
LEAST_VARIETY = 0.45  # nats (audio/steady.py): noise, hum, knocks, machines
LEAST_BANDS = 3.4  # mel bins (audio/steady.py): tones, sirens, dialling
SOFT_SPEECH = -60.0  # dB (Generation.speech_level_db); below it much lies below the last steps of 16 bits
STEADY_SECONDS = 0.5  # less speech than this is too short to judge so: a single vowel hardly changes
_BATCH = 16  # faces generated together
_BATCH_SECONDS = 160.0  # of recordings, after which faces do not wait for more clips


class VoiceToFace:
    """A trained model, ready for clips.

        v2f = VoiceToFace.from_pretrained("default")
        faces = v2f.generate("clip.wav", variants=4)

    Args:
        checkpoint: a loaded checkpoint with a generator.
        name: what images' metadata call it.
        device: where the nets run.
    Attributes:
        spread: standard deviation of the noise z of a generator that takes some. 1 as in training; less gives
            faces nearer to the plain answer of 0, which are more alike.
        strength: how far from the average face, 0, a voice leads; 1 is as predicted, more exaggerates. None
            for models whose embeddings are of length 1.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        name: str,
        device: str | torch.device = "cpu",
        strength: float | None = None,
    ):
        self.checkpoint, self.name, self.device = checkpoint, name, torch.device(device)
        self.controls, self.z_dim = checkpoint.controls, checkpoint.generator_config.z_dim
        if strength is not None:
            self.controls = _with_strength(self.controls, strength, name)
        self.features = FeatureSettings.from_dict(checkpoint.features)
        try:
            self.vad = VadSettings(**checkpoint.vad)
        except (TypeError, DataError) as error:
            raise CheckpointError(
                f"The checkpoint '{name}': its vad settings are wrong ({error})."
            ) from error
        self.spread = 1.0
        self.encoder = checkpoint.encoder.to(self.device)
        self.generator = checkpoint.generator.to(self.device)

    @property
    def zoom(self) -> float:
        """How much larger its faces are than the template of faces/align.py lays them."""
        return self.checkpoint.generator_config.face_scale

    @property
    def strength(self) -> float | None:
        return None if self.controls.normalise_embedding else self.controls.strength

    @classmethod
    def from_pretrained(
        cls,
        name: str | Path = "default",
        device: str | torch.device = "cpu",
        strength: float | None = None,
    ) -> "VoiceToFace":
        """Load a model.

        Args:
            name: "default" or "synthetic" (shipped; the second for the synthetic world), a checkpoint
                folder, a run folder, or a model on the Hugging Face hub, "owner/name" or
                "owner/name@revision" (needs the extra `hub`).
            device: "cpu", "cuda", ...
            strength: 0 for the average face, 1 as predicted, above 1 exaggerated; None for the model's own.
        Raises:
            CheckpointError: missing or damaged, the hub does not give it, or it has no strength to set.
        """
        checkpoint = load_checkpoint(name)
        kept = str(name) in SHIPPED or hub_name(name) is not None
        return cls(checkpoint, str(name) if kept else checkpoint.folder.resolve().name, device, strength)

    def push_to_hub(
        self,
        repo_id: str,
        private: bool = False,
        token: str | None = None,
        message: str = "Upload with voice2face-gan",
        licence: str | None = None,
    ) -> str:
        """Publish the model on the Hugging Face hub, with a model card; needs the extra `hub`.

        Nets that were changed since they were loaded are uploaded as they are now.

        Args:
            repo_id: "owner/name"; made if there is none.
            private: make it visible to its owner alone.
            token: with the right to write; default: that of `hf auth login` or HF_TOKEN.
            message: of the commit.
            licence: of the weights, as the hub spells licences ("mit", "cc-by-nc-4.0", ...).
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
        track: int | None = None,
        start: float | None = None,
        end: float | None = None,
    ) -> list[Image.Image]:
        """Faces for one clip.

        Args:
            clip: a path, bytes, a binary file, or (array, sampling rate).
            variants: images wanted. The first is the model's plain answer; the others differ in what the
                voice leaves open.
            seed: of that noise.
            gender: "auto" (as heard), "female" or "male".
            size: side in pixels; None for the model's own.
            track: the clip's sound track, counted from 1; None for the best that is not silent.
            start, end: the part of the clip that is taken, in seconds; None for its beginning and end.
        Returns:
            `variants` PIL images.
        Raises:
            AudioError: the clip cannot be opened, or has no such track or part.
            NoSpeechError: too little speech in it.
            CheckpointError: the model cannot choose a gender.
        """
        return self.generate_detailed(
            clip, variants, seed, gender, size, track=track, start=start, end=end
        ).faces

    def generate_detailed(
        self,
        clip,
        variants: int = 1,
        seed: int = 0,
        gender: str = "auto",
        size: int | None = None,
        *,
        track: int | None = None,
        start: float | None = None,
        end: float | None = None,
    ) -> Generation:
        """Like `generate`, with what was heard."""
        (heard,) = self.generate_many([clip], variants, seed, gender, size, track=track, start=start, end=end)
        if isinstance(heard, VoiceToFaceError):
            raise heard
        return heard

    def generate_many(
        self,
        clips: Iterable,
        variants: int = 1,
        seed: int = 0,
        gender: str = "auto",
        size: int | None = None,
        *,
        track: int | None = None,
        start: float | None = None,
        end: float | None = None,
    ) -> Iterator[Generation | VoiceToFaceError]:
        """For each clip in order what `listen` gives, or the error it would raise.

        A clip's images do not depend on the other clips. Memory is bounded however many there are.
        """
        self._check(variants, gender)
        group: list[VoiceEmbedding | VoiceToFaceError] = []
        seconds = 0.0
        for item in self.embeddings(clips, track=track, start=start, end=end):
            group.append(item)
            seconds += 0.0 if isinstance(item, VoiceToFaceError) else item.seconds
            if len(group) * variants >= _BATCH or seconds >= _BATCH_SECONDS:
                yield from self._faces_of(group, variants, seed, gender, size)
                group, seconds = [], 0.0
        yield from self._faces_of(group, variants, seed, gender, size)

    def generate_together(
        self,
        clips: Iterable,
        variants: int = 1,
        seed: int = 0,
        gender: str = "auto",
        size: int | None = None,
        *,
        track: int | None = None,
        start: float | None = None,
        end: float | None = None,
    ) -> list[Image.Image]:
        """One face, or its variants, from several recordings of one speaker.

        The generator gets the mean of the predicted embeddings, weighted by seconds of speech; it is of unit
        norm where the model's embeddings are (`mean_embedding`).

        Args:
            clips: each as `generate` takes one.
            variants, seed, gender, size, track, start, end: as in `generate`; a part is taken of each clip.
        Returns:
            `variants` PIL images.
        Raises:
            AudioError, NoSpeechError, CheckpointError: as `generate`; the first clip that fails decides. To
                go on without it, take what is good of `embeddings(clips)` to `generate_together_detailed`.
        """
        voices = [self._good(item) for item in self.embeddings(clips, track=track, start=start, end=end)]
        return self.generate_together_detailed(voices, variants, seed, gender, size).faces

    def generate_together_detailed(
        self,
        voices: Sequence[VoiceEmbedding],
        variants: int = 1,
        seed: int = 0,
        gender: str = "auto",
        size: int | None = None,
    ) -> Generation:
        """Like `generate_together`, of what `embeddings` gave, with what was found in all of them: seconds
        are sums, probabilities are means weighted by seconds of speech.

        Raises:
            VoiceToFaceError: no voices.
        """
        self._check(variants, gender)
        mean = mean_embedding(voices, self.controls.normalise_embedding)
        mean.warning = _warning(mean.voice, **mean.told)
        (heard,) = self._faces_of([mean], variants, seed, gender, size)
        return heard

    def embed_clip(
        self, clip, *, track: int | None = None, start: float | None = None, end: float | None = None
    ) -> Tensor:
        """The voice embedding of a whole clip: float32 (embedding,) on the CPU.

        It is the e that the voice encoder predicts from the speech in the clip, the same numbers that
        `v2f-gan embed` writes: not moved by the strength, of unit norm where the model's embeddings are. The
        clip's face is `decode(condition(e)[None])`.

        Args:
            clip, track, start, end: as in `generate`.
        Raises:
            AudioError: the clip cannot be opened, or has no such track or part.
            NoSpeechError: too little speech in it.
        """
        return self._embedding(clip, track=track, start=start, end=end).embedding

    def embed_clips(
        self,
        clips: Iterable,
        *,
        track: int | None = None,
        start: float | None = None,
        end: float | None = None,
    ) -> Tensor:
        """`embed_clip` of each clip: float32 (clips, embedding) on the CPU; (0, embedding) for no clips.

        Raises:
            AudioError, NoSpeechError: as `embed_clip`, for the first clip that fails. `embeddings` goes on.
        """
        found = self.embeddings(clips, track=track, start=start, end=end)
        rows = [self._good(item).embedding for item in found]
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
        raw_log_mel = self.encoder.raw_log_mel
        voice = voice_features(clip, vad=self.vad, features=self.features, raw_log_mel=raw_log_mel, **part)
        e, told = self.encode(voice.log_mel)
        e = e.clone()  # made outside of inference mode, so that others may train on it
        return VoiceEmbedding(source_name(clip), e, without_log_mel(voice), told, _warning(voice, **told))

    @staticmethod
    def _good(item: VoiceEmbedding | VoiceToFaceError) -> VoiceEmbedding:
        if isinstance(item, VoiceToFaceError):
            raise item
        return item

    @torch.inference_mode()
    def embed(self, log_mel: Tensor) -> Tensor:
        """What the generator takes, of a log-mel (64, frames) as `audio.log_mel.encoder_input` gives it for
        `encoder.raw_log_mel`: (embedding,)."""
        return self.condition(self.predict(log_mel))

    @torch.inference_mode()
    def predict(self, log_mel: Tensor) -> Tensor:
        """The embedding (embedding,) that a log-mel as `embed` takes it predicts."""
        return normalise_embedding(self.encoder(log_mel[None].to(self.device)), self.controls)[0].cpu()

    def condition(self, e: Tensor) -> Tensor:
        """What the generator takes, of a predicted embedding (embedding,): the strength and the soft clip
        are in it."""
        return condition(e[None], self.controls)[0]

    @torch.inference_mode()
    def encode(self, log_mel: Tensor) -> tuple[Tensor, dict[str, float]]:
        """What `predict` gives, and what the checkpoint's probes tell: the probabilities that somebody speaks
        ("speech"), that a child does ("child"), and that several people do in turn ("several")."""
        output, told = read_voice(self.encoder, self.checkpoint.probes, log_mel[None].to(self.device))
        return normalise_embedding(output, self.controls)[0].cpu(), {k: float(v[0]) for k, v in told.items()}

    @torch.inference_mode()
    def decode(self, e: Tensor, z: Tensor | None = None) -> Tensor:
        """Faces of embeddings: (B, embedding) -> uint8 (B, side, side, 3).

        Args:
            z: (B, z_dim) noise for a generator that takes some; default `noise(B)`.
        """
        z = self.noise(len(e)) if z is None else z
        if z is None:
            parts = [self.generator(part.to(self.device)) for part in e.split(_BATCH)]
        else:
            pairs = zip(e.split(_BATCH), z.split(_BATCH), strict=True)
            parts = [self.generator(a.to(self.device), b.to(self.device)) for a, b in pairs]
        return to_uint8(torch.cat(parts)).cpu()

    def noise(self, count: int, seed: int = 0) -> Tensor | None:
        """z (count, z_dim), normal, of standard deviation `spread`, decided by the seed; None for a generator
        that takes none."""
        if not self.z_dim:
            return None
        return self.spread * torch.randn((count, self.z_dim), generator=torch.Generator().manual_seed(seed))

    def female(self, e: Tensor) -> float | None:
        """Probability of the label "female" for a predicted embedding (embedding,), None without a probe."""
        probe = self.checkpoint.gender_probe
        return None if probe is None else float(torch.sigmoid(e @ probe[:-1] + probe[-1]))

    def reflect_gender(self, e: Tensor, gender: str) -> Tensor:
        """A predicted embedding (embedding,) if it lies on the asked side of the gender probe's boundary,
        else its mirror image in that boundary: everything else about the voice is kept."""
        probe = self.checkpoint.gender_probe
        if gender == "auto" or probe is None:
            return e
        length = probe[:-1].norm()
        direction, bias = probe[:-1] / length, probe[-1] / length
        along = e @ direction
        if (along + bias > 0) == (gender == FEMALE):
            return e
        across = e - along * direction
        mirrored = -along - 2 * bias  # as far beyond the boundary as it was before it
        if not self.controls.normalise_embedding:
            return across + mirrored * direction
        # On the unit sphere what is across shrinks or grows to fit; normalising the whole instead could bring
        # it back over a boundary that lies far from the origin.
        mirrored = mirrored.clamp(-1, 1)
        return mirrored * direction + (1 - mirrored**2).sqrt() * F.normalize(across, dim=0)

    def _check(self, variants: int, gender: str) -> None:
        if variants < 1:
            raise VoiceToFaceError(f"variants must be 1 or more, not {variants}.")
        self._check_gender(gender)

    def _check_gender(self, gender: str) -> None:
        if gender not in ("auto", *GENDERS):
            raise VoiceToFaceError(f"gender must be auto, female or male, not '{gender}'.")
        trained_on = self.checkpoint.info.get("gender", "all")
        if gender == "auto" or gender == trained_on or self.checkpoint.gender_probe is not None:
            return
        if trained_on in GENDERS:
            raise CheckpointError(
                f"The checkpoint '{self.name}' was trained on {trained_on} voices and faces only; "
                f"use one trained with --gender {gender} or all."
            )
        raise CheckpointError(
            f"The checkpoint '{self.name}' cannot choose a gender: its training data had no gender labels."
        )

    def _faces_of(self, group, variants, seed, gender, size) -> Iterator[Generation | VoiceToFaceError]:
        good = [item for item in group if not isinstance(item, VoiceToFaceError)]
        faces = iter(())
        if good:
            wanted = (self.condition(self.reflect_gender(item.embedding, gender)) for item in good)
            e = torch.cat([self._variants(e, variants, seed) for e in wanted])
            z = self.noise(variants, seed)
            if z is not None:
                z[0] = 0  # the first variant is the plain answer
                z = z.repeat(len(good), 1)
            faces = iter(self.decode(e, z).split(variants))
        for item in group:
            if isinstance(item, VoiceToFaceError):
                yield item
                continue
            images = [to_image(face, size) for face in next(faces)]
            for number, image in enumerate(images, 1):
                image.info = self._metadata(seed, number)
            found = {"audio": item.voice.audio, "speech_level_db": item.voice.speech_level_db}
            yield Generation(
                item.name,
                item.seconds,
                item.speech_seconds,
                self.female(item.embedding),
                images,
                item.warning,
                **item.told,
                **found,
            )

    def _variants(self, e: Tensor, variants: int, seed: int) -> Tensor:
        """(variants, embedding): the plain embedding, then noisy ones that depend on the seed alone."""
        random = torch.Generator().manual_seed(seed)
        noise = torch.randn((variants, len(e)), generator=random)
        noise[0] = 0
        if self.controls.residual_std:
            return e + VARIANT_RESIDUAL * torch.tensor(self.controls.residual_std) * noise
        scale = self.controls.embedding_noise_std or VARIANT_NOISE
        # e has its strength, and is clipped, already.
        plain = replace(self.controls, strength=1.0, soft_clip=())
        return condition(e.expand(variants, -1), plain, noise, scale)

    def _metadata(self, seed: int, variant: int) -> dict[str, str]:
        return {
            "Synthetic": "yes: generated from a voice; not an image of a real person",
            "Software": f"voice2face-gan {__version__}",
            "Checkpoint": self.name,
            "Seed": str(seed),
            "Variant": str(variant),
        }


def _with_strength(controls: Controls, strength: float, name: str) -> Controls:
    if controls.normalise_embedding:
        raise CheckpointError(
            f"The checkpoint '{name}' has no strength to set: its embeddings are of length 1."
        )
    if not 0 <= strength <= MAX_STRENGTH:
        raise CheckpointError(
            f"strength must be from 0 (the average face) to {MAX_STRENGTH:g}, not {strength:g}."
        )
    return replace(controls, strength=float(strength))


def _warning(
    voice: VoiceFeatures,
    speech: float | None = None,
    child: float | None = None,
    several: float | None = None,
) -> str:
    judged = voice.speech_seconds >= STEADY_SECONDS
    if judged and voice.bands < LEAST_BANDS:
        return "it does not sound like speech but like tones; the face means little"
    if (judged and voice.variety < LEAST_VARIETY) or (speech is None and voice.variation < STEADY):
        return "it sounds like steady noise rather than speech; the face means little"
    if speech is not None and speech < NO_SPEECH:
        return "it does not sound like speech; the face means little"
    warnings = []
    if voice.speech_seconds < SHORT_SPEECH:
        tenths = int(10 * voice.speech_seconds + 1e-6)  # rounded down: "only 2.0 s" would be enough
        warnings.append(
            f"only {tenths / 10:.1f} s of speech; {SHORT_SPEECH:.0f} s or more give a steadier face"
        )
    if voice.speech_level_db is not None and voice.speech_level_db < SOFT_SPEECH:
        level = f"{voice.speech_level_db:.0f} dB"
        warnings.append(f"the speech is very soft ({level}); a louder recording gives a steadier face")
    if child is not None and child > CHILD_VOICE:
        warnings.append("this may be a child's voice; the face shown is a young adult's")
    if several is not None and several > SEVERAL_VOICES:
        warnings.append(
            "more than one person seems to speak, and the face is a mixture; cut the recording to one voice"
        )
    return "; ".join(warnings)
