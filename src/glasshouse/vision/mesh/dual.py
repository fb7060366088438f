"""Dual extraction for export: a vertex in every cube that the surface crosses, a quadrilateral for each crossed edge.

Nielson, "Dual Marching Cubes" (2004), as FlexiCubes uses it (Shen et al., arXiv 2308.05371): a third of the triangles
of marching tetrahedra and no slivers. A cube has one vertex for each patch of surface in it, at the mean of the patch's
crossings, or, given normals, where the tangent planes at the crossings meet best (dual contouring: Ju et al. 2002),
which keeps edges and corners sharp.

Deviations from FlexiCubes: nothing is learned here. The table of patches is derived: on every face of a cube crossings
are joined around inside corners, and the loops are the patches. Two cubes that meet in a face with four crossings, in
each of which one patch holds all four, would share an edge twice; they join around outside corners instead.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

from glasshouse.vision.mesh.batch import MeshBatch
from glasshouse.vision.mesh.marching import check, close, crossed_edges, refuse_uniform
from glasshouse.vision.mesh.tets import TetrahedralGrid

# Edges of a cube: the corner each starts at and its direction, both as bits (4: x, 2: y, 1: z).
CUBE_EDGES = [(corner, axis) for axis in (4, 2, 1) for corner in range(8) if not corner & axis]
# Around each direction, counter-clockwise seen from its end: the corner of the four cubes at which the edge starts.
AROUND = {4: (3, 1, 0, 2), 2: (5, 4, 0, 1), 1: (6, 2, 0, 4)}
FACES = [(axis, side) for axis in (4, 2, 1) for side in (0, 1)]
STIFFNESS = 0.01  # pull of the mean of the crossings against the tangent planes

Normals = Callable[[Float[Tensor, "p 3"], Int[Tensor, " p"]], Float[Tensor, "p 3"]]


def dual_surface(
    grid: TetrahedralGrid,
    sdf: Float[Tensor, "m v"],
    offset: Float[Tensor, "m v 3"] | None = None,
    normals: Normals | None = None,
) -> MeshBatch:
    """Surfaces of `m` signed distances, negative inside and closed at the grid's boundary, with gradients to both.

    `normals` gives directions away from the inside, of any length, for points and the numbers of their shapes; where
    they are not finite they are left out. Errors are those of `marching.marching_tetrahedra`.
    """
    check(grid, sdf, offset)
    sdf = close(grid, sdf)
    inside = sdf < 0
    refuse_uniform(inside)
    points = (grid.vertices.to(sdf) if offset is None else grid.vertices.to(sdf) + offset).expand(len(sdf), -1, 3)
    shape, base, group, first, numbers = _patches(grid, inside)
    vertices = _vertices(grid, points, sdf, shape, base, group, first, normals)
    faces, face_shape = _quadrilaterals(grid, inside, group, first, numbers, vertices)
    amounts = torch.bincount(torch.repeat_interleave(shape, first.diff()), minlength=len(sdf)).tolist()
    face_counts = torch.bincount(face_shape, minlength=len(sdf)).tolist()
    return MeshBatch(vertices, faces, tuple(amounts), tuple(face_counts))


@functools.cache
def patch_table(around_inside: bool = True) -> tuple[Int[np.ndarray, "256 12"], Bool[np.ndarray, "256 6"]]:
    """For every set of inside corners: each edge's patch (-1: not crossed), and which faces have one patch twice."""
    patches, twice = np.full((256, 12), -1), np.zeros((256, 6), dtype=bool)
    for case in range(256):
        parent = list(range(12))

        def root(edge: int, parent: list[int] = parent) -> int:
            while parent[edge] != edge:
                edge = parent[edge]
            return edge

        pairs = {face: _joined(case, *face, around_inside) for face in FACES}
        for first, second in (pair for found in pairs.values() for pair in found):
            parent[root(first)] = root(second)
        crossed = [e for e, (c, axis) in enumerate(CUBE_EDGES) if (case >> c & 1) != (case >> (c | axis) & 1)]
        labels = {name: number for number, name in enumerate(dict.fromkeys(root(edge) for edge in crossed))}
        for edge in crossed:
            patches[case, edge] = labels[root(edge)]
        for number, face in enumerate(FACES):
            found = pairs[face]
            twice[case, number] = len(found) == 2 and root(found[0][0]) == root(found[1][0])
    return patches, twice


def _joined(case: int, axis: int, side: int, around_inside: bool) -> list[tuple[int, int]]:
    """Pairs of edges that the surface joins on one face of a cube."""
    one, other = (bit for bit in (4, 2, 1) if bit != axis)
    start = axis if side else 0
    ring = [start, start | one, start | one | other, start | other]
    edges = [CUBE_EDGES.index((min(a, b), a ^ b)) for a, b in zip(ring, ring[1:] + ring[:1], strict=True)]
    signs = [bool(case >> corner & 1) for corner in ring]
    crossed = [edges[k] for k in range(4) if signs[k] != signs[(k + 1) % 4]]
    if len(crossed) < 4:
        return [(crossed[0], crossed[1])] if crossed else []
    alone = [k for k in range(4) if signs[k] == around_inside]  # corner k lies between edges k - 1 and k
    return [(edges[k - 1], edges[k]) for k in alone]


