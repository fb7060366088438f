"""Edge-driven analytic antialiasing: silhouettes blend neighbouring pixels by where they cross between the centres.

After Laine et al. (arXiv 2011.03277, section 3.5): pixels are blended across a silhouette edge by the distance of the
crossing from the pixels' common border, and the crossing's gradient stands for that of visibility.

Deviation: the search starts from the edges, not from the pixels. Silhouette edges are found by facing, scanned along
rows (edges that are steep in the picture) or columns (the others), and the nearest that is not hidden is kept for each
pair of neighbours. With triangles smaller than a pixel, the silhouette often belongs to a triangle that no pixel sees,
and an antialiasing that starts from the pixels' own triangles loses it.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from glasshouse.vision.mesh.batch import MeshBatch
from glasshouse.vision.mesh.visibility import NOTHING, View


def silhouettes(batch: MeshBatch, view: View) -> Int[Tensor, "e 2"]:
    """Edges between a triangle that faces the camera and one that does not, or of one triangle only.

    Each is (triangle of `view`, number of the corner the edge starts at).
    """
    with torch.no_grad():
        each = view.count // len(batch)
        ends = torch.stack([batch.faces, batch.faces.roll(-1, 1)], -1)  # [f, 3, 2]
        low, high = ends.amin(-1).flatten(), ends.amax(-1).flatten()
        key, order = (low * len(batch.vertices) + high).sort(stable=True)
        fresh = torch.ones_like(key, dtype=torch.bool)
        fresh[1:] = key[1:] != key[:-1]
        group = fresh.cumsum(0) - 1
        first, second = view.screen[:, 1] - view.screen[:, 0], view.screen[:, 2] - view.screen[:, 0]
        facing = (first[:, 0] * second[:, 1] < first[:, 1] * second[:, 0]).reshape(-1, each)
        facing = facing[order // 3]  # [3f, each], by edge
        fronts = torch.zeros(int(group[-1]) + 1, each, dtype=torch.int32, device=key.device)
        fronts.index_add_(0, group, facing.to(torch.int32))
        members = torch.bincount(group)[:, None]
        outline = ((fronts > 0) & (fronts < members)) | (members == 1)
        edge, number = outline.nonzero(as_tuple=True)
        place = order[fresh.nonzero().flatten()[edge]]
        return torch.stack([place // 3 * each + number, place % 3], dim=1)


def antialias(
    image: Float[Tensor, "n h w c"], depth: Float[Tensor, " pixels"], edges: Int[Tensor, "e 2"], view: View
) -> Float[Tensor, "n h w c"]:
    """`image` with pixels blended across the edges that are visible; gradients to it and to the edges' ends."""
    flat = image.reshape(-1, image.shape[-1])
    for axis in (0, 1):
        if view.width * view.height > 1:
            first, second, where = _pairs(depth, edges, view, axis)
            share = (where - 0.5)[:, None]  # of the second pixel that the first one's surface fills
            difference = flat[first] - flat[second]
            blended = flat.index_add(0, second, share.clamp(min=0) * difference)
            flat = blended.index_add(0, first, share.clamp(max=0) * difference)
    return flat.reshape(image.shape)


def _pairs(
    depth: Tensor, edges: Tensor, view: View, axis: int
) -> tuple[Int[Tensor, " p"], Int[Tensor, " p"], Float[Tensor, " p"]]:
    """Pairs of pixels next to each other along `axis` (0: x), and where between their centres an edge crosses."""
    start = view.screen[edges[:, 0], edges[:, 1]]
    end = view.screen[edges[:, 0], (edges[:, 1] + 1) % 3]
    with torch.no_grad():
        run = (end - start).abs()
        own = ((run[:, 1] >= run[:, 0]) if axis == 0 else (run[:, 1] < run[:, 0])).nonzero().flatten()
        size = (view.width, view.height)
        low = torch.minimum(start[own, 1 - axis], end[own, 1 - axis])
        high = torch.maximum(start[own, 1 - axis], end[own, 1 - axis])
        line_low = (low - 0.5).ceil().clamp(min=0).long()
        line_high = (high - 0.5).ceil().clamp(max=size[1 - axis]).long()  # half-open: a shared end counts once
        amounts = (line_high - line_low).clamp(min=0)
        owner = own.repeat_interleave(amounts)
        starts = line_low - (amounts.cumsum(0) - amounts)
        line = torch.arange(len(owner), device=owner.device) + starts.repeat_interleave(amounts)
        cross, share = _crossing(start[owner], end[owner], line, axis)
        cell = (cross - 0.5).floor().long()
        inside = ((cell >= 0) & (cell < size[axis] - 1)).nonzero().flatten()
        owner, line, cell, share = owner[inside], line[inside], cell[inside], share[inside]
        column, row = (cell, line) if axis == 0 else (line, cell)
        triangle = edges[owner, 0]
        first = (view.picture[triangle] * view.height + row) * view.width + column
        second = first + (1 if axis == 0 else view.width)
        inverse = view.clip[triangle, edges[owner, 1], 3].reciprocal() * (1 - share)
        inverse = inverse + view.clip[triangle, (edges[owner, 1] + 1) % 3, 3].reciprocal() * share
        near = inverse.reciprocal().float()
        # An edge behind both pixels is hidden; the outline of what the nearer pixel shows lies before the farther one.
        visible = (near < torch.maximum(depth[first], depth[second])).nonzero().flatten()
        key = (near[visible].view(torch.int32).long() << 32) | visible
        best = torch.full((len(depth),), NOTHING, dtype=torch.int64, device=depth.device)
        best.scatter_reduce_(0, first[visible], key, "amin", include_self=True)
        kept = best[best != NOTHING] & 0xFFFFFFFF
        owner, line, first, second, cell = owner[kept], line[kept], first[kept], second[kept], cell[kept]
    cross, _ = _crossing(start[owner], end[owner], line, axis)
    return first, second, (cross - 0.5 - cell).clamp(0, 1)


def _crossing(start: Tensor, end: Tensor, line: Tensor, axis: int) -> tuple[Float[Tensor, " p"], Float[Tensor, " p"]]:
    """Where edges meet the centres of a row (`axis` 0) or column, in pixels, and at what share of their length."""
    run = end[:, 1 - axis] - start[:, 1 - axis]
    share = (line + 0.5 - start[:, 1 - axis]) / run
    return start[:, axis] + (end[:, axis] - start[:, axis]) * share, share
