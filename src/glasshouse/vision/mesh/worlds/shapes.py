"""Signed distances to the shapes of the blocks world; exact inside and outside, negative inside.

All shapes stand upright around the y axis between -HALF and HALF. The ball and the box are textbook formulas (Quilez,
"Distance functions", iquilezles.org); the cone and the can are outlines turned around the axis.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

HALF = 0.35
"""Half of every shape's height."""
BOX = 0.31
"""Half of the box's width."""
CAN = 0.29
"""Radius of the can."""
CONE = 0.38
"""Radius of the cone's base."""


def ball(points: Float[Tensor, "... 3"]) -> Float[Tensor, ...]:
    """A ball that touches both ends."""
    distance: Tensor = points.norm(dim=-1) - HALF
    return distance


def box(points: Float[Tensor, "... 3"]) -> Float[Tensor, ...]:
    """A box with a square base."""
    beyond = points.abs() - points.new_tensor([BOX, HALF, BOX])
    outside: Tensor = beyond.clamp(min=0).norm(dim=-1)
    return outside + beyond.amax(-1).clamp(max=0)


def cone(points: Float[Tensor, "... 3"]) -> Float[Tensor, ...]:
    """A cone whose tip is at the top."""
    return turned(points, [(0.0, -HALF), (CONE, -HALF), (0.0, HALF)])


def can(points: Float[Tensor, "... 3"]) -> Float[Tensor, ...]:
    """An upright cylinder."""
    return turned(points, [(0.0, -HALF), (CAN, -HALF), (CAN, HALF), (0.0, HALF)])


def turned(points: Float[Tensor, "... 3"], outline: Sequence[tuple[float, float]]) -> Float[Tensor, ...]:
    """The distance to a convex outline (radius, height), from the axis below to the axis above, turned around y."""
    place = torch.stack([points[..., [0, 2]].norm(dim=-1), points[..., 1]], -1)
    nearest = torch.full_like(place[..., 0], math.inf)
    outside = torch.zeros_like(nearest, dtype=torch.bool)
    for start, end in itertools.pairwise(outline):
        a, along = place.new_tensor(start), place.new_tensor(end) - place.new_tensor(start)
        away = place - a
        share = ((away @ along) / (along @ along)).clamp(0, 1)
        distance = (away - share[..., None] * along).norm(dim=-1)
        beyond = along[0] * away[..., 1] - along[1] * away[..., 0] < 0
        nearest, outside = torch.minimum(nearest, distance), outside | beyond
    return torch.where(outside, nearest, -nearest)


SHAPES: dict[str, Callable[[Tensor], Tensor]] = {"ball": ball, "box": box, "cone": cone, "can": can}

__all__ = ["HALF", "SHAPES", "ball", "box", "can", "cone", "turned"]
