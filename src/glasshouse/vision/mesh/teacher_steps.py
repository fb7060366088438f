"""Teachers as artifacts: trained on a world, or from a folder on this machine."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from pydantic import Field

from glasshouse.store.artifact import Artifact
from glasshouse.store.configuration import Config
from glasshouse.store.files import read_json
from glasshouse.store.step import Run, step
from glasshouse.vision.diffusion.denoising import DenoisingSettings
from glasshouse.vision.diffusion.files import CONFIG, load_diffusion
from glasshouse.vision.diffusion.model import DiffusionConfig, DiffusionModel
from glasshouse.vision.diffusion.steps import TrainedDiffusion, trained
from glasshouse.vision.diffusion.text import TextConfig
from glasshouse.vision.diffusion.unet import UNetConfig
from glasshouse.vision.mesh.conditioning import CAMERA_WIDTH
from glasshouse.vision.mesh.teacher import OwnTeacher, TeacherError
from glasshouse.vision.mesh.teacher_diffusers import FolderTeacher, open_folder_teacher
from glasshouse.vision.mesh.world_steps import WorldPictures

WHERE = "teacher.json"


class TeacherSettings(Config):
    """A teacher of our own and how it is trained.

    Attributes:
        widths, patch, depth, attention: of the UNet, see `UNetConfig`.
        text_width: of tokens.
    """

    widths: tuple[int, ...] = (32, 64, 96)
    patch: int = Field(2, ge=1)
    depth: int = Field(1, ge=1)
    attention: tuple[int, ...] = (2,)
    text_width: int = Field(64, ge=8)
    denoising: DenoisingSettings = DenoisingSettings(steps=2000, batch_size=16, emphasis=2.0)

    def model(self, size: int, prompts: Sequence[str]) -> DiffusionConfig:
        """The model for pictures of a size; its vocabulary is that of these prompts."""
        text = TextConfig.of(prompts, width=self.text_width)
        unet = UNetConfig(
            widths=self.widths, patch=self.patch, depth=self.depth, attention=self.attention,
            token_width=text.width, token_length=text.length, camera_width=CAMERA_WIDTH,
        )  # fmt: skip
        return DiffusionConfig(size=size, unet=unet, text=text)


class TrainedTeacher(TrainedDiffusion):
    """A diffusion model that can teach; the folder is that of any of our diffusion models."""

    def load(self, device: str = "cpu") -> OwnTeacher:  # type: ignore[override]
        """The teacher."""
        return OwnTeacher(self.model(device))

    def model(self, device: str = "cpu") -> DiffusionModel:
        """The diffusion model."""
        return load_diffusion(self.path, device)


@step()
def train_teacher(run: Run, world: WorldPictures, settings: TeacherSettings, device: str = "cpu") -> TrainedTeacher:
    """Train a teacher on pictures of a world, conditioned on prompts and cameras. A killed run goes on."""
    opened = world.load()
    trained(run, opened, settings.model(opened.size, opened.prompts), settings.denoising, device)
    return TrainedTeacher(run.output)


def open_teacher(folder: Path, device: str = "cpu", *, half: bool = False) -> OwnTeacher | FolderTeacher:
    """A teacher from a folder: a diffusion model of this project, or a pipeline of diffusers.

    Raises `TeacherError` where it is neither. `half` reads a pipeline's weights as bf16.
    """
    if (folder / CONFIG).is_file() and not (folder / "model_index.json").exists():
        return OwnTeacher(load_diffusion(folder, device))
    return open_folder_teacher(folder, device=device, dtype=torch.bfloat16 if half else torch.float32)


class LocalTeacher(Artifact):
    """Where a teacher's folder is, and the hash of its files: it is not copied."""

    def load(self, device: str = "cpu") -> OwnTeacher | FolderTeacher:
        """The teacher. Raises `TeacherError` if its files are no longer the same."""
        about = read_json(self.file(WHERE))
        found = open_teacher(Path(about["folder"]), device, half=about["half"])
        if found.fingerprint != about["fingerprint"]:
            raise TeacherError(
                f"the files of the teacher in {about['folder']} have changed since it was used: run again"
            )
        return found


def _observed(folder: str, half: bool = False) -> str:
    return open_teacher(Path(folder), half=half).fingerprint


@step(observe=_observed)
def folder_teacher(run: Run, folder: str, half: bool = False) -> LocalTeacher:
    """Take a teacher from a folder on this machine; a folder that changes is another teacher."""
    about = {"folder": str(Path(folder).resolve()), "half": half, "fingerprint": _observed(folder, half)}
    (run.output / WHERE).write_text(json.dumps(about, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return LocalTeacher(run.output)


__all__ = [
    "LocalTeacher", "TeacherSettings", "TrainedTeacher", "folder_teacher", "open_teacher", "train_teacher",
]  # fmt: skip
