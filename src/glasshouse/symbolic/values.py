"""The written form of values: JSON, with a mark where JSON cannot tell two Python values apart.

`Sym((1, 2))` and `Sym([1, 2])` are different values and must have different ids, and a replay must give back the same
one. So a tuple is written `{"$tuple": [1, 2]}`, and sets, bytes, complex numbers, non-finite floats and dictionaries
whose keys are not plain strings have marks of their own. The order of a dictionary is kept, as iterating shows it.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable
from typing import Any


def encode(value: Any) -> Any:
    """`value` as JSON data.

    Raises `TypeError` for a value without a written form (a function, an open file, a tensor).
    """
    kind = type(value)
    if value is None or kind in (bool, int, str):
        return value
    if kind is float:
        return value if math.isfinite(value) else {"$float": str(value)}
    if kind is list:
        return [encode(item) for item in value]
    if kind is dict:
        if all(type(key) is str and not key.startswith("$") for key in value):
            return {key: encode(item) for key, item in value.items()}
        return {"$dict": [[encode(key), encode(item)] for key, item in value.items()]}
    if kind is tuple:
        return {"$tuple": [encode(item) for item in value]}
    if kind in (set, frozenset):
        return {f"${kind.__name__}": sorted((encode(item) for item in value), key=_json)}
    if kind is complex:
        return {"$complex": [encode(value.real), encode(value.imag)]}
    if kind is bytes:
        return {"$bytes": base64.b64encode(value).decode()}
    if kind in (range, slice):
        return {f"${kind.__name__}": [encode(part) for part in (value.start, value.stop, value.step)]}
    raise TypeError(
        f"a {kind.__name__} has no written form ({value!r:.80}); symbols that are hashed, traced or sent to an engine "
        "hold None, bool, numbers, str, bytes, range, slice, and lists, tuples, sets and dictionaries of those"
    )


def decode(data: Any) -> Any:
    """The value written as `data`. Raises `ValueError` for an unknown mark."""
    if isinstance(data, list):
        return [decode(item) for item in data]
    if not isinstance(data, dict):
        return data
    if len(data) == 1:
        mark, inner = next(iter(data.items()))
        if mark.startswith("$"):
            if mark not in _MARKS:
                raise ValueError(f"{mark!r} marks no kind of value; known marks: {', '.join(sorted(_MARKS))}")
            return _MARKS[mark](inner)
    return {key: decode(item) for key, item in data.items()}


_MARKS: dict[str, Callable[[Any], Any]] = {
    "$float": float,
    "$tuple": lambda items: tuple(decode(items)),
    "$set": lambda items: set(decode(items)),
    "$frozenset": lambda items: frozenset(decode(items)),
    "$dict": lambda pairs: {decode(key): decode(item) for key, item in pairs},
    "$complex": lambda parts: complex(*decode(parts)),
    "$bytes": base64.b64decode,
    "$range": lambda parts: range(*parts),
    "$slice": lambda parts: slice(*decode(parts)),
}


def _json(data: Any) -> str:
    return json.dumps(data, separators=(",", ":"))


def written(value: Any) -> str:
    """The one JSON text of `value`: ASCII, no spaces."""
    return _json(encode(value))


def as_text(value: Any) -> str:
    """`value` as a prompt shows it: a string as it is, everything else as Python writes it."""
    return value if isinstance(value, str) else repr(value)
