"""Several different meshes in one pair of tensors, so that a training step handles them without a loop."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True)
class MeshBatch:
    """Meshes one after another: `faces` index into all `vertices`; the counts say where each mesh ends."""

    vertices: Float[Tensor, "v 3"]
    faces: Int[Tensor, "f 3"]
    vertex_counts: tuple[int, ...]
    face_counts: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.vertex_counts)

    def __getitem__(self, index: int) -> tuple[Float[Tensor, "v 3"], Int[Tensor, "f 3"]]:
        """Vertices and faces (counted from 0) of one mesh."""
        index = range(len(self))[index]
        first, start = sum(self.vertex_counts[:index]), sum(self.face_counts[:index])
        vertices = self.vertices[first : first + self.vertex_counts[index]]
        return vertices, self.faces[start : start + self.face_counts[index]] - first

    def mesh_of_face(self) -> Int[Tensor, " f"]:
        """For each face the number of its mesh."""
        return _owners(self.face_counts, self.faces.device)

    def split(self, values: Float[Tensor, "v c"]) -> tuple[Float[Tensor, "_ c"], ...]:
        """Values of all vertices, mesh by mesh."""
        return torch.split(values, list(self.vertex_counts))


def pack(vertices: Sequence[Float[Tensor, "_ 3"]], faces: Sequence[Int[Tensor, "_ 3"]]) -> MeshBatch:
    """One batch from separate meshes. Raises `ValueError` for none at all, or faces that point outside their mesh."""
    if not vertices or len(vertices) != len(faces):
        raise ValueError(
            f"a batch needs as many vertex as face tensors, at least one; got {len(vertices)}, {len(faces)}"
        )
    for number, (points, triangles) in enumerate(zip(vertices, faces, strict=True)):
        if triangles.numel() and (int(triangles.min()) < 0 or int(triangles.max()) >= len(points)):
            raise ValueError(
                f"mesh {number} has {len(points)} vertices and a face that points at {int(triangles.max())}"
            )
    counts = [len(points) for points in vertices]
    starts = [sum(counts[:number]) for number in range(len(counts))]
    shifted = torch.cat([triangles.long() + start for triangles, start in zip(faces, starts, strict=True)])
    return MeshBatch(torch.cat(list(vertices)), shifted, tuple(counts), tuple(len(triangles) for triangles in faces))


def _owners(counts: tuple[int, ...], device: torch.device) -> Int[Tensor, " all"]:
    numbers = torch.arange(len(counts), device=device)
    return numbers.repeat_interleave(torch.tensor(counts, device=device))
