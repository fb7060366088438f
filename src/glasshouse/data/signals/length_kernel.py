"""The compiled pass that counts lengths. Importing this imports numba; import it inside functions.

A Unicode word here: a run of letters, digits, marks and `_`; with a single `'`, `’`, `.` or `:` inside between letters,
or `.`, `,`, `'` between digits (UAX #29, rules WB5 to WB12); each Han, Hiragana, Thai, Lao, Khmer or Myanmar letter is
a word of its own, as UAX #29 without a dictionary has it. A run of marks or `_` only is no word.
"""

from __future__ import annotations

import functools
import unicodedata
from typing import Any

import numpy as np
import numpy.typing as npt

from glasshouse.data.signals.kernels import compiled, decode

_WHITE, _LETTER, _DIGIT, _EXTEND, _ALONE, _MID_LETTER, _MID_DIGIT = 1, 2, 4, 8, 16, 32, 64


@functools.cache
def word_classes() -> npt.NDArray[np.uint8]:
    """Class bits of every code point."""
    classes = np.zeros(0x110000, np.uint8)
    for code in range(0x40000):
        character = chr(code)
        category = unicodedata.category(character)
        if character.isspace():
            classes[code] = _WHITE
        elif category == "Nd":
            classes[code] = _DIGIT
        elif category[0] == "L" or category == "Nl":
            classes[code] = _ALONE if _stands_alone(code) else _LETTER
        elif category[0] == "M" or category in ("Pc", "Cf"):
            classes[code] = _EXTEND
    for character in ".'\u2019\u2024\uff07\uff0e":
        classes[ord(character)] = _MID_LETTER | _MID_DIGIT
    for character in ":\u00b7\u0387\u2027":
        classes[ord(character)] = _MID_LETTER
    for character in ",;\u037e\u0589\uff0c":
        classes[ord(character)] = _MID_DIGIT
    return classes


def _stands_alone(code: int) -> bool:
    ranges = (
        (0x0E00, 0x0EFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0x3040, 0x309F), (0x3400, 0x4DBF), (0x4E00, 0x9FFF),
        (0xF900, 0xFAFF), (0x20000, 0x3FFFF),
    )  # fmt: skip
    return any(low <= code <= high for low, high in ranges)


@compiled
def lengths(offsets: Any, data: Any, classes: Any, found: Any) -> None:
    """Fills `[rows, 6]`: bytes, characters, stripped characters, words, Unicode words, paragraphs."""
    for row in range(len(offsets) - 1):
        at, end = offsets[row], offsets[row + 1]
        characters = first_ink = words = unicode_words = paragraphs = 0
        last_ink = -1
        in_word = inked_line = False
        # Class of the last letter or digit of the word that is open (0: none), and of one middle sign behind it.
        open_kind, middle = 0, 0
        while at < end:
            code, width = decode(data, at)
            kind = classes[code]
            if kind & _WHITE:
                in_word = False
                if code == 10:
                    inked_line = False
            else:
                words += not in_word
                paragraphs += not inked_line
                in_word = inked_line = True
                if last_ink < 0:
                    first_ink = characters
                last_ink = characters
            if kind & _ALONE:
                unicode_words += 1
                open_kind = middle = 0
            elif kind & (_LETTER | _DIGIT):
                joins = open_kind != 0 and (
                    middle == 0
                    or (middle & _MID_LETTER and open_kind & _LETTER and kind & _LETTER)
                    or (middle & _MID_DIGIT and open_kind & _DIGIT and kind & _DIGIT)
                )
                unicode_words += not joins
                open_kind, middle = kind, 0
            elif kind & _EXTEND:
                pass
            elif kind & (_MID_LETTER | _MID_DIGIT) and open_kind != 0 and middle == 0:
                middle = kind
            else:
                open_kind = middle = 0
            characters += 1
            at += width
        found[row, 0] = end - offsets[row]
        found[row, 1] = characters
        found[row, 2] = last_ink - first_ink + 1 if last_ink >= 0 else 0
        found[row, 3], found[row, 4], found[row, 5] = words, unicode_words, paragraphs
