"""What datatrove's C4 filter looks at, line by line. Importing this imports numba."""

from __future__ import annotations

from typing import Any

import numpy as np

from glasshouse.data.signals.kernels import LINE_END, SPACE, compiled, decode

DECIMAL, INITIAL = 64, 128
"""Class bits: decimal digits of any script; letters that a looked-for phrase begins with."""

SENTENCES, KEPT, TOO_LONG_WORD, NO_PUNCTUATION, TOO_FEW_WORDS, JAVASCRIPT, POLICY, EVENT = range(8)
COLUMNS = 8
NO_EVENT, LOREM_IPSUM_EVENT, BRACE_EVENT = 0, 1, 2


def _coded(texts: tuple[str, ...]) -> Any:
    table = np.zeros((len(texts), 20), np.int64)
    for number, text in enumerate(texts):
        table[number, : len(text)] = [ord(character) for character in text]
    return table


_CITATIONS = _coded(("edit]", "citation needed]"))
_LOREM = _coded(("lorem ipsum",))
_JAVASCRIPT = _coded(("javascript",))
_POLICY = _coded(
    ("terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies")
)  # fmt: skip


INITIALS = "ljtpcuLJTPCU"


@compiled
def _small(code: Any) -> Any:
    """Lower case, as far as it gives ASCII letters: the Kelvin sign is a k."""
    if 65 <= code <= 90:
        return code | 32
    return np.int64(107) if code == 0x212A else code


@compiled
def _stands(line: Any, at: Any, size: Any, term: Any, folded: bool) -> Any:
    """Characters of `term` when it stands at `at`, otherwise 0."""
    i = 0
    while term[i] != 0:
        if at + i >= size:
            return 0
        code = _small(line[at + i]) if folded else line[at + i]
        if code != term[i]:
            return 0
        i += 1
    return i


@compiled
def _has(line: Any, size: Any, terms: Any, classes: Any) -> bool:
    for at in range(size):
        if not classes[line[at]] & INITIAL:
            continue
        for number in range(len(terms)):
            if _small(line[at]) == terms[number, 0] and _stands(line, at, size, terms[number], True) > 0:
                return True
    return False


@compiled
def _without_citations(line: Any, size: Any, classes: Any) -> Any:
    """Takes `[12]`, `[]`, `[edit]` and `[citation needed]` out of a line; returns its new size."""
    at = place = 0
    while at < size:
        skip = 0
        if line[at] == 91:
            digits = at + 1
            while digits < size and classes[line[digits]] & DECIMAL:
                digits += 1
            if digits < size and line[digits] == 93:
                skip = digits + 1 - at
            for number in range(len(_CITATIONS)):
                found = _stands(line, at + 1, size, _CITATIONS[number], False)
                if skip == 0 and found > 0:
                    skip = found + 1
        if skip == 0:
            line[place] = line[at]
            place += 1
            skip = 1
        at += skip
    return place


@compiled
def _verdict(line: Any, size: Any, classes: Any, least: Any, longest: Any) -> Any:
    """The column a (stripped) line counts for, its sentences, and the event that ends the document."""
    words = length = 0
    for i in range(size):
        if classes[line[i]] & SPACE:
            length = 0
        else:
            words += length == 0
            length += 1
            if longest >= 0 and length > longest:
                return TOO_LONG_WORD, 0, NO_EVENT
    size = _without_citations(line, size, classes)
    last = line[size - 1] if size > 0 else np.int64(0)
    ended = last == 46 or last == 63 or last == 33 or last == 34 or last == 39
    if not ended or (size > 2 and last == 46 and line[size - 2] == 46 and line[size - 3] == 46):
        return NO_PUNCTUATION, 0, NO_EVENT
    if words < least:
        return TOO_FEW_WORDS, 0, NO_EVENT
    if _has(line, size, _LOREM, classes):
        return KEPT, 0, LOREM_IPSUM_EVENT
    if _has(line, size, _JAVASCRIPT, classes):
        return JAVASCRIPT, 0, NO_EVENT
    sentences, brace = 1, False
    for i in range(size):
        brace = brace or line[i] == 123
        if i > 0 and classes[line[i]] & SPACE:
            sentences += line[i - 1] == 46 or line[i - 1] == 63 or line[i - 1] == 33
    if brace:
        return KEPT, 0, BRACE_EVENT
    if _has(line, size, _POLICY, classes):
        return POLICY, 0, NO_EVENT
    return KEPT, sentences, NO_EVENT


@compiled
def measure_c4(
    offsets: Any, data: Any, classes: Any, least: Any, longest: Any, out: Any, documents: Any, bounds: Any
) -> Any:
    """Fills `out[documents, COLUMNS]`, and document and characters `[start, end)` of the lines that are taken out (with
    their line ends). Returns the number of those lines; when there are more than `bounds` has room for, call again.

    Args:
        least: words of a line that stays; longest: characters of a word of a line that stays (-1: any).
    """
    removed = 0
    for document in range(len(offsets) - 1):
        at, end, row = offsets[document], offsets[document + 1], out[document]
        row[:] = 0.0
        line = np.empty(end - at + 1, np.int64)
        character = first = size = stripped = 0
        while at <= end:
            code, width = decode(data, at) if at < end else (np.int64(10), 1)
            at += width
            character += at <= end
            if not classes[code] & LINE_END:
                # White space at the end of a line stays behind `stripped`, at its start it is not taken.
                if size > 0 or not classes[code] & SPACE:
                    line[size] = code
                    size += 1
                    if not classes[code] & SPACE:
                        stripped = size
                continue
            if code == 13 and at < end and data[at] == 10:
                at += 1
                character += 1
            if at <= end or character > first:
                kind, sentences, event = _verdict(line, stripped, classes, least, longest)
                if event != NO_EVENT and row[EVENT] == NO_EVENT:
                    row[EVENT] = event
                row[kind] += 1
                row[SENTENCES] += sentences
                if kind != KEPT:
                    if removed < len(bounds):
                        documents[removed], bounds[removed, 0], bounds[removed, 1] = document, first, character
                    removed += 1
            first, size, stripped = character, 0, 0
    return removed
