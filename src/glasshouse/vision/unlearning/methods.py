"""Make a model forget: the method or a baseline, by name, on the shared trainer."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

from pydantic import Field

from glasshouse.store.configuration import Config
from glasshouse.training.configuration import Training
from glasshouse.training.objective import Objective
from glasshouse.training.trainer import TrainingResult, train
from glasshouse.vision.collection import ImageCollection
from glasshouse.vision.completion.masks import Mask
from glasshouse.vision.completion.model import Completion, decoder_hash, encoder_hash
from glasshouse.vision.completion.training import TRAINING_MASKS
from glasshouse.vision.unlearning.baselines import RandomEncoder, WholeModelBaseline
from glasshouse.vision.unlearning.objective import EncoderUnlearning, NoiseKind
from glasshouse.vision.unlearning.pairs import PairedImages
from glasshouse.vision.unlearning.split import Parts

Method = Literal["encoder", "max loss", "noisy label", "retain label", "random encoder", "fine-tuning"]
M = TypeVar("M", bound=Completion)
METHODS: tuple[Method, ...] = ("encoder", "max loss", "noisy label", "retain label", "random encoder", "fine-tuning")


class Unlearning(Config):
    """How a model is made to forget.

    Attributes:
        method: `encoder` is the paper's; the others are its baselines.
        alpha: weight of forgetting, where retaining has 1.
        noise: what the encoder is to see in place of images to forget (the paper's method only).
        batch_size: images to forget in a batch, and as many to retain.
    """

    method: Method = "encoder"
    alpha: float = Field(1.0, gt=0)
    noise: NoiseKind = "normal"
    steps: int = Field(400, ge=1)
    batch_size: int = Field(16, ge=1)
    learning_rate: float = Field(2e-3, gt=0)
    masks: tuple[Mask, ...] = Field(TRAINING_MASKS, min_length=1)
    seed: int = Field(0, ge=0)

    def training(self, **options: Any) -> Training:
        """The trainer's configuration: a constant rate after a short warm-up, then down over the last fifth."""
        return Training.small(
            steps=self.steps,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            seed=self.seed,
            schedule="wsd",
            final_fraction=0.0,
            **options,
        )

    @property
    def keeps_decoder(self) -> bool:
        """Whether the method promises to leave the decoder as it was."""
        return self.method in ("encoder", "random encoder")

    def objective(self, student: Completion, teacher: Completion) -> Objective:
        """What is minimised."""
        if self.method == "encoder":
            return EncoderUnlearning(student, teacher, alpha=self.alpha, masks=self.masks, noise=self.noise)
        if self.method == "random encoder":
            return RandomEncoder(student, teacher, alpha=self.alpha, masks=self.masks)
        return WholeModelBaseline(student, self.method, alpha=self.alpha, masks=self.masks)


@dataclasses.dataclass(frozen=True)
class Unlearned(Generic[M]):
    """A model after unlearning, beside the hashes of what it was and is."""

    model: M
    result: TrainingResult
    hashes: dict[str, str]

    @property
    def decoder_unchanged(self) -> bool:
        """Whether every weight outside the encoder is the same, bit for bit."""
        return self.hashes["decoder before"] == self.hashes["decoder after"]


def unlearn(
    model: M,
    images: ImageCollection,
    parts: Parts,
    settings: Unlearning,
    directory: Path | str,
    **options: Any,
) -> Unlearned[M]:
    """A copy of `model` that has forgotten; `model` stays as it is. `options` go to the trainer."""
    device = next(model.parameters()).device
    student, teacher = copy.deepcopy(model), copy.deepcopy(model).eval()
    data = PairedImages(images.images, parts.retain, parts.forget)
    result = train(settings.objective(student, teacher), data, settings.training(), directory, device=device, **options)
    student.requires_grad_(True).eval()
    before = {"encoder before": encoder_hash(model), "decoder before": decoder_hash(model)}
    after = {"encoder after": encoder_hash(student), "decoder after": decoder_hash(student)}
    return Unlearned(student, result, before | after)
