"""Visibility by nvdiffrast, where somebody has installed it (it needs CUDA and is not on the package index).

Its rasteriser decides ties on edges by its own rule, so single pixels may differ from `visibility.fragment_list`.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from glasshouse.vision.mesh.visibility import View, depth_of

try:
    import nvdiffrast.torch as diffrast
except ImportError:
    raise ImportError("visibility by nvdiffrast needs that package, see https://github.com/NVlabs/nvdiffrast") from None


@functools.cache
def _context(device: torch.device) -> Any:
    return diffrast.RasterizeCudaContext(device=device)


def nvdiffrast_visibility(view: View) -> tuple[Int[Tensor, " pixels"], Float[Tensor, " pixels"]]:
    """See `visibility.Visibility`. Sides must be multiples of 8, which is nvdiffrast's own condition."""
    if view.height % 8 or view.width % 8:
        raise ValueError(f"nvdiffrast draws pictures whose sides are multiples of 8, got {view.height} x {view.width}")
    with torch.no_grad():
        order = view.picture.argsort(stable=True)
        amounts = torch.bincount(view.picture, minlength=view.count).cpu()
        ranges = torch.stack([amounts.cumsum(0) - amounts, amounts], dim=1).to(torch.int32)
        clip, triangles = view.clip.float().contiguous(), view.triangles[order].to(torch.int32).contiguous()
        size = [view.height, view.width]
        drawn, _ = diffrast.rasterize(_context(clip.device), clip, triangles, size, ranges=ranges, grad_db=False)
        number = drawn[..., 3].flip(1).flatten().long() - 1  # its first row is the bottom one
        triangle = torch.where(number >= 0, order[number.clamp(min=0)], -1)
        return triangle, depth_of(view, triangle)
