"""Formats of JSON Schema: those of the standard are kept to or refused, any other word there is a remark."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

STANDARD = frozenset({
    "date-time", "date", "time", "duration", "email", "idn-email", "hostname", "idn-hostname", "ipv4", "ipv6", "uri",
    "uri-reference", "iri", "iri-reference", "uuid", "uri-template", "json-pointer", "relative-json-pointer", "regex",
})  # fmt: skip
"""JSON Schema Validation 2020-12, section 7.3."""
DATA = ("const", "enum", "default", "examples")


def without_own_formats(schema: Any) -> Any:
    """The schema without `format`s that the standard does not define: to a validator they say nothing (7.2.1)."""
    if isinstance(schema, list):
        return [without_own_formats(part) for part in schema]
    if not isinstance(schema, Mapping):
        return schema
    return {
        name: part if name in DATA else without_own_formats(part)
        for name, part in schema.items()
        # A text here is the keyword; a property of that name has a schema.
        if not (name == "format" and isinstance(part, str) and part not in STANDARD)
    }
