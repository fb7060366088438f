"""The compiled loops of MinHash. Importing this imports numba; import it inside functions.

A permutation of the 32-bit shingle hashes is `(x ^ addend) * multiplier` modulo 2^32 with an odd multiplier: whole
machine words, so the compiler does 8 or 16 permutations at a time.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from glasshouse.data.signals.kernels import FNV, FNV_START, GRAM, SPACE, compiled, decode, mixed

EMPTY = np.uint32(0xFFFFFFFF)
_NO_KEY = np.uint64(0xFFFFFFFFFFFFFFFF)


@compiled
def _lower(recent: Any, words: int, size: int, multipliers: Any, addends: Any, row: Any) -> None:
    """Lowers a signature by the shingle of the last `size` of `words` words."""
    value = FNV_START
    for i in range(words - size, words):
        value = mixed(value * GRAM + recent[i % len(recent)])
    shingle = np.uint32(value >> np.uint64(32))
    for j in range(len(multipliers)):
        row[j] = min(row[j], np.uint32((shingle ^ addends[j]) * multipliers[j]))


@compiled
def signatures(
    offsets: Any, data: Any, classes: Any, shingle: int, multipliers: Any, addends: Any, out: Any, worded: Any
) -> None:
    """MinHash of word `shingle`-grams (ASCII lower-cased): `out[documents, permutations]` (uint32).

    A document with fewer words than a shingle is one shingle; one without words keeps the largest value everywhere,
    and `worded` tells it from others.
    """
    recent = np.zeros(shingle, np.uint64)
    for document in range(len(offsets) - 1):
        row = out[document]
        row[:] = EMPTY
        words = 0
        in_word = False
        word = FNV_START
        at, end = offsets[document], offsets[document + 1]
        while at <= end:
            code, width = 32, 1  # the end of the text ends a word, as a space does
            if at < end:
                code, width = decode(data, at)
            if classes[code] & SPACE:
                if in_word:
                    recent[words % shingle] = mixed(word)
                    words += 1
                    in_word = False
                    if words >= shingle:
                        _lower(recent, words, shingle, multipliers, addends, row)
            else:
                if not in_word:
                    in_word, word = True, FNV_START
                for i in range(width):
                    byte = np.uint64(data[at + i])
                    if 65 <= data[at + i] <= 90:
                        byte |= np.uint64(32)
                    word = (word ^ byte) * FNV
            at += width
        if 0 < words < shingle:
            _lower(recent, words, words, multipliers, addends, row)
        worded[document] = words > 0


@compiled
def band_keys(values: Any, worded: Any, rows: int, keys: Any) -> None:
    """One 64-bit hash of every band of `rows` values; the largest number in all bands of a document without words."""
    for document in range(len(values)):
        for band in range(keys.shape[1]):
            key = np.uint64(band + 1) * GRAM
            for i in range(band * rows, (band + 1) * rows):
                key = mixed(key ^ np.uint64(values[document, i])) * FNV
            key = mixed(key)
            keys[document, band] = min(key, _NO_KEY - np.uint64(1)) if worded[document] else _NO_KEY
