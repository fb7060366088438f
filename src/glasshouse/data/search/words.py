"""Where words begin and end, in any script: spans of text are compared from word to word."""

from __future__ import annotations

import functools
import unicodedata
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

APART, JOINS, ALONE, SPACE = 0, 1, 2, 3
"""Classes of characters: punctuation and symbols; parts of a word; words of their own; spaces.

Letters, marks, digits and underscores join into words, except in the scripts that put no spaces between words.
"""

_WITHOUT_SPACES = ("CJK ", "HIRAGANA", "KATAKANA", "THAI", "LAO ", "KHMER", "MYANMAR", "TIBETAN", "BOPOMOFO", "YI ")
_UNIFIED = ((0x3400, 0x4DC0), (0x4E00, 0xA000), (0x20000, 0x32000))


@functools.cache
def word_classes() -> npt.NDArray[np.uint8]:
    """Class of every code point."""
    classes = np.zeros(0x200000, np.uint8)  # room for whatever four damaged bytes decode to
    for code in range(0x20000):
        character = chr(code)
        category = unicodedata.category(character)
        if character.isspace():
            classes[code] = SPACE
        elif category[0] in "LMN" or category == "Pc":
            alone = code >= 0xE00 and unicodedata.name(character, "").startswith(_WITHOUT_SPACES)
            classes[code] = ALONE if alone else JOINS
    for first, last in _UNIFIED:
        classes[first:last] = ALONE
    classes[0xE0100:0xE01F0] = JOINS  # variation selectors
    return classes


class Words(NamedTuple):
    """The words and symbols of a text, in order: byte offsets `starts`, `ends`, and whether each is a word."""

    starts: npt.NDArray[np.int64]
    ends: npt.NDArray[np.int64]
    is_word: npt.NDArray[np.bool_]


def split_words(text: str) -> Words:
    """The words of a text; every character that is neither part of a word nor a space counts as a symbol."""
    classes = word_classes()
    starts: list[int] = []
    ends: list[int] = []
    kinds: list[bool] = []
    at, previous = 0, SPACE
    for character in text:
        kind = int(classes[ord(character)])
        size = len(character.encode())
        if kind == JOINS and previous == JOINS:
            ends[-1] = at + size
        elif kind != SPACE:
            starts.append(at)
            ends.append(at + size)
            kinds.append(kind != APART)
        at, previous = at + size, kind
    return Words(np.array(starts, np.int64), np.array(ends, np.int64), np.array(kinds, np.bool_))
