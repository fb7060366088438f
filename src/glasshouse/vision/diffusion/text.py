"""A text encoder for a closed list of words: it knows the words it was made with, and refuses the others by name."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import torch
from jaxtyping import Float, Int
from pydantic import Field, model_validator
from torch import Tensor, nn

from glasshouse.store.configuration import Config

PADDING = 0
WORD = re.compile(r"[\w'-]+|[^\w\s]")


class PromptError(ValueError):
    """A prompt that cannot be encoded: empty, too long, or with a word that is not known."""


class TextConfig(Config):
    """A closed vocabulary and the size of the encoder.

    Attributes:
        words: what is known, in lower case.
        length: most words of a prompt; shorter ones are padded.
        width, layers, heads: of the transformer.
    """

    words: tuple[str, ...] = Field(min_length=1)
    length: int = Field(7, ge=1)
    width: int = Field(64, ge=4)
    layers: int = Field(2, ge=1)
    heads: int = Field(4, ge=1)

    @model_validator(mode="after")
    def _fits(self) -> TextConfig:
        if len(set(self.words)) != len(self.words):
            raise ValueError("words must not repeat")
        if self.width % self.heads:
            raise ValueError(f"width={self.width} is not divisible by heads={self.heads}")
        return self

    @classmethod
    def of(cls, prompts: Iterable[str], **sizes: int) -> TextConfig:
        """The vocabulary of these prompts, long enough for the longest."""
        known: dict[str, None] = {}
        longest = 0
        for prompt in prompts:
            found = split(prompt)
            longest = max(longest, len(found))
            known |= dict.fromkeys(found)
        return cls(words=tuple(sorted(known)), **({"length": max(longest, 1)} | sizes))


def split(prompt: str) -> list[str]:
    """Words and punctuation marks in lower case."""
    return [found.lower() for found in WORD.findall(prompt)]


class Vocabulary:
    """Prompts as numbers of words; number 0 is padding, and the empty text, which guidance needs, is all padding."""

    def __init__(self, config: TextConfig) -> None:
        self.config = config
        self._numbers = {word: number + 1 for number, word in enumerate(config.words)}

    def __len__(self) -> int:
        """Words and the padding."""
        return len(self._numbers) + 1

    def ids(self, prompts: Sequence[str]) -> Int[Tensor, "n length"]:
        """Numbers of words. Raises `PromptError` for an empty or too long prompt and for an unknown word."""
        rows = [self._row(prompt) for prompt in prompts]
        return torch.tensor(rows, dtype=torch.int64).reshape(len(rows), self.config.length)

    def null_ids(self, count: int = 1) -> Int[Tensor, "n length"]:
        """The empty text."""
        return torch.full((count, self.config.length), PADDING, dtype=torch.int64)

    def _row(self, prompt: str) -> list[int]:
        found = split(prompt)
        if not found:
            raise PromptError(f"the prompt {prompt!r} is empty: say what to make, e.g. with {self._some()}")
        unknown = sorted({word for word in found if word not in self._numbers})
        if unknown:
            raise PromptError(
                f"the prompt {prompt!r} has {'words' if len(unknown) > 1 else 'a word'} that this model never saw: "
                f"{', '.join(unknown)}; it knows {self._some()}"
            )
        if len(found) > self.config.length:
            raise PromptError(
                f"the prompt {prompt!r} has {len(found)} words, this model reads {self.config.length}: shorten it"
            )
        return [self._numbers[word] for word in found] + [PADDING] * (self.config.length - len(found))

    def _some(self, most: int = 40) -> str:
        known = self.config.words
        return ", ".join(known[:most]) + (f" and {len(known) - most} more" if len(known) > most else "")


class TextEncoder(nn.Module):
    """A transformer over the words of a prompt."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.config, self.vocabulary = config, Vocabulary(config)
        self.words = nn.Embedding(len(self.vocabulary), config.width)
        self.places = nn.Parameter(torch.randn(config.length, config.width) * 0.1)
        layer = nn.TransformerEncoderLayer(
            config.width, config.heads, 2 * config.width, dropout=0.0, activation="gelu", batch_first=True,
            norm_first=True,
        )  # fmt: skip
        self.layers = nn.TransformerEncoder(layer, config.layers, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(config.width)

    def forward(self, ids: Int[Tensor, "n length"]) -> Float[Tensor, "n length width"]:
        """Tokens from numbers of words."""
        out: Tensor = self.norm(self.layers(self.words(ids) + self.places))
        return out

    def encode(self, prompts: Sequence[str]) -> Float[Tensor, "n length width"]:
        """Tokens from prompts. Raises `PromptError`."""
        out: Tensor = self(self.vocabulary.ids(prompts).to(self.places.device))
        return out

    def encode_nothing(self) -> Float[Tensor, "1 length width"]:
        """Tokens of the empty text."""
        out: Tensor = self(self.vocabulary.null_ids().to(self.places.device))
        return out


__all__ = ["PADDING", "PromptError", "TextConfig", "TextEncoder", "Vocabulary", "split"]
