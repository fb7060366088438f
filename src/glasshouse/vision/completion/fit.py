"""Train a completion model of this house from nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from glasshouse.training.data import TensorRows
from glasshouse.training.objective import Objective
from glasshouse.training.trainer import TrainingResult, train
from glasshouse.vision.completion.files import CompletionConfig, OwnCompletion
from glasshouse.vision.completion.training import CompletionObjective, CompletionTraining
from glasshouse.vision.completion.vq import VqObjective
from glasshouse.vision.completion.vq_prior import VqCompletion, VqCompletionConfig


def objectives(model: OwnCompletion, settings: CompletionTraining) -> Iterator[tuple[Objective, int]]:
    """What is minimised, one after the other, and for how many updates: of a VQ model first its auto-encoder."""
    if isinstance(model, VqCompletion):
        yield VqObjective(model.tokenizer), settings.steps
        model.tokenizer.requires_grad_(False)
    yield CompletionObjective(model, settings.masks), settings.steps


def updates(config: CompletionConfig, settings: CompletionTraining) -> int:
    """Updates of all runs of a model."""
    return settings.steps * (2 if isinstance(config, VqCompletionConfig) else 1)


def fit(
    images: Float[Tensor, "images channels height width"],
    config: CompletionConfig,
    settings: CompletionTraining,
    directory: Path | str,
    device: torch.device | str = "cpu",
    **options: Any,
) -> tuple[OwnCompletion, list[TrainingResult]]:
    """A model, and the results of its runs: two for an auto-encoder and a prior. `options` go to the trainer."""
    model, data, results = config.build(settings.seed).to(device), TensorRows({"images": images}), []
    for number, (objective, _) in enumerate(objectives(model, settings)):
        results.append(train(objective, data, settings.training(), Path(directory) / f"run-{number}", **options))
    return model.eval(), results
