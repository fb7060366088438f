"""A world of one's own: a folder of captioned meshes, rendered for a teacher and a judge (see `pictures.World`).

Sharp edges are kept sharp, pictures are drawn at twice their size and averaged, and the lamp is at the camera as
everywhere (`shading`). Several meshes may share a caption; pictures of all of them teach what it means.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from jaxtyping import Bool, Float, UInt8
from pydantic import Field, model_validator
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional

from glasshouse.store.configuration import Config, named_seed
from glasshouse.vision.diffusion.text import PromptError, Vocabulary
from glasshouse.vision.mesh.cameras import CameraRules, Cameras, rings, sample_cameras
from glasshouse.vision.mesh.captioned_meshes import CaptionedMesh
from glasshouse.vision.mesh.conditioning import camera_vectors
from glasshouse.vision.mesh.creases import split_creases
from glasshouse.vision.mesh.mesh import Mesh, MeshError
from glasshouse.vision.mesh.shading import shaded_pictures
from glasshouse.vision.mesh.similarity import occupancy
from glasshouse.vision.mesh.worlds.pictures import CaptionedPictures, HeldOut

PICTURES, MESHES, NAMES = "pictures.safetensors", "meshes.safetensors", "meshes.json"
FINER = 2  # pictures are drawn so many times as large
TRIANGLES_AT_ONCE = 400_000


class OwnWorldSettings(Config):
    """Training pictures of one's own meshes.

    Attributes:
        size: side in pixels.
        azimuths: cameras at every elevation; the rings are turned against each other.
        elevations: of the cameras, in degrees; what is generated is looked at from between the lowest and the highest.
        distance: of the cameras from the middle; meshes lie within 0.9 of it.
        field_of_view: in degrees.
        crease: edges that bend by more degrees are shown sharp.
    """

    size: int = Field(32, ge=4)
    azimuths: int = Field(12, ge=1)
    elevations: tuple[float, ...] = (8.0, 25.0, 42.0)
    distance: float = Field(3.0, gt=1.1)
    field_of_view: float = Field(40.0, gt=0, lt=120)
    crease: float = Field(35.0, ge=0, le=180)

    @model_validator(mode="after")
    def _some(self) -> OwnWorldSettings:
        if not self.elevations or not all(-90 <= elevation <= 90 for elevation in self.elevations):
            raise ValueError(f"elevations are one or more angles within -90 to 90 degrees, got {self.elevations}")
        return self

    @property
    def cameras(self) -> Cameras:
        """Of every mesh's training pictures."""
        return rings(self.azimuths, self.elevations, self.distance, self.field_of_view)


