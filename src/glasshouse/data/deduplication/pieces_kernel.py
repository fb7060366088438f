"""The compiled loops over paragraphs and their n-grams. Importing this imports numba; import it inside functions."""

from __future__ import annotations

from typing import Any

import numpy as np

from glasshouse.data.deduplication.word_bounds import WHITE, words
from glasshouse.data.signals.kernels import FNV, FNV_START, compiled, decode, mixed

DOCUMENT, FIRST_BYTE, END_BYTE, START, END = range(5)
COLUMNS = 5

_BASE = np.uint64(0x9E3779B97F4A7C15)
# Keys of whole paragraphs are of another kind than those of n-grams: "word" as a paragraph is not "word" as a 1-gram.
_WHOLE = np.uint64(0xA0761D6478BD642F)


@compiled
def _is_at(data: Any, at: int, end: int, separator: Any) -> bool:
    if at + len(separator) > end:
        return False
    for i in range(len(separator)):  # noqa: SIM110 - numba compiles no generator
        if data[at + i] != separator[i]:
            return False
    return True


@compiled
def cut(
    offsets: Any, data: Any, separator: Any, separator_characters: int, classes: Any, skip_empty: bool,
    minimum_length: int, minimum_words: int, found: Any,
) -> int:  # fmt: skip
    """Cuts texts at a separator; returns the number of paragraphs that are looked at.

    Fills `found[paragraphs, 5]` with document, first byte and end byte (without the separator), and the characters
    `[start, end)` of the text that are cut with the paragraph: the separator behind it too, unless the text ends with
    that. An empty text has no paragraph.
    """
    count = 0
    nothing = np.empty(0, np.uint64)
    for document in range(len(offsets) - 1):
        at, stop = offsets[document], offsets[document + 1]
        first, character, length = at, 0, 0
        inked, open_paragraph = False, at < stop
        while open_paragraph:
            ends = at >= stop
            is_cut = not ends and _is_at(data, at, stop, separator)
            if not (ends or is_cut):
                code, width = decode(data, at)
                inked = inked or (classes[code] & WHITE) == 0
                length += 1
                at += width
                continue
            behind = separator_characters if is_cut and at + len(separator) < stop else 0
            if (inked or not skip_empty) and length >= minimum_length and (
                minimum_words == 0 or words(data, first, at, classes, nothing) >= minimum_words
            ):  # fmt: skip
                found[count, 0], found[count, 1], found[count, 2] = document, first, at
                found[count, 3], found[count, 4] = character, character + length + behind
                count += 1
            character += length + behind
            at += len(separator) if is_cut else 0
            first, length, inked = at, 0, False
            open_paragraph = is_cut
    return count


@compiled
def _whole_key(data: Any, first: int, end: int) -> Any:
    value = FNV_START
    for i in range(first, end):
        value = (value ^ np.uint64(data[i])) * FNV
    return mixed(value ^ _WHOLE)


@compiled
def paragraph_keys(data: Any, paragraphs: Any, keys: Any) -> None:
    """A hash of the bytes of every paragraph."""
    for i in range(len(paragraphs)):
        keys[i] = _whole_key(data, paragraphs[i, 1], paragraphs[i, 2])


@compiled
def gram_counts(
    data: Any, paragraphs: Any, classes: Any, length: int, stride: int, skip_short: bool, grams: Any, whole: Any
) -> None:
    """`grams` and `whole` as `gram_keys` fills them, without the keys."""
    nothing = np.empty(0, np.uint64)
    for paragraph in range(len(paragraphs)):
        number = words(data, paragraphs[paragraph, 1], paragraphs[paragraph, 2], classes, nothing)
        places = number - length + 1
        grams[paragraph] = max(places, 0) if places < 2 else 2 + (places - 2) // stride
        whole[paragraph] = grams[paragraph] < 2 and not skip_short


@compiled
def gram_keys(
    data: Any, paragraphs: Any, classes: Any, length: int, stride: int, skip_short: bool, hashes: Any, keys: Any,
    grams: Any, whole: Any,
) -> int:  # fmt: skip
    """Keys of the n-grams of every paragraph and, where there are fewer than two, of the whole paragraph behind them.

    Args:
        hashes: room for the words of the longest paragraph.
        keys: filled; returns how many.
        grams: filled with the number of n-grams of every paragraph, 0 where the whole is compared.
        whole: filled with whether the whole paragraph is compared.
    """
    count = 0
    drop = np.uint64(1)
    for _ in range(length):
        drop = np.uint64(drop * _BASE)
    for paragraph in range(len(paragraphs)):
        first, end = paragraphs[paragraph, 1], paragraphs[paragraph, 2]
        number = words(data, first, end, classes, hashes)
        value = np.uint64(0)
        last = taken = 0
        for word in range(number):
            value = np.uint64(value * _BASE + hashes[word])
            if word >= length:
                value = np.uint64(value - drop * hashes[word - length])
            start = word - length + 1
            # As in Dolma the first two n-grams are one word apart whatever the stride: 0, 1, 1 + stride, …
            if start >= 0 and (last == 0 or start - last >= stride):
                last = start
                keys[count] = mixed(value)
                count += 1
                taken += 1
        grams[paragraph] = taken
        whole[paragraph] = taken < 2 and not skip_short
        if whole[paragraph]:
            keys[count] = _whole_key(data, first, end)
            count += 1
    return count
