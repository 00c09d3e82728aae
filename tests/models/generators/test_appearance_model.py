"""The appearance model: what it is made of, its noise, what is drawn and refined."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from voice2face_gan.errors import CheckpointError
from voice2face_gan.faces.mean_shape import mirrored
from voice2face_gan.models.generators.appearance_model import AppearanceModel
from voice2face_gan.models.generators.appearance_model_config import AppearanceModelConfig
from voice2face_gan.models.generators.attributes import LIKELY, NO_GLASSES, SHAVED
from voice2face_gan.models.generators.expression import OPEN_EYES, openings
from voice2face_gan.models.generators.regions import head_mask

TINY = {
    "side": 64,
    "texture_side": 32,
    "narrow": 4,
    "linear": 3,
    "shape_components": 4,
    "texture_components": 5,
    "flow_width": 16,
    "flow_blocks": 1,
    "flow_steps": 3,
    "channels": (4, 4, 4),
}


def make(**more) -> AppearanceModel:
    torch.manual_seed(0)
    model = AppearanceModel(AppearanceModelConfig(6, **(TINY | more))).eval()
    for layer in (
        model.shape,
        model.texture,
        model.decoder.linear.displacement,
        model.decoder.linear.texture,
    ):
        torch.nn.init.normal_(layer.weight, std=0.1)
    torch.nn.init.normal_(model.flow.last.weight, std=0.1)
    return model


def test_a_new_model_draws_what_its_decoder_does():
    """Enlarged, and in the larger image's places."""
    model = AppearanceModel(AppearanceModelConfig(6, symmetry=0.0, skin="drawn", expression="drawn", **TINY))
    torch.nn.init.normal_(model.decoder.landmark_head[-1].weight, std=0.1)
    e = torch.randn(2, 6)
    decoded, theirs = model.decoded(e, torch.randn(2, 9)), model.decoder.decoded(e)
    torch.testing.assert_close(decoded.landmarks, 2 * theirs.landmarks, atol=1e-3, rtol=1e-4)
    torch.testing.assert_close(decoded.texture, theirs.texture)
    assert model(e).shape == (2, 3, 64, 64)


def test_coefficients_add_to_what_e_says_each_to_its_own():
    model = make(skin="drawn", expression="drawn")
    e, c = torch.randn(3, 6), torch.randn(3, 9)
    with torch.no_grad():
        none, one, two = (model.decoded(e, k * c) for k in (0, 1, 2))
        torch.testing.assert_close(
            two.texture - none.texture, 2 * (one.texture - none.texture), atol=1e-5, rtol=1e-4
        )
        moved = two.landmarks - none.landmarks
        torch.testing.assert_close(moved, 2 * (one.landmarks - none.landmarks), rtol=1e-4, atol=1e-4)
        other = c.clone()
        other[:, :4] += 1
        shape = model.decoded(e, other)
        assert torch.equal(shape.texture, one.texture) and not torch.equal(shape.landmarks, one.landmarks)
        other = c.clone()
        other[:, 4:] += 1
        colour = model.decoded(e, other)
        assert torch.equal(colour.landmarks, one.landmarks)
        assert not torch.equal(colour.texture, one.texture)
        assert one.texture.shape == (3, 3, 32, 32) and one.image.shape == (3, 3, 64, 64)


def test_a_texture_of_the_images_side_is_not_resampled():
    model = make(texture_side=64)
    for layer in (model.shape, model.decoder.linear.displacement):
        layer.weight.data.zero_()
    model.decoder.linear.displacement.bias.data.zero_()
    with torch.no_grad():
        decoded = model.decoded(torch.randn(1, 6), torch.randn(1, 9))
    torch.testing.assert_close(
        decoded.image, decoded.texture, atol=2e-3, rtol=0
    )  # as drawn in the mean shape


