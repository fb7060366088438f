"""Distances between sets of features against scipy's and brute force's."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
import torch

from glasshouse.vision.frechet import FeatureError, frechet_distance, halves, kernel_mmd


def features(rows: int, width: int, seed: int, shift: float = 0.0) -> torch.Tensor:
    drawn = torch.Generator().manual_seed(seed)
    mixing = torch.randn(width, width, generator=drawn)
    return torch.randn(rows, width, generator=drawn) @ mixing + shift


def by_scipy(a: torch.Tensor, b: torch.Tensor) -> float:
    x, y = a.double().numpy(), b.double().numpy()
    first, second = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    root = scipy.linalg.sqrtm(first @ second)
    return float(((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(first + second - 2 * root.real))


@pytest.mark.parametrize("width", [2, 7, 32])
def test_the_distance_is_that_of_the_scipy_formula(width) -> None:
    a, b = features(200, width, 0), features(150, width, 1, shift=0.3)
    assert frechet_distance(a, b) == pytest.approx(by_scipy(a, b), rel=1e-6)
    assert frechet_distance(b, a) == pytest.approx(frechet_distance(a, b), rel=1e-9)


def test_one_dimension_has_a_closed_form() -> None:
    a, b = torch.randn(500, 1) * 2 + 1, torch.randn(400, 1)
    expected = (a.mean() - b.mean()) ** 2 + (a.std() - b.std()) ** 2
    assert frechet_distance(a, b) == pytest.approx(float(expected), rel=1e-4)


def test_identical_sets_and_singular_covariances_are_fine() -> None:
    a = features(100, 8, 0)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-6)
    few = features(5, 20, 1)  # fewer rows than features
    assert frechet_distance(few, few) == pytest.approx(0, abs=1e-6)
    flat = torch.cat([a, a[:, :1].clone()], 1)  # one feature twice
    moved = flat + 0.5
    assert frechet_distance(flat, moved) == pytest.approx(9 * 0.25, rel=1e-6)


def test_the_kernel_distance_is_its_definition() -> None:
    a, b = features(12, 3, 0) / 3, features(9, 3, 1) / 3

    def k(x: torch.Tensor, y: torch.Tensor) -> float:
        return (float(x.double() @ y.double()) / 3 + 1) ** 3

    def within(z: torch.Tensor) -> float:
        pairs = [k(z[i], z[j]) for i in range(len(z)) for j in range(len(z)) if i != j]
        return sum(pairs) / len(pairs)

    between = sum(k(x, y) for x in a for y in b) / (len(a) * len(b))
    assert kernel_mmd(a, b) == pytest.approx(within(a) + within(b) - 2 * between, rel=1e-9)


def test_the_kernel_distance_is_unbiased_for_equal_distributions() -> None:
    found = [kernel_mmd(torch.randn(30, 4), torch.randn(30, 4)) for _ in range(200)]
    assert abs(np.mean(found)) < 3 * np.std(found) / len(found) ** 0.5


def test_what_cannot_be_compared_is_refused() -> None:
    good, bad = features(10, 4, 0), features(10, 4, 1)
    bad[3, 2] = float("nan")
    with pytest.raises(FeatureError, match="1 of 10 rows of the second set are not finite"):
        frechet_distance(good, bad)
    with pytest.raises(FeatureError, match=r"first set has shape \(1, 4\)"):
        kernel_mmd(good[:1], good)
    with pytest.raises(FeatureError, match="features of 4 and of 5 numbers"):
        frechet_distance(good, features(10, 5, 0))


def test_halves_are_a_partition() -> None:
    a = features(11, 2, 0)
    one, two = halves(a)
    assert sorted(torch.cat([one, two])[:, 0].tolist()) == sorted(a[:, 0].tolist())
    assert len(one) == 5
