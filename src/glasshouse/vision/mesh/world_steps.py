"""Worlds as artifacts: rendered once, then read by whoever trains on them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from glasshouse.data.quarantine import Quarantine
from glasshouse.store.artifact import Artifact
from glasshouse.store.files import read_json
from glasshouse.store.panels import Numbers, Panel, Pictures
from glasshouse.store.step import Run, step
from glasshouse.training.data import TrainingData
from glasshouse.vision.diffusion.text import Vocabulary
from glasshouse.vision.mesh.cameras import orbit
from glasshouse.vision.mesh.captioned_meshes import MeshFolder, folder_fingerprint, read_meshes
from glasshouse.vision.mesh.texture import png_bytes
from glasshouse.vision.mesh.turntable import contact_sheet
from glasshouse.vision.mesh.worlds.blocks_world import SHAPE_PAIRS, BlocksSettings, BlocksWorld
from glasshouse.vision.mesh.worlds.own import OwnWorld, OwnWorldSettings
from glasshouse.vision.mesh.worlds.pictures import World

ABOUT = "world.json"


class WorldPictures(Artifact):
    """A world with its training pictures."""

    def load(self) -> World:
        """The world, ready to train on and to render."""
        about = read_json(self.file(ABOUT))
        return _KINDS[about["kind"]](self.path, about)

    @property
    def prompts(self) -> tuple[str, ...]:
        """Everything that can be said in it."""
        return self.load().prompts

    def pictures(self, vocabulary: Vocabulary | None, seed: int = 0) -> TrainingData:
        """See `worlds.pictures.World`."""
        return self.load().pictures(vocabulary, seed)

    def panels(self) -> list[Panel]:
        """A few prompts with true pictures from around the object."""
        world = self.load()
        chosen = world.prompts[:: max(1, len(world.prompts) // 6)][:6]
        figures = {"prompts": f"{len(world.prompts):,}", "training pictures": f"{world.pictures(None).rows:,}"}
        return [Numbers("World", figures), Pictures("True pictures", around(world, chosen))]


def around(world: World, prompts: tuple[str, ...], views: int = 6) -> list[tuple[str, bytes]]:
    """A row of true pictures of each prompt, from around the object."""
    low, high = world.rules.elevation
    angles = torch.arange(views).repeat(len(prompts)) * (360 / views)
    cameras = orbit(angles, (low + high) / 2, sum(world.rules.distance) / 2, sum(world.rules.field_of_view) / 2)
    rgb, _ = world.render(prompts, cameras, world.size)
    return [(prompt, sheet(rgb[views * n : views * (n + 1)], views)) for n, prompt in enumerate(prompts)]


def sheet(rgb: Float[Tensor, "n 3 h w"], columns: int) -> bytes:
    """Pictures in [0, 1] row by row, as a PNG file."""
    pixels = (rgb.clamp(0, 1) * 255).round().to("cpu", torch.uint8).permute(0, 2, 3, 1)
    return png_bytes(contact_sheet(pixels, columns))


def _blocks(folder: Path, about: dict[str, object]) -> World:
    return BlocksWorld.read(folder, BlocksSettings(**about["settings"]))  # type: ignore[arg-type]


def _own(folder: Path, about: dict[str, object]) -> World:
    return OwnWorld.read(folder, OwnWorldSettings(**about["settings"]))  # type: ignore[arg-type]


_KINDS: dict[str, Callable[[Path, dict[str, object]], World]] = {"blocks": _blocks, "own": _own}


def describe(kind: str, settings: object, folder: Path) -> None:
    """Write what opens the world."""
    about = {"kind": kind, "settings": settings}
    (folder / ABOUT).write_text(json.dumps(about, indent=1, sort_keys=True) + "\n", encoding="utf-8")


@step()
def render_blocks(run: Run, settings: BlocksSettings) -> WorldPictures:
    """Render the blocks world (see `worlds.blocks`)."""
    with run.bar("rendering the blocks world", len(SHAPE_PAIRS) * len(settings.scales)) as bar:
        BlocksWorld.built(settings, bar.advance).write(run.output)
    describe("blocks", settings.model_dump(mode="json"), run.output)
    return WorldPictures(run.output)


def _files(folder: str, settings: OwnWorldSettings) -> list[list[str | int]]:
    return folder_fingerprint(MeshFolder(path=folder))


@step(observe=_files)
def render_meshes(run: Run, folder: str, settings: OwnWorldSettings) -> WorldPictures:
    """Render a folder of captioned meshes (see `captioned_meshes`, `worlds.own`); bad files go to quarantine."""
    with Quarantine(run.output / "quarantine.jsonl") as quarantine:
        meshes = read_meshes(MeshFolder(path=folder), quarantine)
    with run.bar("rendering meshes", len(meshes)) as bar:
        OwnWorld.built(settings, meshes, bar.advance).write(run.output)
    describe("own", settings.model_dump(mode="json"), run.output)
    run.measure(meshes=len(meshes), quarantined=quarantine.rows_quarantined)
    return WorldPictures(run.output)


__all__ = ["WorldPictures", "around", "render_blocks", "render_meshes", "sheet"]