@dataclasses.dataclass(frozen=True)
class OwnWorld:
    """See `pictures.World`. `rgb` has the pictures of one mesh after another, in the order of the settings' cameras."""

    settings: OwnWorldSettings
    meshes: tuple[CaptionedMesh, ...]
    rgb: UInt8[Tensor, "n 3 size size"]

    @classmethod
    def built(
        cls, settings: OwnWorldSettings, meshes: Sequence[CaptionedMesh], advance: Callable[[], None] = lambda: None
    ) -> OwnWorld:
        """Render it; `advance` is called after each mesh. Raises `MeshError` when there is none."""
        if not meshes:
            raise MeshError("a world needs at least one mesh")
        pictures = []
        for found in meshes:
            rgb, _ = draw(found.mesh, settings.cameras, settings.size, settings.crease)
            pictures.append(rgb.mul(255).round().to(torch.uint8))
            advance()
        return cls(settings, tuple(meshes), torch.cat(pictures).contiguous())

    @classmethod
    def read(cls, folder: Path, settings: OwnWorldSettings) -> OwnWorld:
        """Read what `write` wrote."""
        parts = load_file(folder / MESHES)
        meshes = []
        for number, (name, caption) in enumerate(json.loads((folder / NAMES).read_text(encoding="utf-8"))):
            vertices, faces, colours = (parts[f"{number}.{part}"] for part in ("vertices", "faces", "colours"))
            about = {"file": name, "prompt": caption}
            meshes.append(CaptionedMesh(name, caption, Mesh(vertices, faces, colours, about)))
        return cls(settings, tuple(meshes), load_file(folder / PICTURES)["rgb"])

    def write(self, folder: Path) -> None:
        """Keep meshes and pictures in a folder."""
        parts = {}
        for number, found in enumerate(self.meshes):
            parts[f"{number}.vertices"] = found.mesh.vertices.contiguous()
            parts[f"{number}.faces"] = found.mesh.faces.contiguous()
            parts[f"{number}.colours"] = found.mesh.painted.contiguous()
        save_file(parts, folder / MESHES)
        save_file({"rgb": self.rgb}, folder / PICTURES)
        names = json.dumps([[found.name, found.caption] for found in self.meshes], ensure_ascii=False, indent=1)
        (folder / NAMES).write_text(names + "\n", encoding="utf-8")

    @property
    def prompts(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(found.caption for found in self.meshes))

    @property
    def rules(self) -> CameraRules:
        low, high = min(self.settings.elevations), max(self.settings.elevations)
        distance, angle = self.settings.distance, self.settings.field_of_view
        return CameraRules(
            elevation=(low, high), distance=(distance, distance), field_of_view=(angle, angle), position_jitter=0,
            centre_jitter=0, up_jitter=0,
        )  # fmt: skip

    @property
    def size(self) -> int:
        return self.settings.size

    def pictures(self, vocabulary: Vocabulary | None, seed: int = 0) -> CaptionedPictures:
        """All of them; nothing in them depends on `seed`."""
        cameras = camera_vectors(self.settings.cameras)
        return CaptionedPictures(
            prompts=self.prompts,
            rgb=self.rgb,
            caption=self._captions.repeat_interleave(len(cameras)),
            camera=cameras.repeat(len(self.meshes), 1),
            words=None if vocabulary is None else vocabulary.ids(self.prompts),
        )

    def held_out(self, views: int, seed: int = 0) -> HeldOut:
        """Every mesh from `views` cameras drawn for it."""
        generator = torch.Generator().manual_seed(named_seed(seed, "held-out pictures"))
        pictures = []
        for found in self.meshes:
            cameras = sample_cameras(views, generator, self.rules)
            pictures.append(draw(found.mesh, cameras, self.size, self.settings.crease)[0])
        return HeldOut(torch.cat(pictures), self._captions.repeat_interleave(views))

    def render(
        self, prompts: Sequence[str], cameras: Cameras, size: int
    ) -> tuple[Float[Tensor, "n 3 size size"], Float[Tensor, "n size size"]]:
        """Pictures of the first mesh of each prompt; the cameras of one prompt follow another."""
        if not prompts or len(cameras) % len(prompts):
            raise ValueError(f"{len(cameras)} cameras cannot be shared out among {len(prompts)} prompts")
        views = len(cameras) // len(prompts)
        drawn = []
        for number, prompt in enumerate(prompts):
            own = cameras[slice(number * views, (number + 1) * views)]
            drawn.append(draw(self.mesh(prompt), own, size, self.settings.crease))
        return torch.cat([rgb for rgb, _ in drawn]), torch.cat([coverage for _, coverage in drawn])

    def mesh(self, prompt: str) -> Mesh:
        """The first mesh of a prompt. Raises `PromptError` for one that no mesh has as its caption."""
        for found in self.meshes:
            if found.caption == prompt:
                return found.mesh
        some = "; ".join(self.prompts[:8])
        raise PromptError(f"no mesh of this world has the caption {prompt!r}; there are {len(self.prompts)}: {some}")

    def inside(self, prompt: str, resolution: int = 48) -> Bool[Tensor, "n n n"]:
        """What the first mesh of a prompt encloses (see `similarity.occupancy`)."""
        return occupancy(self.mesh(prompt), resolution)

    @property
    def _captions(self) -> Tensor:
        place = {prompt: number for number, prompt in enumerate(self.prompts)}
        return torch.tensor([place[found.caption] for found in self.meshes])


@torch.no_grad()
def draw(
    mesh: Mesh, cameras: Cameras, size: int, crease: float
) -> tuple[Float[Tensor, "n 3 size size"], Float[Tensor, "n size size"]]:
    """Lit pictures of a mesh in [0, 1], and how much of every pixel it covers."""
    split, normals = split_creases(mesh, crease)
    at_once = max(1, TRIANGLES_AT_ONCE // len(split.faces))
    pictures, coverage = [], []
    for start in range(0, len(cameras), at_once):
        part = cameras[slice(start, start + at_once)]
        rgb, covered = shaded_pictures(split.batch, split.painted, part, size * FINER, normals=normals)
        pictures.append(functional.avg_pool2d(rgb, FINER))
        coverage.append(functional.avg_pool2d(covered[:, None], FINER)[:, 0])
    return torch.cat(pictures).clamp(0, 1), torch.cat(coverage).clamp(0, 1)


__all__ = ["OwnWorld", "OwnWorldSettings", "draw"]
