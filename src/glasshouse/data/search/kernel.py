"""The compiled loops over suffix arrays. Importing this module imports numba; import it inside functions.

A text is an array of bytes or of token ids; its suffix array holds the places of all suffixes in the order of what
stands there (Manber & Myers, "Suffix arrays", SIAM J. Comput. 1993). All occurrences of a query are one interval of it,
found by binary search; a comparison starts after what both ends of the search are known to share with the query. A
place outside the text can only come from a damaged file: it ends the search with -1 instead of reading foreign memory.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from glasshouse.data.search.words import JOINS
from glasshouse.data.signals.kernels import compiled, decode

SEPARATOR = 0xFF
"""Stands after every document: this byte cannot occur in UTF-8, so no match crosses documents."""


@compiled
def _bound(
    text: Any, suffixes: Any, query: Any, start: int, length: int, upper: bool, low: int, high: int, known: int
) -> tuple[int, int, int]:
    """First place in `[low, high)` whose suffix is not below `query[start:start + length]`; with `upper`, the first
    that is above all suffixes beginning with it. Also what the suffixes before and at that place share with it.
    """
    left = right = known
    size = len(text)
    while low < high:
        middle = (low + high) // 2
        at = np.int64(suffixes[middle])
        if at < 0 or at >= size:
            return -1, 0, 0
        same = min(left, right)
        while same < length and at + same < size and text[at + same] == query[start + same]:
            same += 1
        if same == length:
            below = upper
        elif at + same >= size:
            below = True
        else:
            below = text[at + same] < query[start + same]
        if below:
            low, left = middle + 1, same
        else:
            high, right = middle, same
    return low, left, right


@compiled
def interval(text: Any, suffixes: Any, query: Any, start: int, length: int) -> tuple[int, int]:
    """Places `[low, high)` of the suffixes that begin with `query[start:start + length]`; (-1, -1) when damaged."""
    low, _, _ = _bound(text, suffixes, query, start, length, False, 0, len(suffixes), 0)
    if low < 0:
        return -1, -1
    high, _, _ = _bound(text, suffixes, query, start, length, True, low, len(suffixes), 0)
    return (-1, -1) if high < 0 else (low, high)


@compiled
def matching_statistics(text: Any, suffixes: Any, query: Any, out: Any) -> bool:
    """For every position of the query: the longest match that begins there, as `out[positions, 3]` (int64): its length
    and the interval of its occurrences. False when the suffix array is damaged.
    """
    size = len(query)
    for start in range(size):
        place, left, right = _bound(text, suffixes, query, start, size - start, False, 0, len(suffixes), 0)
        if place < 0:
            return False
        length = max(left, right)
        low, high = 0, 0
        if length > 0:
            low, high = interval(text, suffixes, query, start, length)
            if low < 0:
                return False
        out[start, 0], out[start, 1], out[start, 2] = length, low, high
    return True


@compiled
def _is_boundary(text: Any, at: Any, classes: Any) -> Any:
    """Whether a word may begin or end before byte `at`: not between two characters that join into one word."""
    if at <= 0 or at >= len(text) or text[at] == SEPARATOR or text[at - 1] == SEPARATOR:
        return True
    if text[at] & 0xC0 == 0x80:
        return False
    before = at - 1
    while before > 0 and text[before] & 0xC0 == 0x80:
        before -= 1
    return classes[decode(text, before)[0]] != JOINS or classes[decode(text, at)[0]] != JOINS


@compiled
def whole_word_places(
    text: Any, suffixes: Any, low: int, high: int, length: int, classes: Any, most: int, out: Any
) -> int:
    """Counts the occurrences in an interval that begin and end where words do; stops at `most`. Their positions go to
    `out` as far as it reaches. -1 when the suffix array is damaged.
    """
    found = 0
    for place in range(low, high):
        at = np.int64(suffixes[place])
        if at < 0 or at + length > len(text):
            return -1
        if _is_boundary(text, at, classes) and _is_boundary(text, at + length, classes):
            if found < len(out):
                out[found] = at
            found += 1
            if found >= most:
                break
    return found


@compiled
def longest_spans(
    text: Any, suffixes: Any, query: Any, starts: Any, ends: Any, least: Any, classes: Any, out: Any
) -> bool:
    """For every word start, the end of the longest span that occurs in the text as whole words, or -1.

    Args:
        starts: ascending positions at which spans may begin.
        ends: ascending positions at which they may end.
        least: for every start, the smallest end that is asked for.
        out: int64, one per start. A span inside one found before is left out (-1), as it is not maximal.

    Returns false when the suffix array is damaged.
    """
    furthest = -1
    nothing = np.empty(0, np.int64)
    for index in range(len(starts)):
        out[index] = -1
        start = starts[index]
        place, left, right = _bound(
            text, suffixes, query, start, len(query) - start, False, 0, len(suffixes), 0
        )  # fmt: skip
        if place < 0:
            return False
        candidate = np.searchsorted(ends, start + max(left, right), side="right") - 1
        while candidate >= 0 and ends[candidate] >= least[index] and ends[candidate] > furthest:
            length = ends[candidate] - start
            low, high = interval(text, suffixes, query, start, length)
            if low < 0:
                return False
            found = whole_word_places(text, suffixes, low, high, length, classes, 1, nothing)
            if found < 0:
                return False
            if found:
                out[index] = furthest = ends[candidate]
                break
            candidate -= 1
    return True


@compiled
def next_runs(text: Any, suffixes: Any, low: int, high: int, length: int, tokens: Any, counts: Any) -> int:
    """What follows an n-gram of `length` tokens whose suffixes are `[low, high)`: distinct tokens, ascending, and their
    counts; returns how many there are. Suffixes with one next token are a run, so its end is found by binary search.
    -1 when the suffix array is damaged.
    """
    size, found = len(text), 0
    at: Any
    while low < high:
        at = np.int64(suffixes[low]) + length
        if at < length or at > size:
            return -1
        if at == size:  # the n-gram ends the text: nothing follows
            low += 1
            continue
        token = text[at]
        first, last = low, high
        while first < last:
            middle = (first + last) // 2
            place = np.int64(suffixes[middle]) + length
            if place < length or place >= size:
                return -1
            if text[place] <= token:
                first = middle + 1
            else:
                last = middle
        tokens[found], counts[found] = token, first - low
        found += 1
        low = first
    return found


@compiled
def count_disorder(text: Any, suffixes: Any, places: Any) -> Any:
    """How many neighbours `places[i]`, `places[i] + 1` of a suffix array are not in order (within 64 units)."""
    wrong: Any = 0
    size = len(text)
    for index in range(len(places)):
        left, right = np.int64(suffixes[places[index]]), np.int64(suffixes[places[index] + 1])
        if left < 0 or right < 0 or left >= size or right >= size or left == right:
            wrong += 1
            continue
        same = 0
        while same < 64 and left + same < size and right + same < size and text[left + same] == text[right + same]:
            same += 1
        if same == 64 or left + same >= size:
            continue
        wrong += right + same >= size or text[left + same] > text[right + same]
    return wrong
