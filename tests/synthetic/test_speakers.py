"""The causal graph of the synthetic world holds in what it draws."""

from dataclasses import fields

import numpy as np
import pytest

from voice2face_gan.errors import DataError
from voice2face_gan.synthetic import VOICE_DETERMINED, VOICE_FREE, Speakers, sample_speakers

VOICE = ("f0", "vocal_tract_length", "breathiness", "jitter", "tremor", "body_size")


def columns(speakers: Speakers, names: tuple[str, ...]) -> np.ndarray:
    return np.column_stack([np.asarray(getattr(speakers, name), dtype=float) for name in names])


def test_a_speaker_is_the_same_however_many_are_drawn():
    few, many = sample_speakers(7, seed=3), sample_speakers(50, seed=3)
    for field in fields(Speakers):
        assert np.array_equal(getattr(few, field.name), getattr(many[:7], field.name)), field.name
    assert not np.array_equal(few.f0, sample_speakers(7, seed=4).f0)


def test_selection_keeps_rows_together():
    speakers = sample_speakers(20)
    some = speakers[np.array([5, 2])]
    assert len(some) == 2 and some.name == ["spk00005", "spk00002"]
    assert np.array_equal(some.f0, speakers.f0[[5, 2]])
    assert len(speakers[3]) == 1 and len(speakers[-4:]) == 4
    assert len(speakers[speakers.female]) == speakers.female.sum()


def test_ranges_and_shares():
    s = sample_speakers(4000)
    assert 0.46 < s.female.mean() < 0.54
    assert s.age.min() >= 18 and s.age.max() <= 80 and s.age.std() > 15
    for sex, f0, tract in ((s.female, (160, 260), (13.2, 15.9)), (~s.female, (82, 160), (15.2, 18.4))):
        assert s.f0[sex].min() >= f0[0] and s.f0[sex].max() <= f0[1]
        assert s.vocal_tract_length[sex].min() >= tract[0] and s.vocal_tract_length[sex].max() <= tract[1]
    assert s.vocal_tract_length[s.female].max() > s.vocal_tract_length[~s.female].min(), "the sexes overlap"
    signed = {"hair_parting"}
    for name in {*VOICE_DETERMINED, *VOICE_FREE, "beard", "hair_length", "hair_recession"} - {
        "female",
        "age",
    }:
        values = getattr(s, name)
        assert values.min() >= (-1 if name in signed else 0) and values.max() <= 1, name
        assert values.std() > 0.05, name
    assert not s.beard[s.female].any()


def test_voice_free_attributes_are_independent_of_the_voice_and_of_what_it_determines():
    s = sample_speakers(4000)
    free, bound = columns(s, VOICE_FREE), columns(s, VOICE + VOICE_DETERMINED)
    r = np.corrcoef(free.T, bound.T)[: free.shape[1], free.shape[1] :]
    assert np.abs(r).max() < 4.5 / np.sqrt(len(s))  # standard error 1 / sqrt(n), about 150 comparisons


def test_the_voice_determines_bone_structure_within_a_sex_but_not_completely():
    s = sample_speakers(4000)
    for sex in (s.female, ~s.female):
        some = s[sex]
        cause = columns(some, VOICE)
        cause = np.column_stack([np.ones(len(some)), (cause - cause.mean(0)) / cause.std(0)])
        for name in set(VOICE_DETERMINED) - {"female"}:
            y = np.asarray(getattr(some, name), dtype=float)
            residual = y - cause @ np.linalg.lstsq(cause, y, rcond=None)[0]
            r2 = 1 - residual.var() / y.var()
            assert 0.2 < r2 < 0.97, (name, r2)


@pytest.mark.parametrize(("n", "seed"), [(0, 0), (-1, 0), (3, -1)])
def test_impossible_requests_are_refused(n, seed):
    with pytest.raises(DataError):
        sample_speakers(n, seed)
