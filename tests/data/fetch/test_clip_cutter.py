"""Cuts of local films: the right images and sound, or a reason why not."""

import numpy as np
import pytest
import trees
from film_server import FPS, check, film_images, film_sound

from voice2face_gan.data.fetch.clip_cutter import cut_clip
from voice2face_gan.data.fetch.errors import FetchError


@pytest.mark.parametrize(("start", "end"), [(0, 2), (2.5, 5.5), (3, 6), (1.25, 4.1)])
def test_a_cut_is_where_it_should_be(film, tmp_path, start, end):
    cut_clip([film], start, end, tmp_path / "below" / "clip.mp4")
    check(tmp_path / "below" / "clip.mp4", start, end)
    assert [p.name for p in (tmp_path / "below").iterdir()] == ["clip.mp4"]


@pytest.mark.parametrize("ending", [".webm", ".mkv"])
def test_other_formats_and_sound_in_a_file_of_its_own(ending, tmp_path):
    sound = np.repeat(film_sound(), 3)  # 48 kHz: what Opus takes
    trees.write_film(tmp_path / f"p{ending}", None, film_images(), FPS, video="libvpx")
    trees.write_film(tmp_path / f"s{ending}", sound, audio="libopus", rate=48_000)
    cut_clip([tmp_path / f"p{ending}", tmp_path / f"s{ending}"], 2.5, 5.5, tmp_path / "clip.mp4")
    check(tmp_path / "clip.mp4", 2.5, 5.5)


def test_what_cannot_be_cut_has_a_reason(film, tmp_path):
    images = np.zeros((30, 64, 64, 3), np.uint8)
    trees.write_film(tmp_path / "silent.mp4", None, images)
    trees.write_film(tmp_path / "blind.m4a", np.zeros(48_000, np.float32))
    (tmp_path / "text.mp4").write_text("no film")
    (tmp_path / "half.mp4").write_bytes(film.read_bytes()[: film.stat().st_size // 2])
    for name, reason in (
        ("silent.mp4", "has no sound"),
        ("blind.m4a", "has no images"),
        ("text.mp4", "damaged: Invalid data"),
        ("half.mp4", "damaged: Invalid data"),
    ):
        with pytest.raises(FetchError, match=reason) as caught:
            cut_clip(
                [tmp_path / name], 0.5, 2.9 if "half" not in name else 5.9, tmp_path / "out" / "clip.mp4"
            )
        assert caught.value.final
    with pytest.raises(FetchError, match="holds sound for 1.0 of 5.0 s: it is cut short"):
        cut_clip([film], 5, 10, tmp_path / "out" / "clip.mp4")
    assert not list((tmp_path / "out").iterdir())
