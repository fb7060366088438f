"""Attributes as `dolma dedupe` writes them: rows `{"id": …, "attributes": {name: [[start, end, score], …]}}`.

Repeated pieces: every document with a text has the attribute, be it an empty list. Repeated documents: only those that
are not the first have it, as one span over their key. Offsets and lengths are characters (Dolma's are bytes in places,
see `paragraphs.py`; of a key it writes the length in bytes).
"""

from __future__ import annotations

import gzip
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

import numpy as np
import orjson
import pyarrow as pa

from glasshouse.data.deduplication.keys import Keys
from glasshouse.data.deduplication.ngrams import Ngrams
from glasshouse.data.deduplication.paragraphs import Paragraphs
from glasshouse.data.deduplication.substring import Substrings
from glasshouse.data.deduplication.url import UniqueUrl
from glasshouse.data.document import strings, text_buffers
from glasshouse.data.executor import Executor, Threads
from glasshouse.data.writing import disk_errors_named

Attributes = dict[str, list[list[float]]]
AttributeRow = dict[str, Any]


def piece_attributes(
    batches: Sequence[pa.RecordBatch], method: Paragraphs | Ngrams, name: str, executor: Executor | None = None
) -> Iterator[AttributeRow]:
    """A row for every document of all batches, with the spans of its repeated pieces under `name`."""
    executor = executor or Threads()
    signed = list(executor.map(method.sign, batches))
    repeated = method.repeated([pieces.keys for pieces in signed], executor)
    at = 0
    for batch, pieces in zip(batches, signed, strict=True):
        spans = method.spans(batch, repeated[at : at + len(pieces.keys)])
        at += len(pieces.keys)
        sizes = np.diff(text_buffers(batch)[0]).tolist()
        for identifier, size, found in zip(strings(batch, "id"), sizes, spans, strict=True):
            attributes: Attributes = {name: list(map(list, found))} if size else {}
            yield {"id": identifier, "attributes": attributes}


def url_attributes(
    batches: Sequence[pa.RecordBatch], method: UniqueUrl, name: str, executor: Executor | None = None
) -> Iterator[AttributeRow]:
    """A row for every document of all batches, with a span over its key under `name` where it is a duplicate."""
    executor = executor or Threads()
    keepers = method.keepers(Keys(list(executor.map(method.sign, batches))), executor)
    is_duplicate = iter((keepers != np.arange(len(keepers))).tolist())
    for batch in batches:
        for identifier, key in zip(strings(batch, "id"), method.keys(batch), strict=True):
            spans = [[0, len(key or ""), 1]]
            yield {"id": identifier, "attributes": {name: spans} if next(is_duplicate) else {}}


def substring_attributes(batches: Sequence[pa.RecordBatch], method: Substrings, name: str) -> Iterator[AttributeRow]:
    """A row for every document of all batches, with the spans of its repeated substrings under `name`."""
    for batch, spans in zip(batches, method.spans(batches), strict=True):
        for identifier, found in zip(strings(batch, "id"), spans, strict=True):
            yield {"id": identifier, "attributes": {name: list(map(list, found))}}


class WrittenAttributes(NamedTuple):
    """What was written: documents, those that have spans, spans, and characters in spans."""

    documents: int
    with_spans: int
    spans: int
    characters: int


def write_attributes(rows: Iterable[AttributeRow], path: Path) -> WrittenAttributes:
    """Writes rows as JSON Lines, compressed where `path` ends in `.gz`; what exists under `path` is always whole.

    Raises:
        DiskFullError: naming the file.
    """
    documents = with_spans = spans = characters = 0
    partial = path.with_name(f"{path.name}.partial")
    with disk_errors_named(path), partial.open("wb") as raw:
        zipped = path.name.endswith(".gz")
        packed = gzip.GzipFile(filename="", fileobj=raw, mode="wb", compresslevel=6, mtime=0) if zipped else None
        out = cast("IO[bytes]", packed or raw)
        for row in rows:
            found = [span for listed in row["attributes"].values() for span in listed]
            documents, with_spans, spans = documents + 1, with_spans + bool(found), spans + len(found)
            characters += sum(int(end - start) for start, end, _ in found)
            out.write(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE))
        if packed is not None:
            packed.close()
    partial.replace(path)
    return WrittenAttributes(documents, with_spans, spans, characters)
