"""The stage of Speech2Face's voice encoder: speech of people to the e of their faces, by equation 3.

A checkpoint with a trained face decoder and its face space is given (`train --init`). Each iteration draws
clips v_i of training people, and for each the e of a face of the same person (data/batches/pairing.py):

    s_i = encoder(a crop of v_i)      f_i = e of the face
    L = layer_loss |stem(f) - stem(s)|_1 + feature_loss |f/|f| - s/|s||^2 + classes_loss distill(f, s)

The losses are functions in speech2face_losses.py, with the recipe's weights [speech2face]. The last term is
absent where the face reader of the space has no classes. The decoder stays as it was given and serves as the
generator of the stage's checkpoints. Oh et al., "Speech2Face", CVPR 2019: crops of 6 s, batches of 8, Adam of
epsilon 1e-4 and beta 0.5 and 0.999, a learning rate of 0.001 that falls to 0.95 every 10,000 iterations. Any
encoder that does not need another kind of training can be trained so.

An AST (model.encoder.type = "ast") can begin with a trained one (speech2face.pretrained), its head alone for
the first iterations (head_iterations, head_lr).

The control `residual_std` is sqrt(1 - R2) of whole clips of validation people, where at least VALIDATION of
them have voices and faces, else of training people; info["speech2face"] says of which.
"""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from voice2face_gan.data.batches.pairing import Pairing
from voice2face_gan.data.batches.people import fixed_clips, identities_with_both, with_both
from voice2face_gan.data.batches.sampling import random_source
from voice2face_gan.data.store import Store
from voice2face_gan.device import autocast
from voice2face_gan.errors import CheckpointError, RecipeError
from voice2face_gan.faces.pixels import to_grid, to_uint8
from voice2face_gan.models.checkpoint import Checkpoint
from voice2face_gan.models.conditioning import condition
from voice2face_gan.models.encoders.ast import pretrained_ast
from voice2face_gan.models.registry import EncoderConfig, build_encoder
from voice2face_gan.training.engine.distributed import SingleProcess
from voice2face_gan.training.probes.gender import embed_store, probe_of
from voice2face_gan.training.recipe.schema import Recipe
from voice2face_gan.training.ridge import predicted_share
from voice2face_gan.training.stages.encoder_base import EncoderStage
from voice2face_gan.training.stages.face_embedding import KEPT, embeddings_of_faces, open_space
from voice2face_gan.training.stages.speech2face_losses import EncoderWeights, encoder_losses

EPSILON = 1e-4  # of Adam
VALIDATION = 20  # people; fewer do not say how much of e is predicted
TRAINING = "training people"
MEASURED = 400  # clips that a checkpoint's gender probe and residual are taken from


