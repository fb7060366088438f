"""Dolma's three patterns for personal information, matched by hand over code points in linear time.

The patterns, of Dolma's `pii_regex_with_counts_fast_v2`, with S for the class `. white-space @ , ? ! ; : ) (`:

    e-mail   S* ([^\\s@]+ @ [^\\s@,?!;:)(]+?) [.\\s@,?!;:)(]? \\s
    phone    \\s+ \\(? (\\d{3}) \\)? [-. ]* (\\d{3}) [-. ]? (\\d{4})
    IP       (octet \\.){3} octet,  octet = 25[0-5] | 2[0-4][0-9] | [01]?[0-9][0-9]?

A backtracking engine needs quadratic time for them (a megabyte of `a.a.a.` before an `@`). Each match below is the one
that engine would report: leftmost, then by the order of its choices. Importing this imports numba.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import numpy.typing as npt

from glasshouse.data.signals.kernels import SPACE, character_classes, compiled, decode

EMAIL, PHONE, IP = 0, 1, 2
_WHITE, _DIGIT, _AT, _DOT, _MARK, _PAREN_OPEN, _PAREN_CLOSE, _DASH = 1, 2, 4, 8, 16, 32, 64, 128
_SEPARATOR = _WHITE | _AT | _DOT | _MARK | _PAREN_OPEN | _PAREN_CLOSE
_OUTSIDE_DOMAIN = _WHITE | _AT | _MARK | _PAREN_OPEN | _PAREN_CLOSE


@functools.cache
def pattern_classes() -> npt.NDArray[np.uint8]:
    """Which of the patterns' classes every code point is in; `\\s` and `\\d` as Python's `re` defines them."""
    classes = np.where(character_classes() & SPACE, _WHITE, 0).astype(np.uint8)
    for code in range(0x20000):  # no decimal digit lies above
        if chr(code).isdecimal():
            classes[code] |= _DIGIT
    for characters, bit in (("@", _AT), (".", _DOT), (",?!;:", _MARK), ("(", _PAREN_OPEN), (")", _PAREN_CLOSE)):
        for character in characters:
            classes[ord(character)] |= bit
    classes[ord("-")] |= _DASH
    return classes


@compiled
def _domain_end(kinds: Any, at: Any, size: Any) -> Any:
    """End of the match whose `@` is at `at`, and end of the domain; (-1, -1) when there is no match."""
    place = at + 1
    if place >= size or kinds[place] & _OUTSIDE_DOMAIN:
        return -1, -1
    place += 1
    while place < size:
        kind = kinds[place]
        if kind & _SEPARATOR and place + 1 < size and kinds[place + 1] & _WHITE:
            return place + 2, place
        if kind & _WHITE:
            return place + 1, place
        if kind & _OUTSIDE_DOMAIN:
            return -1, -1
        place += 1
    return -1, -1


@compiled
def _has_dot(kinds: Any, start: Any, end: Any) -> Any:
    for place in range(start, end):  # noqa: SIM110 (compiled)
        if kinds[place] & _DOT:
            return True
    return False


@compiled
def _emails(kinds: Any, size: Any, spans: Any, count: Any) -> Any:
    at = 0
    while at < size:
        # The separators from here on, then the run of an addressee behind them.
        run_end = at
        while run_end < size and kinds[run_end] & _SEPARATOR:
            run_end += 1
        sign = run_end
        while sign < size and not kinds[sign] & (_WHITE | _AT):
            sign += 1
        start, end, domain = run_end, -1, -1
        if sign < size and kinds[sign] & _AT and sign > run_end:
            end, domain = _domain_end(kinds, sign, size)
        place = run_end - 1
        while end < 0 and place > at:
            # An addressee may also be punctuation inside the run of separators; the last one is tried first.
            if kinds[place] & _AT and not kinds[place - 1] & (_WHITE | _AT):
                end, domain = _domain_end(kinds, place, size)
                start, sign = place - 1, place
            place -= 1
        if end >= 0:
            only_paren = sign - start == 1 and kinds[start] & _PAREN_OPEN
            if not only_paren and _has_dot(kinds, sign + 1, domain):
                if count < len(spans):
                    spans[count, 0], spans[count, 1], spans[count, 2] = EMAIL, at, end
                count += 1
            at = end
            continue
        # No match starts before the punctuation at the end of the addressee's run.
        resume = sign if sign > run_end else run_end
        while resume > run_end and kinds[resume - 1] & _SEPARATOR:
            resume -= 1
        at = max(resume, at + 1)
    return count


@compiled
def _digits(kinds: Any, at: Any, size: Any, wanted: Any) -> Any:
    if at + wanted > size:
        return False
    for place in range(at, at + wanted):  # noqa: SIM110 (compiled)
        if not kinds[place] & _DIGIT:
            return False
    return True


@compiled
def _phones(codes: Any, kinds: Any, size: Any, spans: Any, count: Any) -> Any:
    at = 0
    while at < size:
        if not kinds[at] & _WHITE:
            at += 1
            continue
        start = at
        while at < size and kinds[at] & _WHITE:
            at += 1
        place = at
        if place < size and kinds[place] & _PAREN_OPEN:
            place += 1
        if not _digits(kinds, place, size, 3):
            continue
        place += 3
        if place < size and kinds[place] & _PAREN_CLOSE:
            place += 1
        while place < size and (kinds[place] & (_DASH | _DOT) or codes[place] == 32):
            place += 1
        if not _digits(kinds, place, size, 3):
            continue
        place += 3
        if place < size and (kinds[place] & (_DASH | _DOT) or codes[place] == 32):
            place += 1
        if not _digits(kinds, place, size, 4):
            continue
        at = place + 4
        if count < len(spans):
            spans[count, 0], spans[count, 1], spans[count, 2] = PHONE, start, at
        count += 1
    return count


@compiled
def _ascii_digit(codes: Any, at: Any, size: Any) -> Any:
    return at < size and 48 <= codes[at] <= 57


@compiled
def _octet_before_dot(codes: Any, at: Any, size: Any) -> Any:
    """Place behind `octet.` that starts at `at`, or -1."""
    length = 0
    while length < 4 and _ascii_digit(codes, at + length, size):
        length += 1
    if length == 0 or length > 3 or at + length >= size or codes[at + length] != 46:
        return -1
    if length == 3:
        value = (codes[at] - 48) * 100 + (codes[at + 1] - 48) * 10 + codes[at + 2] - 48
        if value > 255:
            return -1
    return at + length + 1


@compiled
def _last_octet(codes: Any, at: Any, size: Any) -> Any:
    """Place behind the octet that starts at `at`, as many digits as the alternatives take, or -1."""
    length = 0
    while length < 3 and _ascii_digit(codes, at + length, size):
        length += 1
    if length == 0:
        return -1
    if length == 3 and (codes[at] - 48) * 100 + (codes[at + 1] - 48) * 10 + codes[at + 2] - 48 > 255:
        return at + 2
    return at + length


@compiled
def _addresses(codes: Any, size: Any, spans: Any, count: Any) -> Any:
    at = 0
    while at < size:
        place = at
        if _ascii_digit(codes, at, size):
            for _ in range(3):
                place = _octet_before_dot(codes, place, size)
                if place < 0:
                    break
            if place >= 0:
                place = _last_octet(codes, place, size)
            if place >= 0:
                if count < len(spans):
                    spans[count, 0], spans[count, 1], spans[count, 2] = IP, at, place
                count += 1
                at = place
                continue
        at += 1
    return count


@compiled
def match_text(codes: Any, size: Any, classes: Any, kinds: Any, spans: Any) -> int:
    """Matches of one paragraph: rows (kind, start, end), e-mails first, then phones, then IP addresses.

    Args:
        codes: code points; `size` of them count.
        kinds: scratch of at least `size`.
        spans: `[room, 3]`. Returns the number of matches, which may be more than `room`.
    """
    signs = digits = dots = 0
    for place in range(size):
        kind = classes[codes[place]]
        kinds[place] = kind
        signs += (kind & _AT) != 0
        digits += (kind & _DIGIT) != 0
        dots += (kind & _DOT) != 0
    count = 0
    if signs > 0:
        count = _emails(kinds, size, spans, count)
    if digits >= 10:
        count = _phones(codes, kinds, size, spans, count)
    if dots >= 3 and digits >= 4:
        count = _addresses(codes, size, spans, count)
    return count


@compiled
def _match_line(data: Any, line: Any, end: Any, classes: Any, codes: Any, kinds: Any, spans: Any) -> Any:
    size = 0
    while line < end:
        code, width = decode(data, line)
        codes[size] = code
        size += 1
        line += width
    return match_text(codes, size, classes, kinds, spans)


@compiled
def match_documents(offsets: Any, data: Any, classes: Any, most_questions: Any, found: Any) -> int:
    """All matches of all documents: rows (document, kind, start, end), in characters of the document.

    Only paragraphs with an `@`, ten digits, or three dots and four digits are decoded; a byte from 0xC0 on counts as a
    digit, since it may begin one. A document of more than `most_questions` question marks is skipped.
    """
    count = longest = 0
    for document in range(len(offsets) - 1):  # the longest line bounds the scratch
        line = offsets[document]
        for at in range(offsets[document], offsets[document + 1]):
            if data[at] == 10:
                longest = max(longest, at + 1 - line)
                line = at + 1
        longest = max(longest, offsets[document + 1] - line)
    codes, kinds = np.empty(longest, np.int32), np.empty(longest, np.uint8)
    spans = np.empty((longest // 2 + 2, 3), np.int64)
    for document in range(len(offsets) - 1):
        first, end = offsets[document], offsets[document + 1]
        questions = 0
        for at in range(first, end):
            questions += data[at] == 63
        if questions > most_questions:
            continue
        line, before, characters = first, 0, 0
        signs = digits = dots = 0
        for at in range(first, end):
            byte: Any = np.int64(data[at])
            signs += byte == 64
            dots += byte == 46
            digits += (48 <= byte <= 57) or byte >= 0xC0
            characters += (byte & 0xC0) != 0x80
            if byte == 10 or at == end - 1:
                if signs > 0 or digits >= 10 or (dots >= 3 and digits >= 4):
                    matches = _match_line(data, line, at + 1, classes, codes, kinds, spans)
                    for match in range(matches):
                        if count < len(found):
                            found[count, 0], found[count, 1] = document, spans[match, 0]
                            found[count, 2], found[count, 3] = before + spans[match, 1], before + spans[match, 2]
                        count += 1
                line, before = at + 1, characters
                signs = digits = dots = 0
    return count
