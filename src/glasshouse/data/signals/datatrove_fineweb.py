"""FineWeb's own quality rules (Penedo et al., arXiv 2406.17557, section 3.6) as datatrove's `FineWebQualityFilter`.

Lines end at \\n and blank ones do not count. Deviation: words are runs without white space; datatrove asks spaCy. Given
the same words, verdict and reason are equal.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pyarrow as pa

from glasshouse.data.document import text_buffers
from glasshouse.data.signals.datatrove_verdict import SOURCE, verdict_columns, verdict_signals
from glasshouse.data.signals.signal import Signal, count, measure
from glasshouse.store.configuration import Config

DIALECT = "datatrove_fineweb"
REASONS = ("empty", "line_punct_ratio", "short_line_ratio", "char_dup_ratio", "list_ratio")
FINEWEB = f"arXiv 2406.17557, section 3.6; {SOURCE}"


class DatatroveFineWeb(Config):
    """Values, verdict and reason; the settings are datatrove's, with its defaults.

    Attributes:
        short_line_length: most characters of a short line.
    """

    name: Literal["datatrove_fineweb"] = "datatrove_fineweb"
    line_punct_thr: float = 0.12
    line_punct_exclude_zero: bool = False
    short_line_thr: float = 0.67
    short_line_length: int = 30
    char_duplicates_ratio: float = 0.01
    new_line_ratio: float = 0.3

    @property
    def signals(self) -> tuple[Signal, ...]:
        short = f"share of lines of at most {self.short_line_length} characters"
        return (
            count(f"{DIALECT}_line_count", "lines", "lines that are not blank", FINEWEB),
            measure(
                f"{DIALECT}_line_punct_ratio", "share", "share of lines that end a sentence in any script", FINEWEB
            ),
            measure(f"{DIALECT}_short_line_ratio", "share", short, FINEWEB),
            measure(f"{DIALECT}_char_dup_ratio", "share", "characters of lines that occurred before / all", FINEWEB),
            measure(f"{DIALECT}_list_ratio", "ratio", "\\n / words", FINEWEB),
            *verdict_signals(DIALECT, REASONS),
        )

    def compute(self, batch: pa.RecordBatch) -> list[pa.Array[Any]]:
        from glasshouse.data.signals import datatrove_fineweb_kernel as kernel
        from glasshouse.data.signals.datatrove_characters import datatrove_classes

        offsets, data = text_buffers(batch)
        matrix = np.empty((batch.num_rows, kernel.COLUMNS))
        kernel.measure_fineweb(offsets, data, datatrove_classes(), self.short_line_length, matrix)
        lines, punctuated, short, duplicate, lists = matrix.T
        unpunctuated = punctuated < self.line_punct_thr
        if self.line_punct_exclude_zero:
            unpunctuated &= punctuated != 0
        failed = (
            lines == 0, unpunctuated, short > self.short_line_thr,
            duplicate > self.char_duplicates_ratio, lists > self.new_line_ratio,
        )  # fmt: skip
        columns: list[pa.Array[Any]] = [pa.array(lines.astype(np.int64))]
        columns += [pa.array(values.copy()) for values in (punctuated, short, duplicate, lists)]
        return columns + verdict_columns(list(zip(REASONS, failed, strict=True)))
