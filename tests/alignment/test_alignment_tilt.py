"""Exact policies over samples: against numerical maximisation, simulation and closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from glasshouse.alignment.best_of import best_of, best_of_kl
from glasshouse.alignment.tilt import EFFECTIVE_SAMPLES, divergence, log_base, reachable_kl, tilt, trusted_kl
from glasshouse.alignment.transforms import RewardError


def numbers(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def maximised(utility: torch.Tensor, gamma: torch.Tensor) -> torch.Tensor:
    """argmax over pi of E[u] - gamma KL(pi || uniform) on free logits, one problem per row: Adam, then L-BFGS."""
    logits = torch.zeros_like(utility, requires_grad=True)
    far = torch.optim.Adam([logits], lr=0.05)
    near = torch.optim.LBFGS(
        [logits], max_iter=2000, tolerance_grad=1e-14, tolerance_change=1e-20, line_search_fn="strong_wolfe"
    )

    def loss() -> torch.Tensor:
        far.zero_grad()
        log_pi = logits.log_softmax(1)
        value = -(log_pi.exp() * (utility / gamma - log_pi - math.log(utility.shape[1]))).sum()
        value.backward()
        return value

    for _ in range(1000):
        far.step(loss)
    near.step(loss)
    return logits.detach().softmax(1)


def test_the_closed_form_is_the_maximum_of_the_regularised_objective() -> None:
    utility, gamma = numbers(0, 50, 12), numbers(1, 50, 1).exp().clamp(0.2, 5)
    found = torch.cat(
        [tilt(row[None], gamma=float(one)).probabilities for row, one in zip(utility, gamma, strict=True)]
    )
    assert (found - maximised(utility, gamma)).abs().max() <= 1e-6


@pytest.mark.parametrize("kl", [0.05, 1.0, 3.0])
def test_gamma_is_found_for_a_mean_kl(kl: float) -> None:
    utility = numbers(0, 20, 256) * torch.linspace(0.1, 3, 20)[:, None]
    found = tilt(utility, kl=kl)
    p = found.probabilities.numpy()
    by_hand = (p * np.log(np.where(p > 0, p, 1) * 256)).sum(1)
    np.testing.assert_allclose(found.kl, by_hand, atol=1e-9)
    assert float(found.kl.mean()) == pytest.approx(kl, abs=1e-6)
    assert found.kl.max() > found.kl.min() * 1.5  # one gamma for all prompts
    again = tilt(utility, gamma=found.gamma)
    torch.testing.assert_close(again.probabilities, found.probabilities)
    assert float(tilt(utility * 1e5, kl=kl).kl.mean()) == pytest.approx(kl, abs=1e-6)


def test_a_kl_that_the_samples_do_not_allow_is_refused() -> None:
    utility = numbers(0, 3, 16)
    assert reachable_kl(utility) == pytest.approx(math.log(16))
    for kl in (math.log(16), 5.0, 0.0, -1.0):
        with pytest.raises(RewardError, match=r"cannot be reached: .* less than 2.773"):
            tilt(utility, kl=kl)
    with pytest.raises(RewardError, match="constant utilities"):
        tilt(torch.ones(3, 16), kl=0.5)
    tied = (numbers(0, 3, 16).argsort(1) >= 12).double()
    assert reachable_kl(tied) == pytest.approx(math.log(4))
    np.testing.assert_allclose(tilt(torch.ones(3, 16), gamma=0.5).kl, 0, atol=1e-6)


def test_dropped_samples_have_no_weight_and_do_not_count() -> None:
    utility = numbers(0, 4, 32)
    with_holes = torch.cat([torch.full((4, 5), -math.inf, dtype=torch.float64), utility], 1)
    for policy, whole in [
        (tilt(with_holes, kl=1.0), tilt(utility, kl=1.0)),
        (best_of(with_holes, 3), best_of(utility, 3)),
    ]:
        assert (policy.probabilities[:, :5] == 0).all()
        torch.testing.assert_close(policy.probabilities[:, 5:], whole.probabilities)
        torch.testing.assert_close(policy.kl, whole.kl)


def test_bad_utilities_are_refused() -> None:
    for bad in (math.nan, math.inf):
        with pytest.raises(RewardError, match="NaN or"):
            tilt(torch.tensor([[0.0, bad]]), gamma=1.0)
    with pytest.raises(RewardError, match="prompt 1 has 1 samples"):
        tilt(torch.tensor([[0.0, 1.0], [0.0, -math.inf]]), gamma=1.0)
    with pytest.raises(RewardError, match="one of them"):
        tilt(torch.zeros(1, 2))
    with pytest.raises(RewardError, match="above 0"):
        tilt(torch.zeros(1, 2), gamma=0.0)
    with pytest.raises(RewardError, match="k is 1 or more"):
        best_of(torch.zeros(1, 2), 0)


@pytest.mark.parametrize("k", [2, 4, 16, 64])
def test_the_kl_of_best_of_k_is_the_closed_form_for_many_samples(k: int) -> None:
    kl = float(best_of(numbers(k, 1, 8192), k).kl)
    assert kl == pytest.approx(math.log(k) - (k - 1) / k, abs=1e-3)
    assert kl == pytest.approx(best_of_kl(k), abs=1e-3)


def test_best_of_k_is_what_drawing_gives() -> None:
    utility = torch.tensor([[0.3, 2.0, 2.0, -1.0, 0.3, 0.3]])
    random = np.random.default_rng(0)
    drawn = random.integers(0, 6, size=(200_000, 3))
    value = utility.numpy()[0][drawn] + random.random(drawn.shape) * 1e-6  # ties fall by chance
    chosen = drawn[np.arange(len(drawn)), value.argmax(1)]
    expected = np.bincount(chosen, minlength=6) / len(chosen)
    found = best_of(utility, 3)
    np.testing.assert_allclose(found.probabilities[0], expected, atol=0.005)
    p = found.probabilities[0].double()
    assert float(found.kl) == pytest.approx(float((p * (p * 6).log()).sum()), abs=1e-6)
    assert float(found.kl) < best_of_kl(3)  # ties keep it nearer than the formula says
    assert float(best_of(utility, 1).kl) == pytest.approx(0, abs=1e-12)


def test_no_policy_of_the_same_kl_has_a_higher_utility_than_the_tilted_one() -> None:
    utility = numbers(3, 1, 512)
    for k in (2, 8, 32):
        best = best_of(utility, k)
        tilted = tilt(utility, kl=float(best.kl))
        assert float(tilted.mean(utility)) >= float(best.mean(utility))


def test_the_trusted_kl_leaves_some_effective_samples() -> None:
    assert math.exp(-trusted_kl(1024)) * 1024 == pytest.approx(EFFECTIVE_SAMPLES)
    assert trusted_kl(3) == 0
    base = log_base(torch.zeros(2, 8))
    np.testing.assert_allclose(divergence(base, base), 0)
