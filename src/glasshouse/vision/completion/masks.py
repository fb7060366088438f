"""Which pixels of an image are hidden: centre, outpainting, half, random cells, free-form strokes.

Masks are `[images, height, width]`, true where a pixel is hidden. `random` and `free-form` differ from image to
image. Masks are drawn on a grid of `cell` x `cell` pixels, so that a model of patches can be given whole patches.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Bool, Float
from pydantic import Field
from torch import Tensor

from glasshouse.store.configuration import Config

MaskKind = Literal["centre", "outpaint", "half", "random", "free-form"]
Hidden = Bool[Tensor, "images height width"]
JUMP = 0.15
"""Chance that a stroke ends and another begins."""


class MaskError(ValueError):
    """A mask hides nothing or everything."""


class Mask(Config):
    """A kind of mask.

    Attributes:
        kind: `centre` (a square hole), `outpaint` (all but a square in the middle), `half` (the right part),
            `random` (cells), `free-form` (strokes that wander over cells).
        share: of the area that is hidden, to the nearest whole cell.
        cell: side of a cell in pixels.
    """

    kind: MaskKind = "centre"
    share: float = Field(0.25, gt=0, lt=1)
    cell: int = Field(2, ge=1)

    @property
    def name(self) -> str:
        """As reports call it: `centre 25 %`."""
        return f"{self.kind} {100 * self.share:.0f} %"

    def draw(self, images: Float[Tensor, "images ..."], generator: torch.Generator) -> Hidden:
        """Masks for some images `[images, ..., height, width]`, on the generator's device.

        Raises `MaskError` when images are not made of whole cells, or when nothing or everything would be hidden.
        """
        count, (height, width) = len(images), images.shape[-2:]
        if height % self.cell or width % self.cell:
            raise MaskError(
                f"images of {height} x {width} pixels are not made of cells of {self.cell}; change Mask.cell"
            )
        rows, columns = height // self.cell, width // self.cell
        if self.kind in ("random", "free-form"):
            walk = _random if self.kind == "random" else _strokes
            cells = walk(count, rows, columns, round(self.share * rows * columns), generator)
        else:
            cells = self._fixed(rows, columns).to(generator.device).expand(count, rows, columns)
        if count and (cells[0].all() or not cells[0].any()):
            what = "everything" if cells[0].all() else "nothing"
            raise MaskError(f"the mask {self.name} hides {what} of {rows} x {columns} cells; change its share or cell")
        return cells.repeat_interleave(self.cell, 1).repeat_interleave(self.cell, 2)

    def _fixed(self, rows: int, columns: int) -> Tensor:
        cells = torch.zeros(rows, columns, dtype=torch.bool)
        if self.kind == "half":
            cells[:, columns - round(self.share * columns) :] = True
            return cells
        share = self.share if self.kind == "centre" else 1 - self.share
        tall, wide = (round(side * math.sqrt(share)) for side in (rows, columns))
        top, left = (rows - tall) // 2, (columns - wide) // 2
        cells[top : top + tall, left : left + wide] = True
        return cells if self.kind == "centre" else ~cells


def _random(images: int, rows: int, columns: int, count: int, generator: torch.Generator) -> Tensor:
    device = generator.device
    order = torch.rand(images, rows * columns, generator=generator, device=device).argsort(1)
    cells = torch.zeros(images, rows * columns, dtype=torch.bool, device=device)
    return cells.scatter(1, order[:, :count], True).view(images, rows, columns)


def _strokes(images: int, rows: int, columns: int, count: int, generator: torch.Generator) -> Tensor:
    """Points that wander to neighbouring cells, and now and then jump, until `count` cells are hidden."""
    device = generator.device

    def draw(high: int) -> Tensor:
        return torch.randint(high, (images,), generator=generator, device=device)

    cells = torch.zeros(images, rows * columns, dtype=torch.bool, device=device)
    row, column = draw(rows), draw(columns)
    while True:
        unfinished = cells.sum(1) < count
        if not unfinished.any():
            return cells.view(images, rows, columns)
        place = (row * columns + column)[:, None]
        cells.scatter_(1, place, cells.gather(1, place) | unfinished[:, None])
        jump = torch.rand(images, generator=generator, device=device) < JUMP
        row = torch.where(jump, draw(rows), (row + draw(3) - 1).clamp(0, rows - 1))
        column = torch.where(jump, draw(columns), (column + draw(3) - 1).clamp(0, columns - 1))


def draw_one_of(masks: Sequence[Mask], images: Float[Tensor, "images ..."], generator: torch.Generator) -> Hidden:
    """Masks of one kind, chosen at random, for all images of a batch."""
    kind = int(torch.randint(len(masks), (1,), generator=generator, device=generator.device))
    return masks[kind].draw(images, generator)


def hidden_patches(hidden: Hidden, patch: int) -> Bool[Tensor, "images patches"]:
    """Patches (row by row) of which any pixel is hidden."""
    images, height, width = hidden.shape
    cells = hidden.view(images, height // patch, patch, width // patch, patch)
    return cells.any(4).any(2).flatten(1)
