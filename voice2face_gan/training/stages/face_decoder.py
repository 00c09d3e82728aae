"""The stage of the face decoder (Cole et al., CVPR 2017): e of a face space to landmarks, texture and image.

Each iteration draws real faces r_i with their landmarks l_i and e_i read from them, a share of these as a
voice would give them (batches.FaceEmbeddingBatches):

    t_i = r_i drawn in the mean shape by l_i
    L = texture_loss |texture(e_i) - t_i| + landmark_loss |landmarks(e_i) - l_i|^2
        + embedding_loss (1 - cos(read(image(e_i)) - c, target(e_i) - c))        c the average face's

with the recipe's weights [face_decoder]; the losses are functions in speech2face_losses.py. Drawing and
reading an image takes most of the time: the first `embedding_share` of a batch are drawn. Faces of simulated
voices count by face_embedding.simulated_l1. Pixels beyond an image's edges count in no texture.
There is no discriminator. With a linear part (model.generator.linear) the decoder begins with the ridge
regression on e_i (fits/linear_face.py).
"""

import math

import torch
from torch import Tensor, nn

from voice2face_gan.errors import DataError
from voice2face_gan.models.face_readers.base import FaceFeatures, FaceReaderNet
from voice2face_gan.models.face_space_base import BaseFaceSpace
from voice2face_gan.models.reader_space import ReaderSpace
from voice2face_gan.models.registry import build_generator
from voice2face_gan.training.fits.linear_face import fit_linear_face, mean_textures
from voice2face_gan.training.stages.gan_base import GanStage
from voice2face_gan.training.stages.losses import detached
from voice2face_gan.training.stages.speech2face_losses import DecoderWeights, decoder_losses


class FaceDecoderStage(GanStage):
    """The decoder by itself; arguments and errors as in GanStage.

    Raises:
        DataError: the store kept no landmarks, or the recipe names no face space.
    """

    saved = ("generator", "generator_optimiser")
    compiled = ()
    any_zoom = any_reader = learns_landmarks = True
    masks_real = True
    same_identity = False

    def _build(self) -> None:
        if self.space is None:
            raise DataError("A face decoder is trained on a face space; set face_embedding.space.")
        check_landmarks(self.batches.faces.landmarks is not None)
        decoder = build_generator(self.config).to(self.device)
        if isinstance(self.space, ReaderSpace):
            standardise(decoder.stem, self.space)
        if self.config.linear:
            fit_linear_face(decoder, self.batches, self.recipe.data.flip)
        self._set_networks(decoder, [])
        weight = self.recipe.face_decoder
        self.weights = DecoderWeights(weight.landmark_loss, weight.texture_loss, weight.embedding_loss)

    def step(self, iteration: int) -> dict[str, Tensor]:
        self._set_lr(iteration)
        batch = self.batches.draw(iteration)
        decoder, side = self.generator, self.config.side
        read = math.ceil(self.recipe.face_decoder.embedding_share * len(batch.e))
        landmarks = side * batch.landmarks
        counts = torch.where(batch.own_e, 1.0, self.recipe.face_embedding.simulated_l1)
        with torch.no_grad():
            texture, shown = mean_textures(decoder.warp, batch.real, batch.visible, landmarks)
            wanted = self.space.target(batch.e)[0] - self.space.centre
        with self.autocast():
            decoded = decoder.decoded(batch.e, read)
        decoded = type(decoded)(*(part.float() for part in decoded))
        reader = SpaceReader(self.space, self.streams.zooms(iteration)[:read])

        def mean(values: Tensor) -> Tensor:
            mine = counts[: len(values)]
            return self.processes.masked_mean((values * mine).sum(), mine.sum())

        loss, terms = decoder_losses(
            decoded, texture, landmarks, wanted[:read], reader, self.weights, shown, mean
        )
        self._step_generator(loss)
        self._update_ema(iteration)
        return detached({f"G_{name}": value for name, value in terms.items()})


@torch.no_grad()
def standardise(stem: nn.Linear, space: ReaderSpace) -> None:
    """Lets a new stem begin on a reader's feature less its mean and of variance 1, as e of other spaces is
    from the start: dlib's numbers are a tenth of that, VGG-Face's several times as large."""
    stem.weight.div_(space.spread)
    stem.bias.sub_(stem.weight @ space.centre)


def check_landmarks(kept: bool) -> None:
    """
    Raises:
        DataError: the store kept no landmarks.
    """
    if not kept:
        raise DataError(
            "This generator learns landmarks, which the store did not keep; prepare it again with "
            "--set faces.landmarks=true."
        )


class SpaceReader(FaceReaderNet):
    """The embedding of a face space's network, less the average face's.

    Args:
        zooms: (B, 3), small zooms and shifts: a network that reads each image in one place alone is fooled by
            patterns that only work there.
    """

    def __init__(self, space: BaseFaceSpace, zooms: Tensor):
        super().__init__()
        self.space, self.zooms = space, zooms
        self.name, self.size = space.name, len(space.centre)

    def forward(self, faces: Tensor) -> FaceFeatures:
        return FaceFeatures(self.space.read(faces, self.zooms)[0] - self.space.centre, None)
