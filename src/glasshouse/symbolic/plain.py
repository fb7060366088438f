"""Plain Python operations on values, by name: what a symbol does without any engine.

Each is a pure function, so that a graph can be computed again from its leaves: what changes a list in place in Python
(`x[0] = 1`, `x += y`) works on a copy here. Methods are those of the built-in types that neither change their object
nor reach attributes by name (`str.format` does, so it is not among them).
"""

from __future__ import annotations

import copy
import math
import operator
from collections.abc import Callable, Mapping
from typing import Any

from glasshouse.symbolic.measures import measured

PREFIX = "python."
BINARY = ("add", "sub", "mul", "matmul", "truediv", "floordiv", "mod", "pow", "lshift", "rshift", "and", "or", "xor")
COMPARISONS = ("eq", "ne", "lt", "le", "gt", "ge")
UNARY = ("neg", "pos", "invert", "abs")

_CHANGING: Mapping[type, frozenset[str]] = {
    list: frozenset(("append", "clear", "extend", "insert", "pop", "remove", "reverse", "sort")),
    dict: frozenset(("clear", "pop", "popitem", "setdefault", "update")),
    set: frozenset(("add", "clear", "discard", "pop", "remove", "update"))
    | frozenset(f"{name}_update" for name in ("difference", "intersection", "symmetric_difference")),
}
_BY_NAME = frozenset(("format", "format_map"))
_TYPES = (bool, int, float, complex, str, bytes, list, tuple, dict, set, frozenset, range, slice)


def _plain_names(methods: bool) -> frozenset[str]:
    return frozenset(
        name
        for kind in _TYPES
        for name in dir(kind)
        if not name.startswith("_")
        and name not in _BY_NAME | _CHANGING.get(kind, frozenset())
        and callable(getattr(kind, name)) is methods
    )


METHODS = _plain_names(True)
ATTRIBUTES = _plain_names(False)
"""What some built-in type has: all that can be known of a symbol without a value."""


def of_operator(name: str) -> Callable[..., Any]:
    """The function of Python's `operator` module called `name`, or `name_` where that is a keyword."""
    return getattr(operator, name, None) or getattr(operator, f"{name}_")  # type: ignore[no-any-return]


def _in_place(name: str) -> Callable[[Any, Any], Any]:
    function = of_operator(name)
    return lambda value, other: function(copy.copy(value), other)


def _set_item(value: Any, key: Any, item: Any) -> Any:
    changed = copy.copy(value)
    changed[key] = item
    return changed


def _delete_item(value: Any, key: Any) -> Any:
    changed = copy.copy(value)
    del changed[key]
    return changed


def attribute(value: Any, name: str) -> Any:
    """An attribute or method of a value of a built-in type. Raises `AttributeError` for those that are not plain."""
    kind = type(value)
    if name.startswith("_") or kind not in _TYPES or name in _BY_NAME or not hasattr(kind, name):
        raise AttributeError(f"{kind.__name__!r} object has no plain attribute {name!r}")
    if name in _CHANGING.get(kind, frozenset()):
        raise AttributeError(
            f"{kind.__name__}.{name} would change the value in place; a symbol's value is fixed, so build a new one: "
            "`symbol + [item]`, `symbol | {...}`, `symbol[key] = item` (which binds a changed copy)"
        )
    return getattr(value, name)


def _method(name: str, value: Any, *arguments: Any) -> Any:
    found = attribute(value, name)(*arguments)
    return found if type(found) in (*_TYPES, type(None)) else list(found)


PLAIN: Mapping[str, Callable[..., Any]] = {
    **{name: of_operator(name) for name in (*BINARY, *COMPARISONS, *UNARY)},
    **{f"i{name}": _in_place(f"i{name}") for name in BINARY},
    "divmod": divmod,
    "pow_mod": pow,
    "round": round,
    "trunc": math.trunc,
    "floor": math.floor,
    "ceil": math.ceil,
    "getitem": operator.getitem,
    "setitem": _set_item,
    "delitem": _delete_item,
    "nth": lambda value, place: list(value)[place],
    "reversed": lambda value: list(reversed(value)),
    "list": lambda *items: list(items),
    "tuple": lambda *items: tuple(items),
    "dict": lambda keys, *items: dict(zip(keys, items, strict=True)),
    "measured": measured,
    "attribute": lambda value, name: attribute(value, name),
    "method": lambda name, value, *arguments: _method(name, value, *arguments),
}


def compute(op: str, inputs: list[Any]) -> Any:
    """The value of a node `python.…` from the values of its inputs; raises what Python raises."""
    name = op.removeprefix(PREFIX)
    if name not in PLAIN:
        raise KeyError(f"{op!r} is no plain Python operation; known: {', '.join(PLAIN)}")
    return PLAIN[name](*inputs)
