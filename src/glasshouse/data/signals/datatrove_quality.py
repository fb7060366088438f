"""Gopher's quality rules (Rae et al., arXiv 2112.11446, table A1) in the dialect of datatrove's `GopherQualityFilter`.

It differs from Dolma's `gopher_v1` nearly everywhere: words of punctuation alone do not count as words, word length is
the mean and not the median, `#` and ellipses (`...` or `…`) are counted by occurrence and separately, bullets are `•`
and `-` behind any indentation (not `*`), lines are those of `str.splitlines`, and two different stop words are needed.

Deviation: words are runs without white space; datatrove asks spaCy. Given the same words, verdict and reason are equal.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pyarrow as pa

from glasshouse.data.document import text_buffers
from glasshouse.data.signals.datatrove_verdict import SOURCE, verdict_columns, verdict_signals
from glasshouse.data.signals.signal import Signal, count, measure
from glasshouse.store.configuration import Config

DIALECT = "datatrove_gopher_quality"
REASONS = (
    "gopher_short_doc", "gopher_long_doc", "gopher_below_avg_threshold", "gopher_above_avg_threshold",
    "gopher_too_many_hashes", "gopher_too_many_ellipsis", "gopher_too_many_bullets", "gopher_too_many_end_ellipsis",
    "gopher_below_alpha_threshold", "gopher_enough_stop_words",
)  # fmt: skip

# The order is that of the columns of `datatrove_quality_kernel`.
MEASURED = (
    count(f"{DIALECT}_word_count", "words", "words", SOURCE),
    count(f"{DIALECT}_non_symbol_word_count", "words", "words not of punctuation alone", SOURCE),
    measure(f"{DIALECT}_mean_word_length", "characters", "mean characters of a word not of punctuation alone", SOURCE),
    measure(f"{DIALECT}_hashes_per_word", "ratio", "occurrences of # / words", SOURCE),
    measure(f"{DIALECT}_ellipses_per_word", "ratio", "occurrences of ... and … / words", SOURCE),
    measure(f"{DIALECT}_bullet_lines", "share", "share of lines whose stripped text starts with • or -", SOURCE),
    measure(f"{DIALECT}_ellipsis_lines", "share", "share of lines whose stripped text ends with ... or …", SOURCE),
    measure(f"{DIALECT}_alphabetic_words", "share", "share of words with an alphabetic character", SOURCE),
    count(f"{DIALECT}_stop_words", "words", "different words of the, be, to, of, and, that, have, with", SOURCE),
)


class DatatroveGopherQuality(Config):
    """Values, verdict and reason; the settings are datatrove's, with its defaults."""

    name: Literal["datatrove_gopher_quality"] = "datatrove_gopher_quality"
    min_doc_words: int = 50
    max_doc_words: int = 100_000
    min_avg_word_length: float = 3
    max_avg_word_length: float = 10
    max_symbol_word_ratio: float = 0.1
    max_bullet_lines_ratio: float = 0.9
    max_ellipsis_lines_ratio: float = 0.3
    max_non_alpha_words_ratio: float = 0.8
    min_stop_words: int = 2

    @property
    def signals(self) -> tuple[Signal, ...]:
        return MEASURED + verdict_signals(DIALECT, REASONS)

    def compute(self, batch: pa.RecordBatch) -> list[pa.Array[Any]]:
        from glasshouse.data.signals import datatrove_quality_kernel as kernel
        from glasshouse.data.signals.datatrove_characters import datatrove_classes

        offsets, data = text_buffers(batch)
        matrix = np.empty((batch.num_rows, kernel.COLUMNS))
        kernel.measure_quality(offsets, data, datatrove_classes(), matrix)
        columns: list[pa.Array[Any]] = [
            pa.array(matrix[:, place].astype(signal.dtype.to_pandas_dtype()), signal.dtype)
            for place, signal in enumerate(MEASURED)
        ]
        _, words, length, hashes, ellipses, bullets, ellipsis_lines, alphabetic, stop_words = matrix.T
        failed = (
            words < self.min_doc_words, words > self.max_doc_words,
            length < self.min_avg_word_length, length > self.max_avg_word_length,
            hashes > self.max_symbol_word_ratio, ellipses > self.max_symbol_word_ratio,
            bullets > self.max_bullet_lines_ratio, ellipsis_lines > self.max_ellipsis_lines_ratio,
            alphabetic < self.max_non_alpha_words_ratio, stop_words < self.min_stop_words,
        )  # fmt: skip
        return columns + verdict_columns(list(zip(REASONS, failed, strict=True)))
