"""The mean shape: where the 68 landmarks of a mean face lie on the template of `align`.

Textures of the face decoder are in this shape (Cole et al., "Synthesizing Normalized Faces from Facial
Identity Features", CVPR 2017). Computed by experiments/mean_shape.py from 777 faces of CelebA
(one of each identity) and 784 of UTKFace: dlib's 68 points found in each image, moved by the similarity
transform that lays its five points on the template, both sets counting alike, the shape averaged with its
mirror image. The means of the two sets are 0.003 of the side apart (root mean square); single faces 0.030 and
0.023 from their set's mean.
"""

import numpy as np

POINTS = 68

MIRROR = (
    *range(16, -1, -1),  # jaw
    *range(26, 16, -1),  # brows
    *range(27, 31),  # nose bridge
    *range(35, 30, -1),  # nose base
    *(45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40),  # eyes
    *(54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55),  # outer lips
    *(64, 63, 62, 61, 60, 67, 66, 65),  # inner lips
)
"""The place of each point's mirror image."""

INNER_LIPS = ((61, 67), (62, 66), (63, 65))
"""Points of the upper and the lower lip that meet where a mouth is closed."""

LIDS = ((37, 41), (38, 40), (43, 47), (44, 46))
"""Points of the upper and the lower lid that meet where an eye is closed."""

SHAPE_STD = 0.027
"""Root mean square of a landmark's displacement from the mean shape along x or y, in fractions of the
side."""

MEAN_SHAPE = np.array(
    [
        # jaw, from the image's left to its right
        (0.2082, 0.4418),
        (0.2102, 0.5191),
        (0.2182, 0.5963),
        (0.2324, 0.6724),
        (0.2601, 0.7438),
        (0.3049, 0.8064),
        (0.3615, 0.8588),
        (0.4260, 0.9000),
        (0.5000, 0.9115),
        (0.5740, 0.9000),
        (0.6385, 0.8588),
        (0.6951, 0.8064),
        (0.7399, 0.7438),
        (0.7676, 0.6724),
        (0.7818, 0.5963),
        (0.7898, 0.5191),
        (0.7918, 0.4418),
        # brow on the left, then on the right, left to right
        (0.2630, 0.3832),
        (0.2996, 0.3519),
        (0.3504, 0.3434),
        (0.4025, 0.3514),
        (0.4514, 0.3720),
        (0.5486, 0.3720),
        (0.5975, 0.3514),
        (0.6496, 0.3434),
        (0.7004, 0.3519),
        (0.7370, 0.3832),
        # nose: bridge downwards, then base
        (0.5000, 0.4310),
        (0.5000, 0.4815),
        (0.5000, 0.5319),
        (0.5000, 0.5835),
        (0.4414, 0.6159),
        (0.4696, 0.6264),
        (0.5000, 0.6358),
        (0.5304, 0.6264),
        (0.5586, 0.6159),
        # eyes: outer corner first on the left, inner corner first on the right; clockwise
        (0.3215, 0.4376),
        (0.3531, 0.4192),
        (0.3910, 0.4201),
        (0.4240, 0.4449),
        (0.3882, 0.4509),
        (0.3509, 0.4504),
        (0.5760, 0.4449),
        (0.6090, 0.4201),
        (0.6469, 0.4192),
        (0.6785, 0.4376),
        (0.6491, 0.4504),
        (0.6118, 0.4509),
        # outer lips, clockwise from the left corner
        (0.3815, 0.7056),
        (0.4246, 0.6887),
        (0.4683, 0.6811),
        (0.5000, 0.6884),
        (0.5317, 0.6811),
        (0.5754, 0.6887),
        (0.6185, 0.7056),
        (0.5773, 0.7497),
        (0.5343, 0.7692),
        (0.5000, 0.7728),
        (0.4657, 0.7692),
        (0.4227, 0.7497),
        # inner lips, clockwise from the left corner
        (0.3993, 0.7086),
        (0.4679, 0.7063),
        (0.5000, 0.7096),
        (0.5321, 0.7063),
        (0.6007, 0.7086),
        (0.5327, 0.7304),
        (0.5000, 0.7343),
        (0.4673, 0.7304),
    ]
)
"""float64 (68, 2): x and y in fractions of the side, at zoom 1; symmetric about x = 0.5."""

TEMPLATE_BOX = np.array([(0.203, 0.275), (0.793, 0.864)])
"""float64 (2, 2): left top and right bottom of HOG's box around the same faces (medians), in fractions of the
side."""


def mirrored(points: np.ndarray) -> np.ndarray:
    """Landmarks (..., 68, 2) of the mirror image, in fractions of the side."""
    return points[..., list(MIRROR), :] * np.array([-1, 1]) + np.array([1, 0])
