"""Computes the mean shape that ships in faces/mean_shape.py: 68 landmarks of real faces on the template.

python experiments/mean_shape.py ../shared/data/faces --count 1000

One image of each of COUNT CelebA identities and COUNT images of UTKFace are taken (first in a shuffled order,
seed 0). Each is searched by HOG; the largest face is aligned by its five points (zoom 1), and the 68
landmarks found in the image are moved by the same transform. Both sets count alike; the mean of the shape and
of its mirror image is kept, so that the mean face is symmetric about x = 0.5.
"""

import argparse
import csv
import random
from pathlib import Path

import numpy as np
from PIL import Image

from voice2face_gan.faces.align import TEMPLATE, similarity
from voice2face_gan.faces.detect import detector
from voice2face_gan.faces.landmarks import predictor, to_template
from voice2face_gan.faces.mean_shape import MIRROR


def shapes(folder: Path, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Landmarks (N, 68, 2) and detector's boxes (N, 2, 2) of a data set, in fractions of the template's
    side."""
    with (folder / "labels.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    random.Random(0).shuffle(rows)
    rows = list({row.get("identity", row["file"]): row for row in rows}.values())[:count]
    points, boxes = [], []
    for row in rows:
        image = Image.open(folder / row["file"]).convert("RGB")
        found = detector("hog").find(image)
        if not found:
            continue
        # dlib finds little in 128 pixels: the points of the enlarged image are those of `find`'s.
        large = image.resize((384, 384), Image.Resampling.BICUBIC)
        ratio = 384 / np.array(image.size)
        box = np.array(found[0].box).reshape(2, 2)
        mark = predictor().find(large, tuple((box * ratio).ravel())) / ratio
        points.append(to_template(mark, found[0].points, 1))
        transform = similarity(found[0].points, TEMPLATE)
        boxes.append(box @ transform[:, :2].T + transform[:, 2])
    return np.array(points), np.array(boxes)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=1000)
    arguments = parser.parse_args()
    means, all_boxes, spreads = [], [], []
    for name in ("celeba", "utkface"):
        points, boxes = shapes(arguments.folder / name, arguments.count)
        print(f"# {name}: {len(points)} faces found of {arguments.count}")
        means.append(points.mean(axis=0))
        all_boxes.append(np.median(boxes, axis=0))
        spreads.append(points.std(axis=0))
        print(
            "# rms of the displacement from the mean:",
            np.sqrt((points - means[-1]).var(axis=0).mean()).round(4),
        )
    print("# distance of the two means, rms:", np.sqrt(((means[0] - means[1]) ** 2).mean()).round(4))
    mean = np.mean(means, axis=0)
    mirrored = mean[list(MIRROR)] * [-1, 1] + [1, 0]
    print("# asymmetry taken out, rms:", (np.sqrt(((mean - mirrored) ** 2).mean()) / 2).round(4))
    print("SHAPE")
    for x, y in (mean + mirrored) / 2:
        print(f"({x:.4f}, {y:.4f}),")
    print("BOX", np.mean(all_boxes, axis=0).round(3).tolist())


if __name__ == "__main__":
    main()
