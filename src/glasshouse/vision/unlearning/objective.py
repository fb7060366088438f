"""Encoder-only unlearning for image-to-image models (arXiv 2402.00351).

    L = d(E(T(x_r)), E0(T(x_r))) + alpha d(E(T(x_f)), E0(T(n))),   d = mean square

E is the encoder that learns, E0 a frozen copy of it, T hides the same pixels for both, x_r is an image to retain, x_f
one to forget, n a noise image with the mean and deviation of the batch. The decoder is not touched: an output whose
embedding is that of noise carries nothing of the image, and the divergence of outputs is bounded by the distance of
embeddings (the paper's argument for the square loss; the divergence itself is unbounded and cannot be maximised).

Deviation: d is a mean over elements (and over layers, for models that have several), where the paper writes a norm; it
changes what alpha means by a factor that is the same for both terms.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from glasshouse.training.objective import Loss, Step
from glasshouse.vision.completion.masks import Mask, draw_one_of
from glasshouse.vision.completion.model import Completion, Images, distance

NoiseKind = Literal["normal", "uniform", "constant"]


class EncoderUnlearning:
    """The paper's method. A batch is `{"retain", "forget"}`; either may be empty."""

    unit = "images"

    def __init__(
        self,
        student: Completion,
        teacher: Completion,
        *,
        alpha: float,
        masks: Sequence[Mask],
        noise: NoiseKind = "normal",
    ) -> None:
        self.student, self.teacher = student, teacher
        self.alpha, self.masks, self.noise = alpha, masks, noise
        self.learns: Mapping[str, nn.Module] = {"encoder": student.encoder}
        self.carries: Mapping[str, nn.Module] = {}
        self.frozen: Mapping[str, nn.Module] = {"teacher": teacher}
        self.configuration: Any = {"alpha": alpha, "masks": list(masks), "noise": noise}
        freeze_decoder(student)

    def weight(self, batch: Mapping[str, Tensor]) -> float:
        return float(max(len(batch["retain"]), len(batch["forget"])))

    def loss(self, batch: Mapping[str, Tensor], step: Step) -> Loss:
        images, kept = torch.cat([batch["retain"], batch["forget"]]), len(batch["retain"])
        hidden = draw_one_of(self.masks, images, step.generator)
        draw = self.student.draw(images, step.generator)
        noise = noise_like(batch["forget"], self.noise, step.generator)
        student = self.student.encode(images, hidden, draw)
        with torch.no_grad():
            before, after = rows(draw, 0, kept), rows(draw, kept, len(images))
            as_before = self.teacher.encode(batch["retain"], hidden[:kept], before)
            blind = self.teacher.blind(batch["forget"], noise, hidden[kept:], after)
        retain = distance(student.rows(0, kept), as_before)
        forget = distance(student.rows(kept, len(images)), blind)
        return Loss(retain + self.alpha * forget, {"retain": retain.detach(), "forget": forget.detach()})


def freeze_decoder(model: Completion) -> None:
    """Only the encoder's parameters ask for gradients."""
    model.requires_grad_(False)
    model.encoder.requires_grad_(True)


def noise_like(images: Images, kind: NoiseKind, generator: torch.Generator) -> Images:
    """Noise images in [0, 1]: normal with the batch's mean and deviation per channel, uniform, or the mean itself."""
    if not len(images):
        return images
    if kind == "uniform":
        return torch.rand(images.shape, generator=generator, device=images.device)
    deviation, mean = torch.std_mean(images, (0, 2, 3), keepdim=True)
    if kind == "constant":
        return mean.expand_as(images)
    drawn = torch.randn(images.shape, generator=generator, device=images.device)
    return (mean + deviation * drawn).clamp(0, 1)


def rows(draw: tuple[Tensor, ...] | None, first: int, last: int) -> tuple[Tensor, ...] | None:
    """The random numbers of some images."""
    return None if draw is None else tuple(part[first:last] for part in draw)
