"""Sentences: where one ends, by simple rules over bytes. Importing this imports numba; import it inside functions.

A sentence ends at a line end, at terminal punctuation `. ! ?` (with closing quotes and brackets) before white
space, or at `。！？`. A full stop does not end one after a single capital letter (`J. Smith`), after one of a few
abbreviations, or before a small letter. Deviation from Dolma, which uses Punkt or BlingFire: their models are not
shipped here, and their sentences differ in perhaps one of twenty boundaries.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from glasshouse.data.signals.kernels import SPACE, all_rows, character_classes, compiled, decode

DOCUMENT, FIRST_BYTE, END_BYTE, FIRST_CHARACTER, END_CHARACTER = range(5)
ABBREVIATIONS = ("mr", "mrs", "ms", "dr", "prof", "st", "mt", "no", "vs", "etc", "jr", "sr", "gen", "rep", "sen", "fig")

_SHORT = np.array([int.from_bytes(word.encode(), "big") for word in ABBREVIATIONS], dtype=np.int64)
_CLOSING = np.array([ord(character) for character in "\"')]}»”’"], dtype=np.int64)


@compiled
def _is_in(value: Any, values: Any) -> Any:
    for other in values:  # noqa: SIM110 (compiled)
        if other == value:
            return True
    return False


@compiled
def _abbreviated(data: Any, start: Any, stop: Any) -> Any:
    """Whether the letters before byte `stop` (a full stop) are an initial or an abbreviation."""
    packed, letters, at = np.int64(0), 0, stop - 1
    while at >= start and letters < 6:
        byte = np.int64(data[at])
        if not (65 <= byte <= 90 or 97 <= byte <= 122):
            break
        packed |= (byte | 32) << (8 * letters)
        letters += 1
        at -= 1
    if at >= start and (data[at] >= 0x80 or letters == 6):
        return False
    if letters == 1:
        return 65 <= data[stop - 1] <= 90
    return letters > 1 and _is_in(packed, _SHORT)


@compiled
def _ends(data: Any, classes: Any, start: Any, at: Any, behind: Any, end: Any, code: Any) -> Any:
    """Byte behind the sentence whose terminal punctuation `code` is at `at`, or -1."""
    if code == 0x3002 or code == 0xFF01 or code == 0xFF1F:
        return behind
    place = behind
    while place < end:
        following, width = decode(data, place)
        if following == 46 or following == 33 or following == 63 or _is_in(following, _CLOSING):
            place += width
        else:
            break
    closed = place
    if place < end:
        following, width = decode(data, place)
        if not classes[following] & SPACE:
            return -1
    if code == 46:
        if closed == behind and _abbreviated(data, start, at):
            return -1
        while place < end:
            following, width = decode(data, place)
            if not classes[following] & SPACE or following == 10:
                break
            place += width
        if place < end and 97 <= data[place] <= 122:
            return -1
    return closed


@compiled
def _cut(offsets: Any, data: Any, classes: Any, found: Any) -> int:
    count = 0
    for document in range(len(offsets) - 1):
        at, end = offsets[document], offsets[document + 1]
        character = 0
        start: Any = np.int64(-1)
        first: Any = np.int64(-1)
        last: Any = np.int64(-1)
        last_character: Any = np.int64(-1)
        while at < end:
            code, width = decode(data, at)
            stop = np.int64(-1)
            if code == 10:
                stop = at
            else:
                if not classes[code] & SPACE:
                    if start < 0:
                        start, first = at, character
                    last, last_character = at + width, character + 1
                if code == 46 or code == 33 or code == 63 or code == 0x3002 or code == 0xFF01 or code == 0xFF1F:
                    stop = _ends(data, classes, start, at, at + width, end, code)
            at += width
            character += 1
            while at < stop:  # closing quotes and brackets
                code, width = decode(data, at)
                at += width
                character += 1
                last, last_character = at, character
            if (stop >= 0 or at >= end) and start >= 0:
                if count < len(found):
                    found[count, 0], found[count, 1], found[count, 2] = document, start, last
                    found[count, 3], found[count, 4] = first, last_character
                count += 1
                start = np.int64(-1)
    return count


def sentence_ranges(offsets: npt.NDArray[np.int64], data: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    """`[sentences, 5]`: document, first byte, end byte, first character, end character (characters from the document's
    start). Sentences neither begin nor end in white space; every other character is in exactly one.
    """
    classes = character_classes()
    return all_rows(lambda found: _cut(offsets, data, classes, found), 5, 8192)
