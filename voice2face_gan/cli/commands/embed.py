"""`v2f-gan embed`: embeddings of voices, or of faces, as a file."""

from collections.abc import Iterator
from pathlib import Path

import click

from voice2face_gan.cli._clip_options import clip_options
from voice2face_gan.cli._clips import IMAGES, Arguments, ClipsCommand, refuse_address
from voice2face_gan.cli._console import console, json_option, print_json, progress_bar, say
from voice2face_gan.cli._embedding_file import FORMATS, EmbeddingFile, format_of
from voice2face_gan.cli._tally import Tally
from voice2face_gan.errors import ImageError, OutputError, VoiceToFaceError

_FACES_PER_TICK = 256  # faces of a store between two ticks of the progress bar
_SIDE_PIXELS = 256  # side of the aligned faces, as dlib's detector is given them
_IMAGES_PER_BATCH = 16


@click.command(cls=ClipsCommand)
@click.argument("clips", nargs=-1, required=True, metavar="CLIP|FOLDER...")
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    default="-",
    help="A file that ends in .npy, .csv or .jsonl, or - (standard output). [default: -]",
)
@click.option("--format", "kind", type=click.Choice(FORMATS), help="[default: by the ending; jsonl for -]")
@click.option("--faces", is_flag=True, help="Embeddings of the faces in images, or in prepared stores.")
@click.option(
    "--checkpoint",
    default="default",
    show_default=True,
    help="Voices: 'default', a checkpoint or a run folder, or OWNER/NAME on the Hugging Face hub.",
)
@clip_options
@click.option("--device", default="cpu", show_default=True, help="Voices: cpu, cuda, ...")
@click.option(
    "--judge",
    "reader_name",
    default="dlib",
    show_default=True,
    help="Faces: face reader: trunk, dlib, a folder that train-face-classifier wrote, or module:callable.",
)
@click.option("--force", is_flag=True, help="Replace a file that exists.")
@json_option
def embed(
    clips, output, kind, faces, checkpoint, audio_track, start, end, device, reader_name, force, as_json
):
    """Write embeddings of voices (64-d, one a recording) or of faces (dlib: 128-d, one a face).

    \b
      v2f-gan embed recordings -o e.npy                  float32 (n, 64); e.json lists the n names in order
      v2f-gan embed a.wav b.mp3 -o e.csv                 file,e0,e1,...
      v2f-gan embed - < clip.wav                         a JSON line
      v2f-gan embed --faces photos -o faces.npy          faces are found and aligned (extra `faces`)

    A voice's embedding is the e that the encoder predicts from all the speech in the recording, before the
    strength. Of an image the largest face is taken. Folders are read as `generate` reads them. Failures are
    listed, the exit code is then 2, and the file holds the others. A file is written whole or not at all.

    A model that was trained on the face embeddings of a store has seen their encoder: evaluate it with
    another face reader.
    """
    if faces and any(_is_store(name) for name in clips):
        _refuse_mixed(clips, output)
        _embed_stores(clips, reader_name, as_json)
        return
    if as_json and output == "-":
        raise click.UsageError("--json and the embeddings both go to standard output; give -o FILE.")
    if stores := [name for name in clips if _is_store_folder(name)]:
        raise OutputError(f"{stores[0]}: is a prepared store; add --faces for its faces, or give recordings.")
    kind = format_of(output, kind)
    arguments = Arguments.of(clips, IMAGES) if faces else Arguments.of(clips)
    if faces and "-" in arguments.given:
        raise ImageError("embed --faces reads no standard input; give the names of images.")
    tally = Tally()
    result = {"encoder": reader_name} if faces else {"checkpoint": checkpoint}
    with EmbeddingFile(output, kind, force, result) as file, progress_bar() as bar:
        many = bool(arguments.folders) or len(arguments.given) > 8
        total = arguments.count(None) if many and console().is_terminal else len(arguments.given)
        task = bar.add_task("images" if faces else "clips", total=total, visible=many)

        def tick() -> None:
            tally.seen += 1
            bar.update(task, completed=tally.seen)

        if faces:
            rows = _faces(arguments, reader_name, tally, tick, result)
        else:
            part = {"track": audio_track, "start": start, "end": end}
            rows = _voices(arguments, checkpoint, device, part, tally, tick, result)
        for key, name, embedding, more in rows:
            file.add(key, name, embedding, **more)
            tally.made += 1
            result["dimensions"] = len(embedding)
        tally.refuse_nothing(arguments.folders, "an image" if faces else "a recording")
        file.finish()
    if as_json:
        counts = {"made": tally.made, "skipped": tally.skipped, "errors": tally.errors}
        written = {"files": [str(p) for p in (file.path, file.sidecar) if p] if tally.made else []}
        print_json(result | written | counts | {"seconds": round(tally.seconds, 3)})
    if file.path is not None or tally.errors or arguments.folders:
        say(tally.summary("images" if faces else "recordings"))
    if tally.errors:
        raise SystemExit(2)


