"""Files to documents: JSON Lines (plain, gzip, zstd) and Parquet through fsspec, as a stream of Arrow record batches.

Whatever cannot become a document is quarantined with file, line, byte offset and reason, and reading goes on. Memory is
bounded by one batch and one line (`max_document_bytes`), apart from 16 bytes per document to find repeated ids.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import orjson
import pyarrow as pa

from glasshouse.data.document import BATCH_BYTES, Document, Origin, batches
from glasshouse.data.quarantine import Quarantine
from glasshouse.data.sources.lines import Line, blocks_of, lines

SUFFIXES = (".jsonl", ".json", ".ndjson", ".gz", ".zst", ".parquet")
MAX_DOCUMENT_BYTES = 8 << 20
UNKNOWN_SOURCE = "unknown"


class UnknownFormatError(ValueError):
    """A file whose suffix nobody reads."""


class BadRowError(ValueError):
    """A row that is not a document: a reason code and a message."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def read_documents(
    paths: str | Path | Iterable[str | Path],
    quarantine: Quarantine,
    *,
    max_document_bytes: int = MAX_DOCUMENT_BYTES,
    batch_bytes: int = BATCH_BYTES,
) -> Iterator[pa.RecordBatch]:
    """Documents of one or more files, directories, glob patterns or fsspec URLs, in sorted path order per entry.

    Blank lines are not rows. Of the document fields only `id` and `text` must be there; `source` defaults to "unknown";
    an `origin` written by `write_documents` is kept, else it is the line's byte range in the uncompressed file (for
    Parquet: the file and `#row=N`, with the byte range of the text inside the row).

    Args:
        paths: what to read; directories are searched for known suffixes.
        quarantine: where bad records go; its counts say `rows_seen == rows_kept + rows_quarantined`.
        max_document_bytes: longest line, and longest text, that is read.
        batch_bytes: size of the batches in bytes of text.

    Raises:
        FileNotFoundError: when an entry of `paths` matches no file (at once, before anything is read).
        UnknownFormatError: when a file named outright has a suffix nobody reads.
    """
    entries = [paths] if isinstance(paths, str | Path) else list(paths)
    files = [file for entry in entries for file in _files(str(entry))]
    if not files:
        raise FileNotFoundError("no files to read: the list of paths is empty")
    return batches(_documents(files, quarantine, max_document_bytes), batch_bytes)


def fingerprint_files(paths: Iterable[str]) -> list[tuple[str, int, str]]:
    """File name, size in bytes and sha256 of every file that `read_documents` would read, in its order.

    Reads every file once. Raises `FileNotFoundError` as `read_documents` does.
    """
    found = []
    for file in (file for entry in paths for file in _files(entry)):
        digest, size = hashlib.sha256(), 0
        with fsspec.open(file, "rb") as raw:
            while block := raw.read(1 << 20):
                digest.update(block)
                size += len(block)
        found.append((file.rsplit("/", 1)[-1], size, digest.hexdigest()))
    return found


def _files(entry: str) -> list[str]:
    system, path = fsspec.core.url_to_fs(entry)
    if system.isdir(path):
        found = [name for name in system.find(path) if name.endswith(SUFFIXES)]
    elif any(mark in path for mark in "*?["):
        found = [name for name in system.glob(path) if not system.isdir(name)]
    else:
        found = [path] if system.exists(path) else []
    if not found:
        raise FileNotFoundError(f"{entry!r} matches no file to read (known suffixes: {', '.join(SUFFIXES)})")
    for name in found:
        if not name.endswith(SUFFIXES):
            raise UnknownFormatError(f"cannot read {name!r}: known suffixes are {', '.join(SUFFIXES)}")
    local = "file" in (system.protocol if isinstance(system.protocol, tuple) else (system.protocol,))
    return sorted(found) if local else sorted(system.unstrip_protocol(name) for name in found)


def _documents(files: list[str], quarantine: Quarantine, limit: int) -> Iterator[Document]:
    seen: set[bytes] = set()
    for file in files:
        rows = _parquet_rows if file.endswith(".parquet") else _json_rows
        for number, offset, document in rows(file, quarantine, limit):
            key = hashlib.blake2b(f"{document.source}\0{document.id}".encode(), digest_size=16).digest()
            if key in seen:
                message = f"id {document.id!r} was already read for source {document.source!r}"
                quarantine.add(
                    "duplicate_id", message, file=file, line=number, offset=offset, excerpt=document.text[:200]
                )
                continue
            seen.add(key)
            quarantine.keep()
            yield document


def _json_rows(file: str, quarantine: Quarantine, limit: int) -> Iterator[tuple[int, int, Document]]:
    empty = True
    try:
        with fsspec.open(file, "rb") as raw:
            for line in lines(blocks_of(file)(raw), limit):
                empty = False
                if not line.damage and not line.content.strip():
                    continue
                quarantine.saw()
                try:
                    document = _parse(line, file, limit)
                except BadRowError as bad:
                    quarantine.add(
                        bad.reason,
                        str(bad),
                        file=file,
                        line=line.number,
                        offset=line.offset,
                        excerpt=line.content[:800],
                    )
                    continue
                yield line.number, line.offset, document
    except OSError as error:
        _unreadable(file, error, quarantine)
        return
    if empty:
        quarantine.saw()
        quarantine.add("empty_file", "the file has no bytes", file=file)


