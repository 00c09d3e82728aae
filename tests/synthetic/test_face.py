"""An image shows its speaker: sex, age and identity can be read from pixels of people not seen before."""

import numpy as np
import pytest

from voice2face_gan.errors import DataError
from voice2face_gan.synthetic import EYE_LEFT, EYE_RIGHT, MOUTH, render, sample_speakers


@pytest.fixture(scope="module")
def world():
    speakers = sample_speakers(400, seed=2)
    return speakers, render(speakers)


def ridge(train: np.ndarray, target: np.ndarray, test: np.ndarray, strength: float = 3e3) -> np.ndarray:
    """Linear prediction from pixels (n, ...), solved in the dual as there are fewer images than pixels."""
    a, b = (x.reshape(len(x), -1).astype(float) / 25 for x in (train, test))
    middle = a.mean(axis=0)
    a, b = a - middle, b - middle
    weights = np.linalg.solve(a @ a.T + strength * np.eye(len(a)), target - target.mean())
    return b @ (a.T @ weights) + target.mean()


def test_images_meet_the_contract(world):
    faces = world[1]
    assert faces.dtype == np.uint8 and faces.shape == (400, 64, 64, 3)
    assert (faces.std(axis=(1, 2, 3)) > 15).all()
    clipped = ((faces == 0) | (faces == 255)).mean()
    assert clipped < 0.02
    assert render(world[0][:2], side=128).shape == (2, 128, 128, 3)


def test_a_larger_side_is_the_same_image(world):
    large = render(world[0][:8], side=128).reshape(8, 64, 2, 64, 2, 3).mean(axis=(2, 4))
    assert np.abs(large - world[1][:8]).mean() < 4


def test_an_image_depends_on_its_speaker_seed_and_number_alone(world):
    speakers, faces = world
    order = np.array([31, 7, 100])
    assert np.array_equal(render(speakers[order]), faces[order])
    assert np.array_equal(render(speakers[9]), faces[9:10])
    assert np.array_equal(render(sample_speakers(5, seed=2)), faces[:5])
    assert not np.array_equal(render(speakers[:5], view=1), faces[:5])
    assert not np.array_equal(render(speakers[:5], seed=1), faces[:5])


def test_sexes_differ_to_a_linear_classifier_on_new_speakers(world):
    speakers, faces = world
    score = ridge(faces[:280], np.where(speakers.female[:280], 1.0, -1.0), faces[280:])
    assert np.mean((score > 0) == speakers.female[280:]) > 0.9


def test_age_shows_on_new_speakers(world):
    speakers, faces = world
    inner = faces[:, 12:60, 14:50]
    guess = ridge(inner[:280], speakers.age[:280], inner[280:])
    assert np.corrcoef(guess, speakers.age[280:])[0, 1] > 0.6


def test_wrinkles_add_fine_texture_to_the_same_face(world):
    some = world[0][world[0].age < 40][:16]
    fields = {**vars(some), "wrinkles": np.full(16, 0.9)}
    young, old = (render(x)[:, 14:44, 16:48].mean(axis=3) for x in (some, type(some)(**fields)))
    rough = [np.abs(np.diff(x, n=2, axis=1)).mean(axis=(1, 2)) for x in (young, old)]
    assert (rough[1] > rough[0]).mean() > 0.8, "a fringe may hide the forehead of a few"
    assert (rough[1] / rough[0]).mean() > 1.08


@pytest.mark.parametrize(
    "name",
    ["jaw_width", "chin_length", "nose_size", "nose_width", "brow_heaviness", "face_length", "lip_fullness",
     "wrinkles", "skin_tone", "hair_tone", "hair_red", "eye_tone", "hair_parting", "hair_wave", "hair_volume",
     "eye_size", "cheek_fullness"],
)  # fmt: skip
def test_every_attribute_shows(world, name):
    """Moving one attribute alone moves the image by more than camera noise, which the seed holds fixed."""
    some = world[0][(world[0].greying < 0.3) & (world[0].hair_recession < 0.3)][:8]
    low, high = (render(type(some)(**{**vars(some), name: np.full(8, v)})).astype(float) for v in (0.1, 0.9))
    assert (np.abs(high - low).max(axis=(1, 2, 3)) > 20).all()


def test_eyes_and_mouth_lie_on_the_template(world):
    """Irises are where eye colour alone changes the image; lips are the reddest of the lower face."""
    speakers, faces = world
    some = speakers[:40]
    pale, dark = (
        render(type(some)(**{**vars(some), "eye_tone": np.full(40, v)})).astype(float) for v in (0, 1)
    )
    change = np.abs(pale - dark).sum(axis=3)
    assert change[:, :, 30:34].sum() < 0.01 * change.sum()
    at = np.arange(64) + 0.5
    for columns, (x, y) in ((slice(0, 32), EYE_LEFT), (slice(32, 64), EYE_RIGHT)):
        eye = change[:, :, columns]
        weight = eye.sum(axis=(1, 2))
        across = (eye.sum(axis=1) * at[columns]).sum(axis=1) / weight / 64 - x
        down = (eye.sum(axis=2) * at).sum(axis=1) / weight / 64 - y
        assert np.abs([across.mean(), down.mean()]).max() < 0.01
        assert max(np.abs(across).max(), np.abs(down).max()) < 0.035

    light = faces[(speakers.skin_tone < 0.4) & (speakers.beard == 0)].astype(float).mean(axis=0)
    redness = ((light[..., 0] - light[..., 1]) / light.mean(axis=2))[40:54, 28:36].mean(axis=1)
    assert abs(40.5 + redness.argmax() - MOUTH[1] * 64) <= 2


def test_views_of_a_speaker_are_nearer_than_other_speakers(world):
    """Three views of everyone against three others: each varies in light, wall and clothes."""
    some = world[0][:60]
    views = np.stack([render(some, view=k) for k in range(6)]).astype(float)[:, :, 8:58, 12:52]
    views -= views.mean(axis=(2, 3), keepdims=True)
    assert np.abs(views[0] - views[1]).mean() > 5, "views differ"
    first, second = views[:3].mean(axis=0).reshape(60, -1), views[3:].mean(axis=0).reshape(60, -1)
    distance = np.linalg.norm(first[:, None] - second[None], axis=2)
    own = np.diag(distance)
    assert (own[:, None] < distance).sum(axis=1).mean() / 59 > 0.9
    assert (distance.argmin(axis=1) == np.arange(60)).mean() > 0.4, "chance is 1 in 60"


@pytest.mark.parametrize("wrong", [{"side": 8}, {"seed": -1}, {"view": -1}])
def test_impossible_requests_are_refused(wrong):
    with pytest.raises(DataError):
        render(sample_speakers(1), **wrong)
