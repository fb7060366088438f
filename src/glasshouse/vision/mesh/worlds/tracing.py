"""Pictures of signed distances by sphere tracing (Hart, 1996): step along a ray by the distance until it is small.

Every part of a scene has a distance of its own, so a picture says which part a ray meets and how it faces the camera.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

Distances = Callable[[Tensor], Tensor]
"""Points [p, 3] to signed distances [p, parts]."""

CLOSE = 1e-4
STEPS = 64


def trace(
    distances: Distances, origins: Float[Tensor, "p 3"], directions: Float[Tensor, "p 3"], radius: float
) -> tuple[Bool[Tensor, " p"], Float[Tensor, "p 3"]]:
    """Whether each ray meets the scene, which lies in a ball of this radius around the origin, and where."""
    middle = -(origins * directions).sum(-1)
    reach = radius**2 - (origins + middle[:, None] * directions).square().sum(-1)
    found = torch.zeros(len(origins), dtype=torch.bool)
    points = torch.zeros_like(origins)
    rays = torch.nonzero(reach > 0)[:, 0]
    half = reach[rays].sqrt()
    depth, last = middle[rays] - half, middle[rays] + half
    for _ in range(STEPS):
        if not len(rays):
            break
        at = origins[rays] + depth[:, None] * directions[rays]
        distance = distances(at).amin(-1)
        close = distance < CLOSE
        found[rays[close]], points[rays[close]] = True, at[close]
        depth = depth + distance
        going = ~close & (depth < last)
        rays, depth, last = rays[going], depth[going], last[going]
    return found, points


def facing(
    distances: Distances, points: Float[Tensor, "p 3"], directions: Float[Tensor, "p 3"]
) -> tuple[Int[Tensor, " p"], Float[Tensor, " p"]]:
    """Which part each point of the surface belongs to, and the cosine between its normal and the way to the camera."""
    part = distances(points).argmin(-1)
    corners = points.new_tensor([[1, -1, -1], [-1, -1, 1], [-1, 1, -1], [1, 1, 1]])
    probes = (points[:, None] + 1e-3 * corners).reshape(-1, 3)
    values = distances(probes).reshape(len(points), 4, -1)
    own = values.gather(2, part[:, None, None].expand(-1, 4, 1))[..., 0]
    normals = functional.normalize(own @ corners, dim=-1)
    return part, -(normals * directions).sum(-1)


__all__ = ["Distances", "facing", "trace"]
