"""dlib's encoder in PyTorch: weights from a file written by hand, what a block adds up, and dlib itself."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from voice2face_gan.errors import CheckpointError
from voice2face_gan.models.face_readers.dlib_resnet import (
    BLOCKS,
    DIMENSIONS,
    FEATURES,
    POOLED,
    SIDE,
    DlibResnet,
    _Block,
)
from voice2face_gan.synthetic.face import render
from voice2face_gan.synthetic.speakers import sample_speakers


def tensor(values: np.ndarray, shape: tuple[int, ...]) -> bytes:
    """As dlib writes it: version 2 and four dimensions, each its number of bytes and these, then float32."""
    numbers = (2, *shape, *[1] * (4 - len(shape)))
    sizes = [max(1, -(-n.bit_length() // 8)) for n in numbers]
    head = b"".join(bytes([s]) + n.to_bytes(s, "little") for n, s in zip(numbers, sizes, strict=True))
    return head + values.astype("<f4").tobytes()


@pytest.fixture(scope="module")
def layers():
    """Weight, bias, gain and shift of each convolution, and the last matrix (256, 128)."""
    random = np.random.default_rng(0)
    sizes = [(3, 32, 7)]
    for before, after, _ in BLOCKS:
        sizes += [(before, after, 3), (after, after, 3)]
    made = []
    for before, after, side in sizes:
        weight = random.standard_normal((after, before, side, side)) / (before * side * side) ** 0.5
        made.append((weight, *(random.standard_normal((3, after)) * [[0.1], [0.3], [0.1]] + [[0], [1], [0]])))
    return made, random.standard_normal((256, DIMENSIONS))


@pytest.fixture(scope="module")
def file(layers, tmp_path_factory):
    path = tmp_path_factory.mktemp("dat") / "net.dat"
    # What lies between is skipped: names of layers, numbers, and what only begins like a tensor.
    parts = [b"loss_metric_2", b"\x01\x02\x01\x05loss", b"\x01\x02\x01\x03\x01\x01\x01\x01\x01\x01"]
    for weight, bias, gain, shift in layers[0]:
        parts += [b"con_4", tensor(np.concatenate([weight.ravel(), bias]), (weight.size + len(bias),))]
        parts += [b"\x01\x04affine_", tensor(np.concatenate([gain, shift]), (2 * len(gain),))]
    parts += [b"fc_2", tensor(layers[1], layers[1].shape), b"input_rgb_image_sized"]
    path.write_bytes(b"".join(parts))
    return path


def test_what_a_file_holds_is_folded_into_the_layers(layers, file):
    net = DlibResnet().load_dat(file)
    convolutions = [net.first, *(c for block in net.blocks for c in (block.first, block.second))]
    assert len(convolutions) == len(layers[0]) == 29
    for layer, numbers in zip(convolutions, layers[0], strict=True):
        weight, bias, gain, shift = (torch.from_numpy(n).float() for n in numbers)
        x = torch.randn(1, weight.shape[1], 9, 9)
        plain = F.conv2d(x, weight, bias, layer.stride, layer.padding)
        wanted = plain * gain[:, None, None] + shift[:, None, None]
        torch.testing.assert_close(layer(x), wanted, atol=1e-4, rtol=1e-4)
    assert torch.equal(net.last.weight, torch.from_numpy(layers[1]).float().t())
    assert not net.training and not any(p.requires_grad for p in net.parameters())


def test_files_of_something_else_are_refused(file, layers, tmp_path):
    for name, content in (
        ("text.dat", b"no network at all"),
        ("empty.dat", b""),
        ("half.dat", file.read_bytes()[: file.stat().st_size // 2]),
        ("landmarks.dat", tensor(layers[1], layers[1].shape) * 60),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(CheckpointError, match=f"{name}: not dlib's face recognition network") as error:
            DlibResnet().load_dat(tmp_path / name)
        assert "\n" not in str(error.value)
    with pytest.raises(CheckpointError, match="nowhere.dat: cannot be read"):
        DlibResnet().load_dat(tmp_path / "nowhere.dat")


@pytest.fixture
def silent():
    """Function (before, after, halved) -> a block whose convolutions say 2 everywhere, whatever they see."""

    def make(*plan) -> _Block:
        block = _Block(*plan)
        for layer in (block.first, block.second):
            torch.nn.init.zeros_(layer.weight)
        torch.nn.init.constant_(block.second.bias, 2.0)
        return block.requires_grad_(False)

    return make


def test_a_block_adds_what_it_was_given(silent):
    x = torch.randn(2, 4, 5, 5)
    torch.testing.assert_close(silent(4, 4, False)(x), F.relu(x + 2))


@pytest.mark.parametrize(("side", "seen", "kept"), [(8, 3, 4), (35, 17, 17), (7, 3, 3), (3, 1, 1)])
def test_where_the_side_is_halved_what_is_missing_is_zero(silent, side, seen, kept):
    """The convolution of stride 2 sees (side - 3) // 2 + 1 places, the average side // 2; to the first
    three of eight channels there is something to add."""
    y = silent(3, 8, True)(torch.ones(1, 3, side, side))
    assert y.shape == (1, 8, kept, kept)
    wanted = torch.zeros(8, kept, kept)
    wanted[:, :seen, :seen] = 2
    wanted[:3] += 1
    assert torch.equal(y[0], wanted)
    more = silent(8, 3, True)(torch.ones(1, 8, side, side))  # more before than after
    assert more.shape == (1, 8, kept, kept) and more[0, :3, 0, 0].tolist() == [3, 3, 3]
    assert (more[0, 3:] == 1).all()


def test_features_are_means_of_blocks_and_the_embedding_is_of_the_last():
    torch.manual_seed(0)
    net = DlibResnet()
    means = []
    for block in net.blocks:
        block.register_forward_hook(lambda _, __, y: means.append(y.mean(dim=(2, 3))))
    chips = (torch.rand(2, 3, SIDE, SIDE) * 255).requires_grad_(True)
    embedding, features = net(chips)
    assert embedding.shape == (2, DIMENSIONS) and features.shape == (2, FEATURES) == (2, 736)
    torch.testing.assert_close(features, torch.cat([means[i] for i in POOLED], dim=1))
    torch.testing.assert_close(embedding, means[-1] @ net.last.weight.t())
    embedding.square().sum().backward()
    assert torch.isfinite(chips.grad).all() and chips.grad.abs().sum() > 0
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        coarse, same = net(chips)
    assert coarse.dtype == same.dtype == torch.float32
    exact = embedding.detach()
    assert float((coarse - exact).norm() / exact.norm()) < 0.02


def test_it_gives_what_dlib_gives():
    """On noise, on a grey image and on rendered faces."""
    dlib = pytest.importorskip("dlib")
    path = pytest.importorskip("face_recognition_models").face_recognition_model_location()
    faces = torch.from_numpy(render(sample_speakers(2, seed=1), seed=1, view=0)).permute(0, 3, 1, 2).float()
    large = F.interpolate(faces, (SIDE, SIDE), mode="bilinear").round().byte().permute(0, 2, 3, 1).numpy()
    noise = np.random.default_rng(0).integers(0, 256, (1, SIDE, SIDE, 3), dtype=np.uint8)
    chips = np.concatenate([noise, np.full_like(noise, 128), large])
    theirs = dlib.face_recognition_model_v1(path).compute_face_descriptor(list(chips))
    with torch.inference_mode():
        ours, _ = DlibResnet().load_dat(path)(torch.from_numpy(chips).permute(0, 3, 1, 2).float())
    assert np.abs(ours.numpy() - np.array(theirs)).max() < 1e-4
    assert 1 < float(ours[2].norm()) < 2
