"""Rotary causal attention as one operation with its own backward, for training on a CPU in bfloat16.

The same numbers as `rotate` and `plain_causal_attention` up to rounding, in less time, because

- queries are taken a tile at a time against the keys they may see, so that most of the masked half is never computed;
- the rotation works on halves in place of whole concatenated tensors, and its backward is the rotation back;
- scores are scaled through the queries' cosines and sines.

The idea of tiles is FlashAttention's (arXiv 2205.14135); unlike there the probabilities are kept for the backward,
which a CPU has the memory for at the lengths where this is used.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

TILE = 128  # queries at a time


def tiled_rotary_attention(
    query: Float[Tensor, "batch heads seq size"],
    key: Float[Tensor, "batch heads seq size"],
    value: Float[Tensor, "batch heads seq size"],
    cos: Float[Tensor, "1 1 seq size"],
    sin: Float[Tensor, "1 1 seq size"],
) -> Float[Tensor, "batch heads seq size"]:
    """Causal attention of queries and keys that are not rotated yet."""
    out: Tensor = _RotaryAttention.apply(query, key, value, cos, sin)  # type: ignore[no-untyped-call]
    return out


class _RotaryAttention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        batch, heads, length, size = query.shape
        turn = cos[..., : size // 2], sin[..., : size // 2]
        scaled = turn[0] * size**-0.5, turn[1] * size**-0.5
        flat = (batch * heads, length, size)
        q, k = _turn(query, *scaled).view(flat), _turn(key, *turn).view(flat)
        v = value.reshape(flat)
        ahead = torch.full((TILE, TILE), -torch.inf, dtype=q.dtype, device=q.device).triu(1)
        out = torch.empty_like(q)
        kept = []
        for start in range(0, length, TILE):
            end = min(start + TILE, length)
            scores = torch.bmm(q[:, start:end], k[:, :end].transpose(1, 2))
            scores[:, :, start:] += ahead[: end - start, : end - start]
            probabilities = scores.softmax(-1)
            torch.bmm(probabilities, v[:, :end], out=out[:, start:end])
            kept.append(probabilities)
        ctx.save_for_backward(q, k, v, *turn, *scaled, *kept)
        return out.view(query.shape)

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, cos, sin, scaled_cos, scaled_sin, *kept = ctx.saved_tensors
        shape, length = slope.shape, slope.shape[2]
        slope = slope.reshape(q.shape)
        dq, dk, dv = torch.empty_like(q), torch.empty_like(k), torch.empty_like(v)
        for probabilities in reversed(kept):  # the last tile sees every key, and so writes; the others add
            end = probabilities.shape[2]
            start = end - probabilities.shape[1]
            rows = slope[:, start:end]
            dp = torch.bmm(rows, v[:, :end].transpose(1, 2))
            ds = torch._softmax_backward_data(dp, probabilities, -1, dp.dtype)
            torch.bmm(ds, k[:, :end], out=dq[:, start:end])
            if end == length:
                torch.bmm(ds.transpose(1, 2), q[:, start:end], out=dk)
                torch.bmm(probabilities.transpose(1, 2), rows, out=dv)
            else:
                dk[:, :end] += torch.bmm(ds.transpose(1, 2), q[:, start:end])
                dv[:, :end] += torch.bmm(probabilities.transpose(1, 2), rows)
        dq, dk = _turn(dq.view(shape), scaled_cos, -scaled_sin), _turn(dk.view(shape), cos, -sin)
        return dq, dk, dv.view(shape), None, None


def _turn(
    x: Float[Tensor, "batch heads seq size"], cos: Float[Tensor, "1 1 seq half"], sin: Float[Tensor, "1 1 seq half"]
) -> Float[Tensor, "batch heads seq size"]:
    """Rotate in float32; the result is contiguous and in x's precision."""
    first, second = x.float().chunk(2, dim=-1)
    out = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    low, high = out.chunk(2, dim=-1)
    low.copy_((first * cos).addcmul_(second, sin, value=-1))
    high.copy_((second * cos).addcmul_(first, sin))
    return out
