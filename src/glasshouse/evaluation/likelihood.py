"""How likely a language model finds a continuation after a context: what rank classification is made of.

    log p(c | x) = sum_i log p(c_i | x, c_<i)

How texts become tokens is said in `encoding`.

On our own transformer the continuations of one context share one pass: they lie behind each other in a row, a mask
keeps them from seeing each other, and each starts at the position after the context. That is exact, and any other
causal model gets a row for each continuation.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from glasshouse.evaluation.encoding import Encoded, Ids
from glasshouse.evaluation.requests import ScoringError
from glasshouse.nn.threads import threads_for
from glasshouse.nn.transformer import Transformer

LOGITS = {"cpu": 1 << 25, "cuda": 1 << 28}
"""Most scores (positions x vocabulary) held at once, by device."""


class Likelihoods(NamedTuple):
    """Of every request: log p of its continuation in nats, and whether each of its tokens is the likeliest one."""

    log_likelihood: npt.NDArray[np.float64]
    greedy: npt.NDArray[np.bool_]


class _Row(NamedTuple):
    """A context with the continuations that are scored after it, each with the number of its request."""

    context: Ids
    continuations: list[tuple[int, Ids]]

    @property
    def length(self) -> int:
        return len(self.context) + sum(len(ids) - 1 for _, ids in self.continuations)

    @property
    def shared(self) -> bool:
        return sum(len(ids) > 1 for _, ids in self.continuations) > 1


def log_likelihoods(
    model: nn.Module,
    requests: Sequence[Encoded],
    *,
    context: int,
    batch_tokens: int = 4096,
    share: bool = True,
    advance: Callable[[int], object] = lambda _: None,
) -> Likelihoods:
    """log p of every continuation; arguments as of `likelihood_batches`.

    Args:
        advance: told the number of requests scored, for a progress bar.
    """
    found = Likelihoods(np.zeros(len(requests)), np.ones(len(requests), np.bool_))
    for numbers, part in likelihood_batches(model, requests, context=context, batch_tokens=batch_tokens, share=share):
        found.log_likelihood[numbers], found.greedy[numbers] = part
        advance(len(numbers))
    return found


def likelihood_batches(
    model: nn.Module,
    requests: Sequence[Encoded],
    *,
    context: int,
    batch_tokens: int = 4096,
    share: bool = True,
    known: Container[int] = (),
) -> Iterator[tuple[list[int], Likelihoods]]:
    """log p of every continuation, batch by batch: the numbers of the requests in a batch, and what they get.

    Args:
        model: in evaluation mode; ours, or token ids `[batch, seq]` -> an object with `.logits`.
        context: longest input of the model, in tokens.
        batch_tokens: tokens of a forward pass, padding included; the numbers do not depend on it beyond rounding.
        share: whether continuations of one context may share a pass.
        known: requests that need no answer. A batch is left out when all of its requests are known, so that the
            others are batched, and so rounded, as without it.

    Raises:
        ScoringError: the model gives a number that is not finite.
    """
    own = isinstance(model, Transformer)
    rows = sorted(_rows(requests, context if own and share else 0), key=lambda row: (row.shared, -row.length))
    if not own:
        table = next((part for part in model.modules() if isinstance(part, nn.Embedding)), None)
        if table is not None:
            batch_tokens = min(batch_tokens, max(1, _most_logits(table.weight.device) // table.num_embeddings))
    sums, greedy = np.zeros(len(requests)), np.ones(len(requests), np.bool_)
    while rows:
        most = max(1, batch_tokens // rows[0].length)
        chosen = [row for row in rows[:most] if row.shared == rows[0].shared]
        rows = rows[len(chosen) :]
        numbers = [number for row in chosen for number, _ in row.continuations]
        if all(number in known for number in numbers):
            continue
        with threads_for(model), torch.no_grad():
            _score(model, chosen, sums, greedy)
        if not np.isfinite(sums[numbers]).all():
            place = next(number for number in numbers if not np.isfinite(sums[number]))
            raise ScoringError(
                f"the model gives request {place} a log-likelihood of {sums[place]}: its weights are damaged, or its "
                "numbers are too large for their precision"
            )
        yield numbers, Likelihoods(sums[numbers], greedy[numbers])


def _most_logits(device: torch.device) -> int:
    return LOGITS.get(device.type, LOGITS["cpu"])


def _rows(requests: Sequence[Encoded], longest: int) -> list[_Row]:
    """Requests of the same context together, as long as their row is no longer than `longest`; 0: each by itself."""
    rows: list[_Row] = []
    last: dict[Ids, _Row] = {}
    for number, request in enumerate(requests):
        row = last.get(request.context)
        if row is None or row.length + len(request.continuation) - 1 > longest:
            row = last[request.context] = _Row(request.context, [])
            rows.append(row)
        row.continuations.append((number, request.continuation))
    return rows


class _Layout(NamedTuple):
    """Rows side by side. `at[k]` is the place `(row, position)` whose scores predict `targets[k]` of `requests[k]`."""

    tokens: npt.NDArray[np.int64]
    positions: npt.NDArray[np.int64]
    parts: npt.NDArray[np.int64]
    at: npt.NDArray[np.int64]
    targets: npt.NDArray[np.int64]
    requests: npt.NDArray[np.int64]


def _layout(rows: Sequence[_Row]) -> _Layout:
    shape = (len(rows), max(row.length for row in rows))
    tokens, positions = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    parts = np.full(shape, -1)  # 0: the context, 1, 2, …: the continuations, -1: padding
    at: list[tuple[int, int]] = []
    targets: list[int] = []
    owners: list[int] = []
    for index, row in enumerate(rows):
        length = place = len(row.context)
        tokens[index, :length], positions[index, :length], parts[index, :length] = row.context, np.arange(length), 0
        for part, (owner, ids) in enumerate(row.continuations, start=1):
            more = len(ids) - 1
            span = slice(place, place + more)
            tokens[index, span], positions[index, span], parts[index, span] = ids[:-1], length + np.arange(more), part
            at += [(index, length - 1), *((index, place + step) for step in range(more))]
            targets += ids
            owners += [owner] * len(ids)
            place += more
    return _Layout(tokens, positions, parts, np.array(at), np.array(targets), np.array(owners))


def _score(
    model: nn.Module, rows: Sequence[_Row], sums: npt.NDArray[np.float64], greedy: npt.NDArray[np.bool_]
) -> None:
    """Add what a batch of rows gives to the sums of their requests."""
    device = next(model.parameters()).device
    layout = _layout(rows)
    predicted, head = _predictions(model, layout, rows[0].shared, device)
    step = max(1, _most_logits(device) // (len(head) if head is not None else predicted.shape[-1]))
    for first in range(0, len(layout.at), step):
        chosen = slice(first, first + step)
        index, place = torch.from_numpy(layout.at[chosen].T).to(device)
        scores = predicted[index, place]
        logits = (scores if head is None else functional.linear(scores, head)).float()
        targets = torch.from_numpy(layout.targets[chosen]).to(device)
        found = torch.gather(logits.log_softmax(-1), 1, targets[:, None])[:, 0].double().cpu().numpy()
        np.add.at(sums, layout.requests[chosen], found)
        np.logical_and.at(greedy, layout.requests[chosen], (logits.argmax(-1) == targets).cpu().numpy())


def _predictions(
    model: nn.Module, layout: _Layout, masked: bool, device: torch.device
) -> tuple[Float[Tensor, "batch seq features"], Tensor | None]:
    """Hidden states and the output matrix of our transformer; logits and None of another model."""
    tokens = torch.from_numpy(layout.tokens).to(device)
    if not isinstance(model, Transformer):
        return model(tokens).logits, None
    mask = positions = None
    if masked:
        parts = torch.from_numpy(layout.parts).to(device)
        steps = torch.arange(parts.shape[1], device=device)
        before = steps[None] <= steps[:, None]
        visible = (parts[:, None] == 0) | (parts[:, None] == parts[:, :, None])
        mask = (before & visible)[:, None]
        positions = torch.from_numpy(layout.positions).to(device)
    hidden = model(tokens, mask=mask, positions=positions, logits=False).hidden
    head: Tensor = model.head_weight
    # Sharded over processes, the matrix is gathered: the scores are wanted outside the module that would do so.
    return hidden, head.full_tensor() if hasattr(head, "full_tensor") else head