class Speech2FaceStage(EncoderStage):
    """Trains the recipe's encoder on pairs of voices and faces.

    Args:
        store: training records; people with both voices and faces are used.
        recipe, seed, device, processes: as of EncoderStage.
        decoder: a checkpoint with a face decoder and its face space. Where its voice encoder is the recipe's
            own network, training starts from that.
        people: records among which validation people are looked for; None for none.
        held_out: records whose clips are shown in the image grids; default: the training records.
    Raises:
        CheckpointError: the decoder is none, or it takes other numbers than its space gives; or an AST to
            start from cannot be loaded.
        DataError: fewer than two people have both; the encoder takes speech that the store does not keep.
        RecipeError: last_relu on e with negative numbers.
    """

    pairs = True

    def __init__(
        self,
        store: Store,
        recipe: Recipe,
        seed: int,
        device: torch.device,
        processes: SingleProcess | None = None,
        *,
        decoder: Checkpoint,
        people: Store | None = None,
        held_out: Store | None = None,
    ):
        check_decoder(decoder)
        self.given, self.people, self.held_out = decoder, people, store if held_out is None else held_out
        super().__init__(with_both(store), recipe, seed, device, processes)

    def _build(self) -> None:
        given, own = self.given, self.recipe.speech2face
        self.space = open_space(KEPT, given).to(self.device).at_zoom(self.store.zoom)
        self.decoder = given.generator.to(self.device).eval().requires_grad_(False)
        faces = self.store.select(self.store.has_face)
        e = self._e_of(faces)
        if e.shape[1] != given.generator_config.embedding:
            raise CheckpointError(
                f"{given.folder}: its face decoder takes {given.generator_config.embedding} numbers, its "
                f"face space gives {e.shape[1]}."
            )
        if getattr(self.config, "last_relu", False) and float(e.min()) < 0:
            raise RecipeError(
                f"Recipe {self.recipe.name}: e of {self.space.name} has negative numbers, which an encoder "
                "that ends in a ReLU cannot give; set model.encoder.last_relu=false."
            )
        self.pairing = Pairing(own.pairing, self.voices.identity, faces.identity, e, self.seed)
        self.config, encoder = self._encoder()
        self.encoder = self.processes.sync_batchnorm(encoder.to(self.device))
        self._open_clips()
        self.weights = EncoderWeights(own.layer_loss, own.feature_loss, own.classes_loss)
        self.parameters = list(self.encoder.parameters())
        self.optimiser = torch.optim.AdamW(
            self.parameters,
            lr=self.settings.lr,
            betas=self.settings.betas,
            eps=EPSILON,
            weight_decay=self.settings.weight_decay,
        )
        self._measured, self._found = self._measured_clips(), None
        self._grid_voices, self._grid_faces = fixed_clips(self.held_out, self.encoder.takes)

    def _encoder(self) -> tuple[EncoderConfig, nn.Module]:
        """The encoder to train, and its configuration: that of the given checkpoint where it is the recipe's
        network, else a trained AST or a new one."""
        config = replace(self.config, embedding=self.given.generator_config.embedding)
        source, theirs = self.recipe.speech2face.pretrained, self.given.encoder_config
        if theirs == config or (
            source and theirs.type == "ast" and replace(theirs, ast=config.ast) == config
        ):
            encoder = build_encoder(theirs)
            encoder.load_state_dict(self.given.encoder.state_dict())
            return theirs, encoder
        return pretrained_ast(config, source) if source else (config, build_encoder(config))

    def _e_of(self, faces: Store) -> Tensor:
        """e (records, embedding) of records with faces."""
        return torch.from_numpy(embeddings_of_faces(faces, self.space, KEPT)).float()

    def step(self, iteration: int) -> dict[str, Tensor]:
        """One update; returns losses as tensors, so that the device is not waited for."""
        voices, e = self._batch(iteration)
        self._found = None
        self._set_phase(iteration)
        self.encoder.train()
        # Of dropout, where an encoder has some: the same in a run that is resumed.
        torch.manual_seed(int(random_source(self.seed, "dropout", iteration).integers(2**31)))
        with autocast(self.recipe.run.precision, self.device):
            predicted = self.encoder(voices)
        loss, terms = encoder_losses(
            predicted.float(), e, self.decoder, self.space, self.weights, self.recipe.speech2face.temperature
        )
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self.processes.average([p for p in self.parameters if p.requires_grad])
        self.optimiser.step()
        return {"loss": loss.detach(), **terms}

    def _batch(self, iteration: int) -> tuple[Tensor, Tensor]:
        """Random crops as the encoder takes them, and e (B, embedding) of faces of the same people."""
        items, voices, _ = self._draw_clips(iteration)
        mine = self.processes.shard(self.settings.batch)
        return voices, self.pairing.draw(items, iteration)[mine].to(self.device)

    def _set_phase(self, iteration: int) -> None:
        """Which parameters learn, and how fast."""
        own = self.recipe.speech2face
        head = iteration < own.head_iterations
        if own.head_iterations:
            self.encoder.train_only_head(head)
        lr = own.head_lr if head else self.settings.lr
        for group in self.optimiser.param_groups:
            group["lr"] = lr * own.lr_decay ** (iteration / own.lr_decay_every)

    def _measured_clips(self) -> tuple[Store, Tensor, str]:
        """Clips that a checkpoint's residual is measured on, their people's mean e, and whose they are."""
        part, whose = self.store, TRAINING
        if self.people is not None and self.recipe.data.split == "train":
            others = self.people.select(self.people.split == "val")
            others = others.select(np.isin(others.identity, sorted(identities_with_both(others))))
            if len(np.unique(others.identity)) >= VALIDATION:
                part, whose = others, "validation people"
        clips, faces = _evenly(part.select(part.has_voice), MEASURED), part.select(part.has_face)
        mean = Pairing("all-to-mean", clips.identity, faces.identity, self._e_of(faces), self.seed)
        return clips, mean.draw(np.arange(len(clips)), 0), whose

    def _figures(self) -> tuple[tuple[float, ...], dict, Tensor | None]:
        """sqrt(1 - R2) of each element of e, how it was measured, and the gender probe of training people."""
        clips, e, whose = self._measured
        predicted = self._predicted(clips)
        _, who = np.unique(clips.identity, return_inverse=True)
        weight = torch.from_numpy(1 / np.sqrt(np.bincount(who)[who]))
        share = predicted_share(predicted.double(), e.double(), weight).clamp(max=1)
        about = {"residual_of": whose, "people": int(who.max()) + 1, "clips": len(clips)}
        about["r2"] = round(float(share.mean()), 4)
        own = clips if whose == TRAINING else _evenly(self.voices, MEASURED)
        probe = probe_of(predicted if whose == TRAINING else self._predicted(own), own.gender)
        return tuple(round(float(r), 4) for r in (1 - share).sqrt()), about, probe

    def _predicted(self, clips: Store) -> Tensor:
        return embed_store(clips, self.encoder, self.given.controls, self.device)

    def state(self) -> dict:
        return {"encoder": self.encoder.state_dict(), "optimiser": self.optimiser.state_dict()}

    def load(self, state: dict) -> None:
        self._found = None
        self.encoder.load_state_dict(state["encoder"])
        self.optimiser.load_state_dict(state["optimiser"])

    def checkpoint(self, iteration: int) -> Checkpoint:
        made, given = super().checkpoint(iteration), self.given
        self._found = self._found or self._figures()
        residual_std, about, probe = self._found
        about = {"space": self.space.name, "pairing": self.recipe.speech2face.pairing, **about}
        info = {**made.info, "gender": self.recipe.data.gender, "speech2face": about}
        info["decoder_recipe"] = given.info.get("decoder_recipe") or given.info.get("recipe", {})
        return replace(
            made,
            generator_config=given.generator_config,
            generator=self.decoder,
            controls=replace(given.controls, residual_std=residual_std),
            gender_probe=probe,
            info={**info, "face_space": given.info.get("face_space", self.space.summary())},
            face_space=given.face_space,
        )

    @torch.no_grad()
    def image(self):
        """PIL image: the fixed clips' own faces above, what is generated from their voices below."""
        self.encoder.eval()
        e = torch.cat([self.encoder(voice[None].to(self.device)) for voice in self._grid_voices])
        faces = to_uint8(self.decoder(condition(e, self.given.controls))).cpu()
        rows = [self._grid_faces, faces] if self._grid_faces.shape == faces.shape else [faces]
        return to_grid(torch.cat(rows), columns=len(faces))


def check_decoder(given: Checkpoint) -> None:
    """Whether a checkpoint has what the stage is given.

    Raises:
        CheckpointError: it has no face decoder, or keeps no face space.
    """
    kind = None if given.generator_config is None else given.generator_config.type
    if kind != "face_decoder":
        has = "has no generator" if kind is None else f"has a generator of the type '{kind}'"
        raise CheckpointError(
            f"{given.folder} {has}; --init must be a checkpoint with a face decoder, such as a run of "
            "v2f-gan train --recipe face-decoder."
        )
    if not given.face_space:
        raise CheckpointError(
            f"{given.folder} keeps no face space, which says what e a face has; take a checkpoint of "
            "v2f-gan train --recipe face-decoder."
        )


def _evenly(clips: Store, most: int) -> Store:
    """At most so many of the records, evenly from all."""
    if len(clips) <= most:
        return clips
    return clips.select(np.linspace(0, len(clips) - 1, most).astype(np.int64))
