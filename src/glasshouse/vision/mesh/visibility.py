"""Which triangle each pixel sees: the part of rasterisation that has no gradient.

`fragment_list` is plain PyTorch: every triangle's bounding box is spread into candidate pixels, edge functions keep
those whose centre is inside, and one `scatter_reduce` over (depth, triangle) keys keeps the nearest. Any function of
the same form may take its place: see `backend`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

NOTHING = torch.iinfo(torch.int64).max
CHUNK = 1 << 22  # candidate pixels handled at once
SLACK = -1e-6  # of barycentric weights, so that rounding opens no gap between neighbours


@dataclass(frozen=True)
class View:
    """Meshes as `count` cameras see them: every vertex and every triangle once for each camera that sees its mesh."""

    clip: Float[Tensor, "i 4"]  # vertices in clip space
    screen: Float[Tensor, "i 2"]  # and in pixels, x to the right and y down
    triangles: Int[Tensor, "t 3"]  # numbers of such vertices
    picture: Int[Tensor, " t"]  # the camera each triangle is seen by
    count: int
    height: int
    width: int

    def corners(self) -> tuple[Float[Tensor, "3 t"], Float[Tensor, "3 t"]]:
        """x and y of the triangles' corners in pixels, without gradients."""
        places = self.triangles.T.contiguous()
        screen = self.screen.detach().float()
        return screen[:, 0].contiguous()[places], screen[:, 1].contiguous()[places]


Visibility = Callable[[View], tuple[Int[Tensor, " pixels"], Float[Tensor, " pixels"]]]


def fragment_list(view: View) -> tuple[Int[Tensor, " pixels"], Float[Tensor, " pixels"]]:
    """For every pixel of all pictures the number of the nearest triangle (-1: none) and its distance along the axis.

    Where two triangles are equally near, the one with the lower number wins, on every run.
    """
    with torch.no_grad():
        x, y = view.corners()
        left, columns = _range(x, view.width)
        top, rows = _range(y, view.height)
        amounts = columns * rows
        some = amounts.nonzero().flatten()
        best = torch.full((view.count * view.height * view.width,), NOTHING, dtype=torch.int64, device=x.device)
        for part in _chunks(some, amounts[some].long()):
            box = tuple(bound[part].long() for bound in (left, columns, top, rows))
            _draw(view, x[:, part], y[:, part], part, box, best)
        return unpacked(best)


def backend(name: Literal["torch", "warp", "nvdiffrast"]) -> Visibility:
    """A way to find out what is visible, by name. Raises `ImportError` when its package is missing."""
    if name == "torch":
        return fragment_list
    if name == "warp":
        from glasshouse.vision.mesh.visibility_warp import warp_visibility

        return warp_visibility
    if name == "nvdiffrast":
        from glasshouse.vision.mesh.visibility_nvdiffrast import nvdiffrast_visibility

        return nvdiffrast_visibility
    raise ValueError(f"visibility is found by torch, warp or nvdiffrast, not by {name!r}")


def unpacked(best: Int[Tensor, " pixels"]) -> tuple[Int[Tensor, " pixels"], Float[Tensor, " pixels"]]:
    """Triangles and depths from keys with a depth's bits above a triangle's."""
    seen = best != NOTHING
    depth = (best >> 32).to(torch.int32).view(torch.float32)
    return torch.where(seen, best & 0xFFFFFFFF, -1), torch.where(seen, depth, torch.inf)


def depth_of(view: View, triangle: Int[Tensor, " pixels"]) -> Float[Tensor, " pixels"]:
    """Distance along the axis of what each pixel sees, from the numbers of triangles; infinity for none."""
    pixel = (triangle >= 0).nonzero().flatten()
    corners = view.triangles[triangle[pixel]]
    x, y = view.screen[corners].float().unbind(-1)
    x, y = x - (pixel % view.width + 0.5)[:, None], y - (pixel // view.width % view.height + 0.5)[:, None]
    area = x.roll(-1, 1) * y.roll(-2, 1) - x.roll(-2, 1) * y.roll(-1, 1)
    inverse = (area * view.clip[corners, 3].float().reciprocal()).sum(1) / area.sum(1)
    depth = torch.full((len(triangle),), torch.inf, device=triangle.device)
    return depth.index_put((pixel,), inverse.reciprocal())


def _range(corners: Float[Tensor, "3 t"], limit: int) -> tuple[Float[Tensor, " t"], Float[Tensor, " t"]]:
    """First pixel whose centre lies between a triangle's corners along one axis, and how many there are."""
    a, b, c = corners
    low = (torch.minimum(torch.minimum(a, b), c) - 0.5).ceil_().clamp_(min=0)
    high = (torch.maximum(torch.maximum(a, b), c) - 0.5).floor_().clamp_(max=limit - 1)
    return low, (high - low + 1).clamp_(min=0)


def _chunks(some: Tensor, amounts: Tensor) -> list[Tensor]:
    total = int(amounts.sum())
    if total <= CHUNK:
        return [some] if len(some) else []
    group = (amounts.cumsum(0) - 1) // CHUNK
    return list(torch.split(some, torch.unique_consecutive(group, return_counts=True)[1].tolist()))


def _draw(view: View, x: Tensor, y: Tensor, part: Tensor, box: tuple[Tensor, ...], best: Tensor) -> None:
    """Enters into `best` the fragments of the triangles `part`, as depth bits above triangle bits."""
    left, columns, top, rows = box
    amounts = columns * rows
    owner = torch.arange(len(part), device=part.device).repeat_interleave(amounts)
    place = torch.arange(len(owner), device=part.device) - (amounts.cumsum(0) - amounts)[owner]
    width = columns[owner]
    down = torch.div(place, width, rounding_mode="floor")
    right = place - down * width
    # The weight of corner k is linear in the pixel: 0 on the opposite edge, which starts at corner k + 1, and 1 at k.
    next_x, next_y = x.roll(-1, 0), y.roll(-1, 0)
    slope_x, slope_y = next_y - y.roll(-2, 0), x.roll(-2, 0) - next_x
    area = slope_x[0] * (x[0] - next_x[0]) + slope_y[0] * (y[0] - next_y[0])
    scale = torch.where(area == 0, torch.nan, 1 / area)  # a triangle seen edge-on covers nothing: NaN is never >= 0
    slope_x, slope_y = slope_x * scale, slope_y * scale
    start = slope_x * (left + 0.5 - next_x) + slope_y * (top + 0.5 - next_y)
    weights = [slope_x[k][owner] * right + slope_y[k][owner] * down + start[k][owner] for k in range(3)]
    inside = ((weights[0] >= SLACK) & (weights[1] >= SLACK) & (weights[2] >= SLACK)).nonzero().flatten()
    owner = owner[inside]
    triangle = part[owner]
    inverse = view.clip[:, 3].detach().float().reciprocal()[view.triangles[triangle]]
    depth = (torch.stack([weight[inside] for weight in weights], 1) * inverse).sum(1).reciprocal()
    row, column = top[owner] + down[inside], left[owner] + right[inside]
    pixel = (view.picture[triangle] * view.height + row) * view.width + column
    key = (depth.view(torch.int32).long() << 32) | triangle
    best.scatter_reduce_(0, pixel, key, "amin", include_self=True)
