"""Looks words and phrases of a `word_list.WordTables` up in bytes. Importing this imports numba."""

from __future__ import annotations

from typing import Any

import numpy as np

from glasshouse.data.signals.kernels import SPACE, compiled, decode
from glasshouse.data.signals.word_list import BUCKETS, FOLDS


@compiled
def lower(byte: Any) -> Any:
    """An ASCII byte in lower case."""
    return byte | 32 if 65 <= byte <= 90 else byte


@compiled
def _same(data: Any, start: Any, entries: Any, number: Any) -> bool:
    """Whether entry `number` stands at byte `start` (which has enough bytes behind it)."""
    first = entries.bounds[number]
    for i in range(entries.bounds[number + 1] - first):
        if lower(np.int64(data[start + i])) != np.int64(entries.text[first + i]):
            return False
    return True


@compiled
def is_listed_word(data: Any, start: Any, end: Any, packed: Any, words: Any) -> bool:
    """Whether the word `data[start:end]`, whose last four bytes are `packed` (big-endian), is in the list."""
    mixed_key = ((packed | 0x20202020) * 0x9E3779B1) ^ ((end - start) * 0x85EBCA6B)
    key = (mixed_key >> 8) & 0xFFFF
    if not (words.bits[key >> 3] >> (key & 7)) & 1:
        return False
    number = words.heads[key % BUCKETS]
    while number >= 0:
        if words.bounds[number + 1] - words.bounds[number] == end - start and _same(data, start, words, number):
            return True
        number = words.following[number]
    return False


@compiled
def is_listed_phrase(data: Any, start: Any, end: Any, space: Any, phrases: Any) -> bool:
    """Whether a phrase of the list has its first space at byte `space` (a blank) of the text `data[start:end]`."""
    if space == start or space + 1 >= end:
        return False
    key = (lower(np.int64(data[space - 1])) << 8) | lower(np.int64(data[space + 1]))
    if not (phrases.bits[key >> 3] >> (key & 7)) & 1:
        return False
    number = phrases.heads[key % BUCKETS]
    while number >= 0:
        first = space - phrases.space[number]
        size = phrases.bounds[number + 1] - phrases.bounds[number]
        if first >= start and first + size <= end and _same(data, first, phrases, number):
            return True
        number = phrases.following[number]
    return False


@compiled
def is_listed_folded(data: Any, start: Any, end: Any, tables: Any) -> bool:
    """Whether a word or phrase of the list is in the text once all of it is in lower case (the slow way)."""
    text = np.empty(2 * (end - start) + 8, np.uint8)
    size, at = 0, start
    while at < end:
        code, width = decode(data, at)
        if tables.classes[code] & FOLDS:
            place = np.searchsorted(tables.fold_codes, code)
            for i in range(tables.fold_bounds[place], tables.fold_bounds[place + 1]):
                text[size] = tables.fold_text[i]
                size += 1
        else:
            for i in range(width):
                text[size] = data[at + i]
                size += 1
        at += width
    word, packed = -1, np.int64(0)
    at = 0
    while at < size:
        code, width = decode(text, at)
        if tables.classes[code] & SPACE:
            if word >= 0 and is_listed_word(text, word, at, packed, tables.words):
                return True
            if code == 32 and is_listed_phrase(text, 0, size, at, tables.phrases):
                return True
            word = -1
        else:
            if word < 0:
                word, packed = at, np.int64(0)
            for i in range(width):
                packed = ((packed & 0xFFFFFF) << 8) | np.int64(text[at + i])
        at += width
    return word >= 0 and is_listed_word(text, word, size, packed, tables.words)
