"""Repeated substrings, exactly, by suffix array (Lee et al. 2022, arXiv 2107.06499).

Every window of `minimum` characters (or bytes) that occurred before, at a smaller (shard, row, place), is repeated; a
span is what repeated windows cover together, and is to be cut. So the first occurrence of a window is never in a span
for its own sake, though a part of it may be, where another window that overlaps it had occurred before.

All windows are looked at together, in memory: `MEMORY_FACTOR` bytes per byte of text. What does not fit is refused, for
nothing can be left out without changing the result; documents may be divided into groups that are looked at one by one,
and then repetitions between groups are not found.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field

from glasshouse.data.deduplication.pieces import Span
from glasshouse.data.document import text_buffers
from glasshouse.data.suffixes import LARGEST, sorted_suffixes
from glasshouse.store.configuration import Config

MEMORY_FACTOR = 10
"""Bytes of memory per byte of text: the text, its suffix array (4), the order before (4), flags (1)."""


class SubstringMemoryError(ValueError):
    """The texts need more memory than they may have."""


class Substrings(Config):
    """Substrings that occurred before.

    Attributes:
        minimum: length from which on a repetition counts; Lee et al. use 50 tokens, about 200 bytes.
        unit: of `minimum`.
        maximum_memory: bytes of memory that may be used.
    """

    name: Literal["substrings"] = "substrings"
    minimum: int = Field(default=200, ge=2)
    unit: Literal["characters", "bytes"] = "characters"
    maximum_memory: int = Field(default=4 << 30, ge=1)

    def spans(self, batches: Sequence[pa.RecordBatch]) -> list[list[list[Span]]]:
        """For every document of every batch the spans (characters, score 1) that are repeated.

        Raises:
            SubstringMemoryError: the texts are too many; the message says how many would do.
            ModuleNotFoundError: pydivsufsort is not installed (`pip install 'glasshouse[search]'`).
        """
        spans: list[list[list[Span]]] = [[[] for _ in range(batch.num_rows)] for batch in batches]
        places = [(number, row) for number, batch in enumerate(batches) for row in range(batch.num_rows)]
        for document, start, end in self._found(batches).tolist():
            number, row = places[document]
            spans[number][row].append((start, end, 1.0))
        return spans

    def _found(self, batches: Sequence[pa.RecordBatch]) -> npt.NDArray[np.int64]:
        from glasshouse.data.deduplication import substring_kernel as kernel

        text = self._gathered(batches)
        if not len(text):
            return np.empty((0, 3), np.int64)
        suffixes = sorted_suffixes(text)
        before = np.empty(len(text), np.int32)
        kernel.predecessors(suffixes, before)
        flags = kernel.empty_flags(len(text))
        characters = self.unit == "characters"
        kernel.mark_same(text, before, self.minimum, characters, flags)
        kernel.mark_later(suffixes, flags)
        del suffixes, before
        room = kernel.cover(text, flags, self.minimum, characters, np.empty((0, 3), np.int64))
        found = np.empty((room, 3), np.int64)
        kernel.cover(text, flags, self.minimum, characters, found)
        return found

    def _gathered(self, batches: Sequence[pa.RecordBatch]) -> npt.NDArray[np.uint8]:
        from glasshouse.data.deduplication import substring_kernel as kernel

        buffers = [text_buffers(batch) for batch in batches]
        size = sum(int(offsets[-1] - offsets[0]) + len(offsets) - 1 for offsets, _ in buffers)
        most = min(self.maximum_memory // MEMORY_FACTOR, LARGEST)
        if size > most:
            raise SubstringMemoryError(
                f"{size:,} bytes of text need {MEMORY_FACTOR * size:,} bytes of memory, and at most {most:,} bytes "
                f"of text can be looked at together (maximum_memory is {self.maximum_memory:,}): raise maximum_memory, "
                f"or divide the documents into {-(-size // max(most, 1))} groups, between which nothing is compared"
            )
        text, at = np.empty(size, np.uint8), 0
        for (offsets, data), batch in zip(buffers, batches, strict=True):
            at = kernel.gather(offsets, data, text, at) if batch.num_rows else at
        return text


def substrings(minimum: int = 200, unit: Literal["characters", "bytes"] = "characters") -> Substrings:
    """Find substrings of at least `minimum` characters (or bytes) that occurred before."""
    return Substrings(minimum=minimum, unit=unit)
