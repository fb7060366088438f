"""Distances between two sets of feature vectors: Fréchet between Gaussians, and a kernel mean discrepancy.

    FD  = |m1 - m2|^2 + tr(C1 + C2 - 2 (C1^1/2 C2 C1^1/2)^1/2)          Dowson and Landau, 1982
    MMD = E k(x, x') + E k(y, y') - 2 E k(x, y),  k(x, y) = (x.y / d + 1)^3, unbiased   Binkowski et al., 1801.01401

The first is what is called FID when the features are those of one Inception network. With other features it is not, and
is never called so here: a report names the network, and prints the distance between two halves of the real images
beside it. The trace of the root is taken from a symmetric matrix, so covariances may be singular.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

Features = Float[Tensor, "rows features"]


class FeatureError(ValueError):
    """Features that cannot be compared."""


def frechet_distance(a: Features, b: Features) -> float:
    """Fréchet distance of two sets of features, in float64, with unbiased covariances.

    Raises `FeatureError` for fewer than two rows, other widths, or values that are not finite.
    """
    a, b = _checked(a, b)
    difference = a.mean(0) - b.mean(0)
    first, second = torch.cov(a.T).reshape(a.shape[1], -1), torch.cov(b.T).reshape(b.shape[1], -1)
    root = _root(first)
    eigenvalues = torch.linalg.eigvalsh(root @ second @ root).clamp(min=0)
    found = difference.square().sum() + first.trace() + second.trace() - 2 * eigenvalues.sqrt().sum()
    return max(0.0, float(found))


def kernel_mmd(a: Features, b: Features) -> float:
    """Unbiased squared mean discrepancy under the cubic kernel; may be slightly negative for equal distributions.

    Raises as `frechet_distance`.
    """
    a, b = _checked(a, b)
    return float(_apart(a) + _apart(b) - 2 * _kernel(a, b).mean())


def halves(features: Features, seed: int = 0) -> tuple[Features, Features]:
    """Two random halves, for the distance that real images have from each other."""
    order = torch.randperm(len(features), generator=torch.Generator().manual_seed(seed)).to(features.device)
    return features[order[: len(order) // 2]], features[order[len(order) // 2 :]]


def _kernel(a: Tensor, b: Tensor) -> Tensor:
    kernel: Tensor = (a @ b.T / a.shape[1] + 1) ** 3
    return kernel


def _apart(a: Tensor) -> Tensor:
    kernel = _kernel(a, a)
    mean: Tensor = (kernel.sum() - kernel.diagonal().sum()) / (len(a) * (len(a) - 1))
    return mean


def _root(matrix: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(matrix)
    root: Tensor = (vectors * values.clamp(min=0).sqrt()) @ vectors.T
    return root


def _checked(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    for name, features in (("first", a), ("second", b)):
        if features.ndim != 2 or len(features) < 2:
            raise FeatureError(
                f"the {name} set has shape {tuple(features.shape)}; it takes two rows of features or more"
            )
        bad = int((~features.isfinite()).any(1).sum())
        if bad:
            raise FeatureError(
                f"{bad} of {len(features)} rows of the {name} set are not finite: look at what made them"
            )
    if a.shape[1] != b.shape[1]:
        raise FeatureError(f"features of {a.shape[1]} and of {b.shape[1]} numbers cannot be compared; use one network")
    return a.double(), b.double()
