"""What tells a generator how its pictures should change: a teacher by score distillation, or true pictures.

    criticism(pictures, numbers, cameras, step) -> Criticised

`numbers` say which prompt each picture is of. Texts are encoded once, for every view word that the teacher needs; a
teacher that is conditioned on the camera needs none.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from glasshouse.training.objective import Step
from glasshouse.vision.diffusion.guidance import guided
from glasshouse.vision.mesh.cameras import Cameras
from glasshouse.vision.mesh.perp_neg import perp_neg, steering
from glasshouse.vision.mesh.prompts import VIEWS, view_words
from glasshouse.vision.mesh.sds import Distillation, Noise, distil, draw_times
from glasshouse.vision.mesh.teacher import Teacher


@dataclasses.dataclass(frozen=True)
class Criticised:
    """A loss, numbers to watch, and how far each picture is asked to move."""

    loss: Float[Tensor, ""]
    metrics: Mapping[str, Tensor]
    moved: Float[Tensor, " n"]


class Criticism(Protocol):
    """See above."""

    @property
    def frozen(self) -> Mapping[str, nn.Module]:
        """Modules whose hash belongs to a run's identity."""

    @property
    def configuration(self) -> Any:
        """Settings, part of a run's identity."""

    def __call__(
        self, pictures: Float[Tensor, "n 3 h w"], numbers: Int[Tensor, " n"], cameras: Cameras, step: Step
    ) -> Criticised: ...


class ScoreDistillation:
    """A frozen text-to-image model criticises pictures of prompts (`glasshouse.vision.mesh.sds`)."""

    def __init__(self, teacher: Teacher, prompts: Sequence[str], settings: Distillation | None = None) -> None:
        self.teacher, self.settings = teacher, settings or Distillation()
        if self.settings.perp_neg and teacher.camera_conditioned:
            raise ValueError("Distillation.perp_neg is for teachers that take views as words; this one takes cameras")
        words: Sequence[str | None] = (None,) if teacher.camera_conditioned else VIEWS
        with torch.no_grad():
            self.tokens = {
                word: teacher.tokens(prompts, None if word is None else [word] * len(prompts)) for word in words
            }
            self.null = teacher.null_tokens()

    @property
    def frozen(self) -> Mapping[str, nn.Module]:
        """The teacher's modules."""
        return self.teacher.frozen

    @property
    def configuration(self) -> Any:
        """The settings, and which teacher it is."""
        return {"distillation": self.settings, "teacher": self.teacher.fingerprint}

    def __call__(
        self, pictures: Float[Tensor, "n 3 h w"], numbers: Int[Tensor, " n"], cameras: Cameras, step: Step
    ) -> Criticised:
        x = self.teacher.prepare(pictures)
        alphas_cumprod = self.teacher.alphas_cumprod
        t = draw_times(self.settings, len(alphas_cumprod), step.progress, len(x), step.generator)
        e = torch.randn(x.shape, generator=step.generator, device=x.device).to(x)
        distilled = distil(x, self.noise(numbers, cameras), alphas_cumprod, self.settings, t, e)
        return Criticised(distilled.loss, {"noise_error": distilled.error}, distilled.moved)

    def noise(self, numbers: Int[Tensor, " n"], cameras: Cameras) -> Noise:
        """The guided noise for these prompts and cameras; all texts of a picture go through the teacher at once."""
        if self.settings.perp_neg:
            return self._steered(numbers, cameras)
        scale, conditional = self.settings.guidance, self._texts(numbers, cameras)
        null = self.null.expand_as(conditional)
        if scale in (0.0, 1.0):
            only = conditional if scale else null
            return lambda x_t, t: self.teacher.eps(x_t, t, only, cameras)

        def noise(x_t: Tensor, t: Tensor) -> Tensor:
            nothing, text = self._asked(x_t, t, [null, conditional], cameras)
            return guided(nothing, text, scale)

        return noise

    def _texts(self, numbers: Tensor, cameras: Cameras) -> Tensor:
        if None in self.tokens:
            return self.tokens[None][numbers]
        words = view_words(cameras)
        return torch.stack([self.tokens[word][number] for word, number in zip(words, numbers.tolist(), strict=True)])

    def _steered(self, numbers: Tensor, cameras: Cameras) -> Noise:
        rules = [steering(azimuth) for azimuth in cameras.azimuth.tolist()]

        def texts(words: list[str]) -> Tensor:
            return torch.stack([self.tokens[w][n] for w, n in zip(words, numbers.tolist(), strict=True)])

        share = self.null.new_tensor([rule.positive[2] for rule in rules]).reshape(-1, 1, 1)
        first, second = (texts([rule.positive[which] for rule in rules]) for which in (0, 1))  # type: ignore[misc]
        positive = share * first + (1 - share) * second
        negative = [texts([rule.negative[which][0] for rule in rules]) for which in (0, 1)]
        weights = [self.null.new_tensor([rule.negative[which][1] for rule in rules]) for which in (0, 1)]
        all_texts = [self.null.expand_as(positive), positive, *negative]

        def noise(x_t: Tensor, t: Tensor) -> Tensor:
            unconditional, conditional, *others = self._asked(x_t, t, all_texts, cameras)
            return perp_neg(unconditional, conditional, others, weights, self.settings.guidance)

        return noise

    def _asked(self, x_t: Tensor, t: Tensor, texts: list[Tensor], cameras: Cameras) -> tuple[Tensor, ...]:
        times = len(texts)
        every = cameras[torch.arange(len(cameras), device=x_t.device).repeat(times)]
        repeated = x_t.repeat(times, 1, 1, 1), t.repeat(times), torch.cat(texts)
        return self.teacher.eps(*repeated, every).chunk(times)


Truth = Callable[[list[str], Cameras], Float[Tensor, "n 3 h w"]]
"""Prompts (one a picture) and cameras to true pictures."""


class DirectLoss:
    """Squared distance to true pictures: a baseline without a teacher, for worlds that can be rendered."""

    def __init__(self, prompts: Sequence[str], truth: Truth, world: str) -> None:
        self.prompts, self.truth = list(prompts), truth
        self.frozen: Mapping[str, nn.Module] = {}
        self.configuration = {"world": world}

    def __call__(
        self, pictures: Float[Tensor, "n 3 h w"], numbers: Int[Tensor, " n"], cameras: Cameras, step: Step
    ) -> Criticised:
        with torch.no_grad():
            true = self.truth([self.prompts[number] for number in numbers.tolist()], cameras).to(pictures)
        if true.shape[-2:] != pictures.shape[-2:]:
            true = functional.interpolate(true, pictures.shape[-2:], mode="area")
        each = (pictures - true).square().mean((1, 2, 3))
        error = each.mean()
        return Criticised(100 * error, {"picture_error": error.detach()}, each.detach())
