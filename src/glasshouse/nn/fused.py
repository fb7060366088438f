"""Rotary causal attention as one operation with its own backward, for training on a CPU in bfloat16.

The same numbers as `rotate` and `plain_causal_attention` up to rounding, in less time, because

- queries are taken a tile at a time against the keys they may see, so that most of the masked half is never computed;
- the rotation works on halves in place of whole concatenated tensors, and its backward is the rotation back;
- scores are scaled through the queries' cosines and sines.

The idea of tiles is FlashAttention's (arXiv 2205.14135); unlike there the probabilities are kept for the backward,
which a CPU has the memory for at the lengths where this is used.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

TILE = 128  # queries at a time


def tiled_rotary_attention(
    query: Float[Tensor, "batch heads seq size"],
    key: Float[Tensor, "batch heads seq size"],
    value: Float[Tensor, "batch heads seq size"],
    cos: Float[Tensor, "#batch 1 seq size"],
    sin: Float[Tensor, "#batch 1 seq size"],
    mask: Bool[Tensor, "#batch 1 seq seq"] | None = None,
) -> Float[Tensor, "batch heads seq size"]:
    """Causal attention of queries and keys that are not rotated yet.

    `mask` (True is "may look") must be within the causal one and let every token look at itself. Keys before the first
    that any query of a tile may see are passed over, so that short examples packed into long rows cost little.
    """
    out: Tensor = _RotaryAttention.apply(query, key, value, cos, sin, mask)  # type: ignore[no-untyped-call]
    return out


class _RotaryAttention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, cos: Tensor, sin: Tensor, mask: Tensor | None
    ) -> Tensor:
        batch, heads, length, size = query.shape
        turn = cos[..., : size // 2], sin[..., : size // 2]
        scaled = turn[0] * size**-0.5, turn[1] * size**-0.5
        flat = (batch * heads, length, size)
        q, k = _turn(query, *scaled).view(flat), _turn(key, *turn).view(flat)
        v = value.reshape(flat)
        ahead = torch.full((TILE, TILE), -torch.inf, dtype=q.dtype, device=q.device).triu(1)
        out = torch.empty_like(q)
        kept, spans = [], list(_spans(length, mask))
        for first, start, end in spans:
            scores = torch.bmm(q[:, start:end], k[:, first:end].transpose(1, 2))
            if mask is None:
                scores[:, :, start:] += ahead[: end - start, : end - start]
            else:
                scores.view(batch, heads, end - start, -1).masked_fill_(~mask[:, :, start:end, first:end], -torch.inf)
            probabilities = scores.softmax(-1)
            torch.bmm(probabilities, v[:, first:end], out=out[:, start:end])
            kept.append(probabilities)
        ctx.spans = spans
        ctx.save_for_backward(q, k, v, *turn, *scaled, *kept)
        return out.view(query.shape)

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, cos, sin, scaled_cos, scaled_sin, *kept = ctx.saved_tensors
        shape, length = slope.shape, slope.shape[2]
        slope = slope.reshape(q.shape)
        dq, dk, dv = torch.empty_like(q), torch.empty_like(k), torch.empty_like(v)
        written = length  # keys from here on have their slope: the first tile that sees a key writes, the others add
        for (first, start, end), probabilities in zip(reversed(ctx.spans), reversed(kept), strict=True):
            rows = slope[:, start:end]
            dp = torch.bmm(rows, v[:, first:end].transpose(1, 2))
            ds = torch._softmax_backward_data(dp, probabilities, -1, dp.dtype)
            torch.bmm(ds, k[:, first:end], out=dq[:, start:end])
            for total, left, right in ((dk, ds, q[:, start:end]), (dv, probabilities, rows)):
                if written == length and first == 0:
                    torch.bmm(left.transpose(1, 2), right, out=total)
                    continue
                part = torch.bmm(left.transpose(1, 2), right)
                total[:, first:written] = part[:, : max(0, written - first)]
                total[:, max(first, written) : end] += part[:, max(0, written - first) :]
            written = min(written, first)
        dq, dk = _turn(dq.view(shape), scaled_cos, -scaled_sin), _turn(dk.view(shape), cos, -sin)
        return dq, dk, dv.view(shape), None, None, None


def _spans(length: int, mask: Tensor | None) -> Iterator[tuple[int, int, int]]:
    """For each tile of queries: the first key that one of them may see, and the tile's own bounds."""
    seen = None if mask is None else mask.any(0)[0]
    for start in range(0, length, TILE):
        end = min(start + TILE, length)
        yield 0 if seen is None else int(seen[start:end].any(0).int().argmax()), start, end


def _turn(
    x: Float[Tensor, "batch heads seq size"],
    cos: Float[Tensor, "#batch 1 seq half"],
    sin: Float[Tensor, "#batch 1 seq half"],
) -> Float[Tensor, "batch heads seq size"]:
    """Rotate in float32; the result is contiguous and in x's precision."""
    first, second = x.float().chunk(2, dim=-1)
    out = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    low, high = out.chunk(2, dim=-1)
    low.copy_((first * cos).addcmul_(second, sin, value=-1))
    high.copy_((second * cos).addcmul_(first, sin))
    return out
