"""Score distillation against its formula, and against a teacher whose answer is known in closed form."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from glasshouse.store.configuration import ConfigurationError
from glasshouse.vision.mesh.perp_neg import perp_neg, perpendicular, steering
from glasshouse.vision.mesh.sds import (
    Distillation,
    distil,
    draw_times,
    levels,
    towards_picture,
    weight,
)

STEPS = 1000
BETAS = torch.linspace(1e-4, 0.02, STEPS, dtype=torch.float64)
ALPHAS_CUMPROD = torch.cumprod(1 - BETAS, 0)
EXPECTED_WEIGHTS = {
    "sigma2": lambda abar: 1 - abar,
    "one": lambda abar: torch.ones_like(abar),
    "alpha_sigma2": lambda abar: abar.sqrt() * (1 - abar),
}


class Gaussian:
    """The exact noise of pictures that are N(mean, deviation^2 I)."""

    def __init__(self, mean: Tensor, deviation: float) -> None:
        self.mean, self.deviation = mean, deviation

    def __call__(self, x_t: Tensor, t: Tensor) -> Tensor:
        alpha, sigma = levels(ALPHAS_CUMPROD.to(x_t), t)
        return sigma * (x_t - alpha * self.mean) / (alpha**2 * self.deviation**2 + sigma**2)


@pytest.mark.parametrize("weighting", sorted(EXPECTED_WEIGHTS))
def test_autograd_of_the_surrogate_is_the_formula(weighting: str) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(3, 3, 4, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    said = torch.randn(3, 3, 4, 4, generator=generator, dtype=torch.float64)
    e = torch.randn(3, 3, 4, 4, generator=generator, dtype=torch.float64)
    t = torch.tensor([20, 500, 979])
    settings = Distillation(weighting=weighting)
    found = distil(x, lambda x_t, at: said, ALPHAS_CUMPROD, settings, t, e)
    found.loss.backward()
    w = EXPECTED_WEIGHTS[weighting](ALPHAS_CUMPROD[t]).reshape(-1, 1, 1, 1)
    assert torch.allclose(x.grad, w * (said - e) / 3, atol=1e-6, rtol=0)
    assert float(x.grad.abs().max()) > 0.1
    assert float(found.error) == pytest.approx(float((said - e).square().mean()))


def test_the_form_with_the_picture_is_the_same_gradient() -> None:
    generator = torch.Generator().manual_seed(1)
    x, said, e = (torch.randn(2, 3, 4, 4, generator=generator, dtype=torch.float64) for _ in range(3))
    t = torch.tensor([100, 800])
    alpha, sigma = levels(ALPHAS_CUMPROD, t)
    picture = (alpha * x + sigma * e - sigma * said) / alpha
    for weighting in EXPECTED_WEIGHTS:
        expected = weight(weighting, alpha, sigma) * (said - e)
        assert torch.allclose(towards_picture(x, picture, alpha, sigma, weighting), expected, atol=1e-6)


def test_the_teachers_picture_can_be_kept_within_range() -> None:
    x = torch.zeros(1, 3, 2, 2, dtype=torch.float64, requires_grad=True)
    t, e = torch.tensor([500]), torch.zeros(1, 3, 2, 2, dtype=torch.float64)
    alpha, sigma = levels(ALPHAS_CUMPROD, t)
    far = lambda x_t, at: torch.full_like(x_t, -10.0)  # noqa: E731  (a picture far above 1)
    distil(x, far, ALPHAS_CUMPROD, Distillation(clamp=1.0), t, e).loss.backward()
    assert torch.allclose(x.grad, towards_picture(x.detach(), torch.ones_like(x), alpha, sigma, "sigma2"), atol=1e-9)


def test_a_gaussian_teachers_mean_gradient_is_its_closed_form() -> None:
    count = 5000
    generator = torch.Generator().manual_seed(2)
    mean, at = torch.full((1, 1, 2, 2), 0.3, dtype=torch.float64), torch.tensor([[[[-0.5, 0.1], [0.8, 1.2]]]])
    teacher, settings = Gaussian(mean, 0.5), Distillation()
    for step in (100, 400, 700):
        x = at.double().expand(count, -1, -1, -1).clone().requires_grad_()
        t = torch.full((count,), step)
        e = torch.randn(x.shape, generator=generator, dtype=torch.float64)
        distil(x, teacher, ALPHAS_CUMPROD, settings, t, e).loss.backward()
        alpha, sigma = (part[:1] for part in levels(ALPHAS_CUMPROD, t))
        expected = sigma**2 * sigma * alpha * (at - mean) / (alpha**2 * 0.25 + sigma**2)
        error = (x.grad.sum(0) - expected[0]).norm() / expected.norm()
        assert float(error) < 0.03, step


def test_optimisation_ends_at_the_mode() -> None:
    generator = torch.Generator().manual_seed(3)
    mean = torch.rand(1, 3, 4, 4, generator=generator, dtype=torch.float64)
    x = torch.zeros(1, 3, 4, 4, dtype=torch.float64, requires_grad=True)
    teacher, settings = Gaussian(mean, 0.2), Distillation()
    optimizer = torch.optim.Adam([x], lr=0.05)
    for step in range(400):
        t = draw_times(settings, STEPS, step / 400, 8, generator)
        e = torch.randn(8, 3, 4, 4, generator=generator, dtype=torch.float64)
        optimizer.param_groups[0]["lr"] = 0.05 * (1 - step / 400)
        optimizer.zero_grad()
        distil(x.expand(8, -1, -1, -1), teacher, ALPHAS_CUMPROD, settings, t, e).loss.backward()
        optimizer.step()
    assert float((x.detach() - mean).abs().mean()) < 0.03
    assert float(mean.abs().mean()) > 0.3


def test_times_are_drawn_from_the_range_of_the_moment() -> None:
    settings = Distillation(least=0.1, most=0.9, most_at_end=0.5)
    generator = torch.Generator().manual_seed(4)
    early, late = (draw_times(settings, STEPS, progress, 4000, generator) for progress in (0.0, 1.0))
    assert (int(early.min()), int(late.min())) == (100, 100)
    assert 895 <= int(early.max()) <= 900
    assert 495 <= int(late.max()) <= 500
    assert settings.range_at(0.5, STEPS) == (100, 700)
    again = draw_times(settings, STEPS, 0.0, 4000, torch.Generator().manual_seed(4))
    assert torch.equal(again, early)


@pytest.mark.parametrize(
    ("given", "named"),
    [({"most": 0.05}, "most"), ({"weighting": "sigma"}, "weighting"), ({"guidance": -1}, "guidance")],
)
def test_distillation_refuses_what_it_cannot_do(given: dict[str, object], named: str) -> None:
    with pytest.raises(ConfigurationError, match=named):
        Distillation(**given)


def test_perp_neg_without_weights_is_guidance_and_takes_only_what_is_across() -> None:
    generator = torch.Generator().manual_seed(5)
    nothing, text, other = (torch.randn(2, 3, 4, 4, generator=generator, dtype=torch.float64) for _ in range(3))
    zero, one = torch.zeros(2, dtype=torch.float64), torch.ones(2, dtype=torch.float64)
    plain = nothing + 7 * (text - nothing)
    assert torch.allclose(perp_neg(nothing, text, [], [], 7.0), plain)
    assert torch.allclose(perp_neg(nothing, text, [other], [zero], 7.0), plain)
    changed = perp_neg(nothing, text, [other], [-one], 7.0) - plain
    assert float(changed.abs().max()) > 0.1
    assert torch.allclose((changed * (text - nothing)).sum((1, 2, 3)), zero, atol=1e-9)
    along = 3 * (text - nothing)
    assert torch.allclose(perpendicular(along, text - nothing), torch.zeros_like(along), atol=1e-12)


def test_steering_is_continuous_and_pushes_away_from_what_is_not_seen() -> None:
    assert steering(0).positive == ("front", "side", 1.0)
    assert steering(90).positive == ("side", "back", 1.0)
    assert steering(-180).positive == ("side", "back", 0.0)
    front, side = steering(0), steering(89.999)
    assert front.negative[0] == ("front", pytest.approx(-(4 * 0.606530659 - 2.426), abs=1e-6))
    assert front.negative[1] == ("side", pytest.approx(-(4 - 2.426)))
    assert side.positive[2] == pytest.approx(0, abs=1e-4)
    assert all(share <= 0.001 for azimuth in range(0, 360, 5) for _, share in steering(azimuth).negative)