def test_each_e_has_noise_of_its_own():
    """Of the direction of e alone, unless e is short; z adds to it without making it larger; none for the
    average e."""
    model = make(own_noise=1.0)
    torch.testing.assert_close(make(truncation=0.5).truncated(torch.ones(1, 9)), torch.full((1, 9), 0.5))
    e = 2 * torch.nn.functional.normalize(torch.randn(200, 6), dim=1)
    own = model.noise(e)
    torch.testing.assert_close(model.noise(e / 8), own / 8 * 2 / (6**0.5 / 2))
    torch.testing.assert_close(model.noise(3 * e), own, atol=1e-5, rtol=1e-4)
    assert not model.noise(torch.zeros(1, 6)).any()
    model = make(truncation=1.0, own_noise=1.0, texture_components=400, texture_noise=400)
    z = torch.randn(200, 404)
    plain, drawn = model.noise(e), model.noise(e, z)
    torch.testing.assert_close(model.noise(e, torch.zeros_like(z)), plain)
    assert plain.std() == pytest.approx(1, abs=0.05) and drawn.std() == pytest.approx(1, abs=0.05)
    correlation = torch.nn.functional.cosine_similarity(plain, drawn, dim=1).mean()
    assert 0.6 < correlation < 0.8, "half of the variance is z's"
    model = make(truncation=1.0, own_noise=0.5, texture_components=400, texture_noise=400)
    torch.testing.assert_close(model.noise(e), plain / 2)
    assert model.noise(e, z).std() == pytest.approx(1, abs=0.05), "a variant's noise is as large as z"


def test_later_texture_components_get_no_noise():
    model = make(texture_noise=2)
    noise = model.truncated(model.noise(torch.randn(3, 6), torch.randn(3, 9)))
    assert noise[:, :6].all() and not noise[:, 6:].any()  # four shapes, two textures
    assert not make(texture_noise=0).truncated(torch.randn(3, 9))[:, 4:].any()


def test_truncation_moves_coefficients_to_the_mean():
    e, z = torch.randn(4, 6), torch.randn(4, 9)
    none, half, whole = (make(truncation=scale).draw(e, z) for scale in (0.0, 0.5, 1.0))
    assert (half - none).norm() < (whole - none).norm()
    torch.testing.assert_close(none, make(truncation=0.0).draw(e, 2 * z))


def test_expressions_are_neutral_unless_the_config_or_the_caller_keeps_them():
    torch.manual_seed(1)
    displacement, texture = torch.randn(50, 136), torch.randn(50, 3 * 32 * 32)
    off = {"symmetry": 0.0, "skin": "drawn"}
    neutral, drawn = make(**off), make(expression="drawn", **off)
    for model in (neutral, drawn):
        model.expression.fit(displacement, texture)
    e, c = torch.randn(3, 6), torch.randn(3, 9)

    def apart(model, **more):
        decoded = model.decoded(e, c, **more)
        return openings((decoded.landmarks - model.warp.mean).flatten(1) / model.spread), decoded.texture

    with torch.no_grad():
        still, texture = apart(neutral)
        torch.testing.assert_close(still[:, 0], torch.zeros(3), atol=1e-4, rtol=0)
        assert (still[:, 1] > OPEN_EYES - 1e-4).all()
        moving, other = apart(drawn)
        assert moving[:, 0].abs().min() > 0.05 and moving[:, 1].min() < OPEN_EYES
        wanted = ((still - moving) @ neutral.expression.texture[:2]).view_as(texture)
        torch.testing.assert_close(texture - other, wanted, atol=1e-4, rtol=1e-3)
        keep = torch.tensor([0.0, 1.0, 0.0])
        some, _ = apart(neutral, keep=keep)
        torch.testing.assert_close(some, torch.where(keep[:, None] > 0, moving, still), atol=1e-4, rtol=0)


