"""Causal attention: which kernel runs, chosen by device, precision and shape.

PyTorch's fused kernel is the default, and always runs in float32, so that numbers equal `transformers`'. On a CPU in
bfloat16 it converts between precisions inside small blocks; there `tiled_rotary_attention` takes 0.2 to 0.7 of
the time (`python benchmarks/train_cpu.py --attention` measures both).
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

TILES_UP_TO = 2048  # tokens; beyond, the probabilities that tiles keep for the backward weigh more than the time


def attend(
    query: Float[Tensor, "batch heads query size"],
    key: Float[Tensor, "batch groups key size"],
    value: Float[Tensor, "batch groups key size"],
    mask: Bool[Tensor, "#batch 1 query key"] | None = None,
) -> Float[Tensor, "batch heads query size"]:
    """softmax(q k^T / sqrt(size)) v. True in `mask` means "may look"; None means every earlier position and itself.

    Without a mask there must be as many keys as queries, or a single query (which then sees every key); anything
    else raises `ValueError`.
    """
    queries, keys = query.shape[2], key.shape[2]
    if mask is None and queries not in (1, keys):
        raise ValueError(f"{queries} queries against {keys} keys need a mask")
    return functional.scaled_dot_product_attention(
        query,
        key,
        value,
        attn_mask=mask,
        is_causal=mask is None and queries > 1,
        enable_gqa=query.shape[1] != key.shape[1],
    )


def tiles_are_faster(query: Tensor, key: Tensor, cos: Tensor, mask: Tensor | None = None) -> bool:
    """Whether `tiled_rotary_attention` is the better way to compute causal attention of unrotated queries and keys."""
    return (
        query.device.type == "cpu"
        and query.dtype == torch.bfloat16
        and query.shape == key.shape
        and 1 < query.shape[2] <= TILES_UP_TO
        and (len(cos) == 1 or mask is not None)  # rows at positions of their own are packed, and then masked
        and (mask is None or not bool(mask.triu(1).any()))
    )
