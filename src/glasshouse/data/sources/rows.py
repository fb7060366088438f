"""Rows to documents: what a row must have, ids that come twice, and columns without a Python object per field."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import orjson
import pyarrow as pa

from glasshouse.data.document import DOCUMENT, ORIGIN, Document, Origin
from glasshouse.data.quarantine import Quarantine
from glasshouse.data.sources.settings import MAX_DOCUMENT_BYTES, Reading

STANDARD = Reading()
_FORM = frozenset(DOCUMENT.names)
_EXCERPT = 200


class BadRowError(ValueError):
    """A row that is not a document: a reason code and a message."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class Found(NamedTuple):
    """A document and its place: line (or row, or record) from 1 where it is known, and byte offset."""

    line: int | None
    offset: int
    document: Document


class SeenIds:
    """Which (source, id) pairs were read: 16 bytes each."""

    def __init__(self) -> None:
        self._digests: set[bytes] = set()

    def is_new(self, source: str, identifier: str) -> bool:
        """Whether the pair was not seen before; from now on it is."""
        digest = hashlib.blake2b(f"{source}\0{identifier}".encode(), digest_size=16).digest()
        if digest in self._digests:
            return False
        self._digests.add(digest)
        return True


class Columns:
    """Documents that become one record batch."""

    def __init__(self) -> None:
        self.rows: list[Document] = []
        self.text_bytes = 0

    def add(self, document: Document) -> None:
        """Takes one more row."""
        text = document.text
        self.rows.append(document)
        self.text_bytes += len(text) if text.isascii() else len(text.encode())

    def take(self) -> pa.RecordBatch:
        """The rows as a batch of `DOCUMENT`; afterwards there are none."""
        ids, texts, sources, origins, added, created, metadata = zip(*self.rows, strict=True)
        files, starts, ends = zip(*origins, strict=True)
        origin = pa.StructArray.from_arrays(
            [pa.array(files, pa.string()), pa.array(starts, pa.int64()), pa.array(ends, pa.int64())],
            fields=list(ORIGIN),
        )
        columns: list[Any] = [
            pa.array(values, DOCUMENT.field(name).type)
            for name, values in (
                ("id", ids), ("text", texts), ("source", sources),
                ("added", added), ("created", created), ("metadata", metadata),
            )
        ]  # fmt: skip
        self.rows, self.text_bytes = [], 0
        return pa.RecordBatch.from_arrays([*columns, origin], schema=DOCUMENT)


def batches_of(
    found: Iterable[Found], file: str, quarantine: Quarantine, seen: SeenIds, batch_bytes: int
) -> Iterator[pa.RecordBatch]:
    """Documents as batches, cut as soon as the text reaches `batch_bytes`; an id that comes twice is quarantined."""
    columns = Columns()
    for line, offset, document in found:
        if not seen.is_new(document.source, document.id):
            duplicate(quarantine, document, file, line, offset)
            continue
        quarantine.keep()
        columns.add(document)
        if columns.text_bytes >= batch_bytes:
            yield columns.take()
    if columns.rows:
        yield columns.take()


def duplicate(quarantine: Quarantine, document: Document, file: str, line: int | None, offset: int | None) -> None:
    """Quarantines a document whose id was read before."""
    message = f"id {document.id!r} was already read for source {document.source!r}"
    quarantine.add("duplicate_id", message, file=file, line=line, offset=offset, excerpt=document.text[:_EXCERPT])


def document_of(row: Any, origin: Origin, limit: int = MAX_DOCUMENT_BYTES, reading: Reading = STANDARD) -> Document:
    """A document from a decoded row.

    Raises `BadRowError` when `id` or `text` is missing, mistyped or too long, or when the metadata cannot be written.
    """
    if not isinstance(row, dict):
        raise BadRowError("not_an_object", f"a row must be a JSON object, got {type(row).__name__}")
    identifier, text = _fields(row, origin, reading)
    size = len(text) if text.isascii() else _encoded(text)
    if not identifier.isascii():
        _encoded(identifier)
    if size > limit:
        raise BadRowError("text_too_long", f"the text has {size} bytes, the limit is {limit}")
    source, own = row.get("source"), row.get("origin")
    return Document(
        id=identifier,
        text=text,
        source=source if isinstance(source, str) and source else reading.source,
        origin=origin if own is None else _origin(own) or origin,
        added=_text(row.get("added")),
        created=_text(row.get("created")),
        metadata=_metadata(row, reading),
    )


def _fields(row: dict[str, Any], origin: Origin, reading: Reading) -> tuple[str, str]:
    """Id and text of a row."""
    identifier, text = row.get(reading.id_key), row.get(reading.text_key)
    if type(identifier) is str and identifier and type(text) is str:
        return identifier, text
    if type(identifier) is int and reading.number_ids:
        identifier = str(identifier)
    if identifier in (None, "") and reading.make_ids and isinstance(text, str):
        identifier = made_id(text, origin)
    for name, key, value in (("id", reading.id_key, identifier), ("text", reading.text_key, text)):
        if value is None:
            raise BadRowError(f"missing_{name}", f"the row has no {key!r}; it has: {', '.join(map(str, row))[:200]}")
        if not isinstance(value, str):
            raise BadRowError(f"mistyped_{name}", f"{key!r} must be a string, got {type(value).__name__}")
    if not identifier:
        raise BadRowError("missing_id", "the id is an empty string")
    return str(identifier), str(text)


def made_id(text: str, origin: Origin) -> str:
    """The id of a document that has none: sha256 (hex) of its text and its origin."""
    content = f"{origin.file}\0{origin.start}\0{text}".encode(errors="surrogatepass")
    return hashlib.sha256(content).hexdigest()


def _encoded(text: str) -> int:
    try:
        return len(text.encode())
    except UnicodeEncodeError:
        raise BadRowError("invalid_utf8", "the text holds a lone surrogate, which has no UTF-8 form") from None


def _origin(value: Any) -> Origin | None:
    """An origin written by `write_documents`; anything else in a field of that name is someone else's."""
    if not isinstance(value, dict) or set(value) != {"file", "start", "end"}:
        return None
    file, start, end = value["file"], value["start"], value["end"]
    small = type(start) is int and type(end) is int and 0 <= start <= end < 1 << 63
    return Origin(file, start, end) if isinstance(file, str) and small else None


def _text(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else _json(value)


def _metadata(row: dict[str, Any], reading: Reading) -> str:
    value = row.get("metadata")
    if reading.other_fields == "metadata":
        known = _FORM | {reading.text_key, reading.id_key}
        others = {str(name): other for name, other in row.items() if name not in known}
        if others:
            own = _decoded(value) if isinstance(value, str) else value
            value = others | (own if isinstance(own, dict) else {} if own is None else {"metadata": own})
    return metadata_text(value)


def _decoded(value: str) -> Any:
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError:
        return value


def metadata_text(value: Any) -> str:
    """Metadata as JSON text; a text that is JSON already (as in Parquet files of `write_documents`) stays."""
    if value is None or value == {}:
        return "{}"
    if isinstance(value, str):
        try:
            orjson.loads(value)
        except orjson.JSONDecodeError:
            return _json(value)
        return value
    return _json(value)


def _json(value: Any) -> str:
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS, default=str).decode()
    except TypeError as error:
        raise BadRowError("unwritable_field", f"a field cannot be written as JSON: {error}") from None