def test_attributes_are_whole_unless_the_config_or_the_caller_keeps_them():
    torch.manual_seed(2)
    off = {"symmetry": 0.0, "skin": "drawn"}
    whole, shaved, drawn = (
        make(**off),
        make(glasses="drawn", **off),
        make(facial_hair="drawn", glasses="drawn", **off),
    )
    measures = whole.attributes.measures
    dual = torch.linalg.solve(measures @ measures.t(), measures)  # each changes its own measure alone
    e, c = torch.zeros(2, 6), torch.zeros(2, 9)
    with torch.no_grad():
        for model in (whole, shaved, drawn):
            model.attributes.texture.copy_(dual)
            said = measures @ model.said(e)[1][0]
            model.texture.bias.copy_((torch.tensor([-0.2, -0.1]) - said) @ dual)
        shapes = [model.decoded(e, c).texture.flatten(1) for model in (whole, shaved, drawn)]
        has = [texture[0] @ measures.t() for texture in shapes]
        assert LIKELY[0] < -0.2 < SHAVED
        torch.testing.assert_close(has[0], torch.tensor([SHAVED, NO_GLASSES]), atol=1e-4, rtol=0)
        torch.testing.assert_close(has[1], torch.tensor([SHAVED, -0.1]), atol=1e-4, rtol=0)
        torch.testing.assert_close(has[2], torch.tensor([-0.2, -0.1]), atol=1e-4, rtol=0)
        some = whole.decoded(e, c, keep=torch.tensor([1.0, 0.0])).texture.flatten(1)
    torch.testing.assert_close(some, torch.stack([shapes[2][0], shapes[0][1]]))


def test_forward_is_drawn_decoded_refined():
    model = make()
    torch.nn.init.normal_(model.refiner.to_rgb.weight, std=0.1)
    e, z = torch.randn(2, 6), torch.randn(2, 9)
    with torch.no_grad():
        coefficients = model.draw(e, z)
        coarse = model.decoded(e, coefficients).image
        refined = model.refine(e, coefficients, coarse)
        torch.testing.assert_close(model(e, z), refined)
        torch.testing.assert_close(model(e[:1], z[:1]), refined[:1], atol=1e-5, rtol=1e-4)
        everywhere = model.refiner(coarse, torch.cat([e, coefficients], dim=1))
        torch.testing.assert_close(refined, coarse + model.share * (everywhere - coarse))
        whole = model.refine(e, coefficients, coarse, model.refined)
        torch.testing.assert_close(whole, coarse + model.refined * (everywhere - coarse))
    assert (refined - coarse).abs().mean() > 0


def with_detail(**more) -> AppearanceModel:
    more = {"face_detail": 1.0, "detail_noise": 1.0, "background_noise": 1.0, **more}
    more = {"colour_noise": 1.0, "hair_contrast": 0.0, "coarse_blur": 1, "detail_steps": 2, **more}
    model = make(detail_channels=(8, 8, 8), **more)
    for part in model.diffusion.parameters():
        torch.nn.init.normal_(part, std=0.05)
    return model


def test_detail_is_added_before_the_refiner_by_the_noise_of_e_and_z():
    model = with_detail()
    torch.nn.init.normal_(model.refiner.to_rgb.weight, std=0.1)
    e, z = torch.randn(2, 6), torch.randn(2, 9)
    with torch.no_grad():
        noise = model.noise(e, z)
        coefficients = model.draw(e, z)
        coarse = model.decoded(e, coefficients).image
        start = model.detail_start(noise, model.small(coarse))
        drawn = model.diffusion.draw(model.small(coarse), e, start, 2)
        assert drawn.shape == (2, 3, 32, 32) and drawn.abs().max() > 1e-3
        larger = F.interpolate(drawn, (64, 64), mode="bicubic", align_corners=False)
        torch.testing.assert_close(model.with_detail(e, coarse, noise), coarse + larger)
        torch.testing.assert_close(model(e, z), model.refine(e, coefficients, coarse + larger))
        assert not torch.allclose(model(e, -z), model(e, z), atol=1e-3)
        less = model.diffusion.draw(model.small(coarse), e, 0.5 * start, 2)
        half = with_detail(detail_noise=0.5, background_noise=0.5)
        half.load_state_dict(model.state_dict())
        torch.testing.assert_close(
            half.with_detail(e, coarse, noise) - coarse,
            F.interpolate(less, (64, 64), mode="bicubic", align_corners=False),
            atol=1e-5,
            rtol=1e-4,
        )
        more = with_detail(detail_guidance=3.0)
        more.load_state_dict(model.state_dict())
        of_pixels = 1 + 2 * model.hair
        assert of_pixels[2, 16] > 2.4 and of_pixels[16, 16] < 1.1 and of_pixels[15, 6] < 1.3, "hair alone"
        drawn = model.diffusion.draw(model.small(coarse), e, start, 2, guidance=of_pixels)
        larger = F.interpolate(drawn, (64, 64), mode="bicubic", align_corners=False)
        torch.testing.assert_close(more.with_detail(e, coarse, noise), coarse + larger)
        assert not torch.allclose(more(e, z), model(e, z), atol=1e-3)


