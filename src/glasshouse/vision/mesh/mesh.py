"""A mesh as a value: vertices, faces, colours; its normals, topology and volume."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from glasshouse.vision.mesh.batch import MeshBatch, pack
from glasshouse.vision.mesh.shading import vertex_normals


class MeshError(ValueError):
    """A mesh cannot be used: no faces, numbers that are not finite, or indices that lead nowhere."""


@dataclass(frozen=True)
class Mesh:
    """Triangles with a colour for each vertex, checked when made; kept on the CPU, without gradients.

    Colours are sRGB in 0..1 (grey where not given). `about` is free provenance (prompt, seed, hashes) that is written
    into files which can hold it. Raises `MeshError`.
    """

    vertices: Float[Tensor, "v 3"]
    faces: Int[Tensor, "f 3"]
    colours: Float[Tensor, "v 3"] | None = None
    about: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        vertices = self.vertices.detach().to("cpu", torch.float32)
        faces = self.faces.detach().to("cpu", torch.int64)
        if vertices.ndim != 2 or vertices.shape[1] != 3 or faces.ndim != 2 or faces.shape[1] != 3:
            raise MeshError(
                f"a mesh takes vertices (v, 3) and faces (f, 3), got {tuple(vertices.shape)}, {tuple(faces.shape)}"
            )
        if not len(faces):
            raise MeshError(
                f"a mesh with {len(vertices)} vertices has no faces: there is no surface to show or to write"
            )
        if int(faces.min()) < 0 or int(faces.max()) >= len(vertices):
            raise MeshError(f"faces point at vertices {int(faces.min())} to {int(faces.max())} of {len(vertices)}")
        if not bool(torch.isfinite(vertices).all()):
            bad = int((~torch.isfinite(vertices)).any(1).sum())
            raise MeshError(f"{bad} of {len(vertices)} vertices are NaN or infinite; what made them is broken")
        colours = torch.full_like(vertices, 0.7) if self.colours is None else self.colours
        colours = colours.detach().to("cpu", torch.float32)
        if colours.shape != vertices.shape or not bool(torch.isfinite(colours).all()):
            raise MeshError(f"colours must be {tuple(vertices.shape)} finite numbers, got {tuple(colours.shape)}")
        try:
            json.dumps(self.about, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise MeshError(f"what a mesh says about itself must be JSON: {error}") from None
        object.__setattr__(self, "vertices", vertices)
        object.__setattr__(self, "faces", faces)
        object.__setattr__(self, "colours", colours.clamp(0, 1))

    def but(self, **changes: Any) -> Mesh:
        """A copy with some parts changed, checked again."""
        return replace(self, **changes)

    @property
    def painted(self) -> Float[Tensor, "v 3"]:
        """The colours, which are always there once the mesh is made."""
        assert self.colours is not None  # noqa: S101
        return self.colours

    @cached_property
    def normals(self) -> Float[Tensor, "v 3"]:
        """Unit normals of the vertices; +y where the faces around one have no area, since files demand a direction."""
        found = vertex_normals(self.batch)
        return torch.where(found.norm(dim=-1, keepdim=True) > 0.5, found, torch.tensor([0.0, 1.0, 0.0]))

    @cached_property
    def batch(self) -> MeshBatch:
        """As a batch of one, for the rasteriser."""
        return pack([self.vertices], [self.faces])

    @cached_property
    def _edges(self) -> tuple[Int[Tensor, "e 2"], Int[Tensor, " e"], Int[Tensor, " e"]]:
        """Every edge with how many faces run along it, and forwards minus backwards."""
        start, end = self.faces.flatten(), self.faces.roll(-1, 1).flatten()
        low, high = torch.minimum(start, end), torch.maximum(start, end)
        key, group = torch.unique(low * len(self.vertices) + high, return_inverse=True)
        signs = torch.where(start < end, 1, -1)
        sums = torch.zeros(len(key), dtype=torch.int64).index_add(0, group, signs)
        ends = torch.stack([key // len(self.vertices), key % len(self.vertices)], 1)
        return ends, torch.bincount(group), sums

    @property
    def is_watertight(self) -> bool:
        """Every edge joins exactly two faces, which run along it in opposite directions."""
        _, amounts, sums = self._edges
        return bool((amounts == 2).all()) and bool((sums == 0).all())

    @property
    def euler_number(self) -> int:
        """Vertices in use - edges + faces: 2 for every ball, 0 for every torus."""
        return int(torch.bincount(self.faces.flatten()).count_nonzero()) - len(self._edges[0]) + len(self.faces)

    @property
    def volume(self) -> float:
        """Enclosed volume, positive if faces look outwards; only meaningful when watertight."""
        a, b, c = self.vertices[self.faces].double().unbind(1)
        return float((a * torch.linalg.cross(b, c)).sum() / 6)

    @property
    def area(self) -> float:
        """Area of all faces."""
        return float(face_normals(self.vertices, self.faces).double().norm(dim=-1).sum() / 2)

    def normalised(self, half_width: float = 0.9, radius: float = math.inf) -> Mesh:
        """Moved so that the bounding box is centred, and scaled to be as large as two bounds allow.

        No coordinate is larger than `half_width`, and no vertex is farther than `radius` from the middle.
        """
        centred = self.vertices - (self.vertices.amin(0) + self.vertices.amax(0)) / 2
        width, reach = float(centred.abs().max()), float(centred.norm(dim=-1).max())
        if width <= 0:
            raise MeshError("all vertices are in one point, so the mesh has no size to normalise")
        return self.but(vertices=centred * min(half_width / width, radius / reach))


def face_normals(vertices: Float[Tensor, "v 3"], faces: Int[Tensor, "f 3"]) -> Float[Tensor, "f 3"]:
    """Normals as long as twice the faces' area."""
    a, b, c = (vertices[faces[:, corner]] for corner in range(3))
    normals: Tensor = torch.linalg.cross(b - a, c - a, dim=-1)
    return normals
