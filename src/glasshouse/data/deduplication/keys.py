"""Keys: what de-duplication compares. 64-bit numbers, a few per document, kept in columns.

A method signs every batch on its own (pure, on any worker); one global step then looks at all keys together. For the
global step a row is the document's number in the whole corpus, in the order of (shard, row): the keeper of a group is
its smallest row, so the result does not depend on workers or timing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from glasshouse.data.executor import Executor

Column = npt.NDArray[np.uint64]

NO_KEY = np.uint64(0xFFFFFFFFFFFFFFFF)
"""In every column of a document that has nothing to compare (no address, no word): it is nobody's duplicate."""


class Keys:
    """Keys of all documents, column by column, from one array `[rows, width]` per shard (plain or memory-mapped)."""

    def __init__(self, parts: Sequence[npt.NDArray[np.uint64]], alive: npt.NDArray[np.bool_] | None = None) -> None:
        self.parts = list(parts)
        self.alive = alive

    @property
    def width(self) -> int:
        return int(self.parts[0].shape[1]) if self.parts else 0

    def __len__(self) -> int:
        """Rows that are compared."""
        return int(self.alive.sum()) if self.alive is not None else sum(len(part) for part in self.parts)

    def column(self, number: int) -> Column:
        """Key `number` of every (living) document."""
        if not self.parts:
            return np.zeros(0, np.uint64)
        whole = np.concatenate([part[:, number] for part in self.parts])
        return whole if self.alive is None else whole[self.alive]


class DocumentMethod(Protocol):
    """A way to find duplicate documents: removes a document when an earlier one of its group is kept."""

    @property
    def name(self) -> str: ...

    @property
    def width(self) -> int:
        """Keys per document."""

    def sign(self, batch: pa.RecordBatch) -> npt.NDArray[np.uint64]:
        """Keys `[rows, width]` of a batch: a pure function."""

    def keepers(self, keys: Keys, executor: Executor | None = None) -> npt.NDArray[np.int64]:
        """For every (living) row the smallest row of its group: itself when it is unique or the first."""


class Pieces(Protocol):
    """The pieces of the documents of one batch: `counts[rows]` pieces per document and `keys[sum(counts)]`."""

    counts: npt.NDArray[np.int64]
    keys: npt.NDArray[np.uint64]


class PieceMethod(Protocol):
    """A way to find repeated pieces of documents (paragraphs, n-grams): cuts pieces that occurred before."""

    @property
    def name(self) -> str: ...

    def sign(self, batch: pa.RecordBatch) -> Pieces:
        """The keys of all pieces, document by document: a pure function."""

    def repeated(
        self, keys: Sequence[npt.NDArray[np.uint64]], executor: Executor | None = None
    ) -> npt.NDArray[np.bool_]:
        """For the pieces of all shards one after the other: whether the same key occurred at an earlier place."""

    def spans(self, batch: pa.RecordBatch, repeated: npt.NDArray[np.bool_]) -> list[list[tuple[int, int, float]]]:
        """For every document the spans (characters, score) that its repeated pieces make: a pure function.

        Args:
            batch: the same batch that was signed.
            repeated: of the batch's pieces, in order.
        """
