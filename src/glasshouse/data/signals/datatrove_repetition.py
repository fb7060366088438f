"""Gopher's repetition rules (Rae et al., arXiv 2112.11446, table A1) in the dialect of datatrove's
`GopherRepetitionFilter`.

It differs from Dolma's: a duplicate is only a second or later occurrence, shares are of all characters of the text (not
of those that are not white space), paragraphs (between blank lines) count too, most common n-grams are counted with
the blanks between their words, and the search for duplicate n-grams goes on behind each one it finds.

A bug of that filter is kept, the *joined n-grams*: duplicate n-grams are compared without anything between their words,
so that `ab c` and `a bc` are taken for the same. Deviation: words are runs without white space; datatrove asks spaCy.
Given the same words, verdict and reason are equal.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pyarrow as pa

from glasshouse.data.document import text_buffers
from glasshouse.data.signals.datatrove_verdict import SOURCE, verdict_columns, verdict_signals
from glasshouse.data.signals.signal import Signal, measure
from glasshouse.store.configuration import Config

DIALECT = "datatrove_gopher_repetition"
REASONS = (
    "empty", "dup_para_frac", "dup_para_char_frac", "dup_line_frac", "dup_line_char_frac",
    *(f"top_{n}_gram" for n in (2, 3, 4)), *(f"duplicated_{n}_n_grams" for n in range(5, 11)),
)  # fmt: skip

# The order is that of the columns of `datatrove_repetition_kernel`.
MEASURED = (
    measure(f"{DIALECT}_duplicate_paragraphs", "share", "share of paragraphs that occurred before", SOURCE),
    measure(f"{DIALECT}_duplicate_paragraph_characters", "share", "characters of such paragraphs / characters", SOURCE),
    measure(f"{DIALECT}_duplicate_lines", "share", "share of lines (between runs of \\n) that occurred before", SOURCE),
    measure(f"{DIALECT}_duplicate_line_characters", "share", "characters of such lines / characters", SOURCE),
    *(
        measure(
            f"{DIALECT}_top_{n}gram",
            "ratio",
            f"characters, with blanks, of all occurrences of the most frequent {n}-gram / characters",
            SOURCE,
        )
        for n in (2, 3, 4)
    ),
    *(
        measure(
            f"{DIALECT}_duplicate_{n}grams",
            "share",
            f"characters of {n}-grams that occurred before, compared without blanks, not overlapping / characters",
            SOURCE,
        )
        for n in range(5, 11)
    ),
)


class DatatroveGopherRepetition(Config):
    """Values, verdict and reason; the settings are datatrove's, with its defaults."""

    name: Literal["datatrove_gopher_repetition"] = "datatrove_gopher_repetition"
    dup_para_frac: float = 0.3
    dup_para_char_frac: float = 0.2
    dup_line_frac: float = 0.3
    dup_line_char_frac: float = 0.2
    top_n_grams: tuple[float, float, float] = (0.2, 0.18, 0.16)
    dup_n_grams: tuple[float, float, float, float, float, float] = (0.15, 0.14, 0.13, 0.12, 0.11, 0.10)

    @property
    def signals(self) -> tuple[Signal, ...]:
        return MEASURED + verdict_signals(DIALECT, REASONS)

    def compute(self, batch: pa.RecordBatch) -> list[pa.Array[Any]]:
        from glasshouse.data.signals import datatrove_repetition_kernel as kernel
        from glasshouse.data.signals.kernels import character_classes

        offsets, data = text_buffers(batch)
        matrix = np.empty((batch.num_rows, kernel.COLUMNS))
        kernel.measure_repetition(offsets, data, character_classes(), matrix)
        columns: list[pa.Array[Any]] = [pa.array(matrix[:, place].copy()) for place in range(len(MEASURED))]
        limits = (
            self.dup_para_frac, self.dup_para_char_frac, self.dup_line_frac, self.dup_line_char_frac,
            *self.top_n_grams, *self.dup_n_grams,
        )  # fmt: skip
        failed = [matrix[:, place] > limit for place, limit in enumerate(limits)]
        empty = matrix[:, kernel.CHARACTERS] == 0
        return columns + verdict_columns(list(zip(REASONS, (empty, *failed), strict=True)))
