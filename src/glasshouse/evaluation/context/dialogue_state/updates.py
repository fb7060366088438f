"""Updates of a dialogue state as models write them: JSON, or something that means to be.

Read are JSON objects, with text before and behind, in code fences, with single quotes or Python's `None` and `True`,
with a comma too many, numbers for texts, lists of one, an empty list for an empty object, a list of objects, an object
in an object (`{"hotel": {"area": "north"}}` is `hotel-area`) and an object whose last bracket is missing. Anything
else is invalid; an invalid answer changes nothing, and the share of invalid answers is reported.
"""

from __future__ import annotations

import ast
import json
import re
import warnings
from collections.abc import Iterator, Mapping
from typing import Any


def read_update(text: str) -> dict[str, str] | None:
    """Slot -> value; `None` for an answer that cannot be read as an object. Never raises."""
    start = next((index for index, character in enumerate(text) if character in "{["), None)
    if start is None:
        return None
    for candidate, complete in _candidates(text[start:]):
        found = _parsed(candidate)
        if isinstance(found, list) and all(isinstance(part, dict) for part in found):
            found = {key: value for part in found for key, value in part.items()}
        if isinstance(found, dict) and (found or complete):
            return dict(_flat(found, ""))
    return None


def write_update(update: Mapping[str, str]) -> str:
    """The form that is asked for."""
    return json.dumps(dict(update), ensure_ascii=False)


def _candidates(text: str) -> Iterator[tuple[str, bool]]:
    """The first bracketed piece; where it has no end, the text with the brackets closed that were left open."""
    depth: list[str] = []
    quote = ""
    escaped = False
    for index, character in enumerate(text):
        if quote:
            closes = character == quote and not escaped and _ends_string(text, index)
            escaped = character == "\\" and not escaped
            quote = "" if closes else quote
        elif character in "\"'":
            quote, escaped = character, False
        elif character in "{[":
            depth.append("}" if character == "{" else "]")
        elif character in "}]":
            if depth.pop() != character:
                return
            if not depth:
                yield text[: index + 1], True
                return
    for piece, ended in ((text, quote), (text.split("\n", 1)[0], "")):
        yield piece.rstrip().rstrip(",") + ended + "".join(reversed(depth)), False


def _ends_string(text: str, index: int) -> bool:
    """Whether a quote is the end of a text and no apostrophe in it: what follows is punctuation of JSON."""
    follows = text[index + 1 :].lstrip()
    return not follows or follows[0] in ",:}]"


def _parsed(candidate: str) -> Any:
    for text in (candidate, re.sub(r",\s*([}\]])", r"\1", candidate)):
        try:
            return json.loads(text, strict=False)
        except (ValueError, RecursionError):
            pass
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # a backslash that Python does not know
                return ast.literal_eval(re.sub(r"\b(true|false|null)\b", lambda m: _PYTHON[m[0]], text))
        except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
            pass
    if _OBJECT.fullmatch(candidate):  # apostrophes within single quotes, which no parser takes
        return dict(_PAIR.findall(candidate))
    return None


_PAIR = re.compile(r"'([^':]+)'\s*:\s*'(.*?)'(?=\s*[,}])", re.DOTALL)
_OBJECT = re.compile(rf"\{{\s*{_PAIR.pattern}(\s*,\s*{_PAIR.pattern})*\s*,?\s*\}}", re.DOTALL)
_PYTHON = {"true": "True", "false": "False", "null": "None"}


def _flat(found: Mapping[Any, Any], prefix: str) -> Iterator[tuple[str, str]]:
    for key, value in found.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict):
            yield from _flat(value, f"{name}-")
        elif isinstance(value, list | tuple):
            if value:
                yield name, _text(value[0])
        elif value is not None and value != "":
            yield name, _text(value)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)
