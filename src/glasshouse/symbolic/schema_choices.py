"""`oneOf` whose cases exclude each other anyway says the same as `anyOf`, which masks can enforce.

Cases exclude each other when their JSON types do, or when both require a property whose allowed values do.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import combinations
from typing import Any

DEEPEST = 16
"""`$ref`s followed in a row."""
TYPES = frozenset(("null", "boolean", "number", "string", "array", "object"))


def without_exclusive_choices(schema: Any, whole: Any = None) -> Any:
    """The schema with every such `oneOf` written as `anyOf`; others stay. `whole` is what `$ref`s lead into."""
    whole = schema if whole is None else whole
    if isinstance(schema, list):
        return [without_exclusive_choices(part, whole) for part in schema]
    if not isinstance(schema, Mapping):
        return schema
    found = {
        # What stands in these is data, not schemas.
        name: part if name in ("const", "enum", "default", "examples") else without_exclusive_choices(part, whole)
        for name, part in schema.items()
    }
    cases = found.get("oneOf")
    if isinstance(cases, list) and all(
        _exclude(_target(one, whole), _target(other, whole)) for one, other in combinations(cases, 2)
    ):
        del found["oneOf"]
        found["allOf"] = [*found.get("allOf", []), {"anyOf": cases}]
    return found


def _target(schema: Any, whole: Any) -> Any:
    """What a `$ref` inside the same document leads to; keywords beside it only narrow it, so they may be left out."""
    for _ in range(DEEPEST):
        reference = schema.get("$ref") if isinstance(schema, Mapping) else None
        if not isinstance(reference, str) or not reference.startswith("#/"):
            break
        schema = whole
        for name in reference.removeprefix("#/").split("/"):
            schema = schema.get(name.replace("~1", "/").replace("~0", "~")) if isinstance(schema, Mapping) else None
    return schema


def _exclude(one: Any, other: Any) -> bool:
    """Whether no value can be of both. False where it is not plain to see."""
    if not (isinstance(one, Mapping) and isinstance(other, Mapping)):
        return False
    mine, theirs = _types(one), _types(other)
    if not mine & theirs:
        return True
    if mine != {"object"} or theirs != {"object"}:
        return False
    shared = set(one.get("required", ())) & set(other.get("required", ()))
    return any(_values_exclude(_property(one, name), _property(other, name)) for name in shared)


def _property(schema: Mapping[str, Any], name: str) -> Any:
    return schema.get("properties", {}).get(name)


def _values_exclude(one: Any, other: Any) -> bool:
    mine, theirs = _values(one), _values(other)
    return mine is not None and theirs is not None and not mine & theirs


def _values(schema: Any) -> set[str] | None:
    """The allowed texts of a property, where they are listed; numbers are left out, since 1 and 1.0 are the same."""
    if not isinstance(schema, Mapping):
        return None
    listed = [schema["const"]] if "const" in schema else schema.get("enum")
    if not isinstance(listed, list) or not all(isinstance(value, str) for value in listed):
        return None
    return set(map(json.dumps, listed))


def _types(schema: Mapping[str, Any]) -> frozenset[str]:
    named = schema.get("type")
    if named is None:
        return TYPES
    names = [named] if isinstance(named, str) else named
    return frozenset("number" if name == "integer" else name for name in names)
