"""Words as UAX #29 bounds them (Unicode Text Segmentation, section 4.1), over UTF-8 bytes.

Every segment between two bounds that is not white space only is a word, punctuation marks too: what Dolma's n-grams
and its `min_words` count. The Word_Break property comes from the `regex` package, in its version of Unicode.
Importing this imports numba; import it inside functions.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import numpy.typing as npt

from glasshouse.data.signals.kernels import FNV, FNV_START, compiled, decode, mixed

# Values of Word_Break; the low five bits of a class.
(_OTHER, _CR, _LF, _NEWLINE, _EXTEND, _JOINER, _REGIONAL, _FORMAT, _KATAKANA, _HEBREW, _LETTER, _SINGLE_QUOTE,
 _DOUBLE_QUOTE, _MID_NUMBER_LETTER, _MID_LETTER, _MID_NUMBER, _NUMERIC, _CONNECTOR, _SPACE) = range(19)  # fmt: skip
_PROPERTIES = (
    "CR", "LF", "Newline", "Extend", "ZWJ", "Regional_Indicator", "Format", "Katakana", "Hebrew_Letter", "ALetter",
    "Single_Quote", "Double_Quote", "MidNumLet", "MidLetter", "MidNum", "Numeric", "ExtendNumLet", "WSegSpace",
)  # fmt: skip
_VALUE, _PICTURE, WHITE = 31, 32, 64
"""Bits of a class: the value of Word_Break, Extended_Pictographic, White_Space."""


@functools.cache
def word_classes() -> npt.NDArray[np.uint8]:
    """The class of every code point."""
    import regex  # type: ignore[import-untyped]

    everything = "".join(map(chr, (code for code in range(0x110000) if not 0xD800 <= code < 0xE000)))
    classes = np.zeros(0x110000, np.uint8)
    properties = [(f"WB={name}", value) for value, name in enumerate(_PROPERTIES, 1)]
    for name, bits in [*properties, ("Extended_Pictographic", _PICTURE), ("White_Space", WHITE)]:
        classes[[ord(character) for character in regex.findall(rf"\p{{{name}}}", everything)]] |= np.uint8(bits)
    return classes


@compiled
def _following(data: Any, at: Any, end: Any, classes: Any) -> Any:
    """Word_Break of the next character that rule WB4 does not skip."""
    while at < end:
        code, width = decode(data, at)
        value = np.int64(classes[code] & _VALUE)
        if value not in (_EXTEND, _FORMAT, _JOINER):
            return value
        at += width
    return _OTHER


@compiled
def _joins(previous: Any, value: Any, middle: bool, odd: bool, data: Any, after: Any, end: Any, classes: Any) -> Any:
    """Rules WB5 to WB16: whether there is no bound between `previous` and `value` (those of WB4 left out).

    `middle` says that a mark between letters or digits (WB6, WB7b, WB12) came before, so what follows belongs to it;
    `odd` that `previous` is an odd-numbered regional indicator.
    """
    if middle:
        return True
    letter, was_letter = value in (_LETTER, _HEBREW), previous in (_LETTER, _HEBREW)
    if (was_letter or previous == _NUMERIC) and (letter or value in (_NUMERIC, _CONNECTOR)):
        return True
    if was_letter:
        if value in (_MID_LETTER, _MID_NUMBER_LETTER, _SINGLE_QUOTE):
            following = _following(data, after, end, classes)
            return following in (_LETTER, _HEBREW) or (previous == _HEBREW and value == _SINGLE_QUOTE)
        return previous == _HEBREW and value == _DOUBLE_QUOTE and _following(data, after, end, classes) == _HEBREW
    if previous == _NUMERIC:
        is_mark = value in (_MID_NUMBER, _MID_NUMBER_LETTER, _SINGLE_QUOTE)
        return is_mark and _following(data, after, end, classes) == _NUMERIC
    if previous == _KATAKANA:
        return value in (_KATAKANA, _CONNECTOR)
    if previous == _CONNECTOR:
        return letter or value in (_NUMERIC, _KATAKANA, _CONNECTOR)
    return previous == _REGIONAL and value == _REGIONAL and odd


@compiled
def words(data: Any, start: int, end: int, classes: Any, hashes: Any) -> int:
    """Hashes of the words of `data[start:end]`, in order; returns their number.

    Args:
        hashes: uint64, at least as many places as bytes; with none, the words are only counted.
    """
    count, at = 0, start
    previous: Any = _OTHER  # the last character that WB4 does not skip
    before: Any = _OTHER  # the last one
    middle: Any = False
    odd: Any = False
    inked: Any = False
    value_hash = FNV_START
    while at < end:
        code, width = decode(data, at)
        kind = classes[code]
        value = np.int64(kind & _VALUE)
        skipped = value in (_EXTEND, _FORMAT, _JOINER)
        joined: Any = False
        if at == start:
            pass
        elif value == _LETTER and before == _LETTER:  # almost always: saves the rules
            joined = True
        elif before in (_CR, _LF, _NEWLINE) or value in (_CR, _LF, _NEWLINE):
            joined = before == _CR and value == _LF
        elif (before == _JOINER and kind & _PICTURE) or (before == _SPACE and value == _SPACE) or skipped:
            joined = True
        else:
            joined = _joins(previous, value, middle, odd, data, at + width, end, classes)
        if not joined and at > start and inked:
            if len(hashes):
                hashes[count] = mixed(value_hash)
            count += 1
        if not joined:
            inked, value_hash = False, FNV_START
        inked = inked or not kind & WHITE
        if len(hashes):
            for i in range(width):
                value_hash = (value_hash ^ np.uint64(data[at + i])) * FNV
        if not (skipped and joined):
            middle = joined and _SINGLE_QUOTE <= value <= _MID_NUMBER
            if middle:
                # What follows the mark belongs to it; only WB7a's quote may stand at the end of a word.
                following = _following(data, at + width, end, classes)
                after_digit = previous == _NUMERIC
                middle = following == _NUMERIC if after_digit else following in (_LETTER, _HEBREW)
            odd = value == _REGIONAL and not (odd and joined)
            previous = value
        before = value
        at += width
    if inked:
        if len(hashes):
            hashes[count] = mixed(value_hash)
        count += 1
    return count
