"""What these tests share. Their nets are so small that one thread is fastest."""

import pytest

_SMALL_MODERN = (
    "model.generator.width=4",
    "model.generator.z_dim=6",
    "gan.batch=8",
    "data.crop_frames=[100,200]",
    "run.precision='fp32'",
)
_SMALL_MODEL = (
    "model.generator.side=64",
    "model.generator.narrow=4",
    "model.generator.shape_components=3",
    "model.generator.texture_components=5",
    "model.generator.flow_width=16",
    "model.generator.flow_blocks=1",
    "model.generator.flow_steps=2",
    "model.generator.channels=[4,4,4]",
    "gan.batch=6",
    "gan.iterations=4",
    "run.precision='fp32'",
    "run.tensorboard=false",
)


@pytest.fixture(scope="session")
def small_model():
    """Overrides of a recipe of an appearance model: small nets, few iterations."""
    return _SMALL_MODEL


@pytest.fixture(autouse=True)
def _one_thread(one_thread):
    pass


@pytest.fixture
def make_stage(trained, store):
    """Function (*overrides, data, processes) -> a new r3gan stage of small nets on the trained run's
    encoder, in fp32."""
    import torch

    from voice2face_gan.models.checkpoint import load_checkpoint
    from voice2face_gan.training.recipe.recipe import load_recipe
    from voice2face_gan.training.stages.r3gan import R3GANStage

    def make(*overrides: str, data=store, processes=None) -> R3GANStage:
        encoder = load_checkpoint(trained / "encoder", need_generator=False)
        recipe = load_recipe("r3gan", (*_SMALL_MODERN, *overrides))
        people = data.of_split("train"), data.of_split("val")
        return R3GANStage(*people, encoder, recipe, 0, torch.device("cpu"), processes)

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
    from voice2face_gan.models.face_embedding_space import FaceSpace
    from voice2face_gan.models.face_embedding_space_fit import Faces, fit_space
    from voice2face_gan.models.face_readers.dlib_resnet import SIDE

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
    write_face_embedding(copy, space.encode(embedding, space.attributes(features)).numpy(), space.name)
    return folder / "space", copy


@pytest.fixture(scope="session")
def space_folder(_space):
    """A folder of a face space for the small world. Do not write there."""
    return _space[0]


@pytest.fixture(scope="session")
def read_store(_space):
    """The small world, its faces read into that space. Do not write there."""
    return _space[1]


@pytest.fixture
def marked(read_store):
    """The small world with landmarks: the mean shape, each face's moved a little."""
    import numpy as np

    from voice2face_gan.faces.mean_shape import MEAN_SHAPE

    store = read_store.select(np.ones(len(read_store), dtype=bool))
    moved = np.random.default_rng(0).normal(0, 0.01, (len(store.faces), 68, 2))
    store.landmarks = (MEAN_SHAPE + moved).astype(np.float32)
    return store


@pytest.fixture(scope="session")
def taught_store(tmp_path_factory, space_folder):
    """22 people of a clip each, the last to validate on, with speech, and faces read into the space. Do
    not write there."""
    import numpy as np
    import torch

    from voice2face_gan.audio.log_mel import FeatureSettings, log_mel, normalise, normalise_with_stats
    from voice2face_gan.data.face_embedding import write_face_embedding
    from voice2face_gan.data.records import Record
    from voice2face_gan.data.store import Store, to_int16
    from voice2face_gan.data.store_writer import StoreWriter
    from voice2face_gan.models.face_embedding_space import SIZE, FaceSpace

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

    people, features = 22, FeatureSettings()
    folder, random = tmp_path_factory.mktemp("taught") / "taught.store", np.random.default_rng(0)
    with StoreWriter(folder, features.to_dict(), source={"layout": "test"}, keep_speech=True) as writer:
        for i in range(people):
            wave = buzz(i)
            mel = log_mel(torch.from_numpy(wave), features)
            face = random.integers(0, 256, (64, 64, 3), dtype=np.uint8)
            split = "train" if i < people - 1 else "val"
            record = Record(f"{i}", f"p{i:02d}", gender=("female", "male")[i % 2], split=split)
            writer.add(
                record, normalise(mel).numpy(), face, to_int16(wave), normalise_with_stats(mel)[1].numpy()
            )
        writer.finish()
    store = Store(folder)
    write_face_embedding(store, random.standard_normal((people, SIZE)), FaceSpace.load(space_folder).name)
    return store