def test_a_face_may_get_less_of_the_detail_than_hair_does():
    share = with_detail(detail=0.9, face_detail=0.3).detailed
    assert share.shape == (32, 32)
    for row in (15, 20, 25):  # eyes, nose, lips
        assert share[row, 16] == pytest.approx(0.3, abs=0.06)
    for row, column in ((1, 16), (20, 1), (20, 30), (31, 2)):
        assert share[row, column] == pytest.approx(0.9, abs=0.06)
    assert (with_detail(face_detail=1.0).detailed == 1).all()


def test_hair_may_be_drawn_from_more_noise_than_face_neck_and_background():
    model = with_detail(detail_noise=0.9, background_noise=0.4)
    for row, column in ((2, 16), (3, 21), (6, 7)):  # crown, sides
        assert model.detail_noise[row, column] > 0.7, (row, column)
    for row, column in ((0, 0), (0, 31), (31, 0), (29, 16), (29, 6), (9, 16), (16, 16)):
        assert model.detail_noise[row, column] == pytest.approx(0.4, abs=0.1)
    assert torch.allclose(model.detail_noise, model.detail_noise.flip(1), atol=1e-5)


def test_ears_are_drawn_last_unless_the_config_leaves_them():
    whole, drawn = with_detail(), with_detail(ears="drawn")
    assert (whole.config.ears, whole.ears.layers.shape) == ("whole", (4, 30, 20))
    e, z = torch.randn(2, 6), torch.randn(2, 9)
    with torch.no_grad():
        whole.ears.layers.copy_(torch.tensor([0.5, 0.5, 0, 1])[:, None, None].expand(4, 30, 20))
        drawn.load_state_dict(whole.state_dict())
        image, landmarks = drawn(e, z), whole.decoded(e, whole.draw(e, z)).landmarks
        torch.testing.assert_close(whole(e, z), whole.ears.whole(image, landmarks))
        whole.ears.share = lambda patches, colours: torch.ones(len(patches))
        assert (whole(e, z) - image).abs().amax(dim=(1, 2, 3)).min() > 1e-3


def test_colours_may_be_drawn_from_less_noise_than_brightness():
    noise, whole = torch.randn(2, 9), with_detail()
    less = with_detail(colour_noise=0.3)
    before, after = (model.detail_start(noise, torch.zeros(2, 3, 32, 32)) for model in (whole, less))
    torch.testing.assert_close(after.mean(dim=1), before.mean(dim=1))
    colours = (x - x.mean(dim=1, keepdim=True) for x in (before, after))
    before, after = colours
    torch.testing.assert_close(after, 0.3 * before, atol=1e-6, rtol=1e-4)
    assert before.std() > 0.5


def test_the_noise_has_a_mean_where_there_is_hair_and_beyond_it():
    noise = torch.randn(2, 9)
    coarse = torch.tensor([-0.5, 0.5])[:, None, None, None].expand(2, 3, 32, 32)
    without, model = with_detail(), with_detail(hair_contrast=0.2)
    added = model.detail_start(noise, coarse) - without.detail_start(noise, coarse)
    wanted = 0.2 * model.hair_contrast(coarse).expand(2, 3, 32, 32)
    torch.testing.assert_close(added, wanted, atol=1e-6, rtol=1e-4)
    assert added[:, :, 2, 16].max() < -0.05 and added[:, :, 0, 0].min() > 0.1


