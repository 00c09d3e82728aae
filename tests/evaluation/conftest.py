"""Hand-made cases, and a face reader that reads what was written into their images.

The nets of these tests are so small that one thread is fastest.
"""

import numpy as np
import pytest
import torch

from voice2face_gan.evaluation.eval_set import EvalSet
from voice2face_gan.evaluation.readers import Reading


@pytest.fixture(autouse=True)
def _one_thread(one_thread):
    pass


class ReadsPixels:
    """A face reader that cannot err: a face's first pixel says gender (red: 255 female) and age (green, in
    years),
    the square of 4 x 4 pixels at (4, 4) is its embedding."""

    name, about = "reads-pixels", {}

    def read(self, faces) -> Reading:
        h = faces[:, 4:8, 4:8].flatten(1).numpy().astype(np.float32) / 127.5 - 1
        female, age = (
            (faces[:, 0, 0, k].numpy() / scale).astype(np.float32) for k, scale in ((0, 255), (1, 1))
        )
        return Reading(h, female, age, np.ones(len(faces), dtype=bool))


@pytest.fixture(scope="session")
def people():
    """Function (count, genders, seed) -> one random face a person, uint8 (count, 64, 64, 3), with the gender
    written into it."""

    def make(count: int, gender, seed: int = 0) -> torch.Tensor:
        faces = torch.from_numpy(
            np.random.default_rng(seed).integers(40, 200, (count, 64, 64, 3), dtype=np.uint8)
        )
        faces[:, 0, 0, 0] = torch.tensor([255 if g == "female" else 0 for g in gender], dtype=torch.uint8)
        return faces

    return make


@pytest.fixture(scope="session")
def build_eval_set():
    """Function (generated, real, who, whose, gender, more of EvalSet) -> an evaluation set judged by
    `ReadsPixels`.

    who: whose voice each generated face is from, default p0, p1, ...; whose: whose each real face is, default
    the same; gender: of each generated face, default female and male in turn."""

    def make(generated, real, who=None, whose=None, gender=None, **more) -> EvalSet:
        who = np.array([f"p{i}" for i in range(len(generated))]) if who is None else np.array(who)
        gender = np.array(["female", "male"] * len(who))[: len(who)] if gender is None else np.array(gender)
        whose = who if whose is None else np.array(whose)
        return EvalSet(generated, who, gender, real, whose, more.pop("reader", ReadsPixels()), **more)

    return make


@pytest.fixture(scope="session")
def weights(tmp_path_factory):
    """pytorch-fid's Inception with random weights, saved as its release file is."""
    from pytorch_fid import inception as module

    kept = {}

    def catch(net, state, *_, **__):
        kept.update(net.state_dict())

    torch.manual_seed(0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "load_state_dict_from_url", lambda *_, **__: {})
        patch.setattr(torch.nn.Module, "load_state_dict", catch)
        module.fid_inception_v3()
    path = tmp_path_factory.mktemp("inception") / "weights.pth"
    torch.save(kept, path)
    return path
