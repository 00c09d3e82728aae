"""The diffusion of detail: its network, its loss, what it draws, and its noise."""

import math

import pytest
import torch
import torch.nn.functional as F

from voice2face_gan.models.generators import detail as module
from voice2face_gan.models.generators.detail import MOVED, SKIP, SPREAD, Detail, drawn_sigmas


@pytest.fixture
def net() -> Detail:
    torch.manual_seed(0)
    made = Detail((8, 16, 16), 16, 4, 5)
    for part in made.parameters():  # many begin at 0
        torch.nn.init.normal_(part, std=0.05)
    return made.eval()


def images(*seeds: int) -> list[torch.Tensor]:
    return [torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(seed)) for seed in seeds]


def test_a_new_network_estimates_nothing_and_then_depends_on_all_that_it_is_given(net):
    x, coarse = images(0, 1)
    e = torch.randn(2, 4, generator=torch.Generator().manual_seed(7))
    sigma, moved = torch.tensor([0.5, 2.0]), torch.tensor([0.0, 0.2])
    assert not Detail((8, 16, 16), 16, 4, 5)(x, coarse, e, sigma, moved).any()
    with torch.no_grad():
        estimate = net(x, coarse, e, sigma, moved)
        assert estimate.shape == x.shape
        for other in (
            (x + 1, coarse, e, sigma, moved),
            (x, coarse + 1, e, sigma, moved),
            (x, coarse, e + 1, sigma, moved),
            (x, coarse, e, 2 * sigma, moved),
            (x, coarse, e, sigma, moved + 0.1),
        ):
            assert not torch.allclose(net(*other), estimate, atol=1e-5)
        alone = net(x[1:], coarse[1:], e[1:], sigma[1:], moved[1:])
    torch.testing.assert_close(alone, estimate[1:], atol=1e-5, rtol=1e-4)


def test_the_loss_is_that_of_the_text(net):
    detail, coarse, noise = images(0, 1, 2)
    sigma, moved = torch.tensor([0.1, 4.0]), torch.tensor([0.0, 0.2])
    visible = torch.ones(2, 1, 16, 16)
    visible[0, :, :4] = 0
    detail = detail * visible
    with torch.no_grad():
        e = torch.randn(2, 4, generator=torch.Generator().manual_seed(7))
        loss = net.loss(detail, coarse, visible, e, sigma, moved, noise)
        for i, s in enumerate(sigma.tolist()):
            x = detail[i] + s * noise[i]
            skip, scale = SKIP**2 / (SKIP**2 + s**2), (1 + s**2) ** -0.5
            given = [part[i : i + 1] for part in (coarse, e, sigma, moved)]
            estimate = net((scale * x)[None], *given)[0]
            error = (estimate - (detail[i] - skip * x) / (s * scale)).square()
            assert float(loss[i]) == pytest.approx(float(error[:, visible[i, 0] > 0].mean()), rel=1e-4)
            # The same as the error of what is denoised, in units of `out`.
            denoised = net.denoised(x[None], *given)[0]
            error = ((denoised - detail[i]) / (s * scale)).square()
            assert float(loss[i]) == pytest.approx(float(error[:, visible[i, 0] > 0].mean()), rel=1e-3)


def test_what_nobody_sees_counts_in_no_loss(net):
    detail, coarse, noise = images(0, 1, 2)
    none = net.loss(
        detail, coarse, torch.zeros(2, 1, 16, 16), torch.zeros(2, 4), torch.ones(2), torch.zeros(2), noise
    )
    assert none.tolist() == [0, 0]


def test_sigmas_fall_from_the_largest_to_the_smallest():
    sigmas = drawn_sigmas(10)
    assert len(sigmas) == 10 and sigmas == sorted(sigmas, reverse=True)
    assert sigmas[0] == pytest.approx(20) and sigmas[-1] == pytest.approx(0.05)
    assert drawn_sigmas(1) == [pytest.approx(20)]


@pytest.mark.parametrize(("steps", "most"), [(12, 0.05), (48, 0.005)])
def test_detail_that_is_normal_is_drawn_as_an_exact_denoiser_says(net, monkeypatch, steps, most):
    """For detail of mean m and variance v per pixel D is known, and so is where each noise ends: the
    probability flow leaves (x - m) / (v + sigma^2)^1/2 as it is."""
    mean, variance = 0.7, 0.36

    def denoised(x, coarse, e, sigma, moved):
        s2 = sigma[:, None, None, None] ** 2
        return (variance * x + s2 * mean) / (variance + s2)

    monkeypatch.setattr(net, "denoised", denoised)
    coarse, noise = images(1, 2)
    start = math.sqrt(1 + 20**2)
    wanted = mean + (start * noise - mean) * math.sqrt(variance / (variance + 20**2))
    drawn = net.draw(coarse, torch.zeros(2, 4), noise, steps) / SPREAD
    assert (drawn - wanted).abs().max() < most * noise.abs().max()


def test_the_same_noise_gives_the_same_detail_and_one_step_is_the_mean(net):
    (coarse, noise, other), e = images(1, 2, 3), torch.ones(2, 4)
    with torch.no_grad():
        drawn = net.draw(coarse, e, noise, 3)
        assert torch.equal(drawn, net.draw(coarse, e, noise, 3))
        assert not torch.allclose(drawn, net.draw(coarse, e, other, 3), atol=1e-4)
        still = torch.zeros(2)
        x = math.sqrt(1 + 20**2) * noise
        torch.testing.assert_close(
            net.draw(coarse, e, noise, 1), SPREAD * net.denoised(x, coarse, e, still + 20, still)
        )


