"""Preferences as token rows for reward models: from conversations with two ends to batches.

A conversation that is longer than the context loses its beginning: the end of the answer is what is judged. Chat forms
are our own (`glasshouse.language.chat`) or a Hugging Face tokenizer's. A tokenizer without a chat template gets
Anthropic's transcript, `\\n\\nHuman: …\\n\\nAssistant: …`, with its end-of-sequence token, which TRL adds too.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from glasshouse.language.chat import Chat, Message
from glasshouse.language.conversations import Preference
from glasshouse.training.data import DataError

SPEAKERS = {"system": "System", "user": "Human", "assistant": "Assistant"}


class Tokens(NamedTuple):
    """A conversation as tokens; its last answer begins at `answer`."""

    ids: NDArray[np.int64]
    answer: int

    def within(self, context: int) -> Tokens:
        """The last `context` tokens."""
        cut = max(0, len(self.ids) - context)
        return Tokens(self.ids[cut:], max(0, self.answer - cut))


Encode = Callable[[Sequence[Message]], Tokens]


def chat_encoding(chat: Chat) -> Encode:
    """Our chat form."""

    def encode(messages: Sequence[Message]) -> Tokens:
        found = chat.encode(messages, learn_from=len(messages) - 1)
        learnt = np.flatnonzero(found.learnt)
        return Tokens(found.tokens, int(learnt[0]) if len(learnt) else len(found.tokens) - 1)

    return encode


def tokenizer_encoding(tokenizer: Any) -> Encode:
    """The form of a Hugging Face tokenizer: its chat template, or a transcript where it has none."""
    begins = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]

    def templated(messages: Sequence[Message], prompt: bool) -> list[int]:
        given = [message._asdict() for message in messages]
        found = tokenizer.apply_chat_template(given, tokenize=True, return_dict=True, add_generation_prompt=prompt)
        return list(found["input_ids"])

    def transcript(messages: Sequence[Message], prompt: bool) -> list[int]:
        text = "".join(f"\n\n{SPEAKERS[role]}: {content}" for role, content in messages)
        ids = list(tokenizer(text + "\n\nAssistant:" * prompt, add_special_tokens=False)["input_ids"])
        return begins + ids + ([] if prompt or tokenizer.eos_token_id is None else [tokenizer.eos_token_id])

    form = templated if getattr(tokenizer, "chat_template", None) else transcript

    def encode(messages: Sequence[Message]) -> Tokens:
        ids = np.array(form(messages, False), np.int64)
        return Tokens(ids, min(len(form(messages[:-1], True)), len(ids) - 1))

    return encode


@dataclasses.dataclass(frozen=True)
class TokenPairs:
    """Pairs of conversations as training rows, chosen before rejected; make them with `encode_pairs`.

    Attributes:
        margins: by how much each chosen answer is the better one; None where no pair says so.
        truncated: pairs of which a side lost its beginning.
        left_out: names of pairs whose sides were the same after that.
    """

    pairs: Sequence[tuple[Tokens, Tokens]]
    names: Sequence[str]
    padding: int
    margins: Float[Tensor, " pairs"] | None = None
    truncated: int = 0
    left_out: Sequence[str] = ()

    @property
    def rows(self) -> int:
        return len(self.pairs)

    @property
    def counts(self) -> dict[str, int]:
        """What became of the preferences."""
        return {"pairs": self.rows, "truncated": self.truncated, "left_out": len(self.left_out)}

    @cached_property
    def fingerprint(self) -> str:
        digest = hashlib.sha256(b"" if self.margins is None else self.margins.numpy().tobytes())
        for side in (side for pair in self.pairs for side in pair):
            digest.update(f"{len(side.ids)} {side.answer} ".encode() + side.ids.tobytes())
        return digest.hexdigest()

    def batch(self, indices: NDArray[np.int64]) -> dict[str, Tensor]:
        """`tokens` `[batch, 2, seq]` padded behind, `lengths` `[batch, 2]`, and `margin` `[batch]` where known."""
        chosen = [side for index in indices.tolist() for side in self.pairs[index]]
        made = {name: found.unflatten(0, (-1, 2)) for name, found in padded(chosen, self.padding).items()}  # type: ignore[no-untyped-call]
        return made if self.margins is None else made | {"margin": self.margins[torch.from_numpy(indices)]}

    def describe(self, indices: NDArray[np.int64]) -> list[str]:
        return [self.names[index] for index in indices.tolist()]


def padded(rows: Sequence[Tokens], padding: int) -> dict[str, Tensor]:
    """`tokens` `[rows, seq]` padded behind, `lengths` and where the `answers` begin `[rows]`."""
    tokens = np.full((len(rows), max(len(row.ids) for row in rows)), padding)
    for place, row in enumerate(rows):
        tokens[place, : len(row.ids)] = row.ids
    lengths, answers = ([len(row.ids) for row in rows], [row.answer for row in rows])
    return {
        "tokens": torch.from_numpy(tokens),
        "lengths": torch.tensor(lengths),
        "answers": torch.tensor(answers),
    }


def encode_pairs(preferences: Sequence[Preference], encode: Encode, context: int, padding: int) -> TokenPairs:
    """Preferences as rows of at most `context` tokens. Raises `DataError` when none is left."""
    pairs, names, margins = list[tuple[Tokens, Tokens]](), list[str](), list[float]()
    truncated, left_out = 0, list[str]()
    for item in preferences:
        whole = [encode([*item.prompt, Message("assistant", text)]) for text in (item.chosen, item.rejected)]
        chosen, rejected = (side.within(context) for side in whole)
        if np.array_equal(chosen.ids, rejected.ids):
            left_out.append(item.name)
            continue
        truncated += any(len(side.ids) > context for side in whole)
        pairs.append((chosen, rejected))
        names.append(item.name)
        margins.append(0.0 if item.margin is None else item.margin)
    if not pairs:
        raise DataError(f"none of {len(preferences)} preferences has two answers that differ in {context} tokens")
    told = any(item.margin is not None for item in preferences)
    return TokenPairs(pairs, names, padding, torch.tensor(margins) if told else None, truncated, left_out)
