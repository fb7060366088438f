"""Selectors: a JSON path to one value of a document row, such as `$.metadata.url` or `$.metadata['page url'][0]`.

The part of JSONPath (RFC 9535) that names at most one value: names and indices, no wildcards, filters or `..`.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from typing import Any

import orjson
import pyarrow as pa

from glasshouse.data.document import strings

_STEP = re.compile(r"""\.([^\s.\[\]'"*?()$]+)|\[(-?\d+)\]|\['([^']*)'\]|\["([^"]*)"\]""")
_COLUMNS = ("id", "text", "source", "added", "created")


class SelectorError(ValueError):
    """A selector that is not understood."""


class MetadataError(ValueError):
    """Metadata of a document that are no JSON."""


@functools.lru_cache(maxsize=64)
def parsed(selector: str) -> tuple[str | int, ...]:
    """The steps of a selector. Raises `SelectorError` with the selector, the place, and what is understood."""
    steps: list[str | int] = []
    at = 1
    while at < len(selector) and selector.startswith("$"):
        found = _STEP.match(selector, at)
        if found is None:
            break
        name, index, single, double = found.groups()
        steps.append(int(index) if index is not None else next(n for n in (name, single, double) if n is not None))
        at = found.end()
    if not steps or at < len(selector):
        raise SelectorError(
            f"selector {selector!r} is not understood from character {at if selector.startswith('$') else 0} on; "
            "write a path to one value, such as $.metadata.url or $.metadata['page url'][0]"
        )
    if steps[0] not in (*_COLUMNS, "metadata"):
        raise SelectorError(
            f"selector {selector!r} begins with {steps[0]!r}, which a document does not have; it has: "
            f"{', '.join((*_COLUMNS, 'metadata'))}"
        )
    return tuple(steps)


def selected(batch: pa.RecordBatch, selector: str) -> Iterator[Any]:
    """The selected value of every document, `None` where there is none.

    Raises:
        SelectorError: the selector is not understood.
        MetadataError: the metadata of a document are no JSON; the message names its id.
    """
    first, *rest = parsed(selector)
    values = strings(batch, str(first))
    if first != "metadata":
        yield from (values if not rest else [None] * len(values))
        return
    for row, value in enumerate(values):
        try:
            found = orjson.loads(value)
        except orjson.JSONDecodeError as error:
            identifier = batch.column("id")[row].as_py()
            raise MetadataError(f"the metadata of document {identifier!r} are no JSON: {error}") from error
        yield _followed(found, rest)


def _followed(value: Any, steps: list[str | int]) -> Any:
    for step in steps:
        if isinstance(step, str):
            value = value.get(step) if isinstance(value, dict) else None
        else:
            fits = isinstance(value, list) and -len(value) <= step < len(value)
            value = value[step] if fits else None
    return value