_TINY = {
    "wen2019": (
        "model.generator.channels=[8,8,8,8,8]",
        "model.generator.trunk_channels=[4,4,4,4,4]",
    ),
    "r3gan": ("model.generator.width=2", "model.generator.z_dim=4"),
}
_TINY_ENCODERS = {
    "statistics": (),
    "speech2face": ("model.encoder.width=0.015625",),
    "ast": (
        "model.encoder.ast={hidden_size=16, num_hidden_layers=1, num_attention_heads=2, "
        "intermediate_size=16, max_length=64, num_mel_bins=32}",
        "speech2face.pretrained=''",
        "speech2face.head_iterations=1",
    ),
}


@pytest.fixture(scope="session")
def other_teacher_file(teacher_file, tmp_path_factory):
    """The same teacher with slightly larger weights."""
    import torch

    content = torch.load(teacher_file, weights_only=True)
    content["model_state"] = {k: 1.1 * v for k, v in content["model_state"].items()}
    path = tmp_path_factory.mktemp("other") / "pretrained.pt"
    torch.save(content, path)
    return path


@pytest.fixture(scope="session")
def space_encoder(read_store, space_folder, tmp_path_factory):
    """The folder of an encoder of e with random weights, which says what it predicts of e."""
    import numpy as np
    import torch

    from voice2face_gan.models.checkpoint import Checkpoint
    from voice2face_gan.models.conditioning import Controls
    from voice2face_gan.models.encoders.conv import ConvEncoder, ConvEncoderConfig
    from voice2face_gan.models.face_embedding_space import SIZE, FaceSpace

    torch.manual_seed(0)
    residual_std = np.linspace(0.3, 0.9, SIZE).round(4).tolist()
    config = ConvEncoderConfig(channels=(4, 4, 4))
    controls = Controls(residual_std=residual_std, normalise_embedding=False)
    info = {"distillation": {"space": FaceSpace.load(space_folder).name}}
    features = read_store.about["features"]
    checkpoint = Checkpoint(config, ConvEncoder(config), controls=controls, features=features, info=info)
    return checkpoint.save(tmp_path_factory.mktemp("space_encoder") / "encoder")


@pytest.fixture(scope="session")
def decoder_folder(space_folder, space_encoder, tmp_path_factory):
    """The folder of a face decoder of 64 pixels with random weights, with its face space."""
    from dataclasses import replace

    import torch

    from voice2face_gan.models.checkpoint import load_checkpoint
    from voice2face_gan.models.face_embedding_space import FaceSpace
    from voice2face_gan.models.generators.face_decoder import FaceDecoder, FaceDecoderConfig

    torch.manual_seed(0)
    space, given = FaceSpace.load(space_folder), load_checkpoint(space_encoder, need_generator=False)
    config = FaceDecoderConfig(side=64, narrow=4)
    info = {**given.info, "face_space": space.summary()}
    parts = {"generator_config": config, "generator": FaceDecoder(config), "info": info}
    made = replace(given, **parts, face_space=space.map_tensors())
    return made.save(tmp_path_factory.mktemp("decoder") / "decoder")


@pytest.fixture(scope="session")
def spoken_store():
    """The synthetic world of ten people of several clips and faces, with speech. Do not write there."""
    from voice2face_gan.data.synthetic import synthetic_store

    return synthetic_store("synthetic:10", keep_speech=True)


