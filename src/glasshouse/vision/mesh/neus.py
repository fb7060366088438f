"""NeuS: volume rendering of a signed distance, so that gradients reach the surface from all along a ray.

Wang et al. (arXiv 2106.10689), equations 10-13 in discrete form: with f_i the signed distance at the sections of a ray
and S the logistic function, a_i = max(0, (S(k f_i) - S(k f_{i+1})) / S(k f_i)) and w_i = a_i prod_{j<i} (1 - a_j). The
sharpness k is the inverse standard deviation. The eikonal term is (|grad f| - 1)^2.

Deviation: distance and colour come from one query at the sections; a section's colour is the mean of its two ends.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from glasshouse.vision.mesh.cameras import Cameras
from glasshouse.vision.mesh.shading import shade

# Points of m shapes -> their signed distances and their colours (or other features).
Field = Callable[[Float[Tensor, "m p 3"]], tuple[Float[Tensor, "m p"], Float[Tensor, "m p c"]]]


@dataclass(frozen=True)
class VolumeRendering:
    """`image` is composed over the background; `points` and `sdf` are those of the samples, for the eikonal term."""

    image: Float[Tensor, "n h w c"]
    coverage: Float[Tensor, "n h w 1"]
    points: Float[Tensor, "m p 3"]
    sdf: Float[Tensor, "m p"]


def neus_weights(sdf: Float[Tensor, "*rays s"], sharpness: float | Tensor) -> Float[Tensor, "*rays s-1"]:
    """Weights of the sections between the samples of rays, front to back; they sum to at most 1."""
    # log S(k f) keeps its digits where S is nearly 0: a = 1 - S(k f') / S(k f) = 1 - exp(log S' - log S).
    logs = functional.logsigmoid(sdf * sharpness)
    alpha = -torch.expm1((logs[..., 1:] - logs[..., :-1]).clamp(max=0))
    passed = torch.cumprod(1 - alpha + 1e-10, dim=-1)
    return alpha * torch.cat([torch.ones_like(passed[..., :1]), passed[..., :-1]], dim=-1)


def render_volume(
    field: Field,
    cameras: Cameras,
    size: int,
    *,
    shapes: int = 1,
    samples: int = 24,
    sharpness: float | Tensor = 60.0,
    extent: float = 1.0,
    background: float = 0.0,
    ambient: float | None = None,
    generator: torch.Generator | None = None,
) -> VolumeRendering:
    """Pictures of `shapes` fields inside the cube [-extent, extent]^3; each is seen by n / shapes of the n cameras.

    `samples` sections a ray between its entry into and its exit from the cube, shifted by one draw of `generator` for
    each ray (not at all without one). With `ambient`, colours are lit by a lamp at the camera (`shading`), whose cosine
    is how fast the distance falls along the ray. Raises `ValueError` when cameras cannot be shared out evenly.
    """
    if not len(cameras) or len(cameras) % shapes:
        raise ValueError(f"{len(cameras)} cameras for {shapes} shapes: give each shape as many, at least one")
    if size < 1 or samples < 1:
        raise ValueError(f"size and samples must be at least 1, got {size} and {samples}")
    origins, directions = (part.reshape(-1, 3) for part in cameras.rays(size))
    near, far = enter_and_leave(origins, directions, extent)
    steps = torch.arange(samples + 1, dtype=near.dtype, device=near.device)[None]
    if generator is not None:
        shift = torch.rand(len(near), 1, generator=generator, device=generator.device, dtype=near.dtype)
        steps = (steps + shift.to(near.device) - 0.5).clamp(0, samples)
    depth = near[:, None] + (far - near)[:, None] * (steps / samples)
    points = origins[:, None] + directions[:, None] * depth[..., None]
    points = points.reshape(shapes, -1, 3)
    sdf, colour = field(points)
    along = sdf.reshape(-1, samples + 1)
    weights = neus_weights(along, sharpness) * (far > near)[:, None]
    colour = colour.reshape(*weights.shape[:1], samples + 1, -1)
    coverage = weights.sum(1, keepdim=True)
    if ambient is not None:
        fall = (along[:, :-1] - along[:, 1:]) / (depth[:, 1:] - depth[:, :-1]).clamp(min=1e-6)
        weights = weights * shade(fall.clamp(0, 1), ambient)
    colour = ((colour[:, 1:] + colour[:, :-1]) / 2 * weights[..., None]).sum(1)
    image = colour + (1 - coverage) * background
    shape = (len(cameras), size, size, -1)
    return VolumeRendering(image.reshape(shape), coverage.reshape(shape), points, sdf)


def enter_and_leave(
    origins: Float[Tensor, "r 3"], directions: Float[Tensor, "r 3"], extent: float
) -> tuple[Float[Tensor, " r"], Float[Tensor, " r"]]:
    """Where rays enter and leave the cube [-extent, extent]^3; equal where they miss it. Never behind the origin."""
    # A direction of exactly 0 along an axis would give 0 / 0 on a face of the cube.
    safe = torch.where(directions.abs() < 1e-9, 1e-9, directions)
    one, other = (-extent - origins) / safe, (extent - origins) / safe
    near = torch.minimum(one, other).amax(1).clamp(min=0)
    far = torch.maximum(one, other).amin(1)
    return near, torch.maximum(near, far)


def spatial_gradient(
    sdf: Callable[[Float[Tensor, "m p 3"]], Float[Tensor, "m p"]], points: Float[Tensor, "m p 3"], step: float = 1e-2
) -> Float[Tensor, "m p 3"]:
    """Gradient by central differences of width 2 `step`: six queries, and no second derivatives in training."""
    axes = torch.eye(3, dtype=points.dtype, device=points.device) * step
    moved = torch.cat([points[..., None, :] + axes, points[..., None, :] - axes], dim=-2)  # [m, p, 6, 3]
    values = sdf(moved.flatten(1, 2)).reshape(*points.shape[:2], 2, 3)
    return (values[..., 0, :] - values[..., 1, :]) / (2 * step)


def exact_gradient(
    sdf: Callable[[Float[Tensor, "m p 3"]], Float[Tensor, "m p"]], points: Float[Tensor, "m p 3"]
) -> Float[Tensor, "m p 3"]:
    """Gradient by differentiation; a loss on it differentiates twice."""
    with torch.enable_grad():
        points = points.detach().requires_grad_()
        return torch.autograd.grad(sdf(points).sum(), points, create_graph=True)[0]


def eikonal(gradient: Float[Tensor, "*p 3"]) -> Float[Tensor, ""]:
    """Mean of (|gradient| - 1)^2: 0 for a true distance."""
    return ((gradient.square().sum(-1) + 1e-12).sqrt() - 1).square().mean()
