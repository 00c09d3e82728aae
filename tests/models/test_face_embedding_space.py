"""The space of faces: where chips lie, what is fitted, that e and what it calls for are one, its folder."""

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from voice2face_gan.errors import CheckpointError, DataError
from voice2face_gan.models.face_embedding_space import (
    AGE,
    CHIP_POINTS,
    COMPONENTS,
    SEX,
    SIZE,
    FaceSpace,
    chip_place,
)
from voice2face_gan.models.face_embedding_space_fit import Faces, fit_space
from voice2face_gan.models.face_readers.dlib_resnet import DIMENSIONS, FEATURES, SIDE

WHOLE = torch.tensor([2 / SIDE, 1 / SIDE - 1, 1 / SIDE - 1])  # the chip is the whole face


@pytest.fixture(scope="module")
def blank():
    """A space of random weights whose chips are the whole face, not fitted."""
    torch.manual_seed(0)
    space = FaceSpace().eval().requires_grad_(False)
    space.chip.copy_(WHOLE)
    return space


def planted(count: int, seed: int) -> tuple[Faces, torch.Tensor]:
    """Faces whose features have five causes, of which the first is the age and the second the sex; and
    embeddings with 62 strong directions."""
    random = torch.Generator().manual_seed(seed)
    causes = torch.randn(count, 5, generator=random)
    loads = torch.randn(5, FEATURES, generator=torch.Generator().manual_seed(7)) * 0.1
    features = (2 + causes @ loads).clamp(min=0)
    turn, _ = torch.linalg.qr(torch.randn(DIMENSIONS, DIMENSIONS, generator=torch.Generator().manual_seed(8)))
    size = torch.cat([torch.linspace(2, 1, COMPONENTS), torch.full((DIMENSIONS - COMPONENTS,), 0.05)])
    embedding = 0.3 + torch.randn(count, DIMENSIONS, generator=random) * size @ turn
    female = (causes[:, 1] > 0).float()
    return Faces(embedding, features, female, 40 + 12 * causes[:, 0], torch.ones(count)), causes


@pytest.fixture(scope="module")
def fitted(blank):
    """The space fitted on 400 planted faces, and what the fit says."""
    return blank, fit_space(blank, planted(400, 0)[0])


# Chips


def field(side: int, at_x, at_y) -> torch.Tensor:
    """An image that cubic convolution gives back exactly: of second degree, its own in x and in y."""
    x, y = (torch.as_tensor(at) - (side - 1) / 2 for at in (at_x, at_y))
    plain = 0.004 * x[None] - 0.002 * y[:, None] + 0.0002 * x[None] ** 2 + 0.0001 * y[:, None] ** 2
    return torch.stack([plain, -plain, 0.5 * plain])


def inside(side: int, *places) -> list:
    """Which of a chip's places have two pixels to either side."""
    return [(place >= 1) & (place <= side - 2) for place in places]


@pytest.mark.parametrize("side", [64, 128])
@pytest.mark.parametrize(
    "disturbed", [None, (1.0, 0.0, 0.0), (0.5, 0.0, 0.0), (0.9, 0.05, -0.02), (1.1, 0, 0.1)]
)
def test_a_chip_is_resampled_where_it_says(blank, side, disturbed):
    """The chip's pixel i lies at zoom ((2 i + 1) / 150 - 1) + shift, in half sides."""
    face = field(side, torch.arange(side), torch.arange(side))[None]
    zoom, right, down = disturbed or (1, 0, 0)
    place = (2 * torch.arange(SIDE) + 1) / SIDE - 1
    x, y = (((zoom * place + shift + 1) * side - 1) / 2 for shift in (right, down))
    chips = blank.chips(face, None if disturbed is None else torch.tensor([disturbed]))
    assert chips.shape == (1, 3, SIDE, SIDE)
    columns, rows = inside(side, x, y)
    wanted = field(side, x, y) * 127.5 + 127.5
    torch.testing.assert_close(
        chips[0][:, rows][:, :, columns], wanted[:, rows][:, :, columns], atol=1e-2, rtol=0
    )


def test_each_face_is_disturbed_in_its_own_way(blank):
    faces = torch.rand(3, 3, 64, 64) * 2 - 1
    ways = torch.tensor([[1.0, 0.0, 0.0], [0.8, 0.1, 0.0], [1.0, 0.0, -0.2]])
    together = blank.chips(faces, ways)
    for i in range(3):
        torch.testing.assert_close(together[i : i + 1], blank.chips(faces[i : i + 1], ways[i : i + 1]))
    torch.testing.assert_close(together[:1], blank.chips(faces[:1]))
    # Seen 4 pixels further to the right is as if the face had moved 4 to the left.
    moved = blank.chips(faces, torch.tensor([[1.0, 4 / 32, 0.0]]).expand(3, 3))
    rolled = blank.chips(faces.roll(-4, dims=3))
    torch.testing.assert_close(moved[..., 5:130], rolled[..., 5:130], atol=1e-3, rtol=0)


