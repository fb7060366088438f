"""Marching tetrahedra: a signed distance on a grid of tetrahedra becomes triangles, with gradients (DMTet).

Shen et al., "Deep Marching Tetrahedra" (arXiv 2111.04276), section 3.1.3: a vertex on every edge whose ends have
different signs, at v_a + (v_b - v_a) s_a / (s_a - s_b), and one or two triangles in every tetrahedron that has some.
Inside is s < 0. Grid vertices may be moved by an offset.

Deviations: many shapes at once; only cubes with both signs are looked at; and with `closed` the boundary of the grid
counts as outside. Without that rule, objects that touch the box are left open.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

from glasshouse.vision.mesh.batch import MeshBatch
from glasshouse.vision.mesh.tets import TetrahedralGrid


class NoSurfaceError(ValueError):
    """A signed distance has one sign everywhere, so there is nothing to extract."""


def marching_tetrahedra(
    grid: TetrahedralGrid,
    sdf: Float[Tensor, "m v"],
    offset: Float[Tensor, "m v 3"] | None = None,
    *,
    closed: bool = True,
) -> MeshBatch:
    """Surfaces of `m` signed distances, negative inside, facing outwards; gradients flow to `sdf` and `offset`.

    Offsets are in scene units; keep them within half a `grid.cell`, for example by tanh. Raises `NoSurfaceError` for a
    shape without a change of sign (see `with_surface`), `ValueError` for wrong sizes and values that are not finite.
    """
    check(grid, sdf, offset)
    sdf = close(grid, sdf) if closed else sdf
    inside = sdf < 0
    refuse_uniform(inside)
    points = grid.vertices.to(sdf) if offset is None else grid.vertices.to(sdf) + offset
    shape, lower, direction, numbers = crossed_edges(grid, inside)
    vertices = _crossings(points, sdf, shape, lower, lower + grid.corners[direction])
    faces, face_shape = _triangles(grid, inside, numbers)
    amount = len(sdf)
    vertex_counts = torch.bincount(shape, minlength=amount).tolist()
    face_counts = torch.bincount(face_shape, minlength=amount).tolist()
    return MeshBatch(vertices, faces, tuple(vertex_counts), tuple(face_counts))


def close(grid: TetrahedralGrid, sdf: Float[Tensor, "m v"], margin: float = 1e-3) -> Float[Tensor, "m v"]:
    """The boundary rule: outside on the boundary of the grid, by at least `margin` cells."""
    return torch.where(grid.boundary, sdf.clamp(min=margin * grid.cell), sdf)


def with_surface(grid: TetrahedralGrid, sdf: Float[Tensor, "m v"]) -> Float[Tensor, "m v"]:
    """Shapes without any inside are lowered until their least inner vertex lies a cell inside; others are unchanged.

    The lowering passes no gradient. Completely full shapes need no such help under the boundary rule.
    """
    least = sdf.detach().masked_fill(grid.boundary, torch.inf).amin(dim=1, keepdim=True)
    return torch.where(least >= 0, sdf - least - grid.cell, sdf)


def sign_regularizer(grid: TetrahedralGrid, sdf: Float[Tensor, "m v"]) -> Float[Tensor, " m"]:
    """Mean cross-entropy between the signs of the two ends of every crossed edge, by shape; 0 where none is crossed.

    Munkberg et al. (arXiv 2111.12503), equation 2. It removes specks and floating sheets.
    """
    shape, lower, direction, _ = crossed_edges(grid, sdf < 0)
    a, b = sdf[shape, lower], sdf[shape, lower + grid.corners[direction]]
    loss = functional.binary_cross_entropy_with_logits(a, (b > 0).to(a), reduction="none")
    loss = loss + functional.binary_cross_entropy_with_logits(b, (a > 0).to(b), reduction="none")
    total = sdf.new_zeros(len(sdf)).index_add(0, shape, loss)
    return total / torch.bincount(shape, minlength=len(sdf)).clamp(min=1)


def check(grid: TetrahedralGrid, sdf: Tensor, offset: Tensor | None) -> None:
    if sdf.ndim != 2 or sdf.shape[1] != len(grid.vertices):
        raise ValueError(
            f"the grid of resolution {grid.resolution} takes distances of shape (shapes, {len(grid.vertices)}), "
            f"got {tuple(sdf.shape)}"
        )
    if offset is not None and offset.shape != (*sdf.shape, 3):
        raise ValueError(f"offsets must have the shape {(*sdf.shape, 3)}, got {tuple(offset.shape)}")
    for name, values in (("signed distances", sdf), ("offsets", offset)):
        if values is not None and not bool(torch.isfinite(values).all()):
            bad = (~torch.isfinite(values)).flatten(1).any(1).nonzero().flatten().tolist()
            raise ValueError(
                f"the {name} of shapes {bad[:8]} hold NaN or infinity; the network that made them diverged"
            )


def refuse_uniform(inside: Bool[Tensor, "m v"]) -> None:
    full, some = inside.all(1), inside.any(1)
    bad = full | ~some
    if bool(bad.any()):
        number = int(bad.nonzero()[0])
        where = "inside" if bool(full[number]) else "outside"
        raise NoSurfaceError(
            f"{int(bad.sum())} of {len(inside)} shapes have no surface; shape {number} is {where} everywhere: "
            "start from a signed distance that changes sign (an ellipsoid), or use with_surface"
        )


def crossed_edges(
    grid: TetrahedralGrid, inside: Bool[Tensor, "m v"]
) -> tuple[Int[Tensor, " e"], Int[Tensor, " e"], Int[Tensor, " e"], Int[Tensor, "m v 8"]]:
    """Shape, lower vertex and direction of every edge with two signs, and a table back from those to its number."""
    signs = grid.cube(inside)
    crossed = torch.zeros(*signs.shape, 8, dtype=torch.bool, device=inside.device)
    side = grid.resolution + 1
    for code in range(1, 8):
        x, y, z = code >> 2 & 1, code >> 1 & 1, code & 1
        low, high = signs[:, : side - x, : side - y, : side - z], signs[:, x:, y:, z:]
        crossed[:, : side - x, : side - y, : side - z, code] = low != high
    crossed = crossed.reshape(*inside.shape, 8)
    shape, lower, direction = crossed.nonzero(as_tuple=True)
    numbers = torch.zeros(crossed.shape, dtype=torch.int64, device=inside.device)
    numbers[shape, lower, direction] = torch.arange(len(shape), device=inside.device)
    return shape, lower, direction, numbers


def _crossings(points: Tensor, sdf: Tensor, shape: Tensor, a: Tensor, b: Tensor) -> Float[Tensor, "e 3"]:
    s_a, s_b = sdf[shape, a], sdf[shape, b]
    p_a, p_b = (points[a], points[b]) if points.ndim == 2 else (points[shape, a], points[shape, b])
    return p_a + (p_b - p_a) * (s_a / (s_a - s_b))[:, None]


def _triangles(
    grid: TetrahedralGrid, inside: Bool[Tensor, "m v"], numbers: Int[Tensor, "m v 8"]
) -> tuple[Int[Tensor, "f 3"], Int[Tensor, " f"]]:
    """Faces as numbers of crossed edges, and the shape each belongs to; in the order of shapes."""
    signs = grid.cube(inside)
    some, every = signs, signs
    for axis in (1, 2, 3):
        low, high = (slice(None),) * axis + (slice(None, -1),), (slice(None),) * axis + (slice(1, None),)
        some, every = some[low] | some[high], every[low] & every[high]
    shape, x, y, z = (some & ~every).nonzero(as_tuple=True)
    side = grid.resolution + 1
    base = (x * side + y) * side + z
    corner_inside = inside[shape[:, None], base[:, None] + grid.corners]
    bits = torch.tensor([1, 2, 4, 8], device=inside.device)
    case = (corner_inside[:, grid.tetrahedra] * bits).sum(-1)  # [cubes, 6]
    cube, tetrahedron = ((case > 0) & (case < 15)).nonzero(as_tuple=True)
    case, shape, base = case[cube, tetrahedron], shape[cube], base[cube]
    wanted = torch.arange(2, device=inside.device) < grid.triangle_counts[case][:, None]
    row, which = wanted.nonzero(as_tuple=True)
    edge = grid.triangles[case[row], which]  # [f, 3], numbers of EDGES
    tetrahedron = tetrahedron[row, None]
    lower = base[row, None] + grid.corners[grid.edge_corner[tetrahedron, edge]]
    return numbers[shape[row, None], lower, grid.edge_direction[tetrahedron, edge]], shape[row]