def _patches(
    grid: TetrahedralGrid, inside: Bool[Tensor, "m v"]
) -> tuple[Int[Tensor, " a"], Int[Tensor, " a"], Int[Tensor, "a 12"], Int[Tensor, " a+1"], Int[Tensor, "m v"]]:
    """Cubes with a surface: shape, first corner, patch of each edge, first vertex; and a table from corners to them."""
    side, size = grid.resolution + 1, grid.resolution
    signs = grid.cube(inside)
    case = torch.zeros(len(inside), size, size, size, dtype=torch.int64, device=inside.device)
    for bit in range(8):
        i, j, k = bit >> 2 & 1, bit >> 1 & 1, bit & 1
        case += signs[:, i : i + size, j : j + size, k : k + size].long() << bit
    shape, x, y, z = ((case > 0) & (case < 255)).nonzero(as_tuple=True)
    patches, twice = (torch.from_numpy(table).to(inside.device) for table in patch_table())
    others = torch.from_numpy(patch_table(False)[0]).to(inside.device)
    flagged = torch.zeros_like(case, dtype=torch.bool)
    for number, (axis, far) in enumerate(FACES):
        both = twice[case, number] & _neighbour(twice[case, number ^ 1], axis, far)
        flagged |= both
    chosen = case[shape, x, y, z]
    group = torch.where(flagged[shape, x, y, z, None], others[chosen], patches[chosen])
    amounts = group.amax(1) + 1
    first = functional.pad(amounts.cumsum(0), (1, 0))
    base = (x * side + y) * side + z
    numbers = torch.full(inside.shape, -1, dtype=torch.int64, device=inside.device)
    numbers[shape, base] = torch.arange(len(shape), device=inside.device)
    return shape, base, group, first, numbers


def _neighbour(flags: Bool[Tensor, "m n n n"], axis: int, far: int) -> Bool[Tensor, "m n n n"]:
    """What the neighbour across a face has; False outside the grid."""
    dimension = {4: 1, 2: 2, 1: 3}[axis]
    moved = flags.roll(-1 if far else 1, dimension)
    edge: list[slice | int] = [slice(None)] * 4
    edge[dimension] = -1 if far else 0
    moved[tuple(edge)] = False
    return moved


def _vertices(
    grid: TetrahedralGrid, points: Tensor, sdf: Tensor, shape: Tensor, base: Tensor, group: Tensor, first: Tensor,
    normals: Normals | None,
) -> Float[Tensor, "vertices 3"]:  # fmt: skip
    cube, edge = (group >= 0).nonzero(as_tuple=True)
    starts = torch.tensor([corner for corner, _ in CUBE_EDGES], device=sdf.device)
    ends = torch.tensor([corner | axis for corner, axis in CUBE_EDGES], device=sdf.device)
    own = shape[cube]
    a, b = base[cube] + grid.corners[starts[edge]], base[cube] + grid.corners[ends[edge]]
    s_a, s_b = sdf[own, a], sdf[own, b]
    crossing = points[own, a] + (points[own, b] - points[own, a]) * (s_a / (s_a - s_b))[:, None]
    place, count = first[cube] + group[cube, edge], int(first[-1])
    amounts = torch.bincount(place, minlength=count)[:, None]
    mean = sdf.new_zeros(count, 3).index_add(0, place, crossing) / amounts
    if normals is None:
        return mean
    directions = functional.normalize(torch.nan_to_num(normals(crossing, own), 0.0, 0.0, 0.0), dim=-1)
    planes = directions[:, :, None] * directions[:, None]
    distances = ((crossing - mean[place]) * directions).sum(-1, keepdim=True)
    matrix = sdf.new_zeros(count, 3, 3).index_add(0, place, planes)
    matrix = matrix + STIFFNESS * amounts[..., None] * torch.eye(3, dtype=sdf.dtype, device=sdf.device)
    wanted = sdf.new_zeros(count, 3).index_add(0, place, directions * distances)
    moved = mean + torch.linalg.solve(matrix, wanted)
    cubes = torch.repeat_interleave(torch.arange(len(shape), device=sdf.device), first.diff())
    corners = points[shape[cubes, None], base[cubes, None] + grid.corners]  # [vertices, 8, 3]
    return torch.minimum(torch.maximum(moved, corners.amin(1)), corners.amax(1))


def _quadrilaterals(
    grid: TetrahedralGrid, inside: Tensor, group: Tensor, first: Tensor, numbers: Tensor, vertices: Tensor
) -> tuple[Int[Tensor, "f 3"], Int[Tensor, " f"]]:
    """Two triangles for every crossed edge of a cube, split along the shorter diagonal, in the order of shapes."""
    shape, lower, direction, _ = crossed_edges(grid, inside)
    edges = (direction & (direction - 1) == 0).nonzero().flatten()  # the other directions are of tetrahedra only
    shape, lower, direction = shape[edges], lower[edges], direction[edges]
    rings = torch.zeros(8, 4, dtype=torch.int64, device=inside.device)
    local = torch.zeros(8, 8, dtype=torch.int64, device=inside.device)
    for axis, around in AROUND.items():
        rings[axis] = torch.tensor(around)
    for number, (start, axis) in enumerate(CUBE_EDGES):
        local[start, axis] = number
    corner = rings[direction]  # [e, 4]
    cube = numbers[shape[:, None], lower[:, None] - grid.corners[corner]]
    ring = first[cube] + group[cube, local[corner, direction[:, None]]]
    ring = torch.where(inside[shape, lower][:, None], ring, ring.flip(1))
    a, b, c, d = vertices.detach()[ring].unbind(1)
    turn = (a - c).norm(dim=-1) > (b - d).norm(dim=-1)
    ring = torch.where(turn[:, None], ring.roll(-1, 1), ring)
    faces = torch.stack([ring[:, [0, 1, 2]], ring[:, [0, 2, 3]]], dim=1).reshape(-1, 3)
    return faces, shape.repeat_interleave(2)
