"""Speaker perturbation: the perturbations of a clip, and the effect of each on speech."""

import numpy as np
import pytest
import torch

from voice2face_gan.training.augmentation.speaker_perturbation import SpeakerPerturbation

SPEEDS = (0.8, 1.0, 1.25)


def test_the_fixed_speeds_come_first_and_the_rest_is_drawn_within_bounds():
    perturbation = SpeakerPerturbation(200, SPEEDS, 4)
    assert perturbation.count == 7 and perturbation.tilt.shape == (200, 7, 3)
    np.testing.assert_allclose(perturbation.speed[:, :3], np.tile(SPEEDS, (200, 1)), rtol=1e-6)
    assert (perturbation.formants[:, :3] == 1).all() and (perturbation.tilt[:, :3] == 0).all()
    speed, formants, tilt = perturbation.speed[:, 3:], perturbation.formants[:, 3:], perturbation.tilt[:, 3:]
    assert speed.min() >= 0.8 and speed.max() <= 1.25 and len(np.unique(speed)) == 800
    assert formants.min() >= 0.85 and formants.max() <= 1.18
    assert (formants == 1).mean() == pytest.approx(0.25, abs=0.06)
    assert (tilt == 0).all(axis=2).mean() == pytest.approx(0.5, abs=0.06)
    assert perturbation.max_speed == np.float32(1.25)


def test_they_are_the_same_every_time():
    one, two = SpeakerPerturbation(5, SPEEDS, 2), SpeakerPerturbation(5, SPEEDS, 2)
    for name in ("speed", "formants", "tilt"):
        assert np.array_equal(getattr(one, name), getattr(two, name))


def test_a_clips_own_voice_is_left_alone():
    speech = torch.randn(2, 4000, generator=torch.Generator().manual_seed(0)) * 0.1
    perturbed = SpeakerPerturbation(2, SPEEDS, 1)(speech, np.array([0, 1]), np.array([1, 1]), 3000)
    assert torch.equal(perturbed, speech[:, :3000])


def test_each_row_has_its_own_perturbation():
    perturbation = SpeakerPerturbation(3, SPEEDS, 3)
    speech = torch.randn(4, 6000, generator=torch.Generator().manual_seed(0)) * 0.1
    clips, which = np.array([0, 1, 2, 2]), np.array([1, 3, 4, 0])
    together = perturbation(speech, clips, which, 4000)
    for i in range(4):
        alone = perturbation(speech[i : i + 1], clips[i : i + 1], which[i : i + 1], 4000)[0]
        torch.testing.assert_close(together[i], alone, atol=1e-5, rtol=1e-4)
    assert together.abs().max() <= 1
