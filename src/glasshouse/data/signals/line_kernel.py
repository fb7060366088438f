"""Lines that end at \\n: C4's findings and Gopher's second dialect. Importing this imports numba."""

from __future__ import annotations

from typing import Any

import numpy as np

from glasshouse.data.signals.kernels import FNV, FNV_START, SPACE, compiled, count_keys, decode, mixed, table_size

BULLETS, ELLIPSES, DUPLICATES = range(3)


@compiled
def count_lines(offsets: Any, data: Any, counts: Any) -> None:
    """Lines of every document: one more than its \\n."""
    for document in range(len(offsets) - 1):
        lines = 1
        for at in range(offsets[document], offsets[document + 1]):
            lines += data[at] == 10
        counts[document] = lines


@compiled
def c4_lines(offsets: Any, data: Any, classes: Any, in_lower_case: bool, documents: Any, bounds: Any, bad: Any) -> None:
    """For every line its document, its characters `[start, end)` with the \\n, and what is wrong with it: bit 1 no end
    punctuation, bit 2 fewer than three words. `in_lower_case` counts characters as `str.lower` would leave them.
    """
    place = 0
    for document in range(len(offsets) - 1):
        at, end = offsets[document], offsets[document + 1]
        first, character, words = 0, 0, 0
        last: Any = 0
        in_word = False
        while at <= end:
            code, width = decode(data, at) if at < end else (np.int64(10), 1)
            character += at < end
            if classes[code] & SPACE:
                in_word = False
            else:
                words += not in_word
                in_word, last = True, code
                character += in_lower_case and code == 0x130  # the one letter whose lower case is two characters
            if code == 10:
                documents[place], bounds[place, 0], bounds[place, 1] = document, first, character
                ended = last == 46 or last == 63 or last == 33 or last == 34
                bad[place] = (not ended) + 2 * (words < 3)
                place += 1
                first, words, last = character, 0, 0
            at += width


@compiled
def gopher_runs(offsets: Any, data: Any, out: Any) -> None:
    """`out[documents, 3]`: shares of bullet, ellipsis and duplicate lines, lines being split at runs of \\n."""
    for document in range(len(offsets) - 1):
        start, end = offsets[document], offsets[document + 1]
        out[document] = 0.0
        if start == end:
            continue
        hashes = np.empty(end - start + 1, np.uint64)
        lines = bullets = ellipses = 0
        at = start
        while at <= end:
            first, value = at, FNV_START
            while at < end and data[at] != 10:
                value = (value ^ np.uint64(data[at])) * FNV
                at += 1
            # An empty line counts only where the text begins or ends with one.
            if at > first or first in (start, end):
                hashes[lines] = mixed(value)
                lines += 1
            if at > first:
                bullets += data[first] == 42 or data[first] == 45
                ellipses += at - first > 2 and data[at - 3] == 0xE2 and data[at - 2] == 0x80 and data[at - 1] == 0xA6
            at += 1
        room = table_size(lines)
        counts, slots = np.empty(room, np.int32), np.empty(lines, np.int64)
        count_keys(hashes, lines, np.empty(room, np.uint64), counts, slots)
        repeated = 0
        for line in range(lines):
            repeated += counts[slots[line]] > 1
        out[document, BULLETS] = bullets / lines
        out[document, ELLIPSES] = ellipses / lines
        out[document, DUPLICATES] = repeated / lines
