"""`v2f-gan embed-faces`: what a face embedder says of a store's faces, kept in the store."""

import click

from voice2face_gan.cli.console import json_option, open_data, print_json, progress_bar, say

_PIECE = 256  # faces between two ticks of the progress bar


@click.command("embed-faces")
@click.argument("stores", nargs=-1, required=True, metavar="STORE...")
@click.option(
    "--judge",
    default="dlib",
    show_default=True,
    help="Whose embedding: trunk, dlib, a judge's folder, or module:callable.",
)
@json_option
def embed_faces(stores, judge, as_json):
    """Keep face embeddings in a store, as a face embedder gives them.

    \b
      v2f-gan embed-faces utk.store vox.store
    """
    import numpy as np
    import torch

    from voice2face_gan.data.face_embedding import write_face_embedding
    from voice2face_gan.errors import DataError
    from voice2face_gan.evaluation.judges import open_judge
    from voice2face_gan.faces.reframe import reframed

    reader = open_judge(judge)
    written = []
    for name in stores:
        store = open_data(name)
        if not len(store.faces):
            raise DataError(f"{store.folder}: there are no faces in it.")
        parts = []
        with progress_bar() as bar:
            task = bar.add_task(f"reading faces of {store.folder.name}", total=len(store.faces))
            for start in range(0, len(store.faces), _PIECE):
                piece = torch.from_numpy(np.array(store.faces[start : start + _PIECE]))
                parts.append(reader.read(reframed(piece, store.zoom)).embedding)
                bar.update(task, advance=len(piece))
        embedding = np.concatenate(parts)
        write_face_embedding(store, embedding, reader.name)
        say(f"{store.folder}: {len(embedding)} faces, {embedding.shape[1]} numbers each by {reader.name}.")
        written.append(
            {"store": str(store.folder), "faces": len(embedding), "dimensions": embedding.shape[1]}
        )
    if as_json:
        print_json({"embedder": reader.name, "stores": written})
