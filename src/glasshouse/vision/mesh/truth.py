"""How close generated meshes are to true shapes, in worlds that know them.

Score distillation is not trained on shapes, and its teacher may know objects in several sizes, so these numbers say
what a generator makes of size and proportions; whether it is the right object is what a judge says (`metrics`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from glasshouse.vision.mesh.mesh import Mesh, MeshError
from glasshouse.vision.mesh.similarity import intersection_over_union, occupancy, surface_distances
from glasshouse.vision.mesh.worlds.pictures import World


@dataclasses.dataclass(frozen=True)
class Closeness:
    """Meshes beside the truth, one number for each.

    Attributes:
        overlap: volume that both enclose over volume that either encloses; 0 for a mesh that encloses nothing.
        chamfer: mean distance between the surfaces, in scene units.
    """

    overlap: tuple[float, ...]
    chamfer: tuple[float, ...]

    @property
    def mean_overlap(self) -> float:
        """Mean over meshes."""
        return sum(self.overlap) / len(self.overlap)

    @property
    def mean_chamfer(self) -> float:
        """Mean over meshes."""
        return sum(self.chamfer) / len(self.chamfer)


def closeness(
    meshes: Sequence[Mesh], prompts: Sequence[str], world: World, *, resolution: int = 48, points: int = 2000
) -> Closeness:
    """Compare meshes with the true shapes of their prompts.

    Args:
        resolution: cells a side that are asked whether they are inside.
        points: drawn on each surface.

    Raises:
        ValueError: where there are not as many prompts as meshes, or none.
    """
    if not meshes or len(meshes) != len(prompts):
        raise ValueError(f"every mesh needs its prompt, got {len(meshes)} meshes and {len(prompts)} prompts")
    overlaps, distances = [], []
    for mesh, prompt in zip(meshes, prompts, strict=True):
        overlaps.append(_overlap(mesh, prompt, world, resolution))
        distances.append(surface_distances(mesh, world.mesh(prompt), points)[0])
    return Closeness(tuple(overlaps), tuple(distances))


def _overlap(mesh: Mesh, prompt: str, world: World, resolution: int) -> float:
    try:
        filled = occupancy(mesh, resolution)
    except MeshError:  # an open mesh of which nothing is inside
        return 0.0
    return intersection_over_union(filled, world.inside(prompt, resolution))


__all__ = ["Closeness", "closeness"]
