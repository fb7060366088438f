"""Perp-Neg: texts of neighbouring views as negative ones, against a face on every side (arXiv 2304.04968).

    e' = e_u + s (d + sum_i w_i perp(d_i, d)),   d = e_c - e_u, d_i = e_i - e_u, perp(a, b) = a - b <a, b> / <b, b>

Between two views the positive text is their mixture and both are negative ones, with weights that fall exponentially,
-(a exp(-b r) + c) with the constants of threestudio. r = 1 is wholly in front, or wholly at the side.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

FRONT, SIDE, BACK = "front", "side", "back"
SIDE_BACK, FRONT_OF_SIDE_BACK = (1.0, 0.5, -0.606), (1.0, 0.5, 0.967)
FRONT_SIDE, SIDE_FRONT = (4.0, 0.5, -2.426), (4.0, 0.5, -2.426)


@dataclasses.dataclass(frozen=True)
class Steering:
    """How a view is written.

    Attributes:
        positive: two views and the share of the first.
        negative: two views, each with its weight.
    """

    positive: tuple[str, str, float]
    negative: tuple[tuple[str, float], tuple[str, float]]


def steering(azimuth: float) -> Steering:
    """The texts of a view at so many degrees from the front."""
    turned = abs((azimuth + 180) % 360 - 180)
    if turned < 90:
        r = 1 - turned / 90
        return Steering((FRONT, SIDE, r), ((FRONT, -_decay(r, *FRONT_SIDE)), (SIDE, -_decay(1 - r, *SIDE_FRONT))))
    r = 2 - turned / 90
    return Steering((SIDE, BACK, r), ((SIDE, -_decay(r, *SIDE_BACK)), (FRONT, -_decay(r, *FRONT_OF_SIDE_BACK))))


def _decay(r: float, a: float, b: float, c: float) -> float:
    return a * math.exp(-b * r) + c


def perp_neg(
    unconditional: Float[Tensor, "n c h w"],
    conditional: Tensor,
    negatives: Sequence[Tensor],
    weights: Sequence[Float[Tensor, " n"]],
    scale: float,
) -> Tensor:
    """e' as above; without negatives it is classifier-free guidance."""
    direction = conditional - unconditional
    steered = direction
    for negative, share in zip(negatives, weights, strict=True):
        steered = steered + share.reshape(-1, 1, 1, 1) * perpendicular(negative - unconditional, direction)
    return unconditional + scale * steered


def perpendicular(a: Float[Tensor, "n c h w"], b: Float[Tensor, "n c h w"]) -> Tensor:
    """The part of `a` across `b`, picture by picture."""
    along = (a * b).sum((1, 2, 3), keepdim=True) / b.square().sum((1, 2, 3), keepdim=True).clamp(min=1e-12)
    return a - along * b
