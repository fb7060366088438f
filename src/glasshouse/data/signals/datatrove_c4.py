"""C4's rules (Raffel et al., arXiv 1910.10683, section 2.2) in the dialect of datatrove's `C4QualityFilter`.

It takes lines out, and with them a document of too few sentences. It differs from Dolma's `c4_v1`: lines are those of
`str.splitlines`; citations such as `[12]` are taken out first; `'` ends a line, `...` does not; "lorem ipsum" and `{`
only count in lines that came so far; lines on policies and cookies, and of a word of over 1000 characters, go.

Deviation: a sentence ends at white space behind `.`, `?` or `!`; datatrove asks spaCy. Given the same sentences,
verdict and reason are equal. The text itself is not changed here: the spans say what to cut (citations stay).
"""

from __future__ import annotations

import functools
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from glasshouse.data.document import text_buffers
from glasshouse.data.signals.datatrove_verdict import SOURCE, verdict_columns, verdict_signals
from glasshouse.data.signals.signal import Signal, count, spans
from glasshouse.data.signals.span_columns import span_column
from glasshouse.store.configuration import Config

DIALECT = "datatrove_c4"
REASONS = ("lorem_ipsum", "curly_bracket", "too_few_sentences")
_LINES = (
    ("kept_lines", "lines that stay"),
    ("lines_with_too_long_word", "lines with a word longer than max_word_length"),
    ("lines_with_no_terminal_punctuation", "other lines that do not end in . ? ! or a quote, or end in ..."),
    ("lines_with_too_few_words", "other lines of fewer than min_words_per_line words"),
    ("lines_with_javascript", "other lines with 'javascript'"),
    ("lines_with_policy", "other lines on terms of use, privacy or cookies"),
)


class DatatroveC4(Config):
    """Counts of lines, the lines to cut, verdict and reason; the settings are datatrove's, -1 turns a rule off."""

    name: Literal["datatrove_c4"] = "datatrove_c4"
    min_num_sentences: int = 5
    min_words_per_line: int = 3
    max_word_length: int = 1000

    @property
    def signals(self) -> tuple[Signal, ...]:
        return (
            count(f"{DIALECT}_sentences", "sentences", "sentences of the lines that stay", SOURCE),
            *(count(f"{DIALECT}_{name}", "lines", doc, SOURCE) for name, doc in _LINES),
            spans(f"{DIALECT}_removed_lines", "lines the filter takes out, with their line ends", SOURCE),
            *verdict_signals(DIALECT, REASONS),
        )

    def compute(self, batch: pa.RecordBatch) -> list[pa.Array[Any]]:
        from glasshouse.data.signals import datatrove_c4_kernel as kernel

        offsets, data = text_buffers(batch)
        matrix = np.empty((batch.num_rows, kernel.COLUMNS))
        room = 1 << 12
        while True:
            documents, bounds = np.empty(room, np.int64), np.empty((room, 2), np.int64)
            removed = kernel.measure_c4(
                offsets, data, _classes(), self.min_words_per_line, self.max_word_length, matrix, documents, bounds
            )
            if removed <= room:
                break
            room = removed
        event, sentences = matrix[:, kernel.EVENT], matrix[:, kernel.SENTENCES]
        failed = (
            event == kernel.LOREM_IPSUM_EVENT,
            event == kernel.BRACE_EVENT,
            (sentences if self.min_num_sentences != -1 else 0 * sentences) < self.min_num_sentences,
        )
        columns: list[pa.Array[Any]] = [pa.array(matrix[:, place].astype(np.int64)) for place in range(kernel.EVENT)]
        columns.append(span_column(batch.num_rows, documents[:removed], bounds[:removed, 0], bounds[:removed, 1]))
        return columns + verdict_columns(list(zip(REASONS, failed, strict=True)))


@functools.cache
def _classes() -> npt.NDArray[np.uint8]:
    from glasshouse.data.signals.datatrove_c4_kernel import DECIMAL, INITIAL, INITIALS
    from glasshouse.data.signals.kernels import character_classes

    classes = character_classes().copy()
    classes[[code for code in range(0x20000) if chr(code).isdecimal()]] |= DECIMAL
    classes[[ord(letter) for letter in INITIALS]] |= INITIAL
    return classes
