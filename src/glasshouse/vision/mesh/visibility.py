"""Which triangle each pixel sees: the part of rasterisation that has no gradient.

`fragment_list` is plain PyTorch: every triangle's bounding box is spread into candidate pixels, edge functions keep
those whose centre is inside, and one `scatter_reduce` over (depth, triangle) keys keeps the nearest. Any function of
the same form may take its place.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

NOTHING = torch.iinfo(torch.int64).max
CHUNK = 1 << 22  # candidate pixels handled at once


@dataclass(frozen=True)
class View:
    """Meshes as `n` cameras see them: triangles of all views one after another, in clip space and in pixels."""

    clip: Float[Tensor, "t 3 4"]  # corners of each triangle
    screen: Float[Tensor, "t 3 2"]  # in pixels, x to the right and y down
    picture: Int[Tensor, " t"]  # the camera each triangle is seen by
    count: int
    height: int
    width: int


Visibility = Callable[[View], tuple[Int[Tensor, " pixels"], Float[Tensor, " pixels"]]]


def fragment_list(view: View) -> tuple[Int[Tensor, " pixels"], Float[Tensor, " pixels"]]:
    """For every pixel of all pictures the number of the nearest triangle (-1: none) and its distance along the axis.

    Where two triangles are equally near, the one with the lower number wins, on every run.
    """
    with torch.no_grad():
        screen = view.screen.float()
        low = (screen.amin(1) - 0.5).ceil().clamp(min=0)
        limit = screen.new_tensor([view.width - 1, view.height - 1])
        high = torch.minimum((screen.amax(1) - 0.5).floor(), limit)
        extent = (high - low + 1).clamp(min=0).long()
        amounts = extent[:, 0] * extent[:, 1]
        some = amounts.nonzero().flatten()
        best = torch.full((view.count * view.height * view.width,), NOTHING, dtype=torch.int64, device=screen.device)
        for part in _chunks(some, amounts[some]):
            _draw(view, screen, part, low[part].long(), extent[part], best)
        seen = best != NOTHING
        triangle = torch.where(seen, best & 0xFFFFFFFF, -1)
        depth = (best >> 32).to(torch.int32).view(torch.float32)
        return triangle, torch.where(seen, depth, torch.inf)


def _chunks(some: Tensor, amounts: Tensor) -> list[Tensor]:
    total = int(amounts.sum())
    if total <= CHUNK:
        return [some] if len(some) else []
    group = (amounts.cumsum(0) - 1) // CHUNK
    return list(torch.split(some, torch.unique_consecutive(group, return_counts=True)[1].tolist()))


def _draw(view: View, screen: Tensor, part: Tensor, low: Tensor, extent: Tensor, best: Tensor) -> None:
    """Enters into `best` the fragments of the triangles `part`, as depth bits above triangle bits."""
    amounts = extent[:, 0] * extent[:, 1]
    owner = torch.arange(len(part), device=part.device).repeat_interleave(amounts)
    place = torch.arange(len(owner), device=part.device) - (amounts.cumsum(0) - amounts)[owner]
    column = low[owner, 0] + place % extent[owner, 0]
    row = low[owner, 1] + place // extent[owner, 0]
    corners = screen[part]  # [t, 3, 2]
    following = corners.roll(-1, 1)
    # Edge function of the edge opposite corner k: linear in the pixel, positive inside for one winding.
    slope_x = (corners[..., 1] - following[..., 1]).roll(-1, 1)
    slope_y = (following[..., 0] - corners[..., 0]).roll(-1, 1)
    anchor = following  # the edge opposite corner k starts at corner k + 1
    area = (slope_x * (corners[..., 0] - anchor[..., 0]) + slope_y * (corners[..., 1] - anchor[..., 1])).mean(1)
    scale = torch.where(area == 0, 0.0, 1 / area)[:, None]
    slope_x, slope_y = slope_x * scale, slope_y * scale
    x = (column + 0.5)[:, None] - anchor[owner, :, 0]
    y = (row + 0.5)[:, None] - anchor[owner, :, 1]
    weights = slope_x[owner] * x + slope_y[owner] * y
    inside = ((weights >= 0).all(1) & (area != 0)[owner]).nonzero().flatten()
    owner, weights = owner[inside], weights[inside]
    inverse = (weights * view.clip[part, :, 3].detach().float().reciprocal()[owner]).sum(1)
    depth = inverse.reciprocal()
    pixel = (view.picture[part[owner]] * view.height + row[inside]) * view.width + column[inside]
    key = (depth.view(torch.int32).long() << 32) | part[owner]
    best.scatter_reduce_(0, pixel, key, "amin", include_self=True)