def test_a_coarse_image_is_blurred_above_the_brows_before_detail_is_drawn():
    model = with_detail(coarse_blur=5)
    coarse = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    found = model.blurred(coarse)
    torch.testing.assert_close(found[:, :, 30:], coarse[:, :, 30:], atol=0.01, rtol=0)  # from the eyes on
    one = torch.full((5, 5), 1 / 25.0)
    wide = F.conv2d(F.pad(one[None, None], (4, 4, 4, 4)), one[None, None])  # 9 x 9
    wide = F.conv2d(F.pad(wide, (4, 4, 4, 4)), one[None, None])  # 13 x 13
    smooth = F.conv2d(coarse[:, :1, :20], wide)[..., 20]  # of columns 20 to 32, far from edges
    wanted = torch.lerp(smooth, coarse[:, :1, 6:14, 26], model.below[6:14, 0])
    torch.testing.assert_close(found[:, :1, 6:14, 26], wanted, atol=1e-4, rtol=1e-3)
    flat = torch.full((1, 3, 64, 64), 0.3)
    torch.testing.assert_close(model.blurred(flat), flat)
    assert torch.equal(with_detail().blurred(coarse), coarse)
    e, noise = torch.randn(2, 6), torch.randn(2, 9)
    with torch.no_grad():
        small = model.small(found)
        drawn = model.diffusion.draw(small, e, model.detail_start(noise, small), 2)
        larger = F.interpolate(drawn, (64, 64), mode="bicubic", align_corners=False)
        torch.testing.assert_close(model.with_detail(e, coarse, noise), found + larger)


def test_a_model_without_detail_may_be_given_it_and_not_the_other_way():
    without, having = (make(**more).config for more in ({}, {"detail_channels": (8, 8, 8)}))
    assert "detail_channels" in without.may_differ and "detail_channels" not in having.may_differ
    assert set(without.outside_weights) < set(without.may_differ)


def test_beyond_the_head_nothing_is_refined():
    whole, none = make().refined, make(background_refinement=1.0).refined
    assert whole[32, 32] > 0.99 and whole[40, 32] > 0.99, "the face"
    assert max(whole[0, 0], whole[0, -1], whole[-1, 0], whole[32, 0]) < 0.01, "corners and sides"
    torch.testing.assert_close(whole, whole.flip(1))
    assert (none == 1).all()
    torch.testing.assert_close(make(background_refinement=0.5).refined, (1 + whole) / 2)
    near = head_mask(64, 1.4)
    assert near.sum() > 1.4 * whole.sum(), "larger faces, a larger head"


def test_hair_gets_less_of_the_refiners_work_than_eyes_and_mouth():
    model = make(refinement=0.8, hair_refinement=0.2)
    share = model.share / model.refined
    for row in (28, 40, 50):  # eyes, nose, lips
        assert share[row, 32] == pytest.approx(0.8, abs=0.03)
    assert share[10, 32] == pytest.approx(0.2, abs=0.02), "hair"
    assert share[58, 32] < 0.5, "the chin"
    even = make(refinement=0.5, hair_refinement=0.5)
    torch.testing.assert_close(even.share, 0.5 * even.refined)
    assert torch.equal(even.refined, model.refined)


@pytest.mark.parametrize("film", [False, True])
def test_a_new_refiner_leaves_the_image_and_its_code_matters_where_it_has_one(film):
    refiner = make(film=film).refiner
    image, code = torch.randn(2, 3, 64, 64), torch.randn(2, 15)
    assert torch.equal(refiner(image, code), image)
    for part in refiner.parameters():
        torch.nn.init.normal_(part, std=0.1)
    assert not torch.equal(refiner(image, code), image)
    assert torch.equal(refiner(image, code), refiner(image, code + 1)) is not film


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("side", 60),
        ("texture_side", 128),
        ("texture_side", 0),
        ("texture_side", 24),
        ("linear", 200),
        ("head_gain", 2),
        ("refinement", 1.1),
        ("hair_refinement", -0.1),
        ("shape_components", 137),
        ("texture_components", 0),
        ("flow_steps", 0),
        ("channels", (4, 4)),
        ("truncation", -0.1),
        ("own_noise", -1),
        ("face_scale", 0),
        ("expression", "smiling"),
        ("facial_hair", "long"),
        ("glasses", "sun"),
        ("symmetry", 1.1),
        ("skin", "grey"),
        ("texture_noise", -1),
        ("image_side", 4),
        ("background_refinement", 1.5),
        ("detail_channels", (8, 8)),
        ("detail_channels", (8, 8, 12)),
        ("detail_steps", 0),
        ("detail", 1.1),
        ("face_detail", -0.1),
        ("detail_noise", 1.5),
        ("hair_contrast", 1.5),
        ("background_noise", -0.5),
        ("colour_noise", 1.5),
        ("ears", "pointed"),
        ("coarse_blur", 4),
        ("detail_guidance", 0.5),
    ],
)
def test_settings_out_of_range_are_refused(key, value):
    name = {"texture_side": "side|texture_side"}.get(key, key)
    with pytest.raises(CheckpointError, match=f"generator.({name})"):
        AppearanceModelConfig(**(TINY | {key: value}))


