"""Face embeddings of stores that are joined with others that have no faces."""

import numpy as np
import pytest

from voice2face_gan.data.face_embedding import read_face_embedding, write_face_embedding
from voice2face_gan.data.join import join_stores
from voice2face_gan.data.records import Record
from voice2face_gan.data.store import Store
from voice2face_gan.data.store_writer import StoreWriter
from voice2face_gan.errors import DataError


@pytest.fixture
def make(tmp_path):
    """Function (name, faces) -> a store of so many faces, and of a voice."""

    def store(name: str, faces: int) -> Store:
        with StoreWriter(tmp_path / name, {"n_mels": 2, "hop_ms": 10}, 4, {"layout": name}) as writer:
            for i in range(faces):
                writer.add(Record(f"{name}/{i}", name), face=np.full((4, 4, 3), 10 * i, dtype=np.uint8))
            writer.add(Record(f"{name}/voice", name), np.zeros((2, 5), np.float32))
            writer.finish()
        return Store(tmp_path / name)

    return store


def test_stores_without_faces_are_passed_over(make):
    first, voices, second = make("first", 3), make("voices", 0), make("second", 2)
    write_face_embedding(first, np.arange(6).reshape(3, 2), "e")
    write_face_embedding(second, np.arange(6, 10).reshape(2, 2), "e")
    joined = join_stores([first, voices, second])
    embedding, name = read_face_embedding(joined)
    assert name == "e" and embedding.dtype == np.float32
    seen = joined.select(joined.has_face)
    assert embedding[seen.face_index].tolist() == np.arange(10).reshape(5, 2).tolist()


def test_a_store_without_faces_gives_a_message(make):
    for store in (make("one", 0), join_stores([make("two", 0), make("three", 0)])):
        with pytest.raises(DataError, match="there are no faces in it"):
            read_face_embedding(store)


def test_two_face_readers_are_not_mixed(make):
    first, second = make("first", 2), make("second", 2)
    write_face_embedding(first, np.zeros((2, 2)), "one")
    write_face_embedding(second, np.zeros((2, 2)), "other")
    with pytest.raises(DataError, match="different face readers .one, other."):
        read_face_embedding(join_stores([first, second]))
