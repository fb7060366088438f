"""Transforms of rewards: identities, gradients, extremes, references."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from glasshouse.alignment.algebra import Good, Reward
from glasshouse.alignment.combination import references_from, utility
from glasshouse.alignment.transforms import (
    AS_IT_IS,
    LSC,
    PERCENTILE_85,
    Centred,
    Clip,
    Column,
    Gaussian,
    LogSigmoid,
    Quantile,
    RewardError,
    Sigmoid,
    ZScore,
    log_sigmoid,
)

UNCENTRED = LogSigmoid(None)


def rewards(seed: int = 0, batch: int = 5, candidates: int = 40, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(batch, candidates, generator=torch.Generator().manual_seed(seed), dtype=dtype) * 3


def of(transform, scores: torch.Tensor, base: torch.Tensor | None = None) -> torch.Tensor:
    expression = Reward("r", transform)
    return utility(expression, {"r": scores}, references_from(expression, {"r": scores if base is None else base}))


@pytest.mark.parametrize("transform", [LSC, Sigmoid(), Centred(), ZScore(), LogSigmoid(Gaussian())])
@given(seed=st.integers(0, 2**31))
def test_a_constant_of_the_prompt_changes_nothing(transform, seed: int) -> None:
    base = rewards(seed)
    shift = torch.randn(5, 1, generator=torch.Generator().manual_seed(seed + 1), dtype=torch.float64) * 50
    assert (of(transform, base + shift) - of(transform, base)).abs().max() < 1e-6


def test_a_constant_of_the_prompt_does_change_what_is_not_centred() -> None:
    for transform in (UNCENTRED, AS_IT_IS):
        assert (of(transform, rewards() + 5) - of(transform, rewards())).abs().max() > 0.1


def test_the_slope_of_lsc_is_sigma_of_reference_minus_reward() -> None:
    scores, reference = rewards().requires_grad_(), torch.randn(5, dtype=torch.float64)
    (slope,) = torch.autograd.grad(log_sigmoid(scores, reference).sum(), scores)
    expected = 1 / (1 + np.exp((scores.detach() - reference[:, None]).numpy()))
    assert np.abs(slope.numpy() - expected).max() < 1e-6
    at_the_reference = reference[:, None].clone().requires_grad_()
    (half,) = torch.autograd.grad(log_sigmoid(at_the_reference, reference).sum(), at_the_reference)
    assert half.flatten().tolist() == [0.5] * 5


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("expression", [Good("r"), ~Good("r"), Good("r") | ~Good("s"), ~(Good("r") & Good("s"))])
def test_far_from_the_reference_the_utility_and_its_slope_are_finite(dtype: torch.dtype, expression) -> None:
    scores = {name: torch.tensor([[-200.0, 0.0, 200.0]], dtype=dtype, requires_grad=True) for name in "rs"}
    references = {f"{name}/quantile 0.85": torch.zeros(1, dtype=dtype) for name in "rs"}
    value = utility(expression, scores, references)
    assert value.dtype == torch.float32
    assert value.isfinite().all()
    assert value.to(dtype).isfinite().all()
    value.sum().backward()
    assert scores["r"].grad is not None
    assert scores["r"].grad.isfinite().all()


def test_lsc_at_the_extremes_is_the_reward_below_and_nothing_above() -> None:
    value = log_sigmoid(torch.tensor([[-200.0, 0.0, 200.0]]), torch.zeros(1))
    assert value.tolist() == [[-200.0, pytest.approx(-np.log(2)), pytest.approx(0.0, abs=1e-30)]]


def test_values_of_the_other_transforms() -> None:
    scores = rewards()
    array = scores.numpy()
    z = (array - array.mean(1, keepdims=True)) / array.std(1, keepdims=True, ddof=1)
    median = np.median(array, axis=1, keepdims=True)
    np.testing.assert_allclose(of(ZScore(), scores), z, atol=1e-12)
    np.testing.assert_allclose(of(Sigmoid(), scores), 1 / (1 + np.exp(median - array)), atol=1e-12)
    np.testing.assert_allclose(of(UNCENTRED, scores), -np.log1p(np.exp(-array)), atol=1e-12)
    np.testing.assert_array_equal(of(Clip(-1, 2), scores), array.clip(-1, 2))
    np.testing.assert_array_equal(of(AS_IT_IS, scores), array)


def test_references_are_those_of_the_base_samples_not_of_what_is_judged() -> None:
    base, judged = rewards(1), rewards(2)[:, :4]
    cut = np.quantile(base.numpy(), 0.85, axis=1, keepdims=True)
    np.testing.assert_allclose(of(Centred(PERCENTILE_85), judged, base), judged.numpy() - cut, atol=1e-12)
    few = base.numpy()[:, :10]
    normal = few.mean(1, keepdims=True) + 1.0364334 * few.std(1, keepdims=True, ddof=1)
    np.testing.assert_allclose(of(Centred(Gaussian()), judged, base), judged.numpy() - normal, atol=1e-6)
    columns = {"mine": torch.arange(5.0, dtype=torch.float64)}
    expression = Reward("r", Centred(Column("mine")))
    found = utility(expression, {"r": judged}, references_from(expression, {}, columns))
    np.testing.assert_allclose(found, judged.numpy() - np.arange(5.0)[:, None])


def test_what_cannot_be_transformed_is_refused_with_what_to_do() -> None:
    with pytest.raises(RewardError, match="between 0 and 1"):
        Quantile(1.0)
    with pytest.raises(RewardError, match="2 or more"):
        Gaussian(samples=1)
    with pytest.raises(RewardError, match="low has to be below high"):
        Clip(2, 1)
    with pytest.raises(RewardError, match="no z-score"):
        of(ZScore(), torch.ones(2, 4))
    with pytest.raises(RewardError, match="prompt 0 has 1 scored base samples of r"):
        of(LSC, torch.ones(2, 1))
