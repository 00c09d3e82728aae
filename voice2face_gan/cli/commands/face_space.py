"""`v2f-gan face-space`: the space that voices and faces share, fitted on prepared faces."""

import click

from voice2face_gan.cli._console import json_option, open_data, print_json, progress_bar, say

_PIECE = 128  # faces read together
_LANDMARKED = 2000  # faces whose landmarks are found: their average place is wanted, no more


@click.command("face-space")
@click.argument("stores", nargs=-1, required=True, metavar="STORE...")
@click.option("-o", "--out", required=True, metavar="FOLDER", help="Where the space goes.")
@click.option(
    "--for",
    "checkpoint",
    metavar="CKPT",
    help="A checkpoint that keeps no space: fit one to its generator, and write OUT/checkpoint with it.",
)
@json_option
def face_space(stores, out, checkpoint, as_json):
    """Fit the space of 64 numbers that faces are read into and voices are asked for.

    \b
      v2f-gan face-space utk.store vox.store -o space
      v2f-gan train --recipe default-encoder --data vox.store,voices.store --set encoder.space=space
      v2f-gan train --recipe default --data vox.store,utk.store --encoder RUN --set face_embedding.space=space

    Faces of test people are read, but nothing is fitted on them. The space's centre is the average face of
    the people who have a voice. It holds dlib's encoder (extra `faces`): judge what it trained with another.
    """
    import torch

    from voice2face_gan.data.face_embedding import write_face_embedding
    from voice2face_gan.errors import DataError
    from voice2face_gan.models.face_embedding_space import FaceSpace
    from voice2face_gan.models.face_embedding_space_fit import fit_space

    joined = [open_data(name) for name in stores]
    opened = [part for store in joined for part in getattr(store, "stores", (store,)) if len(part.faces)]
    if not opened:
        raise DataError("There are no faces in these stores.")
    other = next((store for store in opened if store.zoom != opened[0].zoom), None)
    if other is not None:
        raise DataError(
            f"{other.folder}: its faces were taken at zoom {other.zoom:g}, those of {opened[0].folder} at "
            f"{opened[0].zoom:g}; prepare all with the same faces.zoom."
        )
    space = FaceSpace().eval().requires_grad_(False)
    _take_network(space, opened)
    read = [_read(space, store) for store in opened]
    faces, used = _gather(opened, read)
    fitted = fit_space(space, faces)
    model = None
    if checkpoint is not None:
        model = _model(checkpoint, opened[0])
        fitted |= _fit_to(space, model, opened, read)
    space.about = {
        "faces": used,
        "zoom": opened[0].zoom,
        "fitted": {k: round(v, 4) for k, v in fitted.items()},
        "trained_on": {
            "network": "dlib_face_recognition_resnet_model_v1",
            "stores": [str(store.folder) for store in opened],
        },
    }
    space.save(out)
    if model is not None:
        _keep(space, model.checkpoint, f"{out}/checkpoint")
    for store, (embedding, features) in zip(opened, read, strict=True):
        with torch.no_grad():
            e = space.encode(embedding, space.attributes(features))
        write_face_embedding(store, e.numpy(), space.name)
    say(
        f"{out}: fitted on {used} faces; 62 components keep {100 * fitted['variance']:.1f} % of the "
        f"embedding; sex r {fitted['sex']:.3f}, age r {fitted['age']:.3f} on the faces fitted on."
    )
    if as_json:
        print_json({"space": str(out), "name": space.name, "faces": used, **fitted})


def _model(name: str, store):
    """The model that a space is fitted to.

    Raises:
        DataError: it frames faces otherwise than the store.
    """
    from voice2face_gan.errors import DataError
    from voice2face_gan.pipeline import VoiceToFace

    model = VoiceToFace.from_pretrained(name)
    if model.zoom != store.zoom:
        raise DataError(
            f"{store.folder}: its faces were taken at zoom {store.zoom:g}, {name} makes them at "
            f"{model.zoom:g}; prepare them with --set faces.zoom={model.zoom:g}."
        )
    return model


