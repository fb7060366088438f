"""Training a diffusion model: it denoises pictures of its data (Ho et al., arXiv 2006.11239, eq. 14).

    L = E_{x_0, eps, t} | f(x_t, t, c) - target |^2,      target = eps, x_0 or v

The text is replaced by the empty one with a chance, which guidance needs (arXiv 2207.12598), and an average copy of
the weights is kept, which samples better: a' = r a + (1 - r) w with r = min(rate, (1 + n) / (10 + n)) at update n.
Times of a batch are stratified over 0 .. T-1, which takes variance out of the loss and leaves its mean.

A batch holds `picture` [n, c, h, w] in [-1, 1], and what the model is conditioned on: `words` [n, l] (numbers of
words), `tokens` [n, l, d] (of another encoder), `camera` [n, k], `image` [n, i, h, w].
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from glasshouse.store.configuration import Config
from glasshouse.training.configuration import Training
from glasshouse.training.data import TrainingData
from glasshouse.training.objective import Loss, Step
from glasshouse.training.trainer import TrainingResult, train
from glasshouse.vision.diffusion.model import DiffusionConfig, DiffusionModel
from glasshouse.vision.diffusion.text import PADDING


class DenoisingSettings(Config):
    """How a diffusion model is trained.

    Attributes:
        steps, batch_size, learning_rate, warmup: of AdamW, see `Training`.
        emphasis: times are drawn with density proportional to t^(emphasis - 1); more than 1 spends more of the run on
            much noise, where the text decides, and less on details.
        drop_text: chance that a text is replaced by the empty one.
        average: the rate of the average copy.
        precision: of the arithmetic; `bf16` for GPUs.
        seed: of initial weights, order of data and noise.
    """

    steps: int = Field(1000, ge=1)
    batch_size: int = Field(32, ge=1)
    learning_rate: float = Field(2e-3, gt=0)
    warmup: int = Field(20, ge=0)
    weight_decay: float = Field(0.01, ge=0)
    emphasis: float = Field(1.0, gt=0)
    drop_text: float = Field(0.1, ge=0, lt=1)
    average: float = Field(0.99, ge=0, lt=1)
    precision: Literal["fp32", "bf16"] = "fp32"
    checkpoint_every: int = Field(200, ge=1)
    seed: int = Field(0, ge=0)

    def training(self) -> Training:
        """For the shared trainer."""
        return Training.small(
            steps=self.steps, batch_size=self.batch_size, learning_rate=self.learning_rate, seed=self.seed,
            warmup=min(self.warmup, self.steps - 1), weight_decay=self.weight_decay, betas=(0.9, 0.99),
            schedule="cosine", final_fraction=0.05, precision=self.precision,
            checkpoint_every=self.checkpoint_every,
        )  # fmt: skip


class Denoising:
    """The objective of denoising; `average` is the model to sample from."""

    unit = "pictures"

    def __init__(self, model: DiffusionModel, settings: DenoisingSettings) -> None:
        self.model, self.settings = model, settings
        self.average = copy.deepcopy(model)
        self.learns: Mapping[str, nn.Module] = {"model": model}
        self.carries: Mapping[str, nn.Module] = {"average": self.average}
        self.frozen: Mapping[str, nn.Module] = {}
        self.configuration = {"settings": settings, "model": model.config}

    def weight(self, batch: Mapping[str, Tensor]) -> float:
        return float(len(batch["picture"]))

    def loss(self, batch: Mapping[str, Tensor], step: Step) -> Loss:
        x_0, schedule = batch["picture"], self.model.schedule
        count = len(x_0)
        draws = torch.rand(count, generator=step.generator, device=x_0.device)
        order = torch.randperm(count, generator=step.generator, device=x_0.device)
        share = ((order + draws) / count) ** (1 / self.settings.emphasis)
        t = (share * schedule.steps).long().clamp(max=schedule.steps - 1)
        eps = torch.randn(x_0.shape, generator=step.generator, device=x_0.device)
        said = self.model(schedule.noisy(x_0, eps, t), t, *self._conditions(batch, step))
        target = schedule.target(self.model.config.prediction, x_0, eps, t)
        return Loss((said - target).square().mean())

    def after_step(self, step: Step) -> None:
        rate = min(self.settings.average, (1 + step.number) / (10 + step.number))
        torch._foreach_lerp_(list(self.average.parameters()), list(self.model.parameters()), 1 - rate)

    def _conditions(self, batch: Mapping[str, Tensor], step: Step) -> tuple[Tensor | None, ...]:
        tokens = batch.get("tokens")
        if "words" in batch:
            words = batch["words"]
            drawn = torch.rand(len(words), generator=step.generator, device=words.device)
            tokens = self.model.encoder(words.masked_fill(drawn[:, None] < self.settings.drop_text, PADDING))
        return tokens, batch.get("camera"), batch.get("image")


def train_diffusion(
    config: DiffusionConfig,
    data: TrainingData,
    settings: DenoisingSettings,
    directory: Path | str,
    *,
    device: torch.device | str = "cpu",
    **options: Any,
) -> tuple[DiffusionModel, TrainingResult]:
    """Train a diffusion model from nothing; `options` go to the trainer. Returns the average copy of the weights."""
    objective = Denoising(DiffusionModel(config, settings.seed).to(device), settings)
    result = train(objective, data, settings.training(), directory, **options)
    return objective.average.eval(), result


__all__ = ["Denoising", "DenoisingSettings", "train_diffusion"]