def _unreadable(file: str, error: Exception, quarantine: Quarantine) -> None:
    quarantine.saw()
    quarantine.add("unreadable_file", f"{type(error).__name__}: {error}", file=file)


def _parse(line: Line, file: str, limit: int) -> Document:
    if line.damage:
        raise BadRowError("damaged_file", f"{line.damage}; the rows before line {line.number} were kept")
    if line.size > limit:
        raise BadRowError("line_too_long", f"the line has {line.size} bytes, the limit is {limit}")
    try:
        row = orjson.loads(line.content)
    except orjson.JSONDecodeError as error:
        try:
            line.content.decode()
        except UnicodeDecodeError as bytes_error:
            position = line.offset + bytes_error.start
            raise BadRowError("invalid_utf8", f"byte {position} of the file is not valid UTF-8") from None
        raise BadRowError("invalid_json", f"not a JSON value: {error}") from None
    return document_of(row, Origin(file, line.offset, line.offset + line.size), limit)


def document_of(row: Any, origin: Origin, limit: int = MAX_DOCUMENT_BYTES) -> Document:
    """A document from a decoded row. Raises `BadRowError` when `id` or `text` is missing, mistyped or too long."""
    if not isinstance(row, dict):
        raise BadRowError("not_an_object", f"a row must be a JSON object, got {type(row).__name__}")
    for field in ("id", "text"):
        if row.get(field) is None:
            raise BadRowError(f"missing_{field}", f"the row has no {field!r}; it has: {', '.join(map(str, row))[:200]}")
        if not isinstance(row[field], str):
            raise BadRowError(f"mistyped_{field}", f"{field!r} must be a string, got {type(row[field]).__name__}")
    if not row["id"]:
        raise BadRowError("missing_id", "the id is an empty string")
    try:
        size = len(row["text"].encode())
        row["id"].encode()
    except UnicodeEncodeError:
        raise BadRowError("invalid_utf8", "the text holds a lone surrogate, which has no UTF-8 form") from None
    if size > limit:
        raise BadRowError("text_too_long", f"the text has {size} bytes, the limit is {limit}")
    source = row.get("source")
    return Document(
        id=row["id"],
        text=row["text"],
        source=source if isinstance(source, str) and source else UNKNOWN_SOURCE,
        origin=_origin(row.get("origin")) or origin,
        added=_text(row.get("added")),
        created=_text(row.get("created")),
        metadata=_metadata(row.get("metadata")),
    )


def _origin(value: Any) -> Origin | None:
    """An origin written by `write_documents`; anything else in a field of that name is someone else's."""
    if not isinstance(value, dict) or set(value) != {"file", "start", "end"}:
        return None
    file, start, end = value["file"], value["start"], value["end"]
    return Origin(file, start, end) if isinstance(file, str) and type(start) is int and type(end) is int else None


def _text(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else orjson.dumps(value, default=str).decode()


def _metadata(value: Any) -> str:
    if isinstance(value, str):
        # Parquet files of `write_documents` hold JSON text already.
        try:
            orjson.loads(value)
            return value
        except orjson.JSONDecodeError:
            pass
    return "{}" if value is None else orjson.dumps(value, option=orjson.OPT_SORT_KEYS, default=str).decode()


def _parquet_rows(file: str, quarantine: Quarantine, limit: int) -> Iterator[tuple[int, int, Document]]:
    import pyarrow.parquet as pq

    number = 0
    try:
        with fsspec.open(file, "rb") as raw:
            table = pq.ParquetFile(raw)
            if table.metadata.num_rows == 0:
                quarantine.saw()
                quarantine.add("empty_file", "the file has no rows", file=file)
            for batch in table.iter_batches(batch_size=256):
                for position in range(batch.num_rows):
                    number += 1
                    quarantine.saw()
                    try:
                        document = _parquet_row(batch, position, Origin(f"{file}#row={number}", 0, 0), limit)
                    except BadRowError as bad:
                        quarantine.add(bad.reason, str(bad), file=file, line=number)
                        continue
                    yield number, 0, document
    except (OSError, pa.ArrowException) as error:
        _unreadable(file, error, quarantine)


def _parquet_row(batch: pa.RecordBatch, position: int, origin: Origin, limit: int) -> Document:
    row: dict[str, Any] = {}
    for name in batch.schema.names:
        try:
            row[name] = batch.column(name)[position].as_py()
        except UnicodeDecodeError as error:
            raise BadRowError("invalid_utf8", f"column {name!r} is not valid UTF-8: {error.reason}") from None
    text = row.get("text")
    size = len(text.encode()) if isinstance(text, str) else 0
    return document_of(row, origin._replace(end=size), limit)
