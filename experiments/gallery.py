"""Draw assets/gallery.png: faces generated from held-out voices. It holds generated images only.

    python experiments/gallery.py --data avspeech.store,voxceleb.store --checkpoint default \
        --generator "Wen et al. 2019, same faces, same e:RUN" --out gallery.png

The first N test voices of the data, in its order, none picked and none left out; a column a voice, numbered,
never named. The first row holds plain answers, the rows below it variants. Below them is a block for
each --generator: another generator on the same face embedding space, given the same embeddings.
"""

import argparse

import numpy as np
import torch
from PIL import Image, ImageDraw

from voice2face_gan.data.open import open_source
from voice2face_gan.evaluation.protocol import generator_inputs
from voice2face_gan.faces.pixels import to_image
from voice2face_gan.pipeline import VoiceToFace


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--checkpoint", default="default", help="checkpoint of the voice encoder")
    parser.add_argument("--generator", action="append", default=[], metavar="TITLE:CHECKPOINT")
    parser.add_argument("--out", required=True)
    parser.add_argument("--voices", type=int, default=12)
    parser.add_argument("--variants", type=int, default=4)
    parser.add_argument("--size", type=int, default=96, help="pixels a face")
    options = parser.parse_args()
    model, embeddings = model_and_inputs(options)
    blocks = [block(model, embeddings, "", options)]
    for generator in options.generator:
        title, _, name = generator.rpartition(":")
        blocks.append(block(VoiceToFace.from_pretrained(name), embeddings, title, options))
    space = options.size // 4
    image = Image.new("RGB", (blocks[0].width, sum(b.height + space for b in blocks)), "white")
    top = 0
    for drawn in blocks:
        image.paste(drawn, (0, top))
        top += drawn.height + space
    image.save(options.out)


def model_and_inputs(options) -> tuple[VoiceToFace, list[torch.Tensor]]:
    """The model, and for each voice the inputs (variants, embedding) of its generator."""
    store = open_source(options.data).of_split("test")
    store = store.select(store.has_voice)
    # One voice a speaker, the first of each.
    _, first = np.unique(store.identity, return_index=True)
    store = store.select(np.sort(first)[: options.voices])
    model = VoiceToFace.from_pretrained(options.checkpoint)
    return model, [
        model.variant_embeddings(e, options.variants, seed=0) for e in generator_inputs(model, store)
    ]


def block(model: VoiceToFace, embeddings, title: str, options) -> Image.Image:
    """A generator's faces: a row a variant, a column a voice; above them a title, or the voices' numbers."""
    side, head = options.size, 18
    image = Image.new("RGB", (side * len(embeddings), head + side * options.variants), "white")
    draw = ImageDraw.Draw(image)
    draw.text((3, 3), title, fill="black")
    for column, e in enumerate(embeddings):
        if not title:
            draw.text((column * side + side // 2 - 6, 3), str(column + 1), fill="black")
        z = model.noise(options.variants)
        if z is not None:
            z[0] = 0
        for row, face in enumerate(model.decode(e, z)):
            image.paste(to_image(face, side), (column * side, head + row * side))
    return image


if __name__ == "__main__":
    with torch.inference_mode():
        main()
