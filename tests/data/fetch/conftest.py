"""The film and the server that tests share."""

import sys
from pathlib import Path

import pytest

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "layouts")]


@pytest.fixture(scope="session")
def film(tmp_path_factory) -> Path:
    """Six seconds of H.264 and AAC, with a key frame every two seconds and its index at the front."""
    import trees
    from film_server import FPS, RATE, film_images, film_sound

    path = tmp_path_factory.mktemp("film") / "film.mp4"
    trees.write_film(path, film_sound(), film_images(), FPS, rate=RATE, movflags="faststart")
    return path


@pytest.fixture
def server(film):
    from film_server import Server

    serving = Server(film.read_bytes())
    yield serving
    serving.close()
