"""Sharp edges: a mesh whose vertices are doubled where its surface bends by more than an angle.

Normals of shared vertices make a box look like a pillow. Every corner of a face takes the mean normal of those faces
around its vertex that bend away from its own by at most the angle; corners of one vertex that agree stay one.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from glasshouse.vision.mesh.mesh import Mesh, face_normals

EVEN = 1 / 256  # normals that agree to this are one


def split_creases(mesh: Mesh, degrees: float = 35.0) -> tuple[Mesh, Float[Tensor, "v 3"]]:
    """The same surface with vertices doubled along creases, and the unit normals of its vertices."""
    areas = face_normals(mesh.vertices, mesh.faces)
    directions = functional.normalize(areas, dim=-1, eps=1e-20)
    vertex = mesh.faces.flatten()
    order = vertex.argsort(stable=True)
    amounts = torch.bincount(vertex, minlength=len(mesh.vertices))
    first = amounts.cumsum(0) - amounts
    # Every corner against every corner of the same vertex: about 36 pairs a vertex.
    corner = torch.arange(len(vertex)).repeat_interleave(amounts[vertex])
    step = torch.arange(len(corner)) - (amounts[vertex].cumsum(0) - amounts[vertex])[corner]
    other = order[first[vertex[corner]] + step]
    near = (directions[corner // 3] * directions[other // 3]).sum(-1) >= math.cos(math.radians(degrees))
    near |= corner == other
    total = torch.zeros(len(vertex), 3).index_add(0, corner[near], areas[other[near] // 3])
    normals = functional.normalize(total, dim=-1, eps=1e-20)
    keys = torch.cat([vertex[:, None], (normals / EVEN).round().long()], dim=1)
    unique, place = torch.unique(keys, dim=0, return_inverse=True)
    means = torch.zeros(len(unique), 3).index_add(0, place, normals)
    kept = unique[:, 0]
    split = mesh.but(vertices=mesh.vertices[kept], colours=mesh.painted[kept], faces=place.reshape(-1, 3))
    return split, functional.normalize(means, dim=-1, eps=1e-20)
