"""The grid of tetrahedra that surfaces are extracted on: every cube cut into Kuhn's six tetrahedra.

Kuhn (1960): a tetrahedron for each order of the three axes, from corner 000 along the cube's diagonal to corner 111.
All cubes are cut alike, so faces of neighbours agree, and every edge runs from a grid vertex in one of seven directions
(the non-zero corners of a cube). An edge is therefore (its lower vertex, its direction), and needs no search.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

# Corner c of a cube lies at (c >> 2 & 1, c >> 1 & 1, c & 1), in steps of the grid along x, y, z.
CORNERS = np.array([[corner >> 2 & 1, corner >> 1 & 1, corner & 1] for corner in range(8)])
EDGES = ((0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3))  # of a tetrahedron with corners 0..3


def kuhn_tetrahedra() -> Int[np.ndarray, "6 4"]:
    """Corners of the six tetrahedra of a cube, each ordered so that its volume is positive."""
    tetrahedra = []
    for order in permutations((4, 2, 1)):
        corners = [0, order[0], order[0] | order[1], 7]
        edges = CORNERS[corners[1:]] - CORNERS[corners[0]]
        if np.linalg.det(edges) < 0:
            corners[2], corners[3] = corners[3], corners[2]
        tetrahedra.append(corners)
    return np.array(tetrahedra)


def marching_table() -> tuple[Int[np.ndarray, "16 2 3"], Int[np.ndarray, " 16"]]:
    """For each set of inside corners (bit i: corner i): triangles as numbers of `EDGES`, and how many there are.

    Derived, not typed: the crossed edges' midpoints on a reference tetrahedron of positive volume are put in order
    around the direction from the inside to the outside corners, so that triangles face outwards.
    """
    reference = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], dtype=float)
    table, counts = np.zeros((16, 2, 3), dtype=np.int64), np.zeros(16, dtype=np.int64)
    for case in range(1, 15):
        inside = np.array([case >> corner & 1 for corner in range(4)], dtype=bool)
        crossed = [number for number, (a, b) in enumerate(EDGES) if inside[a] != inside[b]]
        middles = np.array([reference[list(EDGES[number])].mean(0) for number in crossed])
        outwards = reference[~inside].mean(0) - reference[inside].mean(0)
        outwards /= np.linalg.norm(outwards)
        first = middles[0] - middles.mean(0)
        first -= outwards * (first @ outwards)
        second = np.cross(outwards, first)
        around = np.arctan2((middles - middles.mean(0)) @ second, (middles - middles.mean(0)) @ first)
        ring = [crossed[place] for place in np.argsort(around)]
        counts[case] = len(ring) - 2
        for triangle in range(len(ring) - 2):
            table[case, triangle] = ring[0], ring[triangle + 1], ring[triangle + 2]
    return table, counts


@dataclass(frozen=True)
class TetrahedralGrid:
    """(resolution + 1)^3 vertices that fill [-extent, extent]^3, x slowest and z fastest, and tables of the cubes."""

    resolution: int
    extent: float
    vertices: Float[Tensor, "v 3"]
    boundary: Bool[Tensor, " v"]
    corners: Int[
        Tensor, " 8"
    ]  # offsets of a cube's corners in vertex numbers; corners 1..7 are also the directions of edges
    tetrahedra: Int[Tensor, "6 4"]  # corners of a cube
    edge_corner: Int[Tensor, "6 6"]  # for each tetrahedron and each of EDGES: the corner it starts at
    edge_direction: Int[Tensor, "6 6"]  # and its direction, 1..7
    triangles: Int[Tensor, "16 2 3"]
    triangle_counts: Int[Tensor, " 16"]

    @property
    def cell(self) -> float:
        """Edge length of a cube."""
        return 2 * self.extent / self.resolution

    def cube(self, values: Float[Tensor, "*m v"]) -> Float[Tensor, "*m n n n"]:
        """Values of the vertices as a block with axes x, y, z."""
        side = self.resolution + 1
        return values.reshape(*values.shape[:-1], side, side, side)

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> TetrahedralGrid:
        """The same grid on another device, its vertices in another precision."""
        moved = {name: value.to(device) for name, value in vars(self).items() if isinstance(value, Tensor)}
        moved["vertices"] = self.vertices.to(device=device, dtype=dtype)
        return TetrahedralGrid(self.resolution, self.extent, **moved)


def tetrahedral_grid(resolution: int, extent: float = 1.0) -> TetrahedralGrid:
    """The grid with `resolution` cubes a side. Raises `ValueError` below 2, where every vertex is on the boundary."""
    if resolution < 2:
        raise ValueError(f"a grid of tetrahedra needs a resolution of at least 2, got {resolution}")
    side = resolution + 1
    steps = torch.stack(torch.meshgrid(*[torch.arange(side)] * 3, indexing="ij"), dim=-1).reshape(-1, 3)
    tetrahedra = kuhn_tetrahedra()
    ends = tetrahedra[:, np.array(EDGES)]  # [6, 6, 2] corners
    table, counts = marching_table()
    return TetrahedralGrid(
        resolution=resolution,
        extent=extent,
        vertices=(steps / resolution * 2 - 1) * extent,
        boundary=((steps == 0) | (steps == resolution)).any(-1),
        corners=torch.from_numpy(CORNERS @ np.array([side * side, side, 1])),
        tetrahedra=torch.from_numpy(tetrahedra),
        edge_corner=torch.from_numpy(ends.min(-1)),
        edge_direction=torch.from_numpy(ends.max(-1) - ends.min(-1)),
        triangles=torch.from_numpy(table),
        triangle_counts=torch.from_numpy(counts),
    )