def test_it_fits_what_ships():
    """At most 16 MB in half precision beside an encoder of 3 MB."""
    model = AppearanceModel(AppearanceModelConfig())
    numbers = sum(p.numel() for p in model.parameters()) + model.projection.numel()
    assert 2 * numbers < 13.6e6


def test_both_sides_are_alike_as_far_as_the_config_says():
    torch.manual_seed(3)
    models = [make(symmetry=share, skin="drawn") for share in (0.0, 0.5, 1.0)]
    for model in models[1:]:
        model.load_state_dict(models[0].state_dict())
    e, c = torch.randn(2, 6), torch.randn(2, 9)
    with torch.no_grad():
        before, half, whole = (model.decoded(e, c) for model in models)
        some = models[2].decoded(e, c, keep=torch.tensor([1.0, 0.0]))
    for field in ("texture", "image"):
        image = getattr(whole, field)
        torch.testing.assert_close(image, image.flip(3), atol=1e-4, rtol=1e-3)
        assert (getattr(before, field) - image).abs().max() > 0.05 * image.abs().max()
    landmarks = whole.landmarks.numpy() / models[0].side
    np.testing.assert_allclose(mirrored(landmarks), landmarks, atol=1e-5)
    assert np.abs(landmarks - before.landmarks.numpy() / models[0].side).max() > 1e-3
    for field in ("texture", "landmarks"):
        first, between, last = (getattr(face, field) for face in (before, half, whole))
        torch.testing.assert_close(between, (first + last) / 2)
        torch.testing.assert_close(getattr(some, field), torch.stack([first[0], last[1]]))


def test_so_is_the_noise_that_shoulders_are_drawn_from():
    noise, coarse = torch.randn(50, 9), torch.zeros(50, 3, 32, 32)
    before, half, whole = (
        with_detail(symmetry=share).detail_start(noise, coarse) for share in (0.0, 0.5, 1.0)
    )
    shoulders = slice(28, None)
    torch.testing.assert_close(whole[:, :, shoulders], whole.flip(3)[:, :, shoulders], atol=0.3, rtol=0)
    both = (before + before.flip(3)) / 2**0.5
    torch.testing.assert_close(whole[:, :, 31], both[:, :, 31], atol=0.05, rtol=0)
    torch.testing.assert_close(whole[:, :, :20], before[:, :, :20], atol=0.05, rtol=0)
    torch.testing.assert_close(half, (before + whole) / 2)
    assert float(whole.std()) == pytest.approx(float(before.std()), rel=0.03)


def test_skin_is_even_unless_the_config_or_the_caller_keeps_it():
    torch.manual_seed(4)
    even, drawn = make(), make(skin="drawn")
    drawn.load_state_dict(even.state_dict())
    e, c = 3 * torch.randn(3, 6), 3 * torch.randn(3, 9)
    with torch.no_grad():
        for model in (even, drawn):
            model.texture.bias.fill_(-0.2)
        before, after = drawn.decoded(e, c), even.decoded(e, c)
        average = drawn.decoded(torch.zeros(1, 6), torch.zeros(1, 9)).texture
        torch.testing.assert_close(after.texture, even.skin(before.texture, average))
        torch.testing.assert_close(after.landmarks, before.landmarks)
        assert (after.texture - before.texture).abs().max() > 0.05
        alone = even.decoded(e[:1], c[:1])
        torch.testing.assert_close(alone.image, after.image[:1], atol=1e-4, rtol=1e-3)
        keep = torch.tensor([0.0, 1.0, 0.0])
        some = even.decoded(e, c, keep=keep).texture
        kept = drawn.decoded(e, c, keep=keep).texture
        torch.testing.assert_close(some[1], kept[1])
        torch.testing.assert_close(some[[0, 2]], after.texture[[0, 2]])
