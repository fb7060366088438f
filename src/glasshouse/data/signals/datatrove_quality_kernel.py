"""What datatrove's Gopher quality filter looks at, in one pass. Importing this imports numba."""

from __future__ import annotations

from typing import Any

import numpy as np

from glasshouse.data.signals.datatrove_characters import PUNCTUATION
from glasshouse.data.signals.kernels import ALPHABETIC, LINE_END, SPACE, compiled, decode

(
    WORDS,
    NON_SYMBOL_WORDS,
    MEAN_LENGTH,
    HASHES,
    ELLIPSES,
    BULLET_LINES,
    ELLIPSIS_LINES,
    ALPHABETIC_WORDS,
    STOP_WORDS,
) = range(9)
COLUMNS = 9

# Packed big-endian behind a byte 1, so that a leading NUL makes another word.
_STOP_WORDS = np.array(
    [int.from_bytes(b"\1" + word, "big") for word in b"the be to of and that have with".split()], dtype=np.int64
)


@compiled
def _measure(data: Any, start: Any, end: Any, classes: Any, row: Any) -> None:
    words = non_symbol = letters = hashes = ellipses = alphabetic = bullets = ellipsis_lines = lines = 0
    stop_words = np.int64(0)
    in_word = is_symbol = has_alphabetic = False
    packed, word_from, characters = np.int64(0), 0, 0
    dots = tail = line_from = 0
    first_inked: Any = 0
    previous: Any = 0
    at = start
    while at <= end:
        # The end of the text is taken for one more line end: it ends a word and a line.
        code, width = decode(data, at) if at < end else (np.int64(10), 1)
        kind = classes[code]
        dots = dots + 1 if code == 46 else 0
        if dots == 3 or code == 0x2026:
            ellipses += 1
            dots = 0
        hashes += code == 35
        if kind & SPACE:
            if in_word:
                in_word = False
                words += 1
                alphabetic += has_alphabetic
                if not is_symbol:
                    non_symbol += 1
                    letters += characters - word_from
                if packed < 0x200000000:
                    for i in range(8):
                        stop_words |= np.int64(packed == _STOP_WORDS[i]) << i
        else:
            if not in_word:
                in_word, is_symbol, has_alphabetic = True, True, False
                word_from, packed = characters, np.int64(1)
            for i in range(width):
                packed = min((packed << 8) | np.int64(data[at + i]), np.int64(1) << 40)
            is_symbol = is_symbol and (kind & PUNCTUATION) != 0
            has_alphabetic = has_alphabetic or (kind & ALPHABETIC) != 0
            if first_inked == 0:
                first_inked = code
            # Full stops without a gap up to here; an ellipsis counts as three.
            if code == 0x2026:
                tail = 3
            elif code == 46:
                tail = tail + 1 if previous == 46 else 1
            else:
                tail = 0
        if kind & LINE_END:
            is_end_of_return = code == 10 and previous == 13
            if (at < end and not is_end_of_return) or (at == end and characters > line_from):
                lines += 1
                bullets += first_inked == 0x2022 or first_inked == 45
                ellipsis_lines += tail >= 3
            line_from, first_inked, tail = characters + 1, 0, 0
        previous = code
        characters += 1
        at += width
    row[WORDS], row[NON_SYMBOL_WORDS] = words, non_symbol
    row[MEAN_LENGTH] = letters / max(non_symbol, 1)
    row[HASHES], row[ELLIPSES] = hashes / max(words, 1), ellipses / max(words, 1)
    row[BULLET_LINES], row[ELLIPSIS_LINES] = bullets / max(lines, 1), ellipsis_lines / max(lines, 1)
    row[ALPHABETIC_WORDS] = alphabetic / max(words, 1)
    row[STOP_WORDS] = 0
    for i in range(8):
        row[STOP_WORDS] += (stop_words >> i) & 1


@compiled
def measure_quality(offsets: Any, data: Any, classes: Any, out: Any) -> None:
    """Fills `out[documents, COLUMNS]` (float64)."""
    for document in range(len(offsets) - 1):
        _measure(data, offsets[document], offsets[document + 1], classes, out[document])