def test_the_kernel_is_that_of_torch_and_pillow(blank):
    """Keys' with a = -1/2, which PyTorch takes with antialiasing; nothing is made smaller here."""
    faces = torch.rand(2, 3, 64, 64) * 2 - 1
    wanted = F.interpolate(faces, (SIDE, SIDE), mode="bicubic", antialias=True) * 127.5 + 127.5
    torch.testing.assert_close(
        blank.chips(faces)[..., 5:-5, 5:-5], wanted[..., 5:-5, 5:-5], atol=2e-3, rtol=0
    )


def test_beyond_the_border_lies_the_border(blank):
    face = torch.zeros(1, 3, 64, 64)
    face[..., 0], face[..., -1] = -1, 0.5
    chips = blank.chips(face, torch.tensor([[3.0, 0.0, 0.0]]))
    assert chips[..., 0].abs().max() < 1e-3 and (chips[..., -1] - 127.5 * 1.5).abs().max() < 1e-3


def test_chips_have_a_slope(blank):
    faces = torch.zeros(1, 3, 64, 64, requires_grad=True)
    blank.chips(faces, torch.tensor([[0.9, 0.0, 0.0]])).sum().backward()
    assert torch.isfinite(faces.grad).all() and faces.grad[0, 0, 32, 32] > 127.5  # enlarged


def test_the_place_of_a_chip_is_found_from_landmarks():
    """A face as large as a chip, with its landmarks where dlib lays them, is its own chip; half as large and
    moved by (10, 20) pixels, it is that much smaller and further."""
    chip = (np.array(CHIP_POINTS) + 0.25) / 1.5 * SIDE
    torch.testing.assert_close(chip_place(chip, SIDE), WHOLE)
    zoom, right, down = chip_place(chip / 2 + [10, 20], 256).tolist()
    assert zoom == pytest.approx(0.5 * 2 / 256)
    assert (right, down) == (pytest.approx(10.5 * 2 / 256 - 1), pytest.approx(20.5 * 2 / 256 - 1))


def test_a_chip_is_the_one_that_dlib_cuts(blank):
    """A smooth image with upright landmarks, cut by dlib (bilinear) and by us."""
    dlib = pytest.importorskip("dlib")
    side, middle = 256, np.array([130.0, 118.0])
    points = ((np.array(CHIP_POINTS) - np.mean(CHIP_POINTS, axis=0)) * 110 + middle).round()
    x, y = np.meshgrid(np.arange(side), np.arange(side))
    smooth = np.stack([127 + 100 * np.sin(x / 30 + k) * np.cos(y / 40) for k in range(3)], axis=-1)
    image = smooth.round().astype(np.uint8)
    shape = dlib.full_object_detection(
        dlib.rectangle(60, 60, 200, 200), [dlib.point(int(x), int(y)) for x, y in points]
    )
    theirs = dlib.get_face_chip(image, shape, size=SIDE).astype(np.float32)
    space = FaceSpace()
    space.chip.copy_(chip_place(points, side))
    ours = space.chips((torch.from_numpy(image).permute(2, 0, 1)[None].float() - 127.5) / 127.5)
    apart = np.abs(ours[0].permute(1, 2, 0).numpy() - theirs)
    # Landmarks are whole pixels, so that dlib turns the face by some tenths of a degree.
    assert apart.mean() < 2 and np.abs(ours[0].permute(1, 2, 0).numpy() - np.roll(theirs, 5, 1)).mean() > 4


# What is fitted


def test_e_and_what_it_calls_for_are_one(fitted):
    space, _ = fitted
    e = torch.randn(6, SIZE)
    embedding, attributes = space.target(e)
    torch.testing.assert_close(space.encode(embedding, attributes), e, atol=1e-4, rtol=1e-4)
    other = torch.randn(6, DIMENSIONS)
    nearest, _ = space.target(space.encode(other, attributes))
    assert ((other - nearest) @ space.basis).abs().max() < 1e-4  # what is lost lies across the components
    torch.testing.assert_close(space.target(torch.zeros(1, SIZE))[0][0], space.centre)


def test_components_are_of_variance_one_and_keep_most(fitted):
    space, said = fitted
    faces, _ = planted(400, 0)
    e = space.encode(faces.embedding, space.attributes(faces.features))
    torch.testing.assert_close(torch.cov(e[:, :COMPONENTS].t()), torch.eye(COMPONENTS), atol=2e-3, rtol=0)
    values = torch.linalg.eigvalsh(torch.cov(faces.embedding.t()))
    assert said["variance"] == pytest.approx(float(values[-COMPONENTS:].sum() / values.sum()), rel=1e-4)
    assert space.scale[0] > space.scale[-1] > 10 * 0.05


