"""What datatrove's Gopher repetition filter looks at. Importing this imports numba.

Its duplicate n-grams are compared after their words are joined without a separator, so that `ab c` and `a bc` are the
same: to reproduce that, n-grams are compared by a hash of their letters alone, a polynomial modulo 2^61 - 1, in which
the hash of any run of words follows from the hashes of two beginnings of the text.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from glasshouse.data.signals.kernels import FNV, FNV_START, GRAM, SPACE, compiled, count_keys, decode, mixed, table_size

(
    DUPLICATE_PARAGRAPHS,
    DUPLICATE_PARAGRAPH_CHARACTERS,
    DUPLICATE_LINES,
    DUPLICATE_LINE_CHARACTERS,
    TOP_2,
    TOP_3,
    TOP_4,
    DUPLICATE_5,
    DUPLICATE_6,
    DUPLICATE_7,
    DUPLICATE_8,
    DUPLICATE_9,
    DUPLICATE_10,
    CHARACTERS,
) = range(14)
COLUMNS = 14

_PRIME = np.uint64((1 << 61) - 1)
_LOW_31, _LOW_30 = np.uint64((1 << 31) - 1), np.uint64((1 << 30) - 1)
_BASE = np.uint64(0x0A3F0C5B7D1E2943)


@compiled
def _product(a: Any, b: Any) -> Any:
    """a * b modulo 2^61 - 1, both below it, in 64 bits."""
    a_high, a_low, b_high, b_low = a >> np.uint64(31), a & _LOW_31, b >> np.uint64(31), b & _LOW_31
    middle = a_low * b_high + a_high * b_low
    total = a_high * b_high * np.uint64(2) + (middle >> np.uint64(30)) + ((middle & _LOW_30) << np.uint64(31))
    total += a_low * b_low
    total = (total >> np.uint64(61)) + (total & _PRIME)
    return total - _PRIME if total >= _PRIME else total


@compiled
def _is_new(key: Any, table: Any, mask: Any) -> bool:
    """Whether `key` (not 0) was not in the table; it is then."""
    slot: Any = np.int64(mixed(key) & mask)
    while table[slot] != 0:
        if table[slot] == key:
            return False
        slot += 1
        if slot == len(table):
            slot = 0
    table[slot] = key
    return True


@compiled
def _pieces(data: Any, start: Any, end: Any, least: int, row: Any, column: int, characters: Any) -> None:
    """Repeated pieces between runs of at least `least` \\n: share of pieces, characters / `characters`."""
    newlines = 1
    for i in range(start, end):
        newlines += data[i] == 10
    room = table_size(newlines)
    table = np.zeros(room, np.uint64)
    pieces = repeated = repeated_characters = length = run = 0
    value = FNV_START
    at = start
    while at <= end:
        run = 0
        while at + run < end and data[at + run] == 10:
            run += 1
        if run >= least or at == end:
            pieces += 1
            if not _is_new(mixed(value) | np.uint64(1), table, np.uint64(room - 1)):
                repeated += 1
                repeated_characters += length
            value, length = FNV_START, 0
            if at == end:
                break
            at += run
            continue
        for i in range(max(run, 1)):
            value = (value ^ np.uint64(data[at + i])) * FNV
            length += (data[at + i] & 0xC0) != 0x80
        at += max(run, 1)
    row[column] = repeated / pieces
    row[column + 1] = repeated_characters / characters


@compiled
def _inked(data: Any, start: Any, end: Any, classes: Any) -> Any:
    """The range of bytes without white space at both ends."""
    first, last, at = end, start, start
    while at < end:
        code, width = decode(data, at)
        if not classes[code] & SPACE:
            first = min(first, at)
            last = at + width
        at += width
    return (first, last) if first < end else (start, start)


@compiled
def _split(data: Any, start: Any, end: Any, classes: Any, hashes: Any, characters: Any, size: Any, joined: Any) -> Any:
    """Words: their hashes; and, up to every word, characters, bytes and the hash of all words joined."""
    words = count = 0
    taken = size[0]
    in_word = False
    value, running = FNV_START, np.uint64(0)
    at = start
    while at < end:
        code, width = decode(data, at)
        if classes[code] & SPACE:
            if in_word:
                hashes[words] = mixed(value)
                words += 1
                characters[words], size[words], joined[words] = count, taken, running
                in_word = False
        else:
            if not in_word:
                in_word, value = True, FNV_START
            for i in range(width):
                byte = np.uint64(data[at + i])
                value = (value ^ byte) * FNV
                running = _product(running, _BASE) + byte + np.uint64(1)
                running = running - _PRIME if running >= _PRIME else running
            taken += width
            count += 1
        at += width
    if in_word:
        hashes[words] = mixed(value)
        words += 1
        characters[words], size[words], joined[words] = count, taken, running
    return words


@compiled
def _top(words: Any, hashes: Any, characters: Any, row: Any, total: Any) -> None:
    """Characters of the most frequent 2-, 3-, 4-gram with its blanks, the first one on a tie."""
    keys = hashes[:words].copy()
    room = table_size(words)
    table, counts, slots = np.empty(room, np.uint64), np.empty(room, np.int32), np.empty(words, np.int64)
    for order in range(2, 5):
        grams = words - order + 1
        if grams <= 0:
            return
        for i in range(grams):
            keys[i] = mixed(keys[i] * GRAM + hashes[i + order - 1])
        count_keys(keys, grams, table, counts, slots)
        best, best_at = 0, 0
        for i in range(grams):
            if counts[slots[i]] > best:
                best, best_at = counts[slots[i]], i
        row[TOP_2 + order - 2] = best * (characters[best_at + order] - characters[best_at] + order - 1) / total


@compiled
def _duplicates(words: Any, characters: Any, size: Any, joined: Any, powers: Any, row: Any, total: Any) -> None:
    """Characters of n-grams seen before, the search going on behind each one found."""
    table = np.empty(table_size(words), np.uint64)
    for order in range(5, 11):
        table[:] = 0
        mask = np.uint64(len(table) - 1)
        at = repeated = 0
        while at < words - order + 1:
            start = _product(joined[at], powers[size[at + order] - size[at]])
            key = joined[at + order] + (_PRIME - start)
            key = key - _PRIME if key >= _PRIME else key
            if _is_new(key + np.uint64(1), table, mask):
                at += 1
            else:
                repeated += characters[at + order] - characters[at]
                at += order
        row[DUPLICATE_5 + order - 5] = repeated / total


@compiled
def measure_repetition(offsets: Any, data: Any, classes: Any, out: Any) -> None:
    """Fills `out[documents, COLUMNS]` (float64)."""
    powers = np.ones(1, np.uint64)
    for document in range(len(offsets) - 1):
        start, end, row = offsets[document], offsets[document + 1], out[document]
        row[:] = 0.0
        total = 0
        for at in range(start, end):
            total += (data[at] & 0xC0) != 0x80
        row[CHARACTERS] = total
        if total == 0:
            continue
        first, last = _inked(data, start, end, classes)
        _pieces(data, first, last, 2, row, DUPLICATE_PARAGRAPHS, total)
        _pieces(data, start, end, 1, row, DUPLICATE_LINES, total)
        most = (end - start) // 2 + 2
        hashes, joined = np.empty(most, np.uint64), np.zeros(most, np.uint64)
        characters, size = np.zeros(most, np.int64), np.zeros(most, np.int64)
        words = _split(data, start, end, classes, hashes, characters, size, joined)
        longest = 1
        for i in range(words - 4):
            longest = max(longest, size[min(i + 10, words)] - size[i])
        if longest >= len(powers):
            powers = np.ones(longest + 1, np.uint64)
            for i in range(1, len(powers)):
                powers[i] = _product(powers[i - 1], _BASE)
        _top(words, hashes, characters, row, total)
        _duplicates(words, characters, size, joined, powers, row, total)