def _voices(arguments, checkpoint, device, part, tally, tick, result) -> Iterator[tuple]:
    """("clip", name, embedding, further JSON entries) of each recording."""
    from voice2face_gan.device import choose_device
    from voice2face_gan.pipeline import VoiceToFace
    from voice2face_gan.results import audio_to_dict

    model = VoiceToFace.from_pretrained(checkpoint, choose_device(device))
    result["checkpoint"] = model.name
    for clip in arguments.clips(None, tally.fail):
        tick()
        try:
            (item,) = model.embeddings([clip.source()], **part)
        except VoiceToFaceError as error:
            item = error
        if isinstance(item, VoiceToFaceError):
            tally.failed(clip, item)
            continue
        if item.warning:
            say(f"Warning: {clip.name}: {item.warning}.")
        if item.voice.audio.note:
            say(f"{clip.name}: {item.voice.audio.note}.")
        more = {"speech_seconds": round(item.speech_seconds, 3), "warning": item.warning}
        more |= audio_to_dict(item.voice.audio)
        yield "clip", clip.name, item.embedding.numpy(), more


def _faces(arguments, reader_name, tally, tick, result) -> Iterator[tuple]:
    """("image", name, embedding, further JSON entries) of the largest face in each image."""
    import numpy as np
    import torch

    from voice2face_gan.evaluation.readers import open_reader
    from voice2face_gan.faces.photo import check_search, find_face, open_photo

    reader = open_reader(reader_name)
    check_search("hog")  # one sentence at once where it is missing
    result["encoder"] = reader.name

    def read(batch: list) -> Iterator[tuple]:
        embedding = reader.read(torch.from_numpy(np.stack([face for _, _, face in batch]))).embedding
        for (name, count, _), row in zip(batch, embedding, strict=True):
            yield "image", name, np.asarray(row, dtype=np.float32), {"faces_found": count}

    batch = []
    for clip in arguments.clips(None, tally.fail):
        tick()
        try:
            refuse_address(clip.name)
            photo = open_photo(clip.name)
        except VoiceToFaceError as error:
            tally.failed(clip, error)
            continue
        try:
            face = find_face(photo, _SIDE_PIXELS)
        except VoiceToFaceError as error:
            tally.fail(clip.name, error)
            continue
        batch.append((clip.name, face.found, face.pixels))
        if len(batch) == _IMAGES_PER_BATCH:
            yield from read(batch)
            batch = []
    if batch:
        yield from read(batch)


def _is_store(name: str) -> bool:
    from voice2face_gan.data.synthetic import is_synthetic

    return is_synthetic(name) or _is_store_folder(name)


def _is_store_folder(name: str) -> bool:
    return (Path(name).expanduser() / "store.json").is_file()


def _refuse_mixed(names, output: str) -> None:
    images = [name for name in names if not _is_store(name)]
    if images:
        raise OutputError(
            f"{images[0]}: is no prepared store, and others given are; embed stores and images one after the "
            "other."
        )
    if output != "-":
        raise OutputError(f"-o {output}: the embeddings of stores are kept in the stores; leave -o out.")


def _embed_stores(names, reader_name: str, as_json: bool) -> None:
    """Write the embedding of every face of each store into the store, beside its faces."""
    import numpy as np
    import torch

    from voice2face_gan.cli._console import open_data
    from voice2face_gan.data.face_embedding import write_face_embedding
    from voice2face_gan.errors import DataError
    from voice2face_gan.evaluation.readers import open_reader
    from voice2face_gan.faces.reframe import reframed

    reader = open_reader(reader_name)
    written = []
    for name in names:
        store = open_data(name)
        if not len(store.faces):
            raise DataError(f"{store.folder}: there are no faces in it.")
        parts = []
        with progress_bar() as bar:
            task = bar.add_task(f"reading faces of {store.folder.name}", total=len(store.faces))
            for start in range(0, len(store.faces), _FACES_PER_TICK):
                piece = torch.from_numpy(np.array(store.faces[start : start + _FACES_PER_TICK]))
                parts.append(reader.read(reframed(piece, store.zoom)).embedding)
                bar.update(task, advance=len(piece))
        embedding = np.concatenate(parts)
        write_face_embedding(store, embedding, reader.name)
        say(f"{store.folder}: {len(embedding)} faces, {embedding.shape[1]} numbers each by {reader.name}.")
        written.append(
            {"store": str(store.folder), "faces": len(embedding), "dimensions": embedding.shape[1]}
        )
    if as_json:
        print_json({"encoder": reader.name, "stores": written})
