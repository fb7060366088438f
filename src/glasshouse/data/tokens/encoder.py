"""What turns texts into token ids: one small protocol for fast BPE, Hugging Face and SentencePiece."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from glasshouse.data.tokens.tokenizer import end_of_sequence_id

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Ids = npt.NDArray[np.uint32]


@runtime_checkable
class Encoder(Protocol):
    """Texts to token ids. Special tokens in a text are ordinary characters; nothing is added at its ends."""

    @property
    def vocabulary(self) -> int:
        """Every id is below this."""

    @property
    def eos_id(self) -> int:
        """Ends a document. Raises `EndOfSequenceError` when the tokenizer has no such token."""

    def encode_batch(self, texts: Sequence[str]) -> list[Ids]:
        """The ids of every text: a pure function."""

    def decode(self, ids: Sequence[int] | Ids) -> str:
        """The text of ids; special tokens have none."""


class HuggingFaceEncoder:
    """Any Hugging Face tokenizer as it is.

    Args:
        tokenizer: is copied; truncation and padding are taken off the copy.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = with_special_as_text(tokenizer)

    @property
    def vocabulary(self) -> int:
        return vocabulary_of(self.tokenizer)

    @property
    def eos_id(self) -> int:
        return end_of_sequence_id(self.tokenizer)

    def encode_batch(self, texts: Sequence[str]) -> list[Ids]:
        encodings = self.tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        return [np.array(encoding.ids, dtype=np.uint32) for encoding in encodings]

    def decode(self, ids: Sequence[int] | Ids) -> str:
        return str(self.tokenizer.decode([int(i) for i in ids], skip_special_tokens=True))


def encoder_of(tokenizer: Tokenizer | Encoder) -> Encoder:
    """The fastest encoder that gives exactly the tokenizer's ids; an encoder is returned as it is."""
    from glasshouse.data.tokens.fast import FastEncoder, NotRepresentableError

    if isinstance(tokenizer, Encoder):
        return tokenizer
    try:
        return FastEncoder(tokenizer)
    except NotRepresentableError:
        return HuggingFaceEncoder(tokenizer)


def vocabulary_of(tokenizer: Tokenizer) -> int:
    """One more than the largest id, added tokens included."""
    return max(tokenizer.get_vocab(with_added_tokens=True).values()) + 1


def with_special_as_text(tokenizer: Tokenizer) -> Tokenizer:
    """A copy that reads special tokens in a text as ordinary characters and neither cuts nor pads."""
    copy = type(tokenizer).from_str(tokenizer.to_str())
    copy.encode_special_tokens = True
    copy.no_truncation()
    copy.no_padding()
    return copy
