"""Captioned pictures of a world as training data, for a teacher and for a judge."""

from __future__ import annotations

import dataclasses
from typing import Protocol

import torch
from jaxtyping import Bool, Float, Int, UInt8
from numpy.typing import NDArray
from torch import Tensor

from glasshouse.store.configuration import named_seed
from glasshouse.training.data import TrainingData
from glasshouse.training.shards import tensors_hash
from glasshouse.vision.diffusion.text import Vocabulary
from glasshouse.vision.mesh.cameras import CameraRules, Cameras
from glasshouse.vision.mesh.mesh import Mesh
from glasshouse.vision.mesh.worlds.blocks import coloured


@dataclasses.dataclass(frozen=True)
class HeldOut:
    """True pictures that nobody trains on: other cameras, other sizes. `prompt` are places in the world's prompts."""

    rgb: Float[Tensor, "n 3 size size"]
    prompt: Int[Tensor, " n"]


class World(Protocol):
    """Prompts and pictures of what they mean."""

    @property
    def prompts(self) -> tuple[str, ...]:
        """Everything that can be said in this world."""

    @property
    def rules(self) -> CameraRules:
        """Where the cameras of its pictures stand."""

    @property
    def size(self) -> int:
        """Side of its pictures in pixels."""

    def pictures(self, vocabulary: Vocabulary | None, seed: int = 0) -> TrainingData:
        """Batches of `picture` in [-1, 1], `words` (with `vocabulary`) and `camera`; `seed` varies what may vary."""

    def held_out(self, views: int, seed: int = 0) -> HeldOut:
        """Pictures from `views` cameras that are not those of `pictures`, of every object or shape."""

    def render(self, prompts: tuple[str, ...], cameras: Cameras, size: int) -> tuple[Tensor, Tensor]:
        """True pictures in [0, 1] and coverage; the cameras of one prompt follow another."""

    def inside(self, prompt: str, resolution: int = 48) -> Bool[Tensor, "n n n"]:
        """Which cells of the cube the true shape of a prompt encloses (see `similarity.cell_centres`)."""

    def mesh(self, prompt: str) -> Mesh:
        """The true shape of a prompt."""


@dataclasses.dataclass(frozen=True)
class CaptionedPictures:
    """Pictures as they are. `caption` are places in `prompts`."""

    prompts: tuple[str, ...]
    rgb: UInt8[Tensor, "n 3 size size"]
    caption: Int[Tensor, " n"]
    camera: Float[Tensor, "n 4"]
    words: Int[Tensor, "prompts l"] | None = None

    @property
    def rows(self) -> int:
        return len(self.rgb)

    @property
    def fingerprint(self) -> str:
        named = [("rgb", self.rgb), ("caption", self.caption), ("camera", self.camera)]
        return tensors_hash(named if self.words is None else [*named, ("words", self.words)])

    def batch(self, indices: NDArray) -> dict[str, Tensor]:  # type: ignore[type-arg]
        rows = torch.from_numpy(indices)
        found = {"picture": self.rgb[rows].float() / 127.5 - 1, "camera": self.camera[rows]}
        return found if self.words is None else found | {"words": self.words[self.caption[rows]]}

    def describe(self, indices: NDArray) -> list[str]:  # type: ignore[type-arg]
        return [f"picture {row} ({self.prompts[int(self.caption[row])]})" for row in indices.tolist()]


@dataclasses.dataclass(frozen=True)
class ColouredMaps:
    """Maps of light in all colours: every row is one map in one pair of colours, a little off the true ones.

    Attributes:
        maps: light on the top, light on the bottom, share of the background.
        camera: of every map.
        prompt: place in `prompts` of every map in every pair of colours.
        colours: of every pair, above and below.
        jitter: how far colours are off in a row, per part and channel.
    """

    prompts: tuple[str, ...]
    maps: Float[Tensor, "maps 3 size size"]
    camera: Float[Tensor, "maps 4"]
    prompt: Int[Tensor, "maps pairs"]
    colours: Float[Tensor, "pairs 2 3"]
    jitter: Float[Tensor, "rows 2 3"]
    words: Int[Tensor, "prompts l"] | None = None

    @property
    def rows(self) -> int:
        return self.prompt.numel()

    @property
    def fingerprint(self) -> str:
        names = ("maps", "camera", "prompt", "colours", "jitter")
        named = [(name, getattr(self, name)) for name in names]
        return tensors_hash(named if self.words is None else [*named, ("words", self.words)])

    def batch(self, indices: NDArray) -> dict[str, Tensor]:  # type: ignore[type-arg]
        rows = torch.from_numpy(indices)
        maps, pairs = rows // len(self.colours), rows % len(self.colours)
        colours = (self.colours[pairs] + self.jitter[rows].float()).clamp(0, 1)
        rgb = coloured(self.maps[maps].float(), colours)
        found = {"picture": 2 * rgb - 1, "camera": self.camera[maps]}
        return found if self.words is None else found | {"words": self.words[self.prompt[maps, pairs]]}

    def describe(self, indices: NDArray) -> list[str]:  # type: ignore[type-arg]
        return [f"row {row} ({self.prompts[int(self.prompt.flatten()[row])]})" for row in indices.tolist()]


def jitter(rows: int, spread: float, seed: int) -> Float[Tensor, "rows 2 3"]:
    """How far colours are off, uniform within `spread`."""
    generator = torch.Generator().manual_seed(named_seed(seed, "colours of blocks"))
    return ((2 * torch.rand(rows, 2, 3, generator=generator) - 1) * spread).half()


__all__ = ["CaptionedPictures", "ColouredMaps", "HeldOut", "World", "jitter"]
