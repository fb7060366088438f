"""Comments of source code and the shown text of HTML, counted over UTF-8 bytes in one pass without a parser.

Importing this imports numba; import it inside functions. All counts are in characters.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from glasshouse.data.signals.kernels import compiled

PYTHON, JAVA, JAVASCRIPT = 0, 1, 2
_SCRIPT = np.frombuffer(b"script", np.uint8)
_STYLE = np.frombuffer(b"style", np.uint8)
_BEFORE_PATTERN = np.frombuffer(b"\n(,=:[!&|?{};+", np.uint8)


@compiled
def _characters(data: Any, start: Any, end: Any) -> Any:
    count = 0
    for at in range(start, end):
        count += (data[at] & 0xC0) != 0x80
    return count


@compiled
def _string_end(data: Any, at: Any, end: Any, quote: Any, many_lines: Any) -> Any:
    """Place behind a string whose first character is at `at`; a line end closes it unless `many_lines`."""
    while at < end:
        byte = data[at]
        if byte == 92:
            at += 2
            continue
        if byte == quote:
            return at + 1
        if byte == 10 and not many_lines:
            return at
        at += 1
    return end


@compiled
def _triple_end(data: Any, at: Any, end: Any, quote: Any) -> Any:
    while at < end:
        if data[at] == 92:
            at += 2
        elif data[at] == quote and at + 2 < end and data[at + 1] == quote and data[at + 2] == quote:
            return at + 3
        else:
            at += 1
    return end


@compiled
def _docstring(data: Any, start: Any, end: Any) -> Any:
    """Characters without the white space that lines begin with."""
    count, indented = 0, True
    for at in range(start, end):
        byte = data[at]
        if byte == 10:
            indented = True
        elif byte != 32 and byte != 9:
            indented = False
        count += (byte & 0xC0) != 0x80 and (not indented or byte == 10)
    return count


@compiled
def _python(data: Any, start: Any, end: Any) -> Any:
    """Characters of comments (without their `#`) and of docstrings (strings that begin a statement)."""
    at, found, depth = start, 0, 0
    fresh = True  # only white space since the line began
    while at < end:
        byte = data[at]
        if byte == 35:
            line = at
            while line < end and data[line] != 10:
                found += (data[line] & 0xC0) != 0x80 and data[line] != 35
                line += 1
            at = line
        elif byte == 34 or byte == 39:
            triple = at + 2 < end and data[at + 1] == byte and data[at + 2] == byte
            begin = at + 3 if triple else at + 1
            stop = _triple_end(data, begin, end, byte) if triple else _string_end(data, begin, end, byte, False)
            stop = min(stop, end)
            if fresh and depth == 0:
                found += max(0, _docstring(data, begin, stop) - (3 if triple else 1))
            fresh, at = False, stop
        else:
            if byte == 40 or byte == 91 or byte == 123:
                depth += 1
            elif byte == 41 or byte == 93 or byte == 125:
                depth = max(0, depth - 1)
            if byte == 10:
                fresh = True
            elif byte != 32 and byte != 9 and byte != 13 and byte != 12:
                # `r"""…"""` begins a statement too.
                prefix = (byte | 32) == 114 or (byte | 32) == 117 or (byte | 32) == 98
                fresh = fresh and prefix and at + 1 < end and (data[at + 1] == 34 or data[at + 1] == 39)
            at += 1
    return found


@compiled
def _c_like(data: Any, start: Any, end: Any, javascript: Any) -> Any:
    """Characters of `//` and `/* */` comments, their signs included."""
    at, found = start, 0
    before = np.int64(10)  # last byte that is neither white space nor in a comment
    while at < end:
        byte = np.int64(data[at])
        following = np.int64(data[at + 1]) if at + 1 < end else np.int64(0)
        if byte == 47 and following == 47:
            line = at
            while line < end and data[line] != 10:
                line += 1
            found += _characters(data, at, min(line + 1, end))
            at = line
        elif byte == 47 and following == 42:
            stop = at + 2
            while stop < end and not (data[stop] == 42 and stop + 1 < end and data[stop + 1] == 47):
                stop += 1
            stop = min(stop + 2, end)
            found += _characters(data, at, stop)
            at = stop
        elif byte == 34 or byte == 39 or (javascript and byte == 96):
            at = min(_string_end(data, at + 1, end, byte, byte == 96), end)
            before = byte
        elif javascript and byte == 47 and _opens_pattern(before):
            at, before = _pattern_end(data, at + 1, end), np.int64(47)
        else:
            if byte > 32:
                before = byte
            at += 1
    return found


@compiled
def _opens_pattern(before: Any) -> Any:
    """Whether a `/` after this byte opens a regular expression and does not divide."""
    for byte in _BEFORE_PATTERN:  # noqa: SIM110 (compiled)
        if before == byte:
            return True
    return False


@compiled
def _pattern_end(data: Any, at: Any, end: Any) -> Any:
    inside = False
    while at < end and data[at] != 10:
        byte = data[at]
        if byte == 92:
            at += 2
            continue
        if byte == 91:
            inside = True
        elif byte == 93:
            inside = False
        elif byte == 47 and not inside:
            return at + 1
        at += 1
    return min(at, end)


@compiled
def comment_characters(data: Any, start: Any, end: Any, language: Any) -> Any:
    """Characters of natural text in `data[start:end]`, source code of `language`."""
    if language == PYTHON:
        return _python(data, start, end)
    return _c_like(data, start, end, language == JAVASCRIPT)


@compiled
def _is_element(data: Any, at: Any, end: Any, name: Any) -> Any:
    if at + len(name) > end:
        return False
    for place in range(len(name)):
        if (data[at + place] | 32) != name[place]:
            return False
    if at + len(name) == end:
        return True
    after = data[at + len(name)]
    return not (97 <= (after | 32) <= 122 or 48 <= after <= 57 or after == 45)


@compiled
def _tag_end(data: Any, at: Any, end: Any) -> Any:
    quote = 0
    while at < end:
        byte = data[at]
        if quote != 0:
            quote = 0 if byte == quote else quote
        elif (byte == 34 or byte == 39) and data[at - 1] == 61:
            quote = byte
        elif byte == 62:
            return at + 1
        at += 1
    return end


@compiled
def _raw_end(data: Any, at: Any, end: Any, name: Any) -> Any:
    """Place of `</name` from `at` on."""
    while at < end:
        if data[at] == 60 and at + 1 < end and data[at + 1] == 47 and _is_element(data, at + 2, end, name):
            return at
        at += 1
    return end


@compiled
def shown_characters(data: Any, start: Any, end: Any) -> Any:
    """Characters of HTML outside tags, comments, scripts and styles; an entity such as `&amp;` counts as one."""
    at, found = start, 0
    while at < end:
        byte = data[at]
        following = np.int64(data[at + 1]) if at + 1 < end else np.int64(0)
        if byte == 60 and following == 33 and at + 3 < end and data[at + 2] == 45 and data[at + 3] == 45:
            at += 4
            while at < end and not (data[at] == 62 and data[at - 1] == 45 and data[at - 2] == 45):
                at += 1
            at = min(at + 1, end)
        elif byte == 60 and (following == 47 or following == 33 or following == 63 or 97 <= (following | 32) <= 122):
            script, style = _is_element(data, at + 1, end, _SCRIPT), _is_element(data, at + 1, end, _STYLE)
            at = _tag_end(data, at + 1, end)
            if script:
                at = _raw_end(data, at, end, _SCRIPT)
            elif style:
                at = _raw_end(data, at, end, _STYLE)
        else:
            found += (byte & 0xC0) != 0x80
            at += 1
            if byte == 38:
                stop = at
                while stop < end and stop - at < 32 and data[stop] != 59 and data[stop] > 32 and data[stop] != 60:
                    stop += 1
                if stop < end and data[stop] == 59 and stop > at:
                    at = stop + 1
    return found
