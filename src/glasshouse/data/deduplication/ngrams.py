"""Paragraphs of which many word n-grams occurred before (Dolma's `by_ngram`, arXiv 2402.00159, appendix).

Words are the segments of UAX #29 that are not white space only, punctuation marks too. The score of a paragraph is the
share of its n-grams that occurred before, in the same paragraph too; with fewer than two n-grams the whole paragraph is
compared (score 1 or 0). Scores are of single precision, as Dolma writes them. Unlike in Dolma, the key of a whole
paragraph is never that of a 1-gram, so that a paragraph of one word is no duplicate of its own word.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field

from glasshouse.data.deduplication.pieces import (
    Cutting,
    PieceKeys,
    Span,
    Table,
    check_repeated,
    listed,
    per_document,
)
from glasshouse.data.document import text_buffers


class Ngrams(Cutting):
    """Paragraphs by the share of their n-grams that occurred before.

    Attributes:
        ngram_length: words of an n-gram.
        stride: words from one n-gram to the next, but for the second, which always begins at the second word.
        overlap_threshold: share from which on a paragraph is cut; at 0 every paragraph is.
        skip_short_paragraphs: paragraphs of fewer than two n-grams are never compared as a whole.
    """

    name: Literal["ngrams"] = "ngrams"
    ngram_length: int = Field(default=13, ge=1)
    stride: int = Field(default=1, ge=1)
    overlap_threshold: float = Field(default=0.8, ge=0.0, le=1.0)
    skip_short_paragraphs: bool = False

    def sign(self, batch: pa.RecordBatch) -> PieceKeys:
        """The keys of every paragraph's n-grams, then that of the whole where it is compared."""
        table = self.table(batch)
        keys, grams, whole = self._keys(batch, table)
        return PieceKeys(per_document(table, grams + whole, batch.num_rows), keys)

    def spans(self, batch: pa.RecordBatch, repeated: npt.NDArray[np.bool_]) -> list[list[Span]]:
        """The paragraphs of every document whose score reaches the threshold.

        Raises:
            RepeatedPiecesError: `repeated` does not belong to the batch.
        """
        from glasshouse.data.deduplication import pieces_kernel as kernel
        from glasshouse.data.deduplication.word_bounds import word_classes

        table = self.table(batch)
        grams, whole = np.zeros(len(table), np.int64), np.zeros(len(table), np.bool_)
        kernel.gram_counts(
            text_buffers(batch)[1], table, word_classes(), self.ngram_length, self.stride, self.skip_short_paragraphs,
            grams, whole,
        )  # fmt: skip
        ends = np.cumsum(grams + whole)
        check_repeated(repeated, int(ends[-1]) if len(ends) else 0)
        before = np.concatenate([[0], np.cumsum(repeated)])
        found = before[ends - whole] - before[ends - whole - grams]
        with np.errstate(invalid="ignore"):  # no n-gram at all: not a number, which reaches no threshold
            scores = found.astype(np.float32) / grams.astype(np.float32)
        scores[whole] = repeated[ends[whole] - 1]
        return listed(table, scores >= np.float32(self.overlap_threshold), scores.astype(np.float64), batch.num_rows)

    def _keys(
        self, batch: pa.RecordBatch, table: Table
    ) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
        from glasshouse.data.deduplication import pieces_kernel as kernel
        from glasshouse.data.deduplication.word_bounds import word_classes

        sizes = table[:, kernel.END_BYTE] - table[:, kernel.FIRST_BYTE]
        keys = np.empty(int(sizes.sum()) + len(table), np.uint64)
        # At least one place, for without any the words would only be counted.
        hashes = np.empty(int(sizes.max(initial=0)) + 1, np.uint64)
        grams, whole = np.zeros(len(table), np.int64), np.zeros(len(table), np.bool_)
        count = kernel.gram_keys(
            text_buffers(batch)[1], table, word_classes(), self.ngram_length, self.stride, self.skip_short_paragraphs,
            hashes, keys, grams, whole,
        )  # fmt: skip
        return keys[:count].copy(), grams, whole


def ngrams(ngram_length: int = 13, stride: int = 1, overlap_threshold: float = 0.8) -> Ngrams:
    """Cut paragraphs whose word n-grams mostly occurred before."""
    return Ngrams(ngram_length=ngram_length, stride=stride, overlap_threshold=overlap_threshold)
