"""How well a model completes some images: errors under the mask, and distances between features.

Errors are over hidden pixels, of values in [0, 1]. Distances are of features of a named network (see
`glasshouse.vision.feature_network`): Fréchet and kernel distance between completions and the real training images of
the same kind, cosine between each completion and its original, and the share of completions whose nearest real image
is of the right class.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from glasshouse.store.configuration import named_seed
from glasshouse.vision.collection import ImageCollection, ImageError
from glasshouse.vision.completion.masks import Hidden, Mask
from glasshouse.vision.completion.model import Completion, Images
from glasshouse.vision.feature_network import Extractor
from glasshouse.vision.frechet import frechet_distance, kernel_mmd

CHUNK = 256


@dataclasses.dataclass(frozen=True)
class Measured:
    """What completions of one set under one mask came to."""

    mse: float
    psnr: float
    frechet: float
    mmd: float
    cosine: float
    nearest: float
    by_class: dict[str, float]

    @property
    def values(self) -> dict[str, float]:
        """All figures by name; `mse of CLASS` for every class."""
        plain = {name: value for name, value in dataclasses.asdict(self).items() if name != "by_class"}
        return plain | {f"mse of {name}": value for name, value in self.by_class.items()}


def same_masks(mask: Mask, images: Images, seed: int) -> Hidden:
    """The masks of a set: the same for every model that is compared."""
    generator = torch.Generator().manual_seed(named_seed(seed, "measured masks", mask.name))
    return mask.draw(images, generator)


@torch.no_grad()
def completions(model: Completion, images: Images, hidden: Hidden, seed: int = 0) -> Images:
    """Completions on the host, some images at a time."""
    device, parts = next(model.parameters()).device, []
    generator = torch.Generator(device).manual_seed(named_seed(seed, "completions"))
    for start in range(0, len(images), CHUNK):
        chunk, mask = (part[start : start + CHUNK].to(device) for part in (images, hidden))
        parts.append(model.complete(chunk, mask, generator).cpu())
    return torch.cat(parts)


def hidden_error(completed: Images, images: Images, hidden: Hidden) -> Float[Tensor, " images"]:
    """Mean square of every image over its hidden pixels."""
    counted = hidden[:, None].to(images.dtype)
    error = (completed - images).square() * counted
    return error.sum((1, 2, 3)) / (counted.sum((1, 2, 3)) * images.shape[1])


@dataclasses.dataclass(frozen=True)
class Ruler:
    """What a set is measured against: its real images, and the features of real images of its kind and of all kinds."""

    images: Images
    labels: Int[Tensor, " images"]
    classes: tuple[str, ...]
    extractor: Extractor
    own: Float[Tensor, "images features"]
    of_kind: Float[Tensor, "real features"]
    every: Float[Tensor, "all features"]
    every_label: Int[Tensor, " all"]

    @property
    def floor(self) -> dict[str, float]:
        """The distances of the real images themselves, at the same number of images."""
        return {"frechet": frechet_distance(self.own, self.of_kind), "mmd": kernel_mmd(self.own, self.of_kind)}

    def measure(self, completed: Images, hidden: Hidden) -> Measured:
        """Everything about completions of these images."""
        error = hidden_error(completed, self.images, hidden)
        features = self.extractor.features(completed)
        nearest = torch.cdist(features, self.every).argmin(1)
        mse = float(error.mean())
        return Measured(
            mse=mse,
            psnr=-10 * math.log10(max(mse, 1e-12)),
            frechet=frechet_distance(features, self.of_kind),
            mmd=kernel_mmd(features, self.of_kind),
            cosine=float(functional.cosine_similarity(features, self.own).mean()),
            nearest=float((self.every_label[nearest] == self.labels).float().mean()),
            by_class={self.classes[label]: float(error[self.labels == label].mean()) for label in kinds(self.labels)},
        )


def ruler(images: ImageCollection, places: Int[Tensor, " images"], extractor: Extractor) -> Ruler:
    """The ruler of a set. Real images of its kind are the other training images of its classes.

    Raises `ImageError` where there are fewer than two of those.
    """
    pixels, labels = images.images, images.labels[places]
    numbers = torch.arange(len(images))
    seen = numbers[~images.held_out & ~torch.isin(numbers, places)]
    kind = seen[torch.isin(images.labels[seen], labels)]
    if len(kind) < 2 or len(places) < 2:
        raise ImageError(
            f"{len(places)} images cannot be compared with {len(kind)} other training images of their classes: both "
            "need two or more"
        )
    return Ruler(
        images=pixels[places],
        labels=labels,
        classes=images.classes,
        extractor=extractor,
        own=extractor.features(pixels[places]),
        of_kind=extractor.features(pixels[kind]),
        every=extractor.features(pixels[seen]),
        every_label=images.labels[seen],
    )


def kinds(labels: Int[Tensor, " images"]) -> list[int]:
    """The labels that occur, sorted."""
    return sorted(set(labels.tolist()))


def measure_all(
    model: Completion, rulers: dict[str, Ruler], masks: Sequence[Mask], seed: int = 0
) -> dict[str, dict[str, Any]]:
    """Set -> mask -> figures."""
    found: dict[str, dict[str, Any]] = {}
    for name, held in rulers.items():
        found[name] = {}
        for mask in masks:
            hidden = same_masks(mask, held.images, seed)
            found[name][mask.name] = held.measure(completions(model, held.images, hidden, seed), hidden).values
    return found
