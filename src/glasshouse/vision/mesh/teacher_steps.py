"""A teacher of a world as an artifact."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from glasshouse.store.configuration import Config
from glasshouse.store.step import Run, step
from glasshouse.vision.diffusion.denoising import DenoisingSettings
from glasshouse.vision.diffusion.files import load_diffusion
from glasshouse.vision.diffusion.model import DiffusionConfig, DiffusionModel
from glasshouse.vision.diffusion.steps import TrainedDiffusion, trained
from glasshouse.vision.diffusion.text import TextConfig
from glasshouse.vision.diffusion.unet import UNetConfig
from glasshouse.vision.mesh.conditioning import CAMERA_WIDTH
from glasshouse.vision.mesh.teacher import OwnTeacher
from glasshouse.vision.mesh.world_steps import WorldPictures


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


__all__ = ["TeacherSettings", "TrainedTeacher", "train_teacher"]
