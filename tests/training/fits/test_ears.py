"""The fit of ears: they are found among sides of heads, wherever they lie, and told from hair and walls."""

import numpy as np
import pytest
import torch

from voice2face_gan.faces.mean_shape import MEAN_SHAPE, SHAPE_STD
from voice2face_gan.models.generators.ears import Ears
from voice2face_gan.training.fits.ears import LEAST, MAX_FACES, fit_ears, frontal

SIDE, COUNT = 64, 300
LANDMARKS = torch.from_numpy(MEAN_SHAPE).float()


def heads(with_ears: float, moved: int = 1) -> list[tuple[torch.Tensor, ...]]:
    """Faces before dark or light walls: of a share both ears, bright, each somewhat beside its place, of the
    others hair alone. Images, what is visible of them, and landmarks, a piece each."""
    random = np.random.default_rng(0)
    y, x = ((part + 0.5) / SIDE for part in np.mgrid[:SIDE, :SIDE])
    found = []
    for number in range(COUNT):
        skin = np.array([0.9, 0.7, 0.6]) * random.uniform(0.5, 1)
        hair = np.array([0.25, 0.2, 0.15]) * random.uniform(0.2, 1)
        ears = number < with_ears * COUNT
        wall = random.uniform(0, 0.3, 3) if ears or number % 2 else random.uniform(0.6, 1, 3)
        image = np.broadcast_to(wall, (SIDE, SIDE, 3)).copy()
        jaw = MEAN_SHAPE[0, 0]
        wide = np.where(ears & (y > 0.36), 0.0, 0.1)
        image[(x > jaw - wide) & (x < 1 - jaw + wide) & (y > 0.15)] = hair
        image[(np.abs(x - 0.5) < 0.5 - jaw - 0.03) & (y > 0.3)] = skin
        if ears:
            for side in (jaw, 1 - jaw):
                away = random.integers(-moved, moved + 1, 2) / SIDE
                inside = ((x - side - away[0] + np.sign(0.5 - side) * 0.035) / 0.035) ** 2
                inside = inside + ((y - MEAN_SHAPE[:2, 1].mean() - 0.03 - away[1]) / 0.1) ** 2
                image[inside < 1] = skin
        image = image + random.normal(0, 0.01, image.shape)
        image = torch.from_numpy(2 * image - 1).float().permute(2, 0, 1)[None]
        found.append((image, torch.ones(1, 1, SIDE, SIDE), SIDE * LANDMARKS[None]))
    return found


def at(layer: torch.Tensor, across: float, down: float) -> float:
    """A layer's mean around a place, in fractions of the side from the patch's centre."""
    height, width = layer.shape
    row, column = (int(n / 2 + SIDE * part) for n, part in ((height, down), (width, across)))
    return float(layer[row - 1 : row + 2, column - 1 : column + 2].mean())


@pytest.mark.parametrize("seed", [0, 1])
def test_an_ear_is_skin_before_what_is_beyond_it_and_hair_above_it(seed):
    ears = Ears(SIDE)
    assert LEAST <= fit_ears(ears, heads(0.4), seed) <= 0.4 * 2 * COUNT
    skin, hair, beyond, drawn = ears.layers
    assert at(skin, -0.028, 0.04) > 0.75 and at(hair, -0.028, 0.04) < 0.3
    assert at(skin, -0.1, 0.04) < 0.1 and at(beyond, -0.1, 0.04) > 0.7
    assert at(skin, 0.1, 0.1) == pytest.approx(1, abs=0.05), "the cheek"
    assert at(hair, -0.02, -0.18) == pytest.approx(1, abs=0.05)
    assert at(drawn, -0.03, 0.03) > 0.95 and drawn[0].max() < 0.05 and drawn[:, -1].max() < 0.05
    whole = skin + hair + beyond
    assert (whole[5:-5, 4:-4] - 1).abs().mean() < 0.2
    assert beyond[9:14].diff(dim=0).abs().max() < 0.6, "no notch where the ear begins"


def test_its_ears_are_drawn_on_a_face_that_shows_half_of_them():
    ears = Ears(SIDE)
    fit_ears(ears, heads(0.4), 0)
    bare, _, landmarks = heads(1.0, moved=0)[0]
    patches = ears.patches(bare, *ears.places(landmarks))
    assert ears.share(patches, ears.colours(patches)).min() == 1
    smeared = bare.clone()
    smeared[:, :, 20:40, 5:16] = torch.nn.functional.avg_pool2d(bare, 5, 1, 2)[:, :, 20:40, 5:16]
    away = (smeared - bare)[..., 22:36, 7:15].abs().mean()
    again = ears.whole(smeared, landmarks)
    assert (again - bare)[..., 22:36, 7:15].abs().mean() < 0.75 * away


def test_the_same_seed_gives_the_same_ears():
    first, second = Ears(SIDE), Ears(SIDE)
    for ears in (first, second):
        fit_ears(ears, heads(0.4), 3)
    assert first.layers.any() and torch.equal(first.layers, second.layers)


def test_too_few_ears_give_none():
    ears = Ears(SIDE)
    assert fit_ears(ears, [], 0) == 0
    hidden = [(image, 0 * visible, landmarks) for image, visible, landmarks in heads(0.4)]
    assert fit_ears(ears, hidden, 0) == 0
    few = heads(0.4)
    assert 0 < fit_ears(ears, few[:30] + few[-60:], 0) < LEAST
    assert not ears.layers.any()


def test_ears_are_looked_for_on_the_half_that_is_turned_least():
    turned = torch.linspace(-4, 4, 41)
    landmarks = LANDMARKS.repeat(41, 1, 1)
    landmarks[:, [29, 30, 33], 0] += SHAPE_STD * turned[:, None]
    assert frontal(landmarks, 1.0).tolist() == list(range(10, 31))
    assert frontal(landmarks[:1], 1.0).tolist() == [0]
    many = frontal(LANDMARKS.expand(3 * MAX_FACES, -1, -1), 1.0)
    assert len(many) == MAX_FACES and many[0] == 0 and (np.diff(many) > 0).all()
