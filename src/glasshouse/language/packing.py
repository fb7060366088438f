"""Conversations as rows to train on: several in one row, each with positions of its own and blind to the others.

A row is filled by best-fit decreasing (Ding et al., arXiv 2404.10830): examples from the longest to the shortest, each
into the fullest row that still has room. `segments` numbers the examples of a row from 1 (0 is padding) and says who
may look at whom; `positions` begin anew with every example. The loss of packed rows is the loss of the same examples
one by one.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left, insort
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from glasshouse.language.chat import Chat, Encoded
from glasshouse.language.conversations import Conversation
from glasshouse.nn.loss import IGNORE
from glasshouse.training.data import DataError


class Example(NamedTuple):
    """Tokens, and at each position the next token where it is learnt (`IGNORE` elsewhere)."""

    tokens: NDArray[np.int64]
    targets: NDArray[np.int64]

    @property
    def learnt(self) -> int:
        """How many tokens are learnt."""
        return int((self.targets != IGNORE).sum())


def example(encoded: Encoded, context: int) -> Example:
    """The first `context` tokens of an encoded conversation with their targets."""
    tokens = encoded.tokens[:context]
    targets = np.full(len(tokens), IGNORE)
    targets[:-1] = np.where(encoded.learnt[1:context], tokens[1:], IGNORE)
    return Example(tokens, targets)


@dataclass(frozen=True)
class ConversationRows:
    """Training rows of at most `context` tokens; make them with `pack`.

    Attributes:
        truncated: examples that were cut to the context.
        left_out: names of conversations of which nothing to learn was left after the cut.
    """

    examples: Sequence[Example]
    names: Sequence[str]
    packed: Sequence[Sequence[int]]
    context: int
    padding: int
    truncated: int
    left_out: Sequence[str]

    @property
    def rows(self) -> int:
        return len(self.packed)

    @cached_property
    def fingerprint(self) -> str:
        """sha256 over tokens, targets and who shares a row with whom."""
        digest = hashlib.sha256(f"{self.context} {self.padding}".encode())
        for row in self.packed:
            digest.update(f"row {len(row)}".encode())
            for item in (self.examples[number] for number in row):
                digest.update(item.tokens.tobytes() + item.targets.tobytes())
        return digest.hexdigest()

    @property
    def filled(self) -> float:
        """Share of the rows' places that hold a token of an example."""
        return sum(len(item.tokens) for item in self.examples) / (self.rows * self.context)

    @property
    def counts(self) -> dict[str, int]:
        """What became of the conversations, for reports."""
        return {
            "examples": len(self.examples),
            "rows": self.rows,
            "tokens": sum(len(item.tokens) for item in self.examples),
            "learnt_tokens": sum(item.learnt for item in self.examples),
            "truncated": self.truncated,
            "left_out": len(self.left_out),
        }

    def batch(self, indices: NDArray[np.int64]) -> dict[str, Tensor]:
        """`tokens` and `targets`, and where examples share rows also `positions` and `segments`."""
        rows = [self.packed[index] for index in indices.tolist()]
        together = any(len(row) > 1 for row in self.packed)
        longest = max(sum(len(self.examples[number].tokens) for number in row) for row in rows)
        shape = (len(rows), self.context if together else longest)
        tokens, targets = np.full(shape, self.padding), np.full(shape, IGNORE)
        positions, segments = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
        for place, row in enumerate(rows):
            start = 0
            for segment, number in enumerate(row, 1):
                item = self.examples[number]
                here = slice(start, start + len(item.tokens))
                tokens[place, here], targets[place, here] = item.tokens, item.targets
                positions[place, here], segments[place, here] = np.arange(len(item.tokens)), segment
                start = here.stop
        made = {"tokens": tokens, "targets": targets}
        made |= {"positions": positions, "segments": segments} if together else {}
        return {name: torch.from_numpy(array) for name, array in made.items()}

    def describe(self, indices: NDArray[np.int64]) -> list[str]:
        return [self.names[number] for index in indices.tolist() for number in self.packed[index]]


def pack(conversations: Sequence[Conversation], chat: Chat, context: int, *, packed: bool = True) -> ConversationRows:
    """Encode conversations and put them into rows; with `packed=False` each has a row of its own.

    What is longer than the context is cut at its end and counted; what then has nothing to learn is left out and named.
    Raises `DataError` when nothing is left.
    """
    examples, names, truncated, left_out = list[Example](), list[str](), 0, list[str]()
    for conversation in conversations:
        encoded = chat.encode(conversation.messages, learn_from=conversation.learn_from)
        found = example(encoded, context)
        if not found.learnt:
            left_out.append(conversation.name)
            continue
        truncated += len(encoded.tokens) > context
        examples.append(found)
        names.append(conversation.name)
    if not examples:
        raise DataError(
            f"none of {len(conversations)} conversations has an answer inside the first {context} tokens: give "
            "conversations, or a model with a longer context"
        )
    rows = best_fit([len(item.tokens) for item in examples], context) if packed else [[i] for i in range(len(examples))]
    return ConversationRows(examples, names, rows, context, chat.end, truncated, left_out)


def best_fit(lengths: Sequence[int], capacity: int) -> list[list[int]]:
    """Which items share a row of `capacity`, by best-fit decreasing; rows in the order they were opened."""
    rows: list[list[int]] = []
    room: list[tuple[int, int]] = []  # what is left of each open row, ascending
    for item in sorted(range(len(lengths)), key=lambda number: -lengths[number]):
        place = bisect_left(room, (lengths[item], -1))
        left, row = room.pop(place) if place < len(room) else (capacity, len(rows))
        if row == len(rows):
            rows.append([])
        rows[row].append(item)
        if left > lengths[item]:
            insort(room, (left - lengths[item], row))
    return rows
