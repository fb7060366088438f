"""Repeated paragraphs (arXiv 2402.00159, section 5: 18.7 % of the paragraphs of its web documents).

All occurrences but the first in the order of (shard, row, place) are cut. Offsets are characters throughout. Dolma
1.2.1 counts characters but compares with the text's length in bytes, so that with other letters than ASCII's the last
span ends behind the text; and it takes a separator of several characters for one. Otherwise the spans are Dolma's.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from glasshouse.data.deduplication.pieces import Cutting, PieceKeys, Span, check_repeated, listed, per_document
from glasshouse.data.document import text_buffers


class Paragraphs(Cutting):
    """Paragraphs that are equal byte for byte, by a 64-bit hash: of n different ones about n^2 / 2^65 pairs collide."""

    name: Literal["paragraphs"] = "paragraphs"

    def sign(self, batch: pa.RecordBatch) -> PieceKeys:
        """One key per paragraph that is compared."""
        from glasshouse.data.deduplication import pieces_kernel as kernel

        table = self.table(batch)
        keys = np.empty(len(table), np.uint64)
        kernel.paragraph_keys(text_buffers(batch)[1], table, keys)
        return PieceKeys(per_document(table, np.ones(len(table), np.int64), batch.num_rows), keys)

    def spans(self, batch: pa.RecordBatch, repeated: npt.NDArray[np.bool_]) -> list[list[Span]]:
        """The repeated paragraphs of every document, each with the score 1.

        Raises:
            RepeatedPiecesError: `repeated` does not belong to the batch.
        """
        table = self.table(batch)
        check_repeated(repeated, len(table))
        return listed(table, repeated, np.ones(len(table)), batch.num_rows)


def paragraphs(skip_empty: bool = True, minimum_length: int = 0, minimum_words: int = 0) -> Paragraphs:
    """Cut paragraphs that are equal to an earlier one."""
    return Paragraphs(skip_empty=skip_empty, minimum_length=minimum_length, minimum_words=minimum_words)
