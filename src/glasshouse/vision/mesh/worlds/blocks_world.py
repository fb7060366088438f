"""The blocks world with its training pictures: 16 pairs of shapes x 3 sizes x 36 cameras, in 36 pairs of colours."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from jaxtyping import Bool, Float
from pydantic import Field
from safetensors.torch import load_file, save_file
from torch import Tensor

from glasshouse.store.configuration import Config, named_seed
from glasshouse.vision.diffusion.text import Vocabulary
from glasshouse.vision.mesh.cameras import CameraRules, Cameras, orbit, rings
from glasshouse.vision.mesh.conditioning import camera_vectors
from glasshouse.vision.mesh.marching import marching_tetrahedra
from glasshouse.vision.mesh.mesh import Mesh
from glasshouse.vision.mesh.prompt_sets import BLOCK_COLOURS, BLOCK_SHAPES, blocks
from glasshouse.vision.mesh.similarity import cell_centres
from glasshouse.vision.mesh.tets import tetrahedral_grid
from glasshouse.vision.mesh.worlds.blocks import (
    CAMERAS,
    RGB,
    SCALES,
    all_prompts,
    colour,
    coloured,
    distance,
    light,
    render,
)
from glasshouse.vision.mesh.worlds.pictures import ColouredMaps, HeldOut, jitter

MAPS = "maps.safetensors"
SHAPE_PAIRS = tuple(itertools.product(BLOCK_SHAPES, BLOCK_SHAPES))
COLOUR_PAIRS = tuple(itertools.product(BLOCK_COLOURS, BLOCK_COLOURS))


class BlocksSettings(Config):
    """Training pictures of the blocks world.

    Attributes:
        size: side in pixels.
        azimuths: cameras at every elevation; the rings are turned against each other.
        elevations: of the cameras, in degrees.
        spread: how far colours may be off.
    """

    size: int = Field(32, ge=4)
    azimuths: int = Field(12, ge=1)
    elevations: tuple[float, ...] = (8.0, 25.0, 42.0)
    scales: tuple[float, ...] = SCALES
    spread: float = Field(0.05, ge=0, le=0.5)


@dataclasses.dataclass(frozen=True)
class BlocksWorld:
    """See `pictures.World`. `maps` are ordered by pair of shapes, size and camera."""

    settings: BlocksSettings
    maps: Float[Tensor, "maps 3 size size"]

    @classmethod
    def built(cls, settings: BlocksSettings, advance: Callable[[], None] = lambda: None) -> BlocksWorld:
        """Render it: about 15 CPU-seconds at the default size. `advance` is called after each pair in each size."""
        cameras = training_cameras(settings)
        maps = []
        for shapes, scale in itertools.product(SHAPE_PAIRS, settings.scales):
            maps.append(light(shapes, cameras, settings.size, scale).half())
            advance()
        return cls(settings, torch.cat(maps).contiguous())

    @classmethod
    def read(cls, folder: Path, settings: BlocksSettings) -> BlocksWorld:
        """Read what `write` wrote."""
        return cls(settings, load_file(folder / MAPS)["maps"])

    def write(self, folder: Path) -> None:
        """Keep the pictures in a folder."""
        save_file({"maps": self.maps}, folder / MAPS)

    @property
    def prompts(self) -> tuple[str, ...]:
        return all_prompts()

    @property
    def rules(self) -> CameraRules:
        return CAMERAS

    @property
    def size(self) -> int:
        return self.settings.size

    def pictures(self, vocabulary: Vocabulary | None, seed: int = 0) -> ColouredMaps:
        vectors = camera_vectors(training_cameras(self.settings))
        repeats = len(SHAPE_PAIRS) * len(self.settings.scales)
        shapes = torch.arange(len(SHAPE_PAIRS)).repeat_interleave(len(self.settings.scales) * len(vectors))
        return ColouredMaps(
            prompts=self.prompts,
            maps=self.maps,
            camera=vectors.repeat(repeats, 1),
            prompt=_numbers()[shapes],
            colours=_colours(),
            jitter=jitter(len(self.maps) * len(COLOUR_PAIRS), self.settings.spread, seed),
            words=None if vocabulary is None else vocabulary.ids(self.prompts),
        )

    def held_out(self, views: int, seed: int = 0) -> HeldOut:
        """Every pair of shapes from `views` cameras and in as many sizes, each in a pair of colours drawn for it."""
        generator = torch.Generator().manual_seed(named_seed(seed, "held-out pictures"))
        pictures, prompts = [], []
        for number, shapes in enumerate(SHAPE_PAIRS):
            for camera, scale in _draws(views, self.settings, generator):
                pair = int(torch.randint(len(COLOUR_PAIRS), (1,), generator=generator))
                maps = light(shapes, camera, self.size, scale)
                pictures.append(coloured(maps, _colours()[pair : pair + 1]))
                prompts.append(_numbers()[number, pair])
        return HeldOut(torch.cat(pictures), torch.stack(prompts))

    def render(self, prompts: tuple[str, ...], cameras: Cameras, size: int) -> tuple[Tensor, Tensor]:
        return render(prompts, cameras, size)

    def inside(self, prompt: str, resolution: int = 48) -> Bool[Tensor, "n n n"]:
        return distance(cell_centres(resolution), prompt) < 0

    def mesh(self, prompt: str, resolution: int = 64) -> Mesh:
        """The true shape on a tetrahedral grid of so many cells a side: edges are rounded within a cell."""
        grid = tetrahedral_grid(resolution)
        vertices, faces = marching_tetrahedra(grid, distance(grid.vertices, prompt)[None])[0]
        return Mesh(vertices, faces, colour(vertices, prompt), {"prompt": prompt})


def training_cameras(settings: BlocksSettings) -> Cameras:
    """Rings of cameras, each turned by a share of the step against the one below."""
    return rings(settings.azimuths, settings.elevations, CAMERAS.distance[0], CAMERAS.field_of_view[0])


def _draws(views: int, settings: BlocksSettings, generator: torch.Generator) -> Iterator[tuple[Cameras, float]]:
    for _ in range(views):
        around, above, share = torch.rand(3, generator=generator).tolist()
        low, high = CAMERAS.elevation
        camera = orbit(
            torch.tensor([360 * around]), low + above * (high - low), CAMERAS.distance[0], CAMERAS.field_of_view[0]
        )
        yield camera, min(settings.scales) + share * (max(settings.scales) - min(settings.scales))


def _numbers() -> Tensor:
    """The place of every prompt, by pair of shapes and pair of colours."""
    place = {prompt: number for number, prompt in enumerate(all_prompts())}
    return torch.tensor([
        [place[blocks(f"{above} {top}", f"{below} {bottom}")] for above, below in COLOUR_PAIRS]
        for top, bottom in SHAPE_PAIRS
    ])  # fmt: skip


def _colours() -> Tensor:
    return torch.tensor([[RGB[above], RGB[below]] for above, below in COLOUR_PAIRS])


__all__ = ["BlocksSettings", "BlocksWorld", "training_cameras"]
