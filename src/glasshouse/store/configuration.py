"""Frozen, validated configuration objects and their one canonical JSON form.

Everything a step is configured with goes through `canonical`, so that equal configurations have equal bytes and
therefore equal fingerprints, on every machine.
"""

from __future__ import annotations

import dataclasses
import enum
import hashlib
import inspect
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError


class ConfigurationError(ValueError):
    """A configuration field is unknown, missing, of the wrong type or out of its range."""


class Config(BaseModel):
    """Base of every configuration object: frozen, no unknown fields, values checked when it is built.

    Raises `ConfigurationError` with the field's name, what it got and what it takes.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise ConfigurationError(_explain(type(self), error)) from None

    def but(self, **changes: Any) -> Any:
        """A copy with some fields changed, validated again."""
        return type(self)(**({name: getattr(self, name) for name in type(self).model_fields} | changes))


def _explain(model: type[BaseModel], error: ValidationError) -> str:
    lines = []
    for problem in error.errors():
        field = ".".join(str(part) for part in problem["loc"]) or "(whole)"
        if problem["type"] == "extra_forbidden":
            known = ", ".join(model.model_fields)
            lines.append(f"{model.__name__} has no field {field!r} (got {problem['input']!r}); it takes: {known}")
        elif problem["type"] == "missing":
            lines.append(f"{model.__name__}.{field} is required and was not given")
        else:
            takes = problem["msg"].removeprefix("Value error, ")
            lines.append(f"{model.__name__}.{field} got {problem['input']!r}: {takes[0].lower()}{takes[1:]}")
    return "; ".join(lines)


def canonical(value: Any) -> Any:
    """`value` as plain JSON data: objects carry their type's name under `__type__`, functions become `module:name`.

    Raises `TypeError` for anything without a stable written form (a lambda, an open file, a tensor).
    """
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise TypeError(f"{value} has no JSON form; configuration values must be finite")
        return value
    if isinstance(value, enum.Enum):
        return canonical(value.value)
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, BaseModel):
        fields = {name: canonical(getattr(value, name)) for name in type(value).model_fields}
        return {"__type__": type(value).__name__, **fields}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [field.name for field in dataclasses.fields(value)]
        return {"__type__": type(value).__name__, **{name: canonical(getattr(value, name)) for name in names}}
    if isinstance(value, Mapping):
        return {str(key): canonical(item) for key, item in value.items()}
    if isinstance(value, set | frozenset):
        return sorted((canonical(item) for item in value), key=canonical_json)
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        return [canonical(item) for item in value]
    if inspect.isfunction(value) or inspect.isclass(value):
        name = f"{value.__module__}:{value.__qualname__}"
        if "<lambda>" in name or "<locals>" in name:
            raise TypeError(f"{name} cannot be part of a configuration: name it at the top level of a module")
        return name
    raise TypeError(f"a {type(value).__name__} cannot be part of a configuration: {value!r}")


def canonical_json(value: Any) -> str:
    """The one JSON text of `value`: sorted keys, no spaces, no escapes beyond JSON's own."""
    return json.dumps(canonical(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def fingerprint(value: Any) -> str:
    """sha256 (hex) of the canonical JSON of `value`."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def named_seed(seed: int, *names: str | int) -> int:
    """A 63-bit seed for one named use of randomness, derived from the run's seed.

    Two uses never share a stream by accident, and adding a use does not move the others.
    """
    text = "/".join([str(seed), *map(str, names)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