def test_what_a_pixel_gets_of_its_detail_is_settled_at_each_step(net, monkeypatch):
    """Each pixel is told the mean of all pixels, so that what one half gets changes the other."""
    monkeypatch.setattr(net, "denoised", lambda x, *_: x.mean(dim=(2, 3), keepdim=True).expand_as(x))
    (coarse, noise), e = images(1, 2), torch.zeros(2, 4)
    share = torch.ones(16, 16)
    share[:, :8] = 0.1
    x = math.sqrt(1 + 20**2) * noise
    first = share * x.mean(dim=(2, 3), keepdim=True)
    middle = x / 20 + 19 / 20 * first
    last = share * middle.mean(dim=(2, 3), keepdim=True)
    path = net.path(coarse, e, x, [20.0, 1.0], share=share)
    for found, wanted in zip(path, (x, middle, last), strict=True):
        torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-4)
    drawn = net.draw(coarse, e, noise, 2, smallest=1.0, share=share)
    torch.testing.assert_close(drawn, SPREAD * last, atol=1e-5, rtol=1e-3)
    assert not torch.allclose(drawn[..., 8:], net.draw(coarse, e, noise, 2, smallest=1.0)[..., 8:], atol=0.1)


def test_guidance_goes_on_from_what_is_estimated_where_less_is_told(net):
    (x, coarse, noise), e = images(0, 1, 2), torch.ones(2, 4)
    sigma, still = torch.tensor([0.5, 2.0]), torch.zeros(2)
    with torch.no_grad():
        told = net.denoised(x, coarse, e, sigma, still)
        assert torch.equal(net.guided(x, coarse, e, sigma, 1), told)
        noisy = coarse + MOVED * net.fields[0]
        further = told - net.denoised(x, noisy, torch.zeros(2, 4), sigma, still + MOVED)
        further = further.mean(dim=1, keepdim=True)
        light = F.interpolate(F.avg_pool2d(further, 8), (16, 16), mode="bilinear", align_corners=False)
        assert (further - light).abs().max() > 1e-3
        close = {"atol": 1e-5, "rtol": 1e-4}
        wanted = told + 2 * (further - light)
        torch.testing.assert_close(net.guided(x, coarse, e, sigma, 3), wanted, **close)
        torch.testing.assert_close(
            net.draw(coarse, e, noise, 1, guidance=3),
            SPREAD * net.guided(math.sqrt(1 + 20**2) * noise, coarse, e, still + 20, 3),
        )


@pytest.mark.parametrize(("channels", "stronger"), [((1.0, 1.0, 1.0), 3), ((1.0, 0.5, -1.5), 1)])
def test_guidance_leaves_colours_and_light(net, monkeypatch, channels, stronger):
    """A light on all that is told less changes nothing; stripes that are told become stronger, but not those
    that are of a colour alone."""
    stripes = torch.tensor([1.0, -1.0]).repeat(8) * torch.tensor(channels)[None, :, None, None]
    stripes = stripes.expand(2, 3, 16, 16)

    def denoised(x, coarse, e, sigma, moved):
        return torch.where(moved[:, None, None, None] > 0, 0.5, stripes.repeat(2, 1, 1, 1) / 4)

    monkeypatch.setattr(net, "denoised", denoised)
    guided = net.guided(*images(0, 1), torch.ones(2, 4), torch.ones(2), 3)
    torch.testing.assert_close(guided, stronger * stripes / 4)


def test_noise_images_are_normal_alike_for_like_numbers_and_nothing_for_none(net):
    wide = Detail((8, 8, 8), 64, 4, 5)
    numbers = torch.randn(40, 5, generator=torch.Generator().manual_seed(0))
    noise = wide.noise(numbers)
    assert noise.shape == (40, 3, 64, 64)
    assert abs(float(noise.mean())) < 0.01 and float(noise.std()) == pytest.approx(1, abs=0.02)
    torch.testing.assert_close(wide.noise(3 * numbers), noise, atol=1e-5, rtol=1e-4)
    near = wide.noise(numbers + 0.05 * torch.randn(40, 5, generator=torch.Generator().manual_seed(1)))
    assert (near - noise).std() < 0.3 and (noise[1:] - noise[:-1]).std() > 0.8
    assert not wide.noise(torch.zeros(1, 5)).any()
    assert torch.equal(Detail((8, 8, 8), 64, 4, 5).fields, wide.fields), "the same in every program"
    assert not {"fields", "directions", "frequencies"} & set(wide.state_dict())


def test_attention_sees_places_and_heads_apart():
    """Against the sum written out."""
    torch.manual_seed(0)
    layer = module._Attention(8)
    torch.nn.init.normal_(layer.out.weight, std=0.3)
    x = torch.randn(2, 8, 2, 3)
    with torch.no_grad():
        query, key, value = layer.all(layer.norm(x)).chunk(3, dim=1)
        found = torch.zeros_like(x).flatten(2)
        for image in range(2):
            for head in range(4):
                mine = slice(2 * head, 2 * head + 2)
                q, k, v = (part[image, mine].flatten(1) for part in (query, key, value))
                found[image, mine] = v @ (q.t() @ k / 2**0.5).softmax(dim=1).t()
        wanted = x + layer.out(found.view_as(x))
        torch.testing.assert_close(layer(x), wanted, atol=1e-5, rtol=1e-4)
