"""What the compiled loops over UTF-8 bytes share. Importing this imports numba; import it inside functions.

All kernels take the buffers of an Arrow `large_string` column (`document.text_buffers`), build no Python strings and
release the interpreter lock. Words are runs without the 29 Unicode spaces of Python's `str.split`; lengths are in
characters (code points). Words, lines and n-grams are compared by 64-bit hashes.
"""

from __future__ import annotations

import functools
import unicodedata
from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
import numpy as np
import numpy.typing as npt

Function = TypeVar("Function", bound=Callable[..., Any])

ALPHABETIC, ALPHANUMERIC, SPACE, LINE_END, WORD, WHITE_SPACE = 1, 2, 4, 8, 16, 32
"""Class bits: `str.isalpha`, `str.isalnum`, `str.isspace`, an end of `str.splitlines`; and, as regular expressions by
the Unicode standard (UTS #18, annex C) have them, a word character and white space (without U+001C to U+001F).
"""

FNV, FNV_START = np.uint64(0x100000001B3), np.uint64(0xCBF29CE484222325)
"""Multiplier and start of the hash of Fowler, Noll and Vo (FNV-1a), 64 bits."""
GRAM = np.uint64(0x9E3779B97F4A7C15)
"""Multiplier that chains the hashes of an n-gram's words."""
_MIX_1 = np.uint64(0xFF51AFD7ED558CCD)
_MIX_2 = np.uint64(0xC4CEB9FE1A85EC53)
_CIRCLED = ((0x24B6, 0x24EA), (0x1F130, 0x1F14A), (0x1F150, 0x1F16A), (0x1F170, 0x1F18A))


def compiled(function: Function) -> Function:
    """Compiles without the interpreter lock and keeps the machine code on disk (the first call otherwise costs
    seconds).
    """
    return cast(Function, numba.njit(nogil=True, cache=True)(function))


def all_rows(find: Callable[[npt.NDArray[np.int64]], int], width: int, room: int = 4096) -> npt.NDArray[np.int64]:
    """`[found, width]`: what a kernel finds that fills an array as far as it has room and returns how many there are.

    Args:
        find: called with an array `[room, width]`, and once more with a larger one where that was too small.
    """
    found = np.empty((room, width), np.int64)
    number = find(found)
    if number > room:
        found = np.empty((number, width), np.int64)
        find(found)
    return found[:number]


@functools.cache
def character_classes() -> npt.NDArray[np.uint8]:
    """Class bits of every code point, by the Unicode tables of the running Python."""
    classes = np.zeros(0x110000, np.uint8)
    for code in range(0x40000):  # nothing above the third plane is alphabetic or a space
        character = chr(code)
        if character.isalnum():
            classes[code] = ALPHANUMERIC | (ALPHABETIC if character.isalpha() else 0)
        elif character.isspace():
            classes[code] = SPACE | (LINE_END if len(f"a{character}b".splitlines()) == 2 else 0)
            classes[code] |= 0 if 0x1C <= code <= 0x1F else WHITE_SPACE
        category = unicodedata.category(character)
        if category[0] in "LM" or category in ("Nl", "Nd", "Pc") or code in (0x200C, 0x200D):
            classes[code] |= WORD
    for low, high in _CIRCLED:
        classes[low:high] |= WORD  # symbols that Unicode calls alphabetic
    classes[0xE0100:0xE01F0] |= WORD  # variation selectors, which are marks
    return classes


@compiled
def mixed(value: Any) -> Any:
    """A one-to-one scrambling of 64 bits (the finaliser of MurmurHash3)."""
    value ^= value >> np.uint64(33)
    value *= _MIX_1
    value ^= value >> np.uint64(33)
    value *= _MIX_2
    return value ^ (value >> np.uint64(33))


@compiled
def decode(data: Any, at: Any) -> Any:
    """Code point at byte `at` and the number of its bytes (the text is valid UTF-8)."""
    lead = np.int64(data[at])
    if lead < 0x80:
        return lead, 1
    if lead < 0xE0:
        return ((lead & 0x1F) << 6) | (np.int64(data[at + 1]) & 0x3F), 2
    middle = ((np.int64(data[at + 1]) & 0x3F) << 6) | (np.int64(data[at + 2]) & 0x3F)
    if lead < 0xF0:
        return ((lead & 0x0F) << 12) | middle, 3
    return ((lead & 0x07) << 18) | (middle << 6) | (np.int64(data[at + 3]) & 0x3F), 4


@compiled
def table_size(size: int) -> int:
    """Places of an open-address table for `size` keys: a power of two, at most half full."""
    room = 16
    while room < 2 * size:
        room *= 2
    return room


@compiled
def count_keys(keys: Any, size: Any, table: Any, counts: Any, slots: Any) -> None:
    """Counts equal keys in an open-address table; `slots[i]` becomes the place of key `i`, `counts` its number."""
    room = table_size(size)
    counts[:room] = 0
    mask = np.uint64(room - 1)
    for i in range(size):
        key = keys[i]
        slot: Any = np.int64(key & mask)
        while counts[slot] != 0 and table[slot] != key:
            slot += 1
            if slot == room:
                slot = 0
        table[slot] = key
        counts[slot] += 1
        slots[i] = slot


@compiled
def is_ascii_at(data: Any, at: int, end: int, term: Any) -> bool:
    """Whether the ASCII letters and spaces of `term` (small) stand at byte `at`, in any case."""
    if at + len(term) > end:
        return False
    for i in range(len(term)):
        byte = data[at + i]
        if 65 <= byte <= 90:
            byte |= np.uint8(32)
        if byte != term[i]:
            return False
    return True
