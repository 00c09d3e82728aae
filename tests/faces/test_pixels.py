"""The one mapping between the two forms of a face: exact, clamped, the same for every image."""

import numpy as np
import torch

from voice2face_gan.faces.pixels import to_grid, to_image, to_uint8, to_unit


def test_every_value_survives_both_ways():
    faces = torch.arange(256, dtype=torch.uint8).repeat(3 * 16).reshape(1, 64, 64, 3)
    unit = to_unit(faces)
    assert unit.shape == (1, 3, 64, 64) and unit.dtype == torch.float32
    assert torch.equal(to_uint8(unit), faces)


def test_the_formula_and_the_axes():
    faces = torch.tensor([0, 51, 255], dtype=torch.uint8).expand(2, 4, 5, 3)
    unit = to_unit(faces)
    assert unit.shape == (2, 3, 4, 5)
    assert torch.allclose(unit[0, :, 0, 0], torch.tensor([-1.0, -0.6, 1.0]))
    single = to_unit(faces[0])
    assert torch.equal(single, unit[0])


def test_values_outside_are_clamped_not_wrapped():
    face = torch.tensor([-9.0, -1.0, 1.001, 77.0]).expand(3, 2, 4)
    assert to_uint8(face)[0, :, 0].tolist() == [0, 0, 255, 255]


def test_half_way_values_are_rounded_not_cut():
    face = ((torch.tensor([99.6, 100.4]) - 127.5) / 127.5).expand(3, 1, 2)
    assert to_uint8(face)[0, :, 0].tolist() == [100, 100]


def test_no_image_is_stretched_by_its_own_range():
    """A flat grey stays that grey, alone or beside black and white."""
    grey = torch.full((3, 8, 8), 0.1)
    loud = torch.cat([torch.full((3, 4, 8), -1.0), torch.full((3, 4, 8), 1.0)], dim=1)
    alone, among = to_uint8(grey), to_uint8(torch.stack([grey, loud]))[0]
    assert torch.equal(alone, among) and alone.unique().tolist() == [140]


def test_the_input_is_left_as_it_was():
    faces = torch.full((2, 2, 3), 200, dtype=torch.uint8)
    unit = to_unit(faces)
    assert (faces == 200).all()
    kept = unit.clone()
    to_uint8(unit)
    assert torch.equal(unit, kept)


def test_a_half_precision_face_can_be_written():
    assert to_uint8(torch.zeros(3, 2, 2, dtype=torch.bfloat16)).unique().tolist() == [128]


def test_an_image_has_the_pixels_and_the_size_asked_for():
    face = torch.randint(0, 256, (64, 64, 3), dtype=torch.uint8)
    assert np.array_equal(np.asarray(to_image(face)), face.numpy())
    assert np.array_equal(np.asarray(to_image(face, 64)), face.numpy())
    assert to_image(face, 200).size == (200, 200)
    assert to_image(face, 200).mode == "RGB"


def test_a_grid_is_filled_row_by_row_with_white_gaps():
    faces = torch.stack([torch.full((4, 4, 3), 10 * i, dtype=torch.uint8) for i in range(5)])
    sheet = np.asarray(to_grid(faces, columns=3))
    assert sheet.shape == (10, 16, 3)
    assert [int(sheet[0, x, 0]) for x in (0, 6, 12)] == [0, 10, 20]
    assert [int(sheet[6, x, 0]) for x in (0, 6, 12)] == [30, 40, 255]  # the last place is empty
    assert (sheet[4:6] == 255).all() and (sheet[:, 4:6] == 255).all()
