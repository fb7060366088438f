"""One light for everything that is rendered here: a lamp at the camera, for worlds, meshes and volumes alike.

    colour seen = colour x (a + (1 - a) max(0, cosine)),   cosine = normal . direction to the camera

With the lamp at the camera the cosine is, in a volume, how fast the signed distance falls along the ray, so its
gradient is not needed (`glasshouse.vision.mesh.neus`). Deviation from DreamFusion and its descendants, whose lamp
moves: to a teacher that was trained on pictures lit in one way, other light would only look like an error.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from glasshouse.vision.mesh.batch import MeshBatch
from glasshouse.vision.mesh.cameras import Cameras
from glasshouse.vision.mesh.raster import compose, rasterise

AMBIENT = 0.5
BACKGROUND = 1.0


def shade(cosine: Float[Tensor, "*any"], ambient: float = AMBIENT) -> Float[Tensor, "*any"]:
    """Share of a colour that is seen at an angle to the camera."""
    return ambient + (1 - ambient) * cosine.clamp(min=0)


def vertex_normals(meshes: MeshBatch) -> Float[Tensor, "v 3"]:
    """Unit normals of vertices: the mean of their faces', weighted by area."""
    corners = meshes.vertices[meshes.faces]
    normal = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    summed = torch.zeros_like(meshes.vertices)
    for corner in range(3):
        summed = summed.index_add(0, meshes.faces[:, corner], normal)
    return functional.normalize(summed, dim=-1, eps=1e-12)


def shaded_pictures(
    meshes: MeshBatch,
    colours: Float[Tensor, "v 3"],
    cameras: Cameras,
    size: int,
    background: float = BACKGROUND,
    normals: Float[Tensor, "v 3"] | None = None,
) -> tuple[Float[Tensor, "n 3 h w"], Float[Tensor, "n h w"]]:
    """Pictures of meshes under the lamp, and how much of each pixel a mesh covers; each mesh has as many cameras.

    `normals` of vertices are those of `vertex_normals` where none are given.
    """
    fragments = rasterise(meshes, cameras, size)
    normals = vertex_normals(meshes) if normals is None else normals
    seen = fragments.interpolate(torch.cat([colours, normals, meshes.vertices], dim=1))
    colour, normal, place = seen[:, :3], seen[:, 3:6], seen[:, 6:]
    camera = cameras.position.to(place)[fragments.pixel // (size * size)]
    towards = functional.normalize(camera - place, dim=-1)
    cosine = (functional.normalize(normal, dim=-1, eps=1e-9) * towards).sum(-1, keepdim=True)
    rendering = compose(meshes, fragments, colour * shade(cosine), background)
    return rendering.image.permute(0, 3, 1, 2), rendering.coverage[..., 0]
