"""What FineWeb's quality filter looks at, in one pass. Importing this imports numba."""

from __future__ import annotations

from typing import Any

import numpy as np

from glasshouse.data.signals.datatrove_characters import TERMINAL
from glasshouse.data.signals.kernels import FNV, FNV_START, SPACE, compiled, count_keys, decode, mixed, table_size

LINES, PUNCTUATED, SHORT, DUPLICATE_CHARACTERS, NEWLINES_PER_WORD = range(5)
COLUMNS = 5


@compiled
def _measure(data: Any, start: Any, end: Any, classes: Any, short: Any, row: Any) -> None:
    newlines = 0
    for at in range(start, end):
        newlines += data[at] == 10
    hashes, lengths = np.empty(newlines + 1, np.uint64), np.empty(newlines + 1, np.int64)
    lines = punctuated = short_lines = characters = words = length = 0
    in_word = inked = ended = False
    value = FNV_START
    at = start
    while at <= end:
        code, width = decode(data, at) if at < end else (np.int64(10), 1)
        kind = classes[code]
        words += in_word and (kind & SPACE) != 0
        in_word = (kind & SPACE) == 0
        if code == 10:
            if inked:
                hashes[lines], lengths[lines] = mixed(value), length
                lines += 1
                punctuated += ended
                short_lines += length <= short
            value, length, inked, ended = FNV_START, 0, False, False
        else:
            for i in range(width):
                value = (value ^ np.uint64(data[at + i])) * FNV
            inked = inked or in_word
            ended = (kind & TERMINAL) != 0
            length += 1
            characters += 1
        at += width
    room = table_size(lines)
    counts, slots = np.empty(room, np.int32), np.empty(lines, np.int64)
    count_keys(hashes, lines, np.empty(room, np.uint64), counts, slots)
    repeated = 0
    for line in range(lines):
        if counts[slots[line]] < 0:  # seen before
            repeated += lengths[line]
        counts[slots[line]] = -1
    row[LINES] = lines
    row[PUNCTUATED], row[SHORT] = punctuated / max(lines, 1), short_lines / max(lines, 1)
    row[DUPLICATE_CHARACTERS] = repeated / max(characters, 1)
    row[NEWLINES_PER_WORD] = newlines / max(words, 1)


@compiled
def measure_fineweb(offsets: Any, data: Any, classes: Any, short: Any, out: Any) -> None:
    """Fills `out[documents, COLUMNS]` (float64); `short` is the most characters of a short line."""
    for document in range(len(offsets) - 1):
        _measure(data, offsets[document], offsets[document + 1], classes, short, out[document])
