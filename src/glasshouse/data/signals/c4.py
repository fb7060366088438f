"""C4's line rules as spans, and the second dialect of its flags (Raffel et al., arXiv 1910.10683, section 2.2).

The core family counts these lines; to cut them their places are needed. Dolma's `c4_v1` works line by line; `c4_v2`
lower-cases the whole text first, finds "javascript" inside longer words too, and gives its spans in characters of the
lower-cased text, which is one character longer after every dotted capital I (İ): a bug of that tagger, kept in the
dialect so that old attribute files can be explained. Cut with `c4_v1`.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pyarrow as pa

from glasshouse.data.document import text_buffers
from glasshouse.data.signals.signal import Signal, flag, spans
from glasshouse.data.signals.span_columns import span_column
from glasshouse.store.configuration import Config

_SOURCE = "arXiv 1910.10683, section 2.2; Dolma c4_v1, c4_v2"


class C4Lines(Config):
    """Spans (characters, with the line's \\n) of the lines that C4 removes.

    Attributes:
        dialect: whose characters the spans count; they differ only in texts with İ.
    """

    name: Literal["c4_lines"] = "c4_lines"
    dialect: Literal["c4_v1", "c4_v2"] = "c4_v1"

    @property
    def signals(self) -> tuple[Signal, ...]:
        return (
            spans(
                "c4_lines_with_no_ending_punctuation",
                "lines whose stripped text does not end in . ? ! or a double quote",
                _SOURCE,
            ),
            spans("c4_lines_with_too_few_words", "lines of fewer than three words", _SOURCE),
        )

    def compute(self, batch: pa.RecordBatch) -> list[pa.Array[Any]]:
        from glasshouse.data.signals import line_kernel
        from glasshouse.data.signals.kernels import character_classes

        offsets, data = text_buffers(batch)
        counts = np.zeros(batch.num_rows, np.int64)
        line_kernel.count_lines(offsets, data, counts)
        lines = int(counts.sum())
        documents, bounds, bad = np.empty(lines, np.int64), np.empty((lines, 2), np.int64), np.empty(lines, np.uint8)
        in_lower_case = self.dialect == "c4_v2"
        line_kernel.c4_lines(offsets, data, character_classes(), in_lower_case, documents, bounds, bad)
        columns = []
        for bit in (1, 2):
            chosen = (bad & bit) != 0
            columns.append(span_column(batch.num_rows, documents[chosen], bounds[chosen, 0], bounds[chosen, 1]))
        return columns


class C4Second(Config):
    """What Dolma's `c4_v2` measures otherwise than `c4_v1`; its other flags and counts equal the core family's."""

    name: Literal["c4_v2"] = "c4_v2"

    @property
    def signals(self) -> tuple[Signal, ...]:
        return (flag("c4_v2_has_javascript", "'javascript' occurs in any case, inside longer words too", _SOURCE),)

    def compute(self, batch: pa.RecordBatch) -> list[pa.Array[Any]]:
        offsets, data = text_buffers(batch)
        # No character outside ASCII has a lower case with a letter of "javascript" alone in it.
        bounds = zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True)
        return [pa.array([b"javascript" in data[start:end].tobytes().lower() for start, end in bounds], pa.bool_())]
