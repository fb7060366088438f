"""The compiled loops of repeated substrings. Importing this imports numba; import it inside functions.

The text is that of all documents, each followed by the byte 0xFF, which is in no UTF-8 and never equal to itself here,
so that no match goes over the end of a document.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from glasshouse.data.signals.kernels import compiled

SEPARATOR = 0xFF
SAME, LATER = 1, 2
"""Flags of a position: its window is that of the one before it in the suffix array; it is not the first of those."""


@compiled
def predecessors(suffixes: Any, before: Any) -> None:
    """`before[p]` becomes the position before `p` in the suffix array, -1 for the first."""
    before[suffixes[0]] = -1
    for i in range(1, len(suffixes)):
        before[suffixes[i]] = suffixes[i - 1]


@compiled
def mark_same(text: Any, before: Any, minimum: int, characters: bool, flags: Any) -> None:
    """Sets `SAME` where the window of `minimum` bytes (or characters) is equal to that of the position before.

    Lengths of common prefixes in the order of the text (Kärkkäinen, Manzini and Puglisi 2009): each is at least the
    last one minus 1. With characters, only windows that begin with a character count.
    """
    size = len(text)
    common = window = 0  # window: bytes from here to the end of the `minimum`-th character
    whole = 0  # characters of that window
    for at in range(size):
        if text[at] == SEPARATOR:
            common = window = whole = 0
            continue
        begins = (text[at] & 0xC0) != 0x80
        while whole < minimum and text[at + window] != SEPARATOR:
            window += 1
            ends = (text[at + window] & 0xC0) != 0x80 or text[at + window] == SEPARATOR
            whole += 1 if ends or not characters else 0
        other = before[at]
        common = max(common - 1, 0)
        if other < 0:
            common = 0
        else:
            while (
                at + common < size and other + common < size
                and text[at + common] == text[other + common] and text[at + common] != SEPARATOR
            ):  # fmt: skip
                common += 1
            if whole == minimum and common >= window and (begins or not characters):
                flags[at] = SAME
        window -= 1
        # A character leaves the window with its last byte.
        leaves = not characters or (text[at + 1] & 0xC0) != 0x80 or text[at + 1] == SEPARATOR
        whole -= 1 if leaves else 0


@compiled
def mark_later(suffixes: Any, flags: Any) -> None:
    """Sets `LATER` at all positions of a group of equal windows but the smallest."""
    start = 0
    for i in range(1, len(suffixes) + 1):
        if i < len(suffixes) and flags[suffixes[i]] & SAME:
            continue
        if i - start > 1:
            first = suffixes[start]
            for j in range(start + 1, i):
                first = min(first, suffixes[j])
            for j in range(start, i):
                if suffixes[j] != first:
                    flags[suffixes[j]] |= LATER
        start = i


@compiled
def cover(text: Any, flags: Any, minimum: int, characters: bool, found: Any) -> int:
    """Joins the windows of all `LATER` positions to spans of whole characters; returns how many there are.

    Fills `found[spans, 3]` with document, first and end character, as far as there is room.
    """
    count = document = character = 0
    left = 0  # bytes or characters that are still covered
    start, is_open = 0, False
    for at in range(len(text)):
        begins = (text[at] & 0xC0) != 0x80
        if flags[at] & LATER:
            left = minimum
        # A character is covered when all its bytes are: from its first byte to its last.
        if text[at] == SEPARATOR:
            if is_open:
                if count < len(found):
                    found[count, 0], found[count, 1], found[count, 2] = document, start, character
                count += 1
            document += 1
            character = left = 0
            is_open = False
            continue
        if begins:
            width = 1
            while (text[at + width] & 0xC0) == 0x80:
                width += 1
            covered = left > 0
            if not characters:
                reach = left
                for i in range(width):
                    reach = minimum if flags[at + i] & LATER else reach
                    covered = covered and reach > 0
                    reach -= 1
            if covered and not is_open:
                start, is_open = character, True
            elif is_open and not covered:
                if count < len(found):
                    found[count, 0], found[count, 1], found[count, 2] = document, start, character
                count += 1
                is_open = False
            character += 1
        if left > 0 and (begins or not characters):
            left -= 1
    return count


@compiled
def gather(offsets: Any, data: Any, out: Any, at: int) -> int:
    """Copies the texts of a batch behind each other, each with a separator, from `out[at]` on; returns the end."""
    for row in range(len(offsets) - 1):
        for i in range(offsets[row], offsets[row + 1]):
            out[at] = data[i]
            at += 1
        out[at] = SEPARATOR
        at += 1
    return at


def empty_flags(size: int) -> Any:
    """Flags of all positions, unset."""
    return np.zeros(size, np.uint8)
