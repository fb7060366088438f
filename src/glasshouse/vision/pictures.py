"""Images as PNG files: grids whose rows share a caption, for reports."""

from __future__ import annotations

import io
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

GAP = 1
MARK = (0.85, 0.33, 0.10)
"""Colour of hidden pixels."""


def coloured(images: Float[Tensor, "images channels height width"]) -> Float[Tensor, "images 3 height width"]:
    """Grey or RGB images as RGB, in [0, 1]."""
    if images.shape[1] not in (1, 3):
        raise ValueError(f"images of 1 or 3 channels can be shown, got {images.shape[1]}")
    return images.detach().float().cpu().clamp(0, 1).expand(-1, 3, -1, -1)


def masked(
    images: Float[Tensor, "images channels height width"], hidden: Bool[Tensor, "images height width"]
) -> Float[Tensor, "images 3 height width"]:
    """Images with hidden pixels in one colour that stands for "not seen"."""
    mark = torch.tensor(MARK).view(1, 3, 1, 1)
    return torch.where(hidden[:, None].cpu(), mark, coloured(images))


def grid_png(rows: Sequence[Float[Tensor, "images channels height width"]], scale: int = 1) -> bytes:
    """A PNG of rows of images, a white line between them; `scale` makes each pixel that many on a side."""
    from PIL import Image

    if not rows or len({row.shape[0] for row in rows}) != 1 or len({row.shape[2:] for row in rows}) != 1:
        raise ValueError(f"a grid takes rows of as many images of one size, got {[tuple(row.shape) for row in rows]}")
    tall, wide = (side * scale + GAP for side in rows[0].shape[2:])
    canvas = torch.ones(3, len(rows) * tall + GAP, len(rows[0]) * wide + GAP)
    for down, row in enumerate(rows):
        large = coloured(row).repeat_interleave(scale, 2).repeat_interleave(scale, 3)
        for across, image in enumerate(large):
            top, left = down * tall + GAP, across * wide + GAP
            canvas[:, top : top + tall - GAP, left : left + wide - GAP] = image
    buffer = io.BytesIO()
    pixels = (canvas * 255).round().to(torch.uint8).permute(1, 2, 0).contiguous().numpy()
    Image.fromarray(pixels).save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()
