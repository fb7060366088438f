"""Images with their classes, names, hashes and origin, and their file form.

An image is known by the sha256 of its pixels, so the same picture under two names is one image, and what is held out is
decided by that hash: copies never stand on both sides.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor

from glasshouse.data.document import is_selected

PIXELS, ABOUT = "images.safetensors", "images.json"


class ImageError(ValueError):
    """Images that cannot be used: none at all, sizes that differ, a class that is missing."""


@dataclasses.dataclass(frozen=True)
class ImageCollection:
    """Images in memory.

    Attributes:
        pixels: whole numbers; `levels` is white.
        labels: places among `classes`.
        names: what people call them, such as a path; `ids` are hashes of the pixels.
        sources: the id of the artifact that each image was read into; empty until it is in a store.
        held_out: which images are for measuring and not for training.
    """

    pixels: Int[Tensor, "images channels height width"]
    levels: int
    labels: Int[Tensor, " images"]
    classes: tuple[str, ...]
    names: tuple[str, ...]
    ids: tuple[str, ...]
    sources: tuple[str, ...]
    held_out: Bool[Tensor, " images"]

    def __len__(self) -> int:
        return len(self.pixels)

    @property
    def images(self) -> Float[Tensor, "images channels height width"]:
        """In [0, 1]."""
        return self.pixels.float() / self.levels

    @property
    def size(self) -> tuple[int, int, int]:
        """Channels, height, width."""
        _, channels, height, width = self.pixels.shape
        return channels, height, width

    def save(self, directory: Path) -> None:
        """Write pixels as safetensors, the rest as JSON."""
        tensors = {"pixels": self.pixels, "labels": self.labels, "held_out": self.held_out}
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, directory / PIXELS)
        about = {"levels": self.levels, "classes": self.classes, "names": self.names, "ids": self.ids,
                 "sources": self.sources}  # fmt: skip
        (directory / ABOUT).write_text(json.dumps(about, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def load_collection(directory: Path) -> ImageCollection:
    """What `ImageCollection.save` wrote."""
    tensors = load_file(directory / PIXELS)
    about = json.loads((directory / ABOUT).read_text(encoding="utf-8"))
    return ImageCollection(
        pixels=tensors["pixels"],
        levels=int(about["levels"]),
        labels=tensors["labels"],
        classes=tuple(about["classes"]),
        names=tuple(about["names"]),
        ids=tuple(about["ids"]),
        sources=tuple(about["sources"]),
        held_out=tensors["held_out"],
    )


def collect(
    pixels: Sequence[NDArray[np.uint8]] | NDArray[np.uint8],
    levels: int,
    labels: Sequence[int],
    classes: Sequence[str],
    names: Sequence[str],
    *,
    holdout: float,
    seed: int = 0,
) -> ImageCollection:
    """A collection of images `[channels, height, width]` of one size, a share of them held out by their hash.

    Raises `ImageError` when there is no image, or a class has none to train on or none held out.
    """
    if not len(pixels):
        raise ImageError("there are no images")
    if len(shapes := {tuple(image.shape) for image in pixels}) > 1:
        raise ImageError(f"images of one size are needed, got {sorted(shapes)} (channels, height, width)")
    ids = tuple(pixel_hash(image) for image in pixels)
    held = torch.tensor([is_selected(one, holdout, seed, "held-out images") for one in ids])
    found = torch.tensor(list(labels))
    for place, name in enumerate(classes):
        for where, side in (("to train on", ~held), ("held out", held)):
            if not (side & (found == place)).any():
                raise ImageError(
                    f"class {name!r} has {int((found == place).sum())} images and none {where}: "
                    "give more images, another seed, or another holdout"
                )
    stacked = torch.from_numpy(np.stack(list(pixels)))
    return ImageCollection(stacked, levels, found, tuple(classes), tuple(names), ids, ("",) * len(ids), held)


def pixel_hash(image: NDArray[np.uint8]) -> str:
    """sha256 (hex) of an image's shape and pixels."""
    return hashlib.sha256(f"{image.shape}".encode() + np.ascontiguousarray(image).tobytes()).hexdigest()


def digits(holdout: float = 0.28, seed: int = 0) -> ImageCollection:
    """The 1797 handwritten digits of 8 x 8 pixels that come with scikit-learn (UCI, Alpaydin and Kaynak, 1998).

    Raises `ImportError` with what to install when scikit-learn is missing.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise ImportError("the digits come with scikit-learn: pip install 'glasshouse[vision]'") from error
    found = load_digits()
    pixels = found.images.astype(np.uint8)[:, None]
    names = [f"digits/{number}" for number in range(len(pixels))]
    classes = [str(digit) for digit in range(10)]
    return collect(pixels, 16, found.target.tolist(), classes, names, holdout=holdout, seed=seed)
