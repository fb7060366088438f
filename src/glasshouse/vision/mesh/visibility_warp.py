"""Visibility by a compiled kernel (package `warp-lang`), on a CPU or a GPU; the rule is `visibility.fragment_list`'s.

One thread per triangle walks its bounding box and enters depth and number into every pixel by an atomic minimum.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from glasshouse.vision.mesh.visibility import NOTHING, SLACK, View, unpacked

try:
    import warp as wp
except ImportError:
    raise ImportError("visibility by Warp needs the package warp-lang: pip install warp-lang") from None

wp.config.log_level = wp.LOG_WARNING
wp.init()


def _draw(x: Any, y: Any, inverse: Any, picture: Any, height: Any, width: Any, slack: Any, best: Any) -> None:
    t = wp.tid()
    x0, x1, x2 = x[0, t], x[1, t], x[2, t]
    y0, y1, y2 = y[0, t], y[1, t], y[2, t]
    left = wp.max(wp.int32(wp.ceil(wp.min(wp.min(x0, x1), x2) - 0.5)), 0)
    right = wp.min(wp.int32(wp.floor(wp.max(wp.max(x0, x1), x2) - 0.5)), width - 1)
    top = wp.max(wp.int32(wp.ceil(wp.min(wp.min(y0, y1), y2) - 0.5)), 0)
    bottom = wp.min(wp.int32(wp.floor(wp.max(wp.max(y0, y1), y2) - 0.5)), height - 1)
    area = (y1 - y2) * (x0 - x1) + (x2 - x1) * (y0 - y1)
    if area == 0.0:
        return
    scale = 1.0 / area
    for row in range(top, bottom + 1):
        for column in range(left, right + 1):
            u, v = wp.float32(column) + 0.5, wp.float32(row) + 0.5
            a = ((y1 - y2) * (u - x1) + (x2 - x1) * (v - y1)) * scale
            b = ((y2 - y0) * (u - x2) + (x0 - x2) * (v - y2)) * scale
            c = ((y0 - y1) * (u - x0) + (x1 - x0) * (v - y0)) * scale
            if a >= slack and b >= slack and c >= slack:
                depth = 1.0 / (a * inverse[0, t] + b * inverse[1, t] + c * inverse[2, t])
                key = (wp.int64(wp.cast(depth, wp.int32)) << wp.int64(32)) | wp.int64(t)
                pixel = (wp.int32(picture[t]) * height + row) * width + column
                wp.atomic_min(best, pixel, key)


# Warp reads a kernel's types from its annotations.
_ROWS, _KEYS = wp.array2d(dtype=wp.float32), wp.array(dtype=wp.int64)
_TYPES = (_ROWS, _ROWS, _ROWS, _KEYS, wp.int32, wp.int32, wp.float32, _KEYS)
_draw.__annotations__ = dict(zip(_draw.__annotations__, _TYPES, strict=False))
_kernel = wp.kernel(_draw)


def warp_visibility(view: View) -> tuple[Tensor, Tensor]:
    """See `visibility.Visibility`."""
    with torch.no_grad():
        x, y = view.corners()
        inverse = view.clip[:, 3].detach().float().reciprocal()[view.triangles.T.contiguous()]
        best = torch.full((view.count * view.height * view.width,), NOTHING, dtype=torch.int64, device=x.device)
        arrays: list[Any] = [wp.from_torch(part.contiguous()) for part in (x, y, inverse, view.picture)]
        inputs = [*arrays, view.height, view.width, SLACK, wp.from_torch(best)]
        stream = wp.stream_from_torch() if best.is_cuda else None
        wp.launch(_kernel, dim=x.shape[1], inputs=inputs, device=wp.device_from_torch(best.device), stream=stream)
        return unpacked(best)
