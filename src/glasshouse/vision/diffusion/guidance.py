"""Classifier-free guidance (Ho and Salimans, arXiv 2207.12598), with one convention everywhere in this project:

    guided = unconditional + scale (conditional - unconditional)

Scale 0 is the unconditional model, 1 the conditional one. (The paper writes w = scale - 1.) Predictions of eps, x_0
and v are affine in each other at one x_t, so it does not matter which of them is guided.
"""

from __future__ import annotations

from torch import Tensor


def guided(unconditional: Tensor, conditional: Tensor, scale: float) -> Tensor:
    """The prediction that leans towards the condition by `scale`."""
    return unconditional + scale * (conditional - unconditional)


__all__ = ["guided"]
