"""The warp: identity and translation exact, axes, doubles, gradients, scipy's flow, batches, ONNX."""

import numpy as np
import pytest
import torch
from scipy.interpolate import RBFInterpolator

from voice2face_gan.errors import ImageError
from voice2face_gan.faces.landmarks import LIST_ORDER, from_lists
from voice2face_gan.faces.mean_shape import MEAN_SHAPE
from voice2face_gan.models.generators.spline import ANCHORS, kernel
from voice2face_gan.models.generators.warp import RENDERINGS, Warp, boundary_points, sample

SIDE = 24


def seeded(*shape, seed=0, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def double_warp(**settings) -> Warp:
    torch.set_default_dtype(torch.float64)
    try:
        return Warp(SIDE, **settings)
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("rendering", RENDERINGS)
@pytest.mark.parametrize("order", [1, 2])
def test_the_mean_shape_leaves_every_pixel(order, rendering):
    warp, texture = Warp(SIDE, order, rendering=rendering), seeded(2, 3, SIDE, SIDE)
    landmarks = warp.mean.expand(2, -1, -1)
    assert warp.image_flow(landmarks).abs().max() == 0
    # (2 (x + .5) / side - 1 + 1) side / 2 rounds in float32.
    assert torch.allclose(warp.to_image(texture, landmarks), texture, atol=1e-5)
    assert torch.allclose(warp.to_mean(texture, landmarks), texture, atol=1e-5)


def test_places_that_are_moved_by_whole_pixels_are_exact():
    """A flow of 3 pixels right and 1 up takes every pixel from there."""
    x = seeded(1, 3, SIDE, SIDE)
    shift = torch.tensor([3.0, -1.0]) / SIDE
    found = sample(x, Warp(SIDE).grid - shift)
    assert torch.allclose(found[..., :-1, 3:], x[..., 1:, :-3], atol=1e-5)


@pytest.mark.parametrize("order", [1, 2])
def test_landmarks_moved_together_move_the_texture_by_as_much(order):
    """A translation is exact at every landmark, in both directions, and the border stays."""
    warp = double_warp(order=order, smoothing=0)
    shift = torch.tensor([1.5, -0.5], dtype=torch.float64)
    landmarks = (warp.mean + shift)[None]
    at_landmarks = warp.flow_at(landmarks[0] / SIDE, landmarks)[0] * SIDE
    assert torch.allclose(at_landmarks, shift.expand(68, 2), atol=1e-8)
    assert torch.allclose(
        warp.flow_at(boundary_points(2), landmarks), torch.zeros(1, 8, 2, dtype=torch.float64), atol=1e-10
    )
    back = warp.inverse(landmarks).view(SIDE, SIDE, 2)
    tip = (landmarks[0, 30] - 0.5).round().long()  # the pixel that the nose's tip is in
    assert torch.allclose(back[tip[1], tip[0]] * SIDE, tip + 0.5 - shift, atol=0.05)
    mark = warp.mean[30].floor().long()  # the pixel of the nose's tip
    flow = warp.mean_flow(landmarks).view(SIDE, SIDE, 2)[mark[1], mark[0]] * SIDE
    assert torch.allclose(flow, shift, atol=0.05)


@pytest.mark.parametrize("rendering", RENDERINGS)
def test_the_first_coordinate_is_x(rendering):
    """A landmark moved right moves what is there right, in a square image with marks on one axis alone.

    sparse_image_warp takes (row, column); with axes swapped the mark would move down.
    """
    warp, side = Warp(64, smoothing=0, rendering=rendering), 64
    texture = torch.full((1, 1, side, side), -1.0)
    x, y = warp.mean[30].round().long().tolist()  # the tip of the nose
    texture[0, 0, y - 2 : y + 2, x - 2 : x + 2] = 1
    landmarks = warp.mean.clone()[None]
    landmarks[:, 27:36] += torch.tensor([5.0, 0.0])
    image = warp.to_image(texture, landmarks)[0, 0] + 1
    rows, columns = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    centre = torch.stack([(image * columns).sum(), (image * rows).sum()]) / image.sum() + 0.5
    assert torch.allclose(centre, torch.tensor([x + 5.0, float(y)]), atol=0.6)


def test_the_grid_runs_along_rows():
    """Pixel (row 0, column 1) comes second and lies at x = 1.5, y = 0.5."""
    grid = Warp(16).grid * 16
    assert torch.allclose(grid[1], torch.tensor([1.5, 0.5])) and torch.allclose(
        grid[16], torch.tensor([0.5, 1.5])
    )


def test_boundary_points_lie_on_all_four_edges():
    points = boundary_points(2).tolist()
    assert (
        len(points) == 8 and len(boundary_points(3)) == 4 + 4 * 2 and points[:3] == [list(a) for a in ANCHORS]
    )
    assert {tuple(p) for p in points} == {(x, y) for x in (0, 0.5, 1) for y in (0, 0.5, 1)} - {(0.5, 0.5)}
    with pytest.raises(ImageError, match="at least 1 part"):
        boundary_points(0)
    with pytest.raises(ImageError, match="orders are 1 and 2"):
        Warp(16, order=3)
    with pytest.raises(ImageError, match="not by 'mesh'"):
        Warp(16, rendering="mesh")


@pytest.mark.parametrize(("order", "name"), [(1, "linear"), (2, "thin_plate_spline")])
def test_the_flow_is_scipys(order, name):
    warp = double_warp(order=order, smoothing=1e-3)
    landmarks = warp.mean + seeded(2, 68, 2, dtype=torch.float64) * 0.5
    border = boundary_points(2).numpy()
    smoothing = np.repeat([0, 1e-3], [len(border), 68])
    for nodes_of, flow in (
        (lambda moved: moved, warp.image_flow(landmarks)),
        (lambda moved: warp.mean.numpy(), warp.mean_flow(landmarks)),
    ):
        for i in range(2):
            moved = landmarks[i].numpy()
            scipys = RBFInterpolator(
                np.concatenate([border, nodes_of(moved) / SIDE]),
                np.concatenate([np.zeros((8, 2)), (moved - warp.mean.numpy()) / SIDE]),
                kernel=name,
                degree=1,
                smoothing=smoothing,
            )(warp.grid.numpy())
            assert np.abs(flow[i].numpy() - scipys).max() < 1e-8


def test_float32_is_near_float64():
    landmarks = double_warp().mean + seeded(4, 68, 2, dtype=torch.float64) * 0.5
    exact = double_warp().image_flow(landmarks)
    assert (Warp(SIDE).image_flow(landmarks.float()) - exact).abs().max() * SIDE < 0.01


@pytest.mark.parametrize(("order", "rendering"), [(1, "spline"), (2, "spline"), (2, "inverse")])
def test_gradients_of_texture_and_landmarks_are_exact(order, rendering):
    """gradcheck in float64, at a smooth texture (bilinear sampling has kinks between pixels)."""
    torch.set_default_dtype(torch.float64)
    try:
        warp = Warp(5, order, rendering=rendering, mean=MEAN_SHAPE[::16])
    finally:
        torch.set_default_dtype(torch.float32)
    texture = seeded(1, 1, 5, 5, seed=3, dtype=torch.float64).requires_grad_()
    landmarks = (warp.mean + 0.1 * seeded(1, 5, 2, seed=4, dtype=torch.float64)).requires_grad_()
    assert torch.autograd.gradcheck(warp.to_image, (texture, landmarks), eps=1e-7, atol=1e-5)
    assert torch.autograd.gradcheck(warp.to_mean, (texture, landmarks), eps=1e-7, atol=1e-5)


@pytest.mark.parametrize("rendering", RENDERINGS)
def test_gradients_stay_finite_where_landmarks_meet(rendering):
    """A shut mouth: the inner lips 61-67, 62-66 and 63-65 are in one place each."""
    warp = Warp(SIDE, rendering=rendering)
    landmarks = warp.mean.clone()[None]
    landmarks[:, [65, 66, 67]] = landmarks[:, [63, 62, 61]]
    landmarks.requires_grad_()
    image = warp.to_image(seeded(1, 3, SIDE, SIDE), landmarks)
    image.square().sum().backward()
    assert image.isfinite().all() and landmarks.grad.isfinite().all() and landmarks.grad.abs().max() > 0


def test_72_points_are_singular_and_68_are_not():
    """face_recognition's lists hold four points twice: their matrix has rank 68."""
    listed = MEAN_SHAPE[list(LIST_ORDER)]
    for points, rank in ((listed, 68), (from_lists(listed), 68)):
        nodes = torch.as_tensor(points)
        matrix = kernel(nodes, nodes, 2)
        values = torch.linalg.eigvalsh(matrix)
        assert int((values > 1e-9 * values.max()).sum()) == rank and len(matrix) in (68, 72)
    assert np.allclose(from_lists(listed), MEAN_SHAPE)


@pytest.mark.parametrize("direction", ["to_image", "to_mean"])
def test_a_batch_has_landmarks_of_its_own(direction):
    warp, kind = double_warp(), torch.float64
    images, landmarks = seeded(3, 3, SIDE, SIDE, dtype=kind), warp.mean + seeded(3, 68, 2, seed=1, dtype=kind)
    both = getattr(warp, direction)(images, landmarks)
    for i in range(3):
        alone = getattr(warp, direction)(images[i : i + 1], landmarks[i : i + 1])
        assert torch.allclose(both[i : i + 1], alone, atol=1e-9)
    assert not torch.allclose(warp.image_flow(landmarks)[0], warp.image_flow(landmarks)[1], atol=1e-3)


def test_the_inverse_comes_from_where_the_texture_went():
    """q + t(q) = p to a hundredth of a pixel; the published spline misses five times more."""
    warp = double_warp()
    landmarks = (warp.mean * torch.tensor([1.1, 1.0]) + torch.tensor([-2.0, 0.7]))[None]
    field = warp.mean_flow(landmarks).transpose(1, 2).unflatten(2, (SIDE, SIDE))
    missed = {}
    for rendering in RENDERINGS:
        inverse = rendering == "inverse"
        places = warp.inverse(landmarks) if inverse else warp.grid - warp.image_flow(landmarks)
        arrived = places + sample(field, places).flatten(2).transpose(1, 2)
        missed[rendering] = ((arrived - warp.grid) * SIDE).norm(dim=-1).mean()
    assert missed["inverse"] < 0.01 and missed["inverse"] < missed["spline"] / 5


@pytest.mark.slow
@pytest.mark.parametrize("rendering", RENDERINGS)
def test_the_warp_goes_through_onnx(tmp_path, rendering):
    """In plain operations: no matrix inverse, no decomposition; onnxruntime gives the same image.

    Elimination of the spline's system takes the exporter minutes: a step for each of its points.
    """
    onnxruntime = pytest.importorskip("onnxruntime")
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")

    class Render(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.warp = Warp(16, rendering=rendering, mean=MEAN_SHAPE[::4])

        def forward(self, texture, landmarks):
            return self.warp.to_image(texture, landmarks)

    net = Render().eval()
    texture, landmarks = seeded(2, 3, 16, 16), net.warp.mean + seeded(2, 17, 2, seed=1) * 0.3
    path = tmp_path / "warp.onnx"
    torch.onnx.export(net, (texture, landmarks), path, dynamo=True, verbose=False)
    operators = {node.op_type for node in onnx.load(path).graph.node}
    assert "GridSample" in operators and not operators & {"Inverse", "Det", "Cholesky"}
    session = onnxruntime.InferenceSession(path)
    names = [i.name for i in session.get_inputs()]
    (found,) = session.run(None, dict(zip(names, (texture.numpy(), landmarks.numpy()), strict=True)))
    assert np.abs(found - net(texture, landmarks).numpy()).max() < 1e-3