def test_sex_and_age_are_read_from_features_of_new_faces(fitted):
    space, said = fitted
    assert said["sex"] > 0.7 and said["age"] > 0.98
    new, causes = planted(300, 1)
    e = space.encode(new.embedding, space.attributes(new.features))
    assert torch.corrcoef(torch.stack([e[:, AGE], new.age]))[0, 1] > 0.98
    assert (space.years(e) - new.age).abs().mean() < 2
    assert ((e[:, SEX] > 0) == (new.female > 0.5)).float().mean() > 0.9
    assert torch.corrcoef(torch.stack([e[:, SEX], e[:, AGE]]))[0, 1].abs() < 0.2
    # Standardised as they are: the age to variance 1, the sex as -1 and 1.
    assert float(e[:, AGE].std()) == pytest.approx(1, abs=0.15)
    assert e[:, SEX][causes[:, 1] > 1].mean() > 0.5 > -0.5 > e[:, SEX][causes[:, 1] < -1].mean()


def test_faces_without_labels_say_nothing_of_sex_and_age():
    """Half of the faces have no label; whatever they would say, ages come out as those of the others."""
    faces, _ = planted(400, 2)
    half = Faces(faces.embedding, faces.features, faces.female.clone(), faces.age.clone(), faces.weight)
    half.age[200:], half.female[:200] = torch.nan, torch.nan
    space = FaceSpace()
    said = fit_space(space, half)
    assert float(space.age_mean) == pytest.approx(float(faces.age[:200].mean()), rel=1e-4)
    assert said["age"] > 0.98 and said["sex"] > 0.7
    assert all(torch.isfinite(value).all() for value in space.state_dict().values())


def test_the_centre_is_the_weighted_mean():
    faces, _ = planted(300, 3)
    faces.weight = torch.zeros(300)
    faces.weight[:2] = torch.tensor([1.0, 3.0])
    space = FaceSpace()
    fit_space(space, faces)
    wanted = (faces.embedding[0] + 3 * faces.embedding[1]) / 4
    torch.testing.assert_close(space.centre, wanted)
    assert space.encode(wanted[None], torch.zeros(1, 2)).abs().max() < 1e-5


def test_too_few_faces_are_refused():
    few, _ = planted(199, 0)
    with pytest.raises(DataError, match=r"199 faces \(199 with sex, 199 with age\) are too few"):
        fit_space(FaceSpace(), few)
    unknown, _ = planted(250, 0)
    unknown.age[99:] = torch.nan
    with pytest.raises(DataError, match=r"250 faces \(250 with sex, 99 with age\)"):
        fit_space(FaceSpace(), unknown)


def test_a_face_can_be_moved_towards_an_e(fitted):
    """The way from an image to its e has a slope that leads to the e asked for."""
    space, _ = fitted
    face = (torch.rand(1, 3, 64, 64) - 0.5).requires_grad_(True)
    first, attributes = space.read(face)
    apart = (first - first.detach() - 0.1).square().sum() + attributes.square().sum()
    (slope,) = torch.autograd.grad(apart, face)
    step = 1e-3 * slope / slope.norm()
    second, attributes = space.read(face.detach() - step)
    assert (second - first.detach() - 0.1).square().sum() + attributes.square().sum() < apart
    with torch.no_grad():
        torch.testing.assert_close(space(face), space.encode(*space.read(face)))


# Its folder


def test_a_space_is_kept_and_read_back(fitted, tmp_path):
    space, _ = fitted
    space.about = {"faces": 400}
    space.save(tmp_path / "a" / "space")
    again = FaceSpace.load(tmp_path / "a" / "space")
    face = torch.rand(1, 3, 64, 64) * 2 - 1
    with torch.no_grad():
        assert torch.equal(again(face), space(face))
    assert again.name == space.name == again.about["name"] and again.about["faces"] == 400
    assert space.name.startswith("face-space-") and len(space.name) == len("face-space-") + 8
    assert not again.training and not any(p.requires_grad for p in again.parameters())
    again.head[0, 0] += 1
    assert again.name != space.name
    again.to(memory_format=torch.channels_last).head[0, 0] = space.head[0, 0]
    assert again.name == space.name, "however its numbers lie in memory"


def test_a_damaged_folder_is_refused(blank, tmp_path):
    def refused(words: str = "") -> None:
        with pytest.raises(CheckpointError, match="is no usable face space .*face-space") as error:
            FaceSpace.load(tmp_path / "space")
        assert "\n" not in str(error.value) and words in str(error.value)

    refused("No such file")
    blank.save(tmp_path / "space")
    about, weights = tmp_path / "space" / "space.json", tmp_path / "space" / "space.safetensors"
    kept = weights.read_bytes()
    about.write_text("{")
    refused()
    about.unlink()
    refused()
    about.write_text(json.dumps({"name": "x"}))
    FaceSpace.load(tmp_path / "space")
    weights.write_bytes(kept[:1000])
    refused()
    from safetensors.torch import save_file

    save_file({"basis": torch.zeros(3)}, weights)
    refused()
