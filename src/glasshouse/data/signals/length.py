"""How long a text is, in every unit people count in: Dolma's length taggers in one pass."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pyarrow as pa

from glasshouse.data.document import text_buffers
from glasshouse.data.signals.signal import Signal, count
from glasshouse.store.configuration import Config

_CITATION = "Dolma char_length_v1, char_length_strip_ws_v1, uniseg_length_v1"


class Length(Config):
    """Lengths. `length_unicode_words` follows UAX #29 in its everyday part (see `length_kernel`)."""

    name: Literal["length"] = "length"

    @property
    def signals(self) -> tuple[Signal, ...]:
        return (
            count("length_bytes", "bytes", "bytes of UTF-8", _CITATION),
            count("length_characters", "characters", "characters (code points)", _CITATION),
            count("length_stripped_characters", "characters", "characters without white space at the ends", _CITATION),
            count("length_words", "words", "runs without white space", _CITATION),
            count("length_unicode_words", "words", "words with a letter or digit, near UAX #29", "UAX #29"),
            count("length_paragraphs", "paragraphs", "lines that are not only white space", _CITATION),
        )

    def compute(self, batch: pa.RecordBatch) -> list[pa.Array[Any]]:
        from glasshouse.data.signals import length_kernel as kernel

        offsets, data = text_buffers(batch)
        found = np.zeros((batch.num_rows, len(self.signals)), np.int64)
        kernel.lengths(offsets, data, kernel.word_classes(), found)
        return [pa.array(np.ascontiguousarray(found[:, column])) for column in range(found.shape[1])]
