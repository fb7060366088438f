"""What the paper compares with (arXiv 2402.00351, section 5), on images to retain and to forget alike.

    max loss         l(x_r, x_r) - alpha l(x_f, x_f)            the whole model
    noisy label      l(x_r, x_r) + alpha l(x_f, noise)          the whole model
    retain label     l(x_r, x_r) + alpha l(x_f, x_r)            the whole model
    random encoder   d(E(x_r), E0(x_r)) + alpha d(E(x_f), z)    the encoder, z normal with E0's mean and deviation
    fine-tuning      l(x_r, x_r)                                the whole model, of images to retain alone

l(x, y) is the model's own training loss for the masked image x with y as the truth. The published VQ-GAN code
multiplies both terms of these baselines by (1 + label), with label -1 for images to forget. There random encoder and
retain label never see an image to forget, and push images to retain towards the wrong target; that is not copied.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from glasshouse.training.objective import Loss, Step
from glasshouse.vision.completion.masks import Hidden, Mask, draw_one_of
from glasshouse.vision.completion.model import Completion, Embedding, Images, distance
from glasshouse.vision.unlearning.objective import freeze_decoder, noise_like

WholeModel = Literal["max loss", "noisy label", "retain label", "fine-tuning"]


class WholeModelBaseline:
    """The baselines that train the whole model. A batch is `{"retain", "forget"}`; either may be empty."""

    unit = "images"

    def __init__(self, model: Completion, kind: WholeModel, *, alpha: float, masks: Sequence[Mask]) -> None:
        self.model, self.kind, self.alpha, self.masks = model, kind, alpha, masks
        self.learns: Mapping[str, nn.Module] = {"model": model}
        self.carries: Mapping[str, nn.Module] = {}
        self.frozen: Mapping[str, nn.Module] = {}
        self.configuration: Any = {"kind": kind, "alpha": alpha, "masks": list(masks)}

    def weight(self, batch: Mapping[str, Tensor]) -> float:
        return float(max(len(batch["retain"]), len(batch["forget"])))

    def loss(self, batch: Mapping[str, Tensor], step: Step) -> Loss:
        kept, gone = batch["retain"], batch["forget"]
        zero = kept.new_zeros(())
        hidden = draw_one_of(self.masks, torch.cat([kept, gone]), step.generator)
        own, other = hidden[: len(kept)], hidden[len(kept) :]
        retain = self.model.loss(kept, own, kept, step.generator) if len(kept) else zero
        metrics = {"retain": retain.detach()}
        if not len(gone) or self.kind == "fine-tuning":
            return Loss(retain, metrics)
        target = self._target(batch, step)
        forget = self.model.loss(gone, other, target, step.generator) if len(target) else zero
        sign = -1.0 if self.kind == "max loss" else 1.0
        return Loss(retain + sign * self.alpha * forget, metrics | {"forget": forget.detach()})

    def _target(self, batch: Mapping[str, Tensor], step: Step) -> Images:
        if self.kind == "noisy label":
            return noise_like(batch["forget"], "normal", step.generator)
        if self.kind == "retain label":
            kept = batch["retain"]
            return kept[torch.arange(len(batch["forget"]), device=kept.device) % len(kept)] if len(kept) else kept
        return batch["forget"]


class RandomEncoder:
    """The encoder's answer to images to forget is pulled towards random vectors. Batches as above."""

    unit = "images"

    def __init__(self, student: Completion, teacher: Completion, *, alpha: float, masks: Sequence[Mask]) -> None:
        self.student, self.teacher, self.alpha, self.masks = student, teacher, alpha, masks
        self.learns: Mapping[str, nn.Module] = {"encoder": student.encoder}
        self.carries: Mapping[str, nn.Module] = {}
        self.frozen: Mapping[str, nn.Module] = {"teacher": teacher}
        self.configuration: Any = {"kind": "random encoder", "alpha": alpha, "masks": list(masks)}
        freeze_decoder(student)

    def weight(self, batch: Mapping[str, Tensor]) -> float:
        return float(max(len(batch["retain"]), len(batch["forget"])))

    def loss(self, batch: Mapping[str, Tensor], step: Step) -> Loss:
        images, kept = torch.cat([batch["retain"], batch["forget"]]), len(batch["retain"])
        hidden: Hidden = draw_one_of(self.masks, images, step.generator)
        draw = self.student.draw(images, step.generator)
        student = self.student.encode(images, hidden, draw)
        with torch.no_grad():
            teacher = self.teacher.encode(images, hidden, draw)
        gone = teacher.rows(kept, len(images))
        random = Embedding(tuple(_normal_like(layer, step.generator) for layer in gone.layers), gone.places, gone.valid)
        retain = distance(student.rows(0, kept), teacher.rows(0, kept))
        forget = distance(student.rows(kept, len(images)), random)
        return Loss(retain + self.alpha * forget, {"retain": retain.detach(), "forget": forget.detach()})


def _normal_like(layer: Tensor, generator: torch.Generator) -> Tensor:
    if layer.numel() < 2:
        return layer
    deviation, mean = torch.std_mean(layer)
    return mean + deviation * torch.randn(layer.shape, generator=generator, device=layer.device)
