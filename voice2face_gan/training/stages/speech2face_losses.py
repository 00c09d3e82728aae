"""Losses of Speech2Face's family: equation 3 of the voice encoder, and those of the face decoder.

Oh et al., "Speech2Face", CVPR 2019, equation 3, of the predicted feature s and the true one f:

    | dec(f) - dec(s) |_1  +  0.025 | f/|f| - s/|s| |_2^2  +  200 distill(fc8(f), fc8(s))

dec is the decoder's first layer (its stem), fc8 the face reader's classes, and distill(a, b) = -sum_i p_i(a)
log p_i(b) with p(a) = softmax(a / T), T = 2 (Hinton et al. 2015). Norms are sums over a sample's numbers, not
means; every function gives one value for each sample, and their mean over the batch is what is minimised, so
that no weight depends on the batch's size.

Cole et al., CVPR 2017, of the decoder: mean absolute error of the texture, mean square error of
the landmarks, and the cosine between the reader's features of the real face and of the rendered one.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from voice2face_gan.models.face_readers.base import FaceReaderNet
from voice2face_gan.models.face_space_base import BaseFaceSpace
from voice2face_gan.models.generators.face_decoder import Decoded, FaceDecoder

TEMPERATURE = 2.0
LANDMARK_SIDE = 224  # pixels, in which squared landmark errors are counted whatever the image's side


@dataclass(frozen=True)
class EncoderWeights:
    """Weights of equation 3: the decoder's layer, the feature (lambda_1), the classes (lambda_2)."""

    layer: float = 1.0
    feature: float = 0.025
    classes: float = 200.0


@dataclass(frozen=True)
class DecoderWeights:
    """Weights of the decoder's losses; a recipe's are in its section [face_decoder]."""

    landmarks: float
    texture: float
    embedding: float


# Equation 3


def layer_loss(predicted: Tensor, true: Tensor) -> Tensor:
    """L1 norm of the difference of the stem's numbers: (B, 1000) twice -> (B,)."""
    return (predicted - true).abs().sum(dim=1)


def feature_loss(predicted: Tensor, true: Tensor) -> Tensor:
    """Squared distance of the features after each is made of length 1: (B, F) twice -> (B,), in [0, 4]."""
    return (F.normalize(predicted, dim=1) - F.normalize(true, dim=1)).square().sum(dim=1)


def distillation_loss(predicted: Tensor, true: Tensor, temperature: float = TEMPERATURE) -> Tensor:
    """Cross-entropy of softened classes, -sum p(true) log p(predicted): logits (B, C) twice -> (B,).

    Least, but not 0, where both are the same: the entropy of p(true).
    """
    wanted = (true / temperature).softmax(dim=1)
    return -(wanted * (predicted / temperature).log_softmax(dim=1)).sum(dim=1)


def encoder_losses(
    predicted: Tensor,
    true: Tensor,
    decoder: FaceDecoder,
    reader: FaceReaderNet | BaseFaceSpace,
    weights: EncoderWeights = EncoderWeights(),
    temperature: float = TEMPERATURE,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Equation 3 of a batch.

    Args:
        predicted: (B, reader.size), or e (B, embedding) of a face space, of voices.
        true: likewise, of the same people's faces.
        decoder: its stem is compared; gets no gradient here where its weights do not want one, but passes it
            on.
        reader: its classes are compared, where it has some and their weight is not 0.
        weights: of the terms.
        temperature: of the classes.
    Returns:
        The loss, a scalar with gradients for `predicted`, and each term's mean without its weight, detached:
        "layer", "feature" and, with classes, "classes".
    """
    true = true.detach()
    with torch.no_grad():
        true_stem, true_classes = decoder.stem(true), reader.classify(true)
    terms = {
        "layer": layer_loss(decoder.stem(predicted), true_stem),
        "feature": feature_loss(predicted, true),
    }
    if true_classes is not None and weights.classes:
        terms["classes"] = distillation_loss(reader.classify(predicted), true_classes, temperature)
    return _weighted(terms, weights)


# The decoder


def texture_loss(predicted: Tensor, true: Tensor, shown: Tensor | None = None) -> Tensor:
    """Mean absolute error of textures in the mean shape.

    Args:
        predicted, true: (B, 3, side, side) in [-1, 1].
        shown: (B, 1, side, side), 1 where the true texture shows the image and 0 where it was made up beyond
            the image's edges; None for 1 everywhere.
    Returns:
        (B,), the mean over what is shown; 0 where nothing is.
    """
    error = (predicted - true).abs().mean(dim=1)
    if shown is None:
        return error.mean(dim=(1, 2))
    shown = shown[:, 0]
    return (error * shown).sum(dim=(1, 2)) / shown.sum(dim=(1, 2)).clamp(min=1.0)


def landmark_loss(predicted: Tensor, true: Tensor, side: int) -> Tensor:
    """Mean square of the differences of x and of y, as if the image had 224 pixels: (B, 68, 2) in pixels of
    `side`, twice -> (B,)."""
    return ((predicted - true) * (LANDMARK_SIDE / side)).square().mean(dim=(1, 2))


def embedding_loss(predicted: Tensor, true: Tensor) -> Tensor:
    """1 - cosine of features: (B, F) twice -> (B,), in [0, 2]."""
    return 1 - F.cosine_similarity(predicted, true, dim=1)


def decoder_losses(
    decoded: Decoded,
    texture: Tensor,
    landmarks: Tensor,
    feature: Tensor,
    reader: FaceReaderNet | None,
    weights: DecoderWeights,
    shown: Tensor | None = None,
    mean: Callable[[Tensor], Tensor] = torch.mean,
) -> tuple[Tensor, dict[str, Tensor]]:
    """The decoder's losses of a batch.

    Args:
        decoded: the decoder's answer.
        texture: (B, 3, side, side), real faces taken to the mean shape.
        landmarks: (B, 68, 2), of the real faces, in pixels of the image.
        feature: (B, reader.size), of the real faces.
        reader: reads the rendered image, with gradients through it to texture and landmarks; None leaves that
            term.
        weights: of the terms.
        shown: as of `texture_loss`.
        mean: of a term's values (B,) over the batch.
    Returns:
        The loss, a scalar with gradients, and each term's mean without its weight, detached: "texture",
        "landmarks" and, with a reader, "embedding".
    """
    terms = {
        "texture": texture_loss(decoded.texture, texture, shown),
        "landmarks": landmark_loss(decoded.landmarks, landmarks, decoded.image.shape[-1]),
    }
    if reader is not None and weights.embedding:
        terms["embedding"] = embedding_loss(reader(decoded.image).feature, feature)
    return _weighted(terms, weights, mean)


def _weighted(
    terms: dict[str, Tensor], weights, mean: Callable[[Tensor], Tensor] = torch.mean
) -> tuple[Tensor, dict[str, Tensor]]:
    """The weighted sum of the terms' means over the batch, and the means."""
    means = {name: mean(values) for name, values in terms.items()}
    loss = sum(getattr(weights, name) * value for name, value in means.items())
    return loss, {name: value.detach() for name, value in means.items()}
