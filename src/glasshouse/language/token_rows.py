"""Token shards as rows to train on, whole or with documents left out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import torch
from jaxtyping import Int
from numpy.typing import NDArray
from torch import Tensor

from glasshouse.language.scoring import shifted
from glasshouse.nn.loss import IGNORE
from glasshouse.store.configuration import fingerprint
from glasshouse.training.data import DataError


class TokenShards(Protocol):
    """What pre-training asks of `glasshouse.data.tokens.shards.TokenShards`."""

    @property
    def manifest(self) -> Any:
        """What `canonical` can write and what changes with every token."""

    @property
    def vocabulary(self) -> int: ...

    @property
    def eos_id(self) -> int: ...

    def row_count(self, context: int) -> int: ...

    def rows(self, indices: NDArray[np.int64], context: int) -> NDArray[np.int64]: ...

    def spans_of_row(self, row: int, context: int) -> Sequence[Any]: ...

    def rows_of_document(self, document_id: str, context: int, source: str | None = None) -> Iterable[int]: ...


@dataclass(frozen=True)
class TokenRows:
    """Token shards as rows of `context` tokens; `vocabulary` is what the model can embed."""

    shards: TokenShards
    context: int
    vocabulary: int

    def __post_init__(self) -> None:
        if self.context < 2:
            raise DataError(f"a row needs at least 2 tokens to have a target, got a context of {self.context}")
        if self.rows < 1:
            raise DataError(f"the shards hold no row of {self.context} tokens: gather more text or shorten the context")

    @property
    def rows(self) -> int:
        return self.shards.row_count(self.context)

    @property
    def tokens_per_row(self) -> int:
        return self.context

    @property
    def fingerprint(self) -> str:
        return fingerprint({"shards": self.shards.manifest, "context": self.context})

    def batch(self, indices: NDArray[np.int64]) -> dict[str, Int[Tensor, "batch seq"]]:
        """`tokens` of these rows. Raises `DataError` naming the row of a token that the model has no embedding for."""
        tokens = self.shards.rows(indices, self.context)
        if tokens.min() < 0 or tokens.max() >= self.vocabulary:
            place = int(np.flatnonzero((tokens < 0).any(1) | (tokens >= self.vocabulary).any(1))[0])
            raise DataError(
                f"row {indices[place]} ({self.describe(indices[place : place + 1])[0]}) has token "
                f"{tokens[place].max()}, the model embeds 0 to {self.vocabulary - 1}: the shards were made with "
                "another tokenizer, or are damaged"
            )
        return {"tokens": torch.from_numpy(tokens)}

    def describe(self, indices: NDArray[np.int64]) -> list[str]:
        """The documents of these rows, each once, in order, as `id (source)`."""
        spans = [span for row in indices.tolist() for span in self.shards.spans_of_row(row, self.context)]
        return list(dict.fromkeys(f"{span.document_id} ({span.source})" for span in spans))


@dataclass(frozen=True)
class BlankedRows:
    """Rows without some documents, where everything else stays in its place.

    Every token of a document in `without` becomes the end-of-sequence id, and no position counts whose next token was
    one of the document's. So neither inputs nor targets depend on what the document said, only on how many tokens it
    had; the number and order of rows, and every token of other documents, are those of the rows it is made from. A
    batch without such a document gives the same numbers as theirs.
    """

    whole: TokenRows
    without: frozenset[str]

    @property
    def rows(self) -> int:
        return self.whole.rows

    @property
    def tokens_per_row(self) -> int:
        return self.whole.tokens_per_row

    @property
    def fingerprint(self) -> str:
        return fingerprint({"rows": self.whole.fingerprint, "without": sorted(self.without)})

    def batch(self, indices: NDArray[np.int64]) -> dict[str, Int[Tensor, "batch seq"]]:
        """`tokens` and `targets` of these rows; targets are `IGNORE` where none counts."""
        tokens = self.whole.batch(indices)["tokens"]
        targets = shifted(tokens)
        for place, row in enumerate(indices.tolist()):
            for start, end in self._blanks(row):
                tokens[place, start:end] = self.whole.shards.eos_id
                targets[place, max(start - 1, 0) : end - 1] = IGNORE
        return {"tokens": tokens, "targets": targets}

    def describe(self, indices: NDArray[np.int64]) -> list[str]:
        return self.whole.describe(indices)

    def _blanks(self, row: int) -> list[tuple[int, int]]:
        if row not in self._touched:
            return []
        spans = self.whole.shards.spans_of_row(row, self.whole.context)
        return [(span.row_start, span.row_end) for span in spans if span.document_id in self.without]

    @cached_property
    def _touched(self) -> frozenset[int]:
        """The rows that hold a part of a document that is left out. An id that these shards do not have has none."""
        found: set[int] = set()
        for document in self.without:
            try:
                found |= set(self.whole.shards.rows_of_document(document, self.whole.context))
            except KeyError:
                continue  # it is in the shards of another stage
        return frozenset(found)
