"""Teachers: frozen text-to-image diffusion models that say what noise they see in a picture.

`Teacher` is all that score distillation asks for. Here are our own small model (`OwnTeacher`) and one whose score is
known in closed form (`GaussianTeacher`), for tests; DeepFloyd IF and Stable Diffusion from a local folder are in
`teacher_diffusers`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from glasshouse.training.shards import tensors_hash
from glasshouse.vision.diffusion.model import DiffusionModel
from glasshouse.vision.diffusion.schedule import Schedule
from glasshouse.vision.diffusion.text import PromptError
from glasshouse.vision.mesh.cameras import Cameras
from glasshouse.vision.mesh.conditioning import CAMERA_WIDTH, camera_vectors
from glasshouse.vision.mesh.prompts import with_views


class TeacherError(ValueError):
    """A model that cannot be a teacher, or is asked for what it does not have."""


@runtime_checkable
class Teacher(Protocol):
    """What score distillation needs of a diffusion model."""

    @property
    def image_size(self) -> int:
        """Side of the pictures it knows, in pixels."""

    @property
    def camera_conditioned(self) -> bool:
        """Whether it is told the camera; otherwise prompts say which side is seen."""

    @property
    def alphas_cumprod(self) -> Float[Tensor, " T"]:
        """abar by time."""

    @property
    def fingerprint(self) -> str:
        """Changes whenever its weights do."""

    @property
    def frozen(self) -> Mapping[str, nn.Module]:
        """Its modules."""

    def tokens(self, prompts: Sequence[str], views: Sequence[str] | None = None) -> Float[Tensor, "n l d"]:
        """Encoded prompts, with the sides that are seen. Raises `PromptError` for what it does not understand."""

    def null_tokens(self) -> Float[Tensor, "1 l d"]:
        """The empty prompt."""

    def prepare(self, rgb: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n c s s"]:
        """Pictures in [0, 1] as it denoises them, differentiable."""

    def eps(
        self,
        x_t: Float[Tensor, "n c s s"],
        t: Int[Tensor, " n"],
        tokens: Float[Tensor, "n l d"],
        cameras: Cameras | None = None,
    ) -> Float[Tensor, "n c s s"]:
        """The noise it sees in x_t."""


def resized(rgb: Float[Tensor, "n 3 h w"], size: int) -> Float[Tensor, "n 3 size size"]:
    """Pictures in [0, 1] brought to a size and to [-1, 1]."""
    if rgb.shape[-2:] != (size, size):
        rgb = functional.interpolate(rgb, (size, size), mode="bilinear", antialias=True, align_corners=False)
    return 2 * rgb - 1


class OwnTeacher:
    """A diffusion model of this project. Raises `TeacherError` for one without text."""

    def __init__(self, model: DiffusionModel) -> None:
        width = model.config.unet.camera_width
        if model.text is None or model.config.unet.channels != 3 or model.config.unet.image_channels:
            raise TeacherError("a teacher draws pictures in three colours from texts; this diffusion model does not")
        if width not in (0, CAMERA_WIDTH):
            raise TeacherError(f"this diffusion model takes cameras as {width} numbers, here they are {CAMERA_WIDTH}")
        self.model = model.eval().requires_grad_(False)
        self.fingerprint = tensors_hash(sorted(model.state_dict().items()))

    @property
    def image_size(self) -> int:
        return self.model.config.size

    @property
    def camera_conditioned(self) -> bool:
        return self.model.config.unet.camera_width > 0

    @property
    def alphas_cumprod(self) -> Float[Tensor, " T"]:
        return self.model.schedule.alphas_cumprod

    @property
    def frozen(self) -> Mapping[str, nn.Module]:
        return {"teacher": self.model}

    def tokens(self, prompts: Sequence[str], views: Sequence[str] | None = None) -> Float[Tensor, "n l d"]:
        return self.model.tokens(prompts if views is None else with_views(prompts, views))

    def null_tokens(self) -> Float[Tensor, "1 l d"]:
        return self.model.null_tokens(1)

    def prepare(self, rgb: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n 3 s s"]:
        return resized(rgb, self.image_size)

    @torch.no_grad()
    def eps(
        self,
        x_t: Float[Tensor, "n 3 s s"],
        t: Int[Tensor, " n"],
        tokens: Float[Tensor, "n l d"],
        cameras: Cameras | None = None,
    ) -> Float[Tensor, "n 3 s s"]:
        return self.model.eps(x_t, t, tokens, self._camera(cameras, x_t))

    def _camera(self, cameras: Cameras | None, like: Tensor) -> Tensor | None:
        if not self.camera_conditioned:
            return None
        if cameras is None:
            raise TeacherError("this teacher is told where the camera is: give `cameras`")
        return camera_vectors(cameras).to(like)


class GaussianTeacher:
    """Pictures of a prompt are N(mean, spread^2), so eps = sigma (x_t - alpha mean) / (alpha^2 spread^2 + sigma^2).

    A token is the mean itself, flattened; the empty prompt has the mean of all prompts.
    """

    camera_conditioned = False

    def __init__(
        self, means: Mapping[str, Float[Tensor, "c s s"]], spread: float, schedule: Schedule | None = None
    ) -> None:
        self.means = dict(means)
        self.spread, self.schedule = spread, schedule or Schedule()
        self.shape = next(iter(self.means.values())).shape
        self.frozen: Mapping[str, nn.Module] = {}
        self.fingerprint = tensors_hash([*sorted(self.means.items()), ("spread", torch.tensor(spread))])

    @property
    def image_size(self) -> int:
        return int(self.shape[-1])

    @property
    def alphas_cumprod(self) -> Float[Tensor, " T"]:
        return self.schedule.alphas_cumprod

    def tokens(self, prompts: Sequence[str], views: Sequence[str] | None = None) -> Float[Tensor, "n 1 d"]:
        for prompt in prompts:
            if prompt not in self.means:
                raise PromptError(f"this teacher does not know {prompt!r}; it knows {', '.join(self.means)}")
        return torch.stack([self.means[prompt].flatten() for prompt in prompts])[:, None]

    def null_tokens(self) -> Float[Tensor, "1 1 d"]:
        return torch.stack([mean.flatten() for mean in self.means.values()]).mean(0)[None, None]

    def prepare(self, rgb: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n 3 s s"]:
        return resized(rgb, self.image_size)

    def eps(
        self,
        x_t: Float[Tensor, "n c s s"],
        t: Int[Tensor, " n"],
        tokens: Float[Tensor, "n 1 d"],
        cameras: Cameras | None = None,
    ) -> Float[Tensor, "n c s s"]:
        alpha, sigma = self.schedule.alpha(t, x_t), self.schedule.sigma(t, x_t)
        mean = tokens[:, 0].reshape(-1, *self.shape)
        return sigma * (x_t - alpha * mean) / (alpha**2 * self.spread**2 + sigma**2)


__all__ = ["GaussianTeacher", "OwnTeacher", "Teacher", "TeacherError", "resized"]
