"""Face features for distances between sets of images (fid, kid, prdc).

    inception   pytorch-fid's network, images resized to 299 x 299 by its bilinear interpolation, 2,048-d.
                Heusel et al. 2017; pytorch-fid 0.3. The only one whose figures are called fid and kid.
    dlib        dlib's 128-d face descriptor: a stand-in, sensitive to identity and hardly to texture.
    trunk       spatial means of the stem and the four stages of the shipped face classifier, 512-d: a
    stand-in,
                sensitive to sharpness and noise as well as to faces.

A figure of a stand-in carries its name (fid_trunk) and compares only with figures of the same stand-in.

Nothing is downloaded here: models/inception_weights.py finds Inception's weights and fetches them.
"""

from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from voice2face_gan.errors import MetricError, first_line
from voice2face_gan.evaluation.readers import open_reader
from voice2face_gan.evaluation.readers.classifier import at_side
from voice2face_gan.evaluation.readers.dlib import DIMENSIONS as DLIB_DIMENSIONS
from voice2face_gan.evaluation.registry import Options
from voice2face_gan.faces.pixels import to_unit
from voice2face_gan.models import inception_weights
from voice2face_gan.models.face_readers.classifier import Residual

FEATURES = ("inception", "dlib", "trunk")
DIMENSIONS = 2048  # of pytorch-fid's last pooling

# Divisor of the trunk's means. It makes x.y / D of two faces about 1, where KID's cubic kernel is neither
# nearly linear nor dominated by lengths. The stages vary alike and need no weights.
TRUNK_SCALE = 0.25


class Feature(Protocol):
    """A feature.

    Attributes:
        name: one of FEATURES.
        stand_in: True where its figures carry its name and are not comparable with published ones.
        dimensions: width of the feature.
        enough: number of images below which a covariance is not of full rank, and FID biased upwards.
        about: noun phrase for a protocol.
        hash: identifies its weights and arithmetic.
    """

    name: str
    stand_in: bool
    dimensions: int
    enough: int
    about: str
    hash: str

    def extract(self, faces: Tensor) -> np.ndarray:
        """Faces uint8 (N, side, side, 3) -> float32 (N, dimensions), the precision that networks work in."""


class InceptionFeature:
    """pytorch-fid's Inception.

    Args:
        weights: path of its weights file.
    Raises:
        MetricError: the file holds something else.
    """

    name, stand_in, dimensions, enough = "inception", False, DIMENSIONS, DIMENSIONS
    about = "pytorch-fid's Inception"

    def __init__(self, weights: Path):
        self._net = inception(weights)
        self.hash = f"inception-{inception_weights.sha256(weights)}"

    def extract(self, faces: Tensor) -> np.ndarray:
        return inception_features(self._net, faces)


class DlibFeature:
    """The embedding of the dlib face reader.

    Raises:
        MetricError: dlib is not installed.
    """

    name, stand_in, dimensions, enough = "dlib", True, DLIB_DIMENSIONS, DLIB_DIMENSIONS

    def __init__(self):
        self._reader = open_reader("dlib")
        self.about, self.hash = f"the face descriptor of {self._reader.name}", f"dlib-{self._reader.name}"

    def extract(self, faces: Tensor) -> np.ndarray:
        return self._reader.read(faces).embedding.astype(np.float32, copy=False)


class TrunkFeature:
    """Spatial means of the stem and residual blocks of the shipped face classifier, with any --judge."""

    name, stand_in = "trunk", True

    def __init__(self):
        classifier = open_reader("trunk").classifier
        self._layers, known = classifier.net.features, classifier.net.config
        blocks = zip(known["channels"], known["blocks"], strict=True)
        self.dimensions = self.enough = known["channels"][0] + sum(width * count for width, count in blocks)
        self.about, self.hash = (
            f"stage means of the face classifier {classifier.name}",
            f"{classifier.name} / {TRUNK_SCALE}",
        )

    @torch.inference_mode()
    def extract(self, faces: Tensor, batch: int = 256) -> np.ndarray:
        parts = [torch.cat(stage_means(self._layers, at_side(f)), dim=1) for f in faces.split(batch)]
        return (torch.cat(parts) / TRUNK_SCALE).numpy()


def stage_means(layers: nn.Sequential, x: Tensor) -> list[Tensor]:
    """Spatial means (B, channels) after the stem and after each residual block of a face classifier.

    Args:
        layers: its feature layers.
        x: float32 (B, 3, 64, 64) in [-1, 1].
    """
    means = []
    for layer in layers:
        if isinstance(layer, nn.Flatten):
            break
        x = layer(x)
        if isinstance(layer, (nn.ReLU, Residual)):
            means.append(x.mean(dim=(2, 3)))
    return means


def open_feature(name: str, options: Options) -> Feature:
    """Open a feature by name; nothing is downloaded.

    "auto" is Inception where its weights are found (inception_weights.find), else the trunk; a note in the
    options then gives the reason and the remedy.

    Raises:
        MetricError: no such feature, or its weights or library are missing.
    """
    if name in ("auto", "inception"):
        found = inception_weights.find(options.inception_weights)
        if found.path is not None:
            return InceptionFeature(found.path)
        if name == "inception":
            raise MetricError(f"Inception is needed, but {found.why}. {inception_weights.WAYS}")
        ways = inception_weights.WAYS_OFFLINE if options.no_inception else inception_weights.WAYS
        options.note(
            f"A stand-in takes the place of Inception ({options.no_inception or found.why}): its figures end "
            f"in _trunk and do not compare with published ones. {ways}"
        )
        return TrunkFeature()
    if name == "dlib":
        return DlibFeature()
    if name == "trunk":
        return TrunkFeature()
    raise MetricError(f"There is no feature '{name}'; choose auto, {', '.join(FEATURES)}.")


def figure_suffix(feature: Feature) -> str:
    """End of a figure's name: "" for Inception, "_trunk", "_dlib"."""
    return f"_{feature.name}" if feature.stand_in else ""


def inception(path: Path) -> nn.Module:
    """pytorch-fid's Inception, in evaluation mode.

    Args:
        path: a file with weights that fit; inception_weights.find recognises the published ones.
    Raises:
        MetricError: the file holds something else.
    """
    from pytorch_fid import inception as module

    download = module.load_state_dict_from_url
    try:
        # pytorch-fid fetches its weights by address; hand it the local file's instead, read without pickle.
        state = torch.load(path, map_location="cpu", weights_only=True)
        module.load_state_dict_from_url = lambda *_, **__: state
        block = module.InceptionV3.BLOCK_INDEX_BY_DIM[DIMENSIONS]
        return module.InceptionV3([block]).eval().requires_grad_(False)
    except Exception as error:  # torch has many errors for a damaged zip, a foreign pickle, other weights
        raise MetricError(
            f"{path} does not hold pytorch-fid's Inception weights ({first_line(error)})."
        ) from error
    finally:
        module.load_state_dict_from_url = download


@torch.inference_mode()
def inception_features(net: nn.Module, faces: Tensor, batch: int = 32) -> np.ndarray:
    """Pool features float32 (N, 2048) of uint8 faces (N, side, side, 3)."""
    parts = [net((to_unit(part) + 1) / 2)[0].flatten(1) for part in faces.split(batch)]
    return torch.cat(parts).numpy()
