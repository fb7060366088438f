"""Losses and log-probabilities of tokens under any causal model: ours, a Hugging Face model, or either with adapters.

A batch is `{"tokens"}` with optional `targets` (the next token at each position, `IGNORE` where there is none),
`positions` and `segments`. With segments a token sees only earlier tokens of its own segment, so that several examples
can share a row. A model with `head_weight` is asked for its hidden states and never holds all logits at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from glasshouse.nn.loss import CHUNK, IGNORE, TokenLoss, cross_entropy, linear_cross_entropy, token_losses
from glasshouse.training.data import TrainingData


def token_loss(model: nn.Module, batch: Mapping[str, Tensor], *, z_loss: float = 0.0) -> TokenLoss:
    """Summed loss over the targets of a batch, in nats."""
    targets = batch["targets"] if "targets" in batch else shifted(batch["tokens"])
    if hasattr(model, "head_weight"):
        return linear_cross_entropy(
            hidden_states(model, batch), cast(Tensor, model.head_weight), targets, z_loss=z_loss
        )
    return cross_entropy(logits_of(model, batch), targets, z_loss=z_loss)


@torch.no_grad()
def mean_loss(model: nn.Module, rows: TrainingData, batch: int = 16) -> float:
    """Mean cross-entropy over every target of the rows, in nats."""
    device = next(model.parameters()).device
    total, count = 0.0, 0.0
    for start in range(0, rows.rows, batch):
        found: Mapping[str, Tensor] = rows.batch(np.arange(start, min(start + batch, rows.rows)))
        loss = token_loss(model, {name: tensor.to(device) for name, tensor in found.items()})
        total, count = total + float(loss.cross_entropy), count + float(loss.counted)
    return total / count


def log_probabilities(model: nn.Module, batch: Mapping[str, Tensor]) -> Float[Tensor, "batch seq"]:
    """log p of every target in float32, with gradient; zero where there is none.

    Logits are made only where there is a target, and of many targets again in the backward pass instead of being kept.
    """
    targets = batch["targets"]
    counted = targets != IGNORE
    if hasattr(model, "head_weight"):
        found = _log_probabilities(
            hidden_states(model, batch)[counted], cast(Tensor, model.head_weight), targets[counted]
        )
    else:
        found = -token_losses(logits_of(model, batch)[counted], targets[counted])
    return torch.zeros(targets.shape, device=targets.device).masked_scatter(counted, found)


def hidden_states(model: nn.Module, batch: Mapping[str, Tensor]) -> Float[Tensor, "batch seq width"]:
    """States after the final norm, of a model with `head_weight`."""
    found: Tensor = model(batch["tokens"], logits=False, **_attention(model, batch)).hidden
    return found


def logits_of(model: nn.Module, batch: Mapping[str, Tensor]) -> Float[Tensor, "batch seq vocabulary"]:
    """Scores of the next token."""
    found = model(batch["tokens"], **_attention(model, batch))
    return found if isinstance(found, Tensor) else cast(Tensor, found.logits)


def segment_mask(segments: Int[Tensor, "batch seq"]) -> Bool[Tensor, "batch 1 seq seq"]:
    """True where a token may look: at itself and earlier tokens of its segment."""
    same = segments[:, :, None] == segments[:, None, :]
    return same.tril()[:, None]


def shifted(tokens: Int[Tensor, "batch seq"]) -> Int[Tensor, "batch seq"]:
    """The next token at every position, `IGNORE` at the last."""
    targets = torch.full_like(tokens, IGNORE)
    targets[:, :-1] = tokens[:, 1:]
    return targets


def _attention(model: nn.Module, batch: Mapping[str, Tensor]) -> dict[str, Any]:
    if "segments" not in batch:
        return {}
    mask = segment_mask(batch["segments"])
    if hasattr(model, "head_weight"):
        return {"mask": mask, "positions": batch["positions"]}
    # Hugging Face attention adds its mask, except where it is handed to the fused kernel, which adds floats too.
    kind = next(model.parameters()).dtype
    added = torch.zeros(mask.shape, dtype=kind, device=mask.device).masked_fill(~mask, torch.finfo(kind).min)
    return {"attention_mask": added, "position_ids": batch["positions"], "use_cache": False}


def _log_probabilities(
    hidden: Float[Tensor, "rows width"], weight: Float[Tensor, "vocabulary width"], targets: Int[Tensor, "*rows"]
) -> Float[Tensor, "*rows"]:
    def piece(states: Tensor, goals: Tensor) -> Tensor:
        return -token_losses(functional.linear(states, weight), goals)

    parts = zip(torch.split(hidden, CHUNK), torch.split(targets, CHUNK), strict=True)
    if len(hidden) <= CHUNK or not torch.is_grad_enabled():
        return torch.cat([piece(*part) for part in parts])
    return torch.cat([cast(Tensor, checkpoint(piece, *part, use_reentrant=False)) for part in parts])
