"""The document form of Dolma (arXiv 2402.00159, section 3 and appendix) as Arrow record batches.

One addition to Dolma's fields: `origin`, the file and the byte range in the *uncompressed* file a document came from,
so that a token can be followed back to raw bytes. `metadata` is JSON text, because its fields differ from row to row.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa

ORIGIN = pa.struct([("file", pa.string()), ("start", pa.int64()), ("end", pa.int64())])

DOCUMENT: pa.Schema = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("text", pa.large_string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("added", pa.string(), nullable=False),
        pa.field("created", pa.string(), nullable=False),
        pa.field("metadata", pa.string(), nullable=False),
        pa.field("origin", ORIGIN, nullable=False),
    ]
)

BATCH_BYTES = 8 << 20
"""Default size of a record batch in bytes of text: large enough to amortise a kernel call, small enough to thread over.
"""


class Origin(NamedTuple):
    """Where a document came from: a file and a byte range `[start, end)` in the uncompressed file."""

    file: str
    start: int
    end: int


class Document(NamedTuple):
    """One row. `id` is unique inside `source`; `metadata` is JSON text; `added`, `created` are ISO times or empty."""

    id: str
    text: str
    source: str
    origin: Origin
    added: str = ""
    created: str = ""
    metadata: str = "{}"


def batches(documents: Iterable[Document], batch_bytes: int = BATCH_BYTES) -> Iterator[pa.RecordBatch]:
    """Record batches of the schema `DOCUMENT`, cut as soon as the text reaches `batch_bytes` (by bytes, not by rows).

    Args:
        documents: rows in the order they shall have.
        batch_bytes: bytes of UTF-8 text after which a batch is closed; at least one row per batch.
    """
    if batch_bytes < 1:
        raise ValueError(f"batch_bytes must be at least 1, got {batch_bytes}")
    rows: list[Document] = []
    held = 0
    for document in documents:
        rows.append(document)
        # Two bytes per character bound the common case; exact sizes would cost an extra encoding.
        held += len(document.text) if document.text.isascii() else len(document.text.encode())
        if held >= batch_bytes:
            yield to_batch(rows)
            rows, held = [], 0
    if rows:
        yield to_batch(rows)


def to_batch(rows: list[Document]) -> pa.RecordBatch:
    """One record batch of the schema `DOCUMENT` from rows."""
    columns: dict[str, list[Any]] = {name: [getattr(row, name) for row in rows] for name in DOCUMENT.names[:-1]}
    columns["origin"] = [row.origin._asdict() for row in rows]
    return pa.RecordBatch.from_pydict(columns, schema=DOCUMENT)


def check_batch(batch: pa.RecordBatch) -> None:
    """Raises `TypeError` naming the first column in which `batch` differs from `DOCUMENT`."""
    for field in DOCUMENT:
        position = batch.schema.get_field_index(field.name)
        got = None if position < 0 else batch.schema.field(position).type
        if got != field.type:
            raise TypeError(f"a document batch needs a column {field.name!r} of type {field.type}, got {got or 'none'}")


def strings(batch: pa.RecordBatch, name: str) -> list[str]:
    """A column of strings without nulls, as Python strings."""
    return cast("list[str]", batch.column(name).to_pylist())


def text_buffers(batch: pa.RecordBatch) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8]]:
    """The `text` column as zero-copy numpy views: offsets `[rows + 1]` and UTF-8 bytes.

    Row `i` is `data[offsets[i]:offsets[i + 1]]`; a sliced batch keeps its parent's bytes and has shifted offsets.
    """
    column = batch.column("text")
    if column.type != pa.large_string() or column.null_count:
        raise TypeError(
            f"text must be a large_string column without nulls, got {column.type} ({column.null_count} nulls)"
        )
    buffers: list[Any] = column.buffers()
    _, offsets, data = buffers
    if len(column) == 0 or offsets is None:
        return np.zeros(1, np.int64), np.zeros(0, np.uint8)
    bounds = np.frombuffer(offsets, np.int64, count=column.offset + len(column) + 1)[column.offset :]
    return bounds, np.zeros(0, np.uint8) if data is None else np.frombuffer(data, np.uint8)


def text_size(batch: pa.RecordBatch) -> int:
    """Bytes of UTF-8 text in a batch."""
    offsets, _ = text_buffers(batch)
    return int(offsets[-1] - offsets[0])


def document_hash(identifier: str, seed: int = 0, use: str = "") -> int:
    """A keyed 64-bit hash of a document id: the same on every machine, independent for every `(seed, use)`.

    Sampling and splits compare it with a threshold, so a decision about one document never depends on the others.
    """
    key = hashlib.sha256(f"{seed}/{use}".encode()).digest()
    return int.from_bytes(hashlib.blake2b(identifier.encode(), digest_size=8, key=key).digest(), "little")


def document_hashes(identifiers: Iterable[str], seed: int = 0, use: str = "") -> npt.NDArray[np.uint64]:
    """`document_hash` of many ids, as an array."""
    start = hashlib.blake2b(digest_size=8, key=hashlib.sha256(f"{seed}/{use}".encode()).digest())
    digests = bytearray()
    for identifier in identifiers:
        keyed = start.copy()
        keyed.update(identifier.encode())
        digests += keyed.digest()
    return np.frombuffer(bytes(digests), dtype="<u8").astype(np.uint64)


def is_selected(identifier: str, fraction: float, seed: int = 0, use: str = "") -> bool:
    """Whether the document's hash, read as a number in [0, 1), is below `fraction`."""
    return document_hash(identifier, seed, use) < fraction * 2.0**64
