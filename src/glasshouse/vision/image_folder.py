"""Images from a folder: a class is a sub-folder, what cannot be read is put aside with the reason."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from glasshouse.data.quarantine import Quarantine
from glasshouse.store.configuration import Config
from glasshouse.store.files import hash_file
from glasshouse.vision.collection import ImageCollection, ImageError, collect

LEVELS = 255


class ImageFolder(Config):
    """How files become images of one size.

    Attributes:
        path: the folder.
        size: side in pixels; images are cut to a square in their middle and scaled down to it.
        channels: 1 (grey) or 3 (RGB).
        holdout: share of the images that is for measuring.
    """

    path: str
    size: int = Field(32, ge=4)
    channels: int = Field(3, ge=1, le=3)
    holdout: float = Field(0.2, gt=0, lt=1)
    seed: int = Field(0, ge=0)


def folder_fingerprint(folder: ImageFolder) -> list[list[str | int]]:
    """Name, size and sha256 of every file in the folder's classes."""
    return [[name, path.stat().st_size, hash_file(path)] for name, _, path in _files(Path(folder.path))]


def read_folder(folder: ImageFolder, quarantine: Quarantine) -> ImageCollection:
    """All images of all classes, in the order of their names.

    Raises `ImageError` when the folder has no sub-folder, or a class no image that can be read.
    """
    root = Path(folder.path)
    pixels, labels, names, classes = [], [], [], sorted({kind for _, kind, _ in _files(root)})
    for name, kind, path in _files(root):
        quarantine.saw()
        try:
            pixels.append(_read(path, folder))
        except (OSError, ValueError, SyntaxError) as error:  # Pillow raises each of them for damaged files
            quarantine.add(_reason(error), f"{type(error).__name__}: {error}", file=name)
            continue
        quarantine.keep()
        labels.append(classes.index(kind))
        names.append(name)
    if empty := [kind for place, kind in enumerate(classes) if place not in labels]:
        raise ImageError(f"no image could be read in {', '.join(empty)} of {root}: see quarantine.jsonl, or the files")
    return collect(pixels, LEVELS, labels, classes, names, holdout=folder.holdout, seed=folder.seed)


class TooSmallError(ValueError):
    """An image has fewer pixels than it should be scaled down to."""


def _read(path: Path, folder: ImageFolder) -> NDArray[np.uint8]:
    from PIL import Image

    try:
        with Image.open(path) as opened:
            image = opened.convert("L" if folder.channels == 1 else "RGB")
    except Image.DecompressionBombError as error:
        raise ValueError(str(error)) from None
    if min(image.size) < folder.size:
        raise TooSmallError(f"the image is {image.width} x {image.height} pixels, asked for {folder.size}")
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    box = (left, top, left + side, top + side)
    array = np.asarray(image.resize((folder.size, folder.size), Image.Resampling.BOX, box=box))
    return np.ascontiguousarray(array[None] if folder.channels == 1 else array.transpose(2, 0, 1))


def _reason(error: Exception) -> str:
    return "too small" if isinstance(error, TooSmallError) else "not a readable image"


def _files(root: Path) -> Iterator[tuple[str, str, Path]]:
    if not root.is_dir():
        raise ImageError(f"{root} is not a folder; give one whose sub-folders are the classes")
    kinds = sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    if not kinds:
        raise ImageError(f"{root} has no sub-folder; every class of images is a sub-folder of its own")
    for kind in kinds:
        for path in sorted(kind.rglob("*")):
            if path.is_file() and not path.name.startswith("."):
                yield path.relative_to(root).as_posix(), kind.name, path
