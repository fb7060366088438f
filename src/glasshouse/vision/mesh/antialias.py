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


def silhouettes(batch: MeshBatch, view: View) -> tuple[Int[Tensor, "e 2"], Int[Tensor, " e"]]:
    """Edges between a triangle that faces the camera and one that does not, or of one triangle only.

    Returns the numbers of their ends among the vertices of `view`, and their pictures.
    """
    with torch.no_grad():
        each = view.count // len(batch)
        ends = torch.stack([batch.faces, batch.faces.roll(-1, 1)], -1)  # [f, 3, 2]
        low, high = ends.amin(-1).flatten(), ends.amax(-1).flatten()
        key, order = (low * len(batch.vertices) + high).sort(stable=True)
        fresh = torch.ones_like(key, dtype=torch.bool)
        fresh[1:] = key[1:] != key[:-1]
        group = fresh.cumsum(0) - 1
        x, y = view.corners()
        facing = ((x[1] - x[0]) * (y[2] - y[0]) < (y[1] - y[0]) * (x[2] - x[0])).reshape(-1, each)
        facing = facing[order // 3]  # [3f, each], by edge
        fronts = torch.zeros(int(group[-1]) + 1, each, dtype=torch.int32, device=key.device)
        fronts.index_add_(0, group, facing.to(torch.int32))
        members = torch.bincount(group)[:, None]
        outline = ((fronts > 0) & (fronts < members)) | (members == 1)
        edge, number = outline.nonzero(as_tuple=True)
        place = order[fresh.nonzero().flatten()[edge]]
        triangle, corner = place // 3 * each + number, place % 3
        ends = torch.stack([view.triangles[triangle, corner], view.triangles[triangle, (corner + 1) % 3]], dim=1)
        return ends, view.picture[triangle]


def antialias(
    image: Float[Tensor, "n h w c"],
    depth: Float[Tensor, " pixels"],
    edges: tuple[Int[Tensor, "e 2"], Int[Tensor, " e"]],
    view: View,
) -> Float[Tensor, "n h w c"]:
    """`image` with pixels blended across the edges that are visible; gradients to it and to the edges' ends."""
    flat = image.reshape(-1, image.shape[-1])
    for axis in (0, 1):
        first, second, where = _pairs(depth, edges, view, axis)
        share = (where - 0.5)[:, None]  # of the second pixel that the first one's surface fills
        difference = flat[first] - flat[second]
        blended = flat.index_add(0, second, share.clamp(min=0) * difference)
        flat = blended.index_add(0, first, share.clamp(max=0) * difference)
    return flat.reshape(image.shape)


def _pairs(
    depth: Tensor, edges: tuple[Tensor, Tensor], view: View, axis: int
) -> tuple[Int[Tensor, " p"], Int[Tensor, " p"], Float[Tensor, " p"]]:
    """Pairs of pixels next to each other along `axis` (0: x), and where between their centres an edge crosses."""
    ends, picture = edges
    start, end = view.screen[ends[:, 0]], view.screen[ends[:, 1]]
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
        first = (picture[owner] * view.height + row) * view.width + column
        second = first + (1 if axis == 0 else view.width)
        inverse = view.clip[ends[owner], 3].reciprocal()
        near = torch.lerp(inverse[:, 0], inverse[:, 1], share).reciprocal().float()
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
