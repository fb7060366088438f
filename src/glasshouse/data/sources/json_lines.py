"""JSON Lines (plain, gzip, zstd, bzip2) to documents."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING

import fsspec
import orjson
import pyarrow as pa

from glasshouse.data.document import Document, Origin
from glasshouse.data.quarantine import Quarantine
from glasshouse.data.sources.lines import BYTE_ORDER_MARK, READERS, UNREADABLE, Line, lines, range_blocks
from glasshouse.data.sources.rows import BadRowError, Found, SeenIds, batches_of, document_of
from glasshouse.data.sources.settings import Reading

if TYPE_CHECKING:
    from glasshouse.data.sources.inputs import InputShard


def read_json_lines(shard: InputShard, quarantine: Quarantine, seen: SeenIds) -> Iterator[pa.RecordBatch]:
    """The documents of a file, or of the lines in a byte range of it. Blank lines are not rows."""
    return batches_of(_found(shard, quarantine), shard.called(), quarantine, seen, shard.reading.batch_bytes)


def _found(shard: InputShard, quarantine: Quarantine) -> Iterator[Found]:
    empty = True
    file, reading = shard.called(), shard.reading
    try:
        with fsspec.open(shard.path, "rb") as raw:
            for line in lines(_blocks(shard, raw), reading.max_document_bytes, offset=shard.start):
                empty = False
                if not line.damage and not _content(line).strip():
                    continue
                # Counting lines before a range would mean reading them: there, the offset alone is the place.
                number = None if shard.start else line.number
                quarantine.saw()
                try:
                    document = _parse(line, file, reading)
                except BadRowError as bad:
                    excerpt = line.content[:800]
                    quarantine.add(bad.reason, str(bad), file=file, line=number, offset=line.offset, excerpt=excerpt)
                    continue
                yield Found(number, line.offset, document)
    except UNREADABLE as error:
        unreadable(shard, error, quarantine)
        return
    if empty:
        quarantine.saw()
        quarantine.add("empty_file", "the file has no bytes", file=file)


def _blocks(shard: InputShard, raw: IO[bytes]) -> Iterator[bytes]:
    if shard.end is not None:
        return range_blocks(raw, shard.start, shard.end)
    return READERS[shard.compression](raw)


def _content(line: Line) -> bytes:
    """A line's bytes without the byte order mark that some editors begin a file with."""
    return line.content if line.offset else line.content.removeprefix(BYTE_ORDER_MARK)


def unreadable(shard: InputShard, error: Exception, quarantine: Quarantine, name: str = "") -> None:
    """Quarantines a file (of a tree) that cannot be read (any further)."""
    path = Path(shard.location(name))
    broken = isinstance(error, FileNotFoundError) and path.is_symlink() and not path.exists()
    # Without the file's full path, which the system's own message has: the record says what it is called.
    said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    told = f"a broken link: {path.readlink()} does not exist" if broken else f"{type(error).__name__}: {said}"
    quarantine.saw()
    quarantine.add("unreadable_file", told, file=shard.called(name))


def _parse(line: Line, file: str, reading: Reading) -> Document:
    limit = reading.max_document_bytes
    if line.damage:
        raise BadRowError("damaged_file", f"{line.damage}; the rows before line {line.number} were kept")
    if line.size > limit:
        raise BadRowError("line_too_long", f"the line has {line.size} bytes, the limit is {limit}")
    try:
        row = orjson.loads(_content(line))
    except orjson.JSONDecodeError as error:
        try:
            line.content.decode()
        except UnicodeDecodeError as bytes_error:
            position = line.offset + bytes_error.start
            raise BadRowError("invalid_utf8", f"byte {position} of the file is not valid UTF-8") from None
        raise BadRowError("invalid_json", f"not a JSON value: {error}") from None
    return document_of(row, Origin(file, line.offset, line.offset + line.size), limit, reading)
