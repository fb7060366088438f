"""Embeddings of conversations under a language model that is not trained: what reward heads stand on.

As in arXiv 2402.00396 the base model is kept as it is and only the head on its last layer learns, so every text passes
through it once. `last` takes the last token, as sequence classifiers of decoders do; `mean` the mean over the tokens of
the last answer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from glasshouse.alignment.preference_rows import TokenPairs, Tokens, padded
from glasshouse.language.scoring import hidden_states
from glasshouse.training.data import TensorRows

Pooling = Literal["last", "mean"]


@torch.no_grad()
def embed(
    encoder: nn.Module,
    rows: Sequence[Tokens],
    *,
    padding: int,
    pooling: Pooling = "mean",
    batch: int = 16,
    advance: Callable[[int], object] = lambda _: None,
) -> Float[Tensor, "rows features"]:
    """An embedding of every row in float32 on the host; `advance` is told how many are done."""
    device, training = next(encoder.parameters()).device, encoder.training
    encoder.eval()
    found: list[Tensor] = [torch.empty(0)] * len(rows)
    order = sorted(range(len(rows)), key=lambda number: len(rows[number].ids))  # little padding
    for start in range(0, len(order), batch):
        chosen = order[start : start + batch]
        given = {name: part.to(device) for name, part in padded([rows[i] for i in chosen], padding).items()}
        states = last_layer(encoder, given["tokens"], given["lengths"]).float()
        pooled = pool(states, given["lengths"], given["answers"], pooling).cpu()
        for place, number in enumerate(chosen):
            found[number] = pooled[place]
        advance(len(chosen))
    encoder.train(training)
    return torch.stack(found)


def embed_pairs(
    encoder: nn.Module,
    pairs: TokenPairs,
    *,
    pooling: Pooling = "mean",
    batch: int = 16,
    advance: Callable[[int], object] = lambda _: None,
) -> TensorRows:
    """Pairs as `features` `[pairs, 2, features]`, with their `margin` where it is known."""
    sides = [side for pair in pairs.pairs for side in pair]
    found = embed(encoder, sides, padding=pairs.padding, pooling=pooling, batch=batch, advance=advance)
    features = {"features": found.reshape(len(pairs.pairs), 2, -1)}
    margin = {} if pairs.margins is None else {"margin": pairs.margins}
    return TensorRows(features | margin, pairs.names)


def last_layer(
    encoder: nn.Module, tokens: Int[Tensor, "rows seq"], lengths: Int[Tensor, " rows"]
) -> Float[Tensor, "rows seq features"]:
    """States after the last layer, of our transformer or of a Hugging Face model with or without a head."""
    if hasattr(encoder, "head_weight"):
        return hidden_states(encoder, {"tokens": tokens})
    body = getattr(encoder, "base_model", encoder)
    found: Tensor = body(input_ids=tokens, attention_mask=within(tokens, lengths).long()).last_hidden_state
    return found


def pool(
    states: Float[Tensor, "rows seq features"],
    lengths: Int[Tensor, " rows"],
    answers: Int[Tensor, " rows"],
    pooling: Pooling,
) -> Float[Tensor, "rows features"]:
    """One state per row."""
    if pooling == "last":
        return states[torch.arange(len(states), device=states.device), lengths - 1]
    place = torch.arange(states.shape[1], device=states.device)
    counted = (within(states, lengths) & (place >= answers[:, None]))[..., None]
    return (states * counted).sum(1) / counted.sum(1)


def within(rows: Tensor, lengths: Int[Tensor, " rows"]) -> Bool[Tensor, "rows seq"]:
    """True where a row has a token, false where it is padded."""
    return torch.arange(rows.shape[1], device=rows.device) < lengths[:, None]