@pytest.fixture(scope="session")
def paired_store(spoken_store, space_folder, tmp_path_factory):
    """Two clips and two faces of each of these people, with speech, and an e of a person's own for every
    face. Do not write there."""
    import shutil

    import numpy as np

    from voice2face_gan.data.face_embedding import write_face_embedding
    from voice2face_gan.data.store import Store
    from voice2face_gan.models.face_embedding_space import SIZE, FaceSpace

    folder = tmp_path_factory.mktemp("paired") / "paired.store"
    store, random = Store(shutil.copytree(spoken_store.folder, folder)), np.random.default_rng(0)
    e = 1.5 + 0.2 * random.standard_normal((len(store.faces), SIZE))
    keep = np.zeros(len(store), dtype=bool)
    for name in np.unique(store.identity):
        mine = store.identity == name
        e[store.face_index[mine & store.has_face]] += random.standard_normal(SIZE)
        for part in (store.has_face, store.has_voice):
            keep[np.flatnonzero(mine & part)[:2]] = True
    write_face_embedding(store, e, FaceSpace.load(space_folder).name)
    return store.select(keep)


@pytest.fixture(scope="session")
def two_iterations(
    store, taught_store, read_store, space_folder, space_encoder, teacher_file, decoder_folder, request
):
    """Function (recipe's name, overrides, root, evaluate, many) -> the run of two iterations of each of its
    stages, with small nets and batches, on a small world that suits it, with `many` one of several clips a
    person and of held-out people; and how it ended."""
    import json

    import torch

    from voice2face_gan.training.engine.train import train
    from voice2face_gan.training.probes import input_quality
    from voice2face_gan.training.recipe.recipe import load_recipe
    from voice2face_gan.training.run.folder import Run
    from voice2face_gan.training.stages import layerwise_distillation, speech2face

    def spoken():
        return request.getfixturevalue("spoken_store")

    def base(name: str) -> list[str]:
        shipped = load_recipe(name)
        small = [
            "run.precision='fp32'",
            "run.tensorboard=false",
            "run.evaluate_every=0",
            "data.crop_frames=[20,40]",
            "encoder.batch=4",
            "encoder.iterations=2",
            "encoder.crop_frames=[20,40]",
            "gan.batch=4",
            "gan.iterations=2",
            *_TINY[shipped.model.generator.type],
            *_TINY_ENCODERS.get(shipped.model.encoder.type, ("model.encoder.channels=[4,4,4,4]",)),
        ]
        for key, value in (("encoder.space", space_folder), ("face_embedding.space", space_folder)):
            section, _, last = key.partition(".")
            if getattr(getattr(shipped, section), last) not in ("", "classifier"):
                small.append(f"{key}={json.dumps(str(value))}")
        if shipped.encoder.space:
            small.append(f"encoder.teacher={json.dumps(str(teacher_file))}")
        return [text for text in small if text.partition("=")[0] not in shipped.idle]

    def make(name: str, overrides, root, evaluate=None, many=False):
        recipe = load_recipe(name, (*base(name), *overrides))
        if recipe.encoder.space:
            run = Run.create(root, recipe, {"data": "", "gender": recipe.data.gender, "seed": 0})
            with pytest.MonkeyPatch.context() as patch:  # few batches of speech
                patch.setattr(layerwise_distillation, "ECHO_BATCHES", 1)
                patch.setattr(layerwise_distillation, "PREPARATION_BATCHES", 1)
                return run, train(run, taught_store, torch.device("cpu"), evaluate=evaluate)
        if recipe.pairs:
            settings = {"data": "", "gender": recipe.data.gender, "seed": 0, "init": str(decoder_folder)}
            run = Run.create(root, recipe, settings)
            data = request.getfixturevalue("paired_store")
            with pytest.MonkeyPatch.context() as patch:  # checkpoints and warnings are measured on few clips
                for module, name in ((speech2face, "MEASURED"), (input_quality, "CLIPS")):
                    patch.setattr(module, name, 6)
                patch.setattr(input_quality, "SOUND_CLIPS", 4)
                return run, train(run, data, torch.device("cpu"), evaluate=evaluate)
        given = space_encoder if load_recipe(name).face_embedding.space not in ("", "classifier") else None
        settings = {"data": "", "gender": recipe.data.gender, "seed": 0, "iterations": None, "init": None}
        run = Run.create(root, recipe, {**settings, "encoder": given and str(given)})
        data = read_store if given else store
        if recipe.encoder.augment:
            data = spoken() if many else taught_store
        return run, train(run, data, torch.device("cpu"), evaluate=evaluate)

    return make
