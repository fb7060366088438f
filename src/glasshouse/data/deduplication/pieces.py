"""What the methods on pieces of documents share: how texts are cut, and which keys are repeated."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field, model_validator

from glasshouse.data.deduplication.bloom import Bloom, BloomLookup
from glasshouse.data.deduplication.first_seen import seen_before
from glasshouse.data.deduplication.keys import Column
from glasshouse.data.document import text_buffers
from glasshouse.data.executor import Executor
from glasshouse.store.configuration import Config

Span = tuple[int, int, float]
Table = npt.NDArray[np.int64]


@dataclass
class PieceKeys:
    """The pieces of one batch: `counts[rows]` pieces per document and their keys, document by document."""

    counts: npt.NDArray[np.int64]
    keys: npt.NDArray[np.uint64]


class Cutting(Config):
    """How a text is cut into paragraphs, and which are compared.

    Attributes:
        separator: what is between paragraphs.
        skip_empty: paragraphs of white space only are left alone (Dolma's default is to compare them).
        minimum_length: shorter paragraphs (characters) are left alone.
        minimum_words: paragraphs of fewer words (UAX #29, punctuation marks count) are left alone. In Dolma 1.2.1 a
            `min_words` above 0 leaves every paragraph alone.
        partitions, partition_index: only keys whose hash modulo `partitions` is `partition_index` are compared, so
            that runs one after the other need a part of the memory each; their spans together are those of one run
            (of n-grams: their counts, not their shares).
        filter: compare through a Bloom filter in place of an exact table.
    """

    separator: str = Field(default="\n", min_length=1)
    skip_empty: bool = True
    minimum_length: int = Field(default=0, ge=0)
    minimum_words: int = Field(default=0, ge=0)
    partitions: int = Field(default=1, ge=1)
    partition_index: int = Field(default=0, ge=0)
    filter: Bloom | BloomLookup | None = None

    @model_validator(mode="after")
    def _index_fits(self) -> Cutting:
        if self.partition_index >= self.partitions:
            raise ValueError(f"partition_index {self.partition_index} is not below partitions {self.partitions}")
        return self

    def repeated(
        self, keys: Sequence[Column], executor: Executor | None = None, partitions: int | None = None
    ) -> npt.NDArray[np.bool_]:
        """For the pieces of all shards one after the other: whether the same key occurred at an earlier place.

        Args:
            keys: of all pieces, shard by shard.
            executor: where parts are looked at.
            partitions: parts of the exact table, a power of two; changes nothing but memory.

        Raises:
            BloomFileError: the filter to look up in cannot be used.
        """
        if self.partitions == 1:
            return self._compared(keys, executor, partitions)
        mine = [key % np.uint64(self.partitions) == np.uint64(self.partition_index) for key in keys]
        shown = [key[mask] for key, mask in zip(keys, mine, strict=True)]
        whole = np.concatenate(mine) if mine else np.zeros(0, np.bool_)
        whole[whole] = self._compared(shown, executor, partitions)
        return whole

    def _compared(
        self, keys: Sequence[Column], executor: Executor | None, partitions: int | None
    ) -> npt.NDArray[np.bool_]:
        if self.filter is not None:
            return self.filter.repeated(keys)
        return seen_before(keys, executor, partitions)

    def table(self, batch: pa.RecordBatch) -> Table:
        """The paragraphs that are compared: `[paragraphs, pieces_kernel.COLUMNS]`."""
        from glasshouse.data.deduplication import pieces_kernel as kernel
        from glasshouse.data.deduplication.word_bounds import word_classes

        offsets, data = text_buffers(batch)
        separator = np.frombuffer(self.separator.encode(), np.uint8)
        most = batch.num_rows + int(np.count_nonzero(data[offsets[0] : offsets[-1]] == separator[0]))
        found = np.empty((most, kernel.COLUMNS), np.int64)
        count = kernel.cut(
            offsets, data, separator, len(self.separator), word_classes(), self.skip_empty, self.minimum_length,
            self.minimum_words, found,
        )  # fmt: skip
        return found[:count]


def per_document(table: Table, weights: npt.NDArray[np.int64], rows: int) -> npt.NDArray[np.int64]:
    """Sum of the paragraphs' `weights` per document."""
    totals = np.bincount(table[:, 0], weights=weights, minlength=rows) if len(table) else np.zeros(rows)
    return totals.astype(np.int64)


def listed(table: Table, marked: npt.NDArray[np.bool_], scores: npt.NDArray[np.float64], rows: int) -> list[list[Span]]:
    """Spans of the marked paragraphs, document by document."""
    found = table[marked]
    spans = list(zip(found[:, 3].tolist(), found[:, 4].tolist(), scores[marked].tolist(), strict=True))
    ends = np.searchsorted(found[:, 0], np.arange(rows + 1)).tolist()  # paragraphs are in the order of the documents
    return [spans[start:end] for start, end in itertools.pairwise(ends)]


class RepeatedPiecesError(ValueError):
    """`repeated` has another number of values than the batch has pieces."""


def check_repeated(repeated: npt.NDArray[np.bool_], pieces: int) -> None:
    """Raises `RepeatedPiecesError` unless there is one value per piece."""
    if len(repeated) != pieces:
        raise RepeatedPiecesError(
            f"repeated has {len(repeated)} values but the batch has {pieces} pieces: pass the same batch, with the "
            "same settings, that was signed"
        )
