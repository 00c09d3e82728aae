"""What these tests share. Their nets are so small that one thread is fastest."""

import pytest

_SMALL_MODERN = (
    "model.width=4",
    "model.z_dim=6",
    "gan.batch=8",
    "data.crop_frames=[100,200]",
    "run.precision='fp32'",
)


@pytest.fixture(autouse=True)
def _one_thread(one_thread):
    pass


@pytest.fixture
def make_stage(trained, store):
    """Function (*overrides, data, processes) -> a new modern stage of small nets on the trained run's
    embedder, in fp32."""
    import torch

    from voice2face_gan.models.checkpoint import load_checkpoint
    from voice2face_gan.training.modern import ModernStage
    from voice2face_gan.training.recipe import load_recipe

    def make(*overrides: str, data=store, processes=None) -> ModernStage:
        embedder = load_checkpoint(trained / "embedder", need_generator=False)
        recipe = load_recipe("modern", (*_SMALL_MODERN, *overrides))
        people = data.of_split("train"), data.of_split("val")
        return ModernStage(*people, embedder, recipe, 0, torch.device("cpu"), processes)

    return make


@pytest.fixture(scope="session")
def _space(store, tmp_path_factory):
    """The folder of a face space whose network has random weights, fitted on the small world's faces; and
    that world, its faces read into the space."""
    import shutil

    import numpy as np
    import torch

    from voice2face_gan.data.face_embedding import write_face_embedding
    from voice2face_gan.data.store import Store
    from voice2face_gan.faces.pixels import to_unit
    from voice2face_gan.models.dlib_resnet import SIDE
    from voice2face_gan.models.face_space import Faces, FaceSpace, fit_space

    folder = tmp_path_factory.mktemp("space")
    torch.manual_seed(0)
    space = FaceSpace().eval().requires_grad_(False)
    space.chip.copy_(torch.tensor([2 / SIDE, 1 / SIDE - 1, 1 / SIDE - 1]))  # the whole face
    embedding, features = space.net(space.chips(to_unit(torch.from_numpy(np.array(store.faces)))))
    records = store.select(store.has_face)
    rows = torch.from_numpy(
        np.tile(records.face_index, 2)
    )  # a fit wants 200 faces: each twice, a bit changed
    changed = [part[rows] * (1 + 0.02 * torch.randn(len(rows), 1)) for part in (embedding, features)]
    female = torch.from_numpy(np.tile(records.gender == "female", 2).astype(np.float32))
    age = torch.from_numpy(np.tile(records.age, 2)).float()
    fit_space(space, Faces(*changed, female, age, torch.ones(len(rows))))
    space.save(folder / "space")
    copy = Store(shutil.copytree(store.folder, folder / "read.store"))
    write_face_embedding(copy, space.encode(embedding, space._attributes(features)).numpy(), space.name)
    return folder / "space", copy


@pytest.fixture(scope="session")
def space_folder(_space):
    """A folder of a face space for the small world. Do not write there."""
    return _space[0]


@pytest.fixture(scope="session")
def read_store(_space):
    """The small world, its faces read into that space. Do not write there."""
    return _space[1]


@pytest.fixture(scope="session")
def taught_store(tmp_path_factory, space_folder):
    """21 people of one clip each, with their speech, and faces read into the space. Do not write there."""
    import numpy as np
    import torch

    from voice2face_gan.audio.features import FeatureSettings, log_mel, normalise, take_away
    from voice2face_gan.data.face_embedding import write_face_embedding
    from voice2face_gan.data.records import Record
    from voice2face_gan.data.store import Store, to_int16
    from voice2face_gan.data.store_writer import StoreWriter
    from voice2face_gan.models.face_space import SIZE, FaceSpace

    def buzz(person: int, seconds: float = 2.0) -> np.ndarray:
        """Sixteen tones that swell and fade five times a second; which of them do so together is the
        person's."""
        time = np.arange(round(16_000 * seconds)) / 16_000
        signs = np.random.default_rng(person).choice([-1, 1], 16)
        tones = [
            (1 + 0.9 * sign * np.sin(2 * np.pi * 5 * time)) * np.sin(2 * np.pi * hertz * time)
            for sign, hertz in zip(signs, np.geomspace(150, 6000, 16), strict=True)
        ]
        noise = 0.01 * np.random.default_rng(person).standard_normal(len(time))
        return (0.03 * sum(tones) + noise).astype(np.float32)

    people, features = 21, FeatureSettings()
    folder, random = tmp_path_factory.mktemp("taught") / "taught.store", np.random.default_rng(0)
    with StoreWriter(folder, features.to_dict(), source={"layout": "test"}, keep_speech=True) as writer:
        for i in range(people):
            wave = buzz(i)
            mel = log_mel(torch.from_numpy(wave), features)
            face = random.integers(0, 256, (64, 64, 3), dtype=np.uint8)
            record = Record(f"{i}", f"p{i:02d}", gender=("female", "male")[i % 2], split="train")
            writer.add(record, normalise(mel).numpy(), face, to_int16(wave), take_away(mel)[1].numpy())
        writer.finish()
    store = Store(folder)
    write_face_embedding(store, random.standard_normal((people, SIZE)), FaceSpace.load(space_folder).name)
    return store


@pytest.fixture(scope="session")
def teacher_file(tmp_path_factory):
    """Weights of the teacher's shapes, drawn by chance, in a file such as Resemblyzer's."""
    import torch
    from torch import nn

    torch.manual_seed(4)
    nets = {"lstm": nn.LSTM(40, 256, 3, batch_first=True), "linear": nn.Linear(256, 256)}
    nn.init.normal_(nets["linear"].weight)
    state = {f"{name}.{k}": v for name, net in nets.items() for k, v in net.state_dict().items()}
    path = tmp_path_factory.mktemp("teacher") / "pretrained.pt"
    torch.save({"step": 1, "model_state": {**state, "similarity_weight": torch.ones(1)}}, path)
    return path
