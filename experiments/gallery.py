"""Draws assets/gallery.png: what models generate from held-out voices. Generated pictures only.

    python experiments/gallery.py --data avspeech.store,voxceleb.store --checkpoint default --out gallery.png

The first N test voices of the data, in its order, none picked and none left out; a column a voice, numbered,
never named. The first row are plain answers, the rows below it variants. Of two checkpoints, a block each.
"""

import argparse

import numpy as np
import torch
from PIL import Image, ImageDraw


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--checkpoint", action="append", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--voices", type=int, default=12)
    parser.add_argument("--variants", type=int, default=4)
    parser.add_argument("--size", type=int, default=96, help="pixels a face")
    options = parser.parse_args()
    blocks = [block(name, options) for name in options.checkpoint]
    space = options.size // 4
    picture = Image.new("RGB", (blocks[0].width, sum(b.height + space for b in blocks)), "white")
    top = 0
    for drawn in blocks:
        picture.paste(drawn, (0, top))
        top += drawn.height + space
    picture.save(options.out)


def block(name: str, options) -> Image.Image:
    """A model's faces: a row a variant, a column a voice, the voices' numbers above."""
    from voice2face_gan.data.sources import open_source
    from voice2face_gan.evaluation.protocol import embed_all
    from voice2face_gan.faces.pixels import to_picture
    from voice2face_gan.pipeline import VoiceToFace

    store = open_source(options.data).of_split("test")
    store = store.select(store.has_voice)
    # One voice a person, the first of each.
    _, first = np.unique(store.identity, return_index=True)
    store = store.select(np.sort(first)[: options.voices])
    model = VoiceToFace.from_pretrained(name)
    side, head = options.size, 18
    picture = Image.new("RGB", (side * len(store), head + side * options.variants), "white")
    draw = ImageDraw.Draw(picture)
    for column, e in enumerate(embed_all(model, store)):
        draw.text((column * side + side // 2 - 6, 3), str(column + 1), fill="black")
        z = model.noise(options.variants)
        if z is not None:
            z[0] = 0
        faces = model.decode(model._variants(e, options.variants, seed=0), z)
        for row, face in enumerate(faces):
            picture.paste(to_picture(face, side), (column * side, head + row * side))
    return picture


if __name__ == "__main__":
    with torch.inference_mode():
        main()
