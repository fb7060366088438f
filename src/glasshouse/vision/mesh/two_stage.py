"""The two stages of training: pictures of a volume first, pictures of a mesh later (AToM, arXiv 2402.00867).

    stage 1   small pictures by volume rendering (NeuS), while the distance's sharpness rises: the surface may appear
              and vanish anywhere along a ray
    stage 2   larger pictures of the mesh that marching tetrahedra make of the same network, which now also moves the
              points of the grid

Which stage an update belongs to follows from its number alone. Both are one run with one optimiser, so a run that is
killed in either, or between them, goes on as if it had not been. With no updates in stage 1 it is one-stage training.

Regularisers, in the weights of `VolumeStage` and `MeshStage`: the eikonal term at some of the points seen, and in stage
2 the mean square of neighbouring faces' difference in normal and of the grid points' offsets.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Literal

import torch
from jaxtyping import Float
from pydantic import Field, model_validator
from torch import Tensor
from torch.nn import functional

from glasshouse.store.configuration import Config
from glasshouse.vision.mesh.cameras import CameraRules, Cameras, sample_cameras
from glasshouse.vision.mesh.generator import Shapes, Surfaces
from glasshouse.vision.mesh.neus import eikonal, render_volume, spatial_gradient
from glasshouse.vision.mesh.shading import AMBIENT, shaded_pictures
from glasshouse.vision.mesh.tets import TetrahedralGrid


class VolumeStage(Config):
    """Stage 1.

    Attributes:
        updates: how many.
        rays: side of its pictures.
        samples: sections of a ray.
        sharpness: NeuS' inverse standard deviation at the beginning and at the end of the stage.
        eikonal: weight of the eikonal term.
        eikonal_points: points of every shape that it is taken at.
    """

    updates: int = Field(120, ge=0)
    rays: int = Field(16, ge=1)
    samples: int = Field(24, ge=2)
    sharpness: tuple[float, float] = (10.0, 60.0)
    eikonal: float = Field(0.1, ge=0)
    eikonal_points: int = Field(256, ge=1)


class MeshStage(Config):
    """Stage 2.

    Attributes:
        updates: how many.
        resolution: cells of the tetrahedral grid's side.
        size: side of its pictures.
        smoothness: weight of the difference of neighbouring normals.
        offsets: weight of the grid points' offsets.
    """

    updates: int = Field(180, ge=0)
    resolution: int = Field(20, ge=2)
    size: int = Field(32, ge=1)
    smoothness: float = Field(0.05, ge=0)
    offsets: float = Field(0.01, ge=0)


class Stages(Config):
    """Both stages, and the views of every prompt in an update."""

    volume: VolumeStage = VolumeStage()
    mesh: MeshStage = MeshStage()
    views: int = Field(4, ge=1)

    @model_validator(mode="after")
    def _some(self) -> Stages:
        if not self.updates:
            raise ValueError("both stages have no updates, so there is nothing to train")
        return self

    @property
    def updates(self) -> int:
        """Of both stages."""
        return self.volume.updates + self.mesh.updates

    def stage_of(self, update: int) -> Literal["volume", "mesh"]:
        """The stage of an update, counted from 1."""
        return "volume" if update <= self.volume.updates else "mesh"

    def sharpness_at(self, update: int) -> float:
        """NeuS' inverse standard deviation: geometric between the stage's two ends."""
        first, last = self.volume.sharpness
        done = (update - 1) / max(1, self.volume.updates - 1)
        return float(first * (last / first) ** done)

    @classmethod
    def large(cls) -> Stages:
        """For a GPU (AToM-L)."""
        return cls(
            volume=VolumeStage(updates=400, rays=32, samples=48),
            mesh=MeshStage(updates=800, resolution=64, size=128),
        )


@dataclasses.dataclass(frozen=True)
class Rendered:
    """Pictures of every shape's views, and what is added to the loss."""

    pictures: Float[Tensor, "n 3 h w"]
    penalties: Mapping[str, Float[Tensor, ""]]


def draw_views(prompts: int, views: int, generator: torch.Generator, rules: CameraRules) -> Cameras:
    """Cameras of every prompt, prompt after prompt; the azimuths of one prompt are spread over the circle."""
    drawn = [sample_cameras(views, generator, rules) for _ in range(prompts)]
    return Cameras(*(torch.cat([getattr(cameras, f.name) for cameras in drawn]) for f in dataclasses.fields(Cameras)))


def volume_pictures(
    shapes: Shapes,
    cameras: Cameras,
    stage: VolumeStage,
    sharpness: float,
    background: float,
    generator: torch.Generator,
) -> Rendered:
    """Stage 1's pictures of shapes, each seen by as many cameras."""
    seen = render_volume(
        shapes.at, cameras, stage.rays, shapes=len(shapes), samples=stage.samples, sharpness=sharpness,
        background=background, ambient=AMBIENT, generator=generator,
    )  # fmt: skip
    penalties = {}
    if stage.eikonal:
        count = seen.points.shape[1]
        chosen = torch.randint(count, (stage.eikonal_points,), generator=generator, device=generator.device)
        gradient = spatial_gradient(lambda points: shapes.heads(points, "sdf")[0], seen.points[:, chosen])
        penalties["eikonal"] = stage.eikonal * eikonal(gradient)
    return Rendered(seen.image.permute(0, 3, 1, 2), penalties)


def mesh_pictures(
    shapes: Shapes, cameras: Cameras, stage: MeshStage, grid: TetrahedralGrid, background: float
) -> Rendered:
    """Stage 2's pictures of shapes, each seen by as many cameras."""
    surfaces = shapes.surfaces(grid)
    penalties = {"offsets": stage.offsets * surfaces.offset.square().mean()} if stage.offsets else {}
    if stage.smoothness:
        penalties["smoothness"] = stage.smoothness * roughness(surfaces)
    pictures, _ = shaded_pictures(surfaces.meshes, surfaces.colours, cameras, stage.size, background)
    return Rendered(pictures, penalties)


def roughness(surfaces: Surfaces) -> Float[Tensor, ""]:
    """Mean of 1 - cosine between the normals of faces that share an edge."""
    vertices, faces = surfaces.meshes.vertices, surfaces.meshes.faces
    corners = vertices[faces]
    normal = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normal = functional.normalize(normal, dim=-1, eps=1e-9)
    with torch.no_grad():
        ends = torch.stack([faces, faces.roll(-1, 1)], -1).sort(-1).values.reshape(-1, 2)
        key, order = (ends[:, 0] * len(vertices) + ends[:, 1]).sort(stable=True)
        shared = (key[1:] == key[:-1]).nonzero().flatten()
        first, second = order[shared] // 3, order[shared + 1] // 3
    return (1 - (normal[first] * normal[second]).sum(-1)).mean()
