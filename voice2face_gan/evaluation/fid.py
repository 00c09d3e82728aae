"""Frechet Inception distance of generated and real faces, through pytorch-fid's network and arithmetic.

    FID = |m_g - m_r|^2 + Tr(C_g + C_r - 2 (C_g C_r)^(1/2))

over 2,048-d pool features of the FID Inception (pictures resized to 299 x 299 by bilinear interpolation, as
pytorch-fid does). Source: Heusel et al. 2017; pytorch-fid 0.3. Generated and real pictures are taken in equal
numbers; `floor` is the distance of two halves of the real ones.

The network's weights are a download. Without internet: fetch the file named WEIGHTS once elsewhere (it is
the release file of the pytorch-fid project) and give its path, or put it into torch's hub cache.
"""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from voice2face_gan.errors import MetricError, first_line
from voice2face_gan.evaluation.case import Case
from voice2face_gan.evaluation.registry import Figure, Options, metric
from voice2face_gan.faces.pixels import to_unit

WEIGHTS = "pt_inception-2015-12-05-6726825d.pth"
DIMENSIONS = 2048
_ENOUGH = 2048  # pictures: with fewer than dimensions the covariance is not of full rank


@metric("fid")
def fid(case: Case, options: Options) -> dict[str, Figure]:
    net = inception(options.inception_weights)
    random = np.random.default_rng(options.seed)
    count = min(len(case.generated), len(case.real))
    if count < 2:
        raise MetricError(f"FID needs two pictures or more of each kind, and there are {count}.")
    real = case.real[torch.from_numpy(random.permutation(len(case.real)))]
    made = case.generated[torch.from_numpy(random.permutation(len(case.generated))[:count])]
    real_features, made_features = inception_features(net, real), inception_features(net, made)
    few = f"; fewer than {_ENOUGH} pictures: biased upwards" if count < _ENOUGH else ""
    protocol = f"pytorch-fid's Inception, {count} generated against {count} real pictures{few}"
    figures = {
        "fid": Figure(frechet_distance(made_features, real_features[:count]), count, "pictures", protocol)
    }
    half = len(real) // 2
    if half >= 2:
        floor = frechet_distance(real_features[:half], real_features[half : 2 * half])
        figures["floor"] = Figure(floor, half, "pictures", f"{half} real against {half} other real pictures")
    return figures


def frechet_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Frechet distance of the Gaussians fitted to two sets of features, (N, D) and (M, D), N and M >= 2."""
    from pytorch_fid.fid_score import calculate_frechet_distance

    means = [x.mean(axis=0) for x in (a, b)]
    covariances = [np.atleast_2d(np.cov(x, rowvar=False)) for x in (a, b)]
    return float(calculate_frechet_distance(means[0], covariances[0], means[1], covariances[1]))


def inception(weights: Path | None) -> torch.nn.Module:
    """pytorch-fid's Inception with its own weights, in evaluation mode.

    Args:
        weights: path of the weights file; None looks in torch's hub cache. Nothing is downloaded.
    Raises:
        MetricError: there is no such file, or it holds something else.
    """
    path = Path(weights) if weights is not None else Path(torch.hub.get_dir()) / "checkpoints" / WEIGHTS
    if not path.is_file():
        where = f"{path} does not exist" if weights is not None else "they are not on this machine"
        raise MetricError(
            f"FID needs pytorch-fid's Inception weights, and {where}: download {WEIGHTS} from the "
            "pytorch-fid project's releases and give it with --inception-weights PATH."
        )
    from pytorch_fid import inception as module

    download = module.load_state_dict_from_url
    try:
        # pytorch-fid fetches its weights by address; hand it the local file's instead, read without pickle.
        state = torch.load(path, map_location="cpu", weights_only=True)
        module.load_state_dict_from_url = lambda *_, **__: state
        block = module.InceptionV3.BLOCK_INDEX_BY_DIM[DIMENSIONS]
        return module.InceptionV3([block]).eval().requires_grad_(False)
    except Exception as error:  # a damaged zip, a foreign pickle, other weights: whatever torch makes of it
        raise MetricError(
            f"{path} does not hold pytorch-fid's Inception weights ({first_line(error)})."
        ) from error
    finally:
        module.load_state_dict_from_url = download


@torch.inference_mode()
def inception_features(net: torch.nn.Module, faces: Tensor, batch: int = 32) -> np.ndarray:
    """Pool features float64 (N, 2048) of uint8 faces (N, side, side, 3)."""
    parts = [net((to_unit(part) + 1) / 2)[0].flatten(1) for part in faces.split(batch)]
    return torch.cat(parts).double().numpy()
