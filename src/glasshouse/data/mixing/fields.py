"""Columns from rows of JSON: what a filter needs of documents and their attributes, typed by how it is used.

`id`, `source`, `added`, `created` and `text` are the document's, `metadata.length` is a field of its metadata, any
other name is an attribute; dots go down into objects (`pii.email`). Dolma writes a value of the whole document as one
span `[[0, length, value]]`: compared with a number, such an attribute is its score.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from glasshouse.data.mixing.expression import Expression, Usage, usages

RAW_SPANS: pa.DataType = pa.list_(pa.struct([("start", pa.int64()), ("end", pa.int64()), ("score", pa.float64())]))
"""Spans as JSON has them: scores in double precision."""

_TYPES: dict[Usage, pa.DataType] = {
    "number": pa.float64(), "text": pa.string(), "flag": pa.bool_(), "spans": RAW_SPANS, "any": pa.bool_(),
}  # fmt: skip
FIELDS = ("id", "source", "added", "created", "text")
_ABSENT = object()


class UsageError(ValueError):
    """A column is used as two types by the rules of one stream."""


class SpanError(ValueError):
    """A list of spans that is none: not `[start, end, score]`, or with a negative or reversed range."""


@dataclass
class Seen:
    """What was met while columns were made: rows with a value, and values of another type than is used."""

    present: Counter[str] = field(default_factory=Counter)
    mistyped: Counter[str] = field(default_factory=Counter)


def usage_of_columns(trees: Iterable[Expression], spans: Iterable[str] = ()) -> dict[str, Usage]:
    """The one type every column is used as.

    Raises:
        UsageError: a column is used as two types.
    """
    found: dict[str, Usage] = dict.fromkeys(spans, "spans")
    for tree in trees:
        for name, usage in usages(tree):
            before = found.get(name, "any")
            if usage != "any" and before not in ("any", usage):
                raise UsageError(f"column {name!r} is used as {before} and as {usage}: name it one way")
            found[name] = usage if before == "any" else before
    return found


def table_of_rows(
    rows: Sequence[Mapping[str, Any]],
    attributes: Sequence[Mapping[str, Any]],
    wanted: Mapping[str, Usage],
    seen: Seen,
) -> pa.Table:
    """The wanted columns of rows of documents and their attributes."""
    columns = {}
    for name, usage in wanted.items():
        values = [_value(row, more, name) for row, more in zip(rows, attributes, strict=True)]
        columns[name] = _column(name, values, usage, seen)
    if not columns:
        return pa.table({"row": pa.array(np.arange(len(rows)))})
    return pa.table(columns)


def _value(row: Mapping[str, Any], attributes: Mapping[str, Any], name: str) -> Any:
    if name in FIELDS or name == "metadata":
        return row.get(name)
    if name.startswith("metadata."):
        return _below(row.get("metadata"), name[len("metadata.") :])
    return _below(attributes, name)


def _below(value: Any, path: str) -> Any:
    """The value at a dotted path; a key that holds dots itself comes before objects in objects."""
    if not isinstance(value, dict):
        return None
    if path in value:
        return value[path]
    head, dot, rest = path.partition(".")
    return _below(value.get(head), rest) if dot else None


def _column(name: str, values: list[Any], usage: Usage, seen: Seen) -> pa.Array[Any]:
    seen.present[name] += sum(value is not None for value in values)
    if usage == "any":
        return pa.array([None if value is None else True for value in values], pa.bool_())
    typed: Callable[[Any], Any] = _TYPED[usage]
    converted = [None if value is None else typed(value) for value in values]
    wrong = sum(value is _ABSENT for value in converted)
    if wrong:
        seen.mistyped[name] += wrong
        converted = [None if value is _ABSENT else value for value in converted]
    return pa.array(converted, _TYPES[usage])


def _number(value: Any) -> Any:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, list):
        if not value:
            return None
        if len(value) == 1 and isinstance(value[0], list) and len(value[0]) == 3:
            return _number(value[0][2])
    return _ABSENT


def _flag(value: Any) -> Any:
    if isinstance(value, bool):
        return value
    if isinstance(value, list):
        number = _number(value) if value else 0.0
        return number if number is _ABSENT else bool(number)
    return _ABSENT


def _text(value: Any) -> Any:
    return value if isinstance(value, str) else _ABSENT


def _spans(value: Any) -> Any:
    if not isinstance(value, list):
        return _ABSENT
    try:
        return [{"start": start, "end": end, "score": float(score)} for start, end, score in spans_of(value)]
    except SpanError:
        return _ABSENT


_TYPED: dict[Usage, Callable[[Any], Any]] = {"number": _number, "text": _text, "flag": _flag, "spans": _spans}


def spans_of(value: list[Any]) -> list[tuple[int, int, float]]:
    """Spans `[start, end, score]`, or objects of these, as tuples. Raises `SpanError` for anything else."""
    found = []
    for span in value:
        parts = (span.get("start"), span.get("end"), span.get("score")) if isinstance(span, dict) else span
        if not isinstance(parts, list | tuple) or len(parts) != 3:
            raise SpanError(f"a span is [start, end, score], got {span!r}")
        start, end, score = parts
        if (
            type(start) is not int
            or type(end) is not int
            or not isinstance(score, int | float)
            or not 0 <= start <= end
        ):
            raise SpanError(f"a span is [start, end, score] with 0 <= start <= end, got {span!r}")
        found.append((start, end, float(score)))
    return found


def text_at(attributes: Mapping[str, Any], row: Mapping[str, Any], name: str) -> str | None:
    """The text of one document at a column; `None` where there is none."""
    value = _value(row, attributes, name)
    return value if isinstance(value, str) else None


def spans_at(attributes: Mapping[str, Any], row: Mapping[str, Any], name: str) -> list[tuple[int, int, float]]:
    """The spans of one document. Raises `SpanError` where the value is no list of spans."""
    value = _value(row, attributes, name)
    if value is None:
        return []
    if not isinstance(value, list):
        raise SpanError(f"{name!r} is no list of spans: {str(value)[:80]}")
    return spans_of(value)