def _fit_to(space, model, stores, read) -> dict[str, float]:
    """Turns the space to a model's generator and measures on the stores' test people."""
    import torch

    from voice2face_gan.models.face_embedding_space_fit import fit_to_generator

    seen, unseen, attributes = [], [], []
    for store, (embedding, features) in zip(stores, read, strict=True):
        test = store.has_face & (store.split == "test")
        rows = torch.from_numpy(store.face_index[test])
        unseen.append(embedding[rows])
        attributes.append(space.attributes(features[rows]))
        seen.append(embedding[torch.from_numpy(store.face_index[store.has_face & ~test])])
    parts = torch.cat(seen), (torch.cat(unseen)[-1000:], torch.cat(attributes)[-1000:])
    return fit_to_generator(space, model.decode, model.config.z_dim, *parts)


def _keep(space, checkpoint, folder: str) -> None:
    """A copy of a checkpoint that keeps the space."""
    from dataclasses import replace

    info = {**checkpoint.info, "face_space": space.summary()}
    if "default-encoder" in info:
        info["distillation"] = {**info["distillation"], "space": space.name}
    kept = replace(checkpoint, face_space=space.map_tensors(), info=info)
    kept.save(folder, half=True)


def _take_network(space, stores) -> None:
    """dlib's weights, and where its chips lie in the faces of these stores."""
    import numpy as np
    import torch

    from voice2face_gan.evaluation.readers import hog
    from voice2face_gan.faces.align import zoomed
    from voice2face_gan.models.face_embedding_space import chip_place
    from voice2face_gan.models.face_readers.dlib_resnet import weights_file

    hog.libraries()  # one sentence where the extra is missing
    space.net.load_dat(weights_file())
    total = sum(len(store.faces) for store in stores)
    corners = np.reshape(hog.TEMPLATE_BOX, (2, 2)) / hog.SEARCHED
    box = (hog.SEARCHED * zoomed(corners, stores[0].zoom)).round().astype(int).ravel()
    points = []
    with progress_bar() as bar:
        task = bar.add_task("landmarks", total=min(total, _LANDMARKED))
        for store in stores:
            count = -(-len(store.faces) * min(total, _LANDMARKED) // total)
            chosen = np.unique(np.linspace(0, len(store.faces) - 1, count).astype(int))
            some = torch.from_numpy(np.array(store.faces[chosen]))
            for _, shape in hog.shapes(some, np.tile(box, (len(some), 1)), points=5):
                points.append([(p.x, p.y) for p in shape.parts()])
                bar.advance(task)
    space.chip.copy_(chip_place(np.mean(points, axis=0), hog.SEARCHED))


def _read(space, store):
    """Embedding (faces, 128) and features (faces, FEATURES) of a store's faces."""
    import numpy as np
    import torch

    from voice2face_gan.faces.pixels import to_unit

    parts = []
    with progress_bar() as bar, torch.inference_mode():
        task = bar.add_task(f"reading faces of {store.folder.name}", total=len(store.faces))
        for start in range(0, len(store.faces), _PIECE):
            piece = to_unit(torch.from_numpy(np.array(store.faces[start : start + _PIECE])))
            parts.append(space.net(space.chips(piece)))
            bar.update(task, advance=len(piece))
    return [torch.cat(kind).clone() for kind in zip(*parts, strict=True)]


def _gather(stores, read):
    """What the space is fitted on: the faces of everybody but the test people."""
    import numpy as np
    import torch

    from voice2face_gan.models.face_embedding_space_fit import Faces

    columns: list[list] = [[], [], [], [], []]
    for store, (embedding, features) in zip(stores, read, strict=True):
        part = store.select(store.has_face & (store.split != "test"))
        rows = torch.from_numpy(part.face_index)
        gender = np.select([part.gender == "female", part.gender == "male"], [1.0, 0.0], np.nan)
        _, who, clips = np.unique(part.identity, return_inverse=True, return_counts=True)
        weight = np.where(part.has_voice, 1 / np.sqrt(clips[who]), 0)
        values = (embedding[rows], features[rows], gender, part.age, weight)
        for column, value in zip(columns, values, strict=True):
            column.append(torch.as_tensor(value, dtype=torch.float32))
    faces = Faces(*(torch.cat(column) for column in columns))
    if not faces.weight.any():
        faces.weight = torch.ones_like(faces.weight)
    return faces, len(faces.embedding)
