"""The framing of WARC records (ISO 28500): version line, header, block, two line ends; with damage told per record.

After a record that is not what it says, reading goes on at the next line that begins a record.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from glasshouse.data.sources.lines import DamageError

_VERSION = b"WARC/1."
_HEADER_LIMIT = 64 << 10


@dataclass
class WarcRecord:
    """A record at bytes `[start, end)` of the uncompressed archive; `problem` and `message` when it is damaged.

    Attributes:
        head: version line and header as they are.
        fields: the header by lower-cased name.
        block: the content, `Content-Length` bytes.
    """

    start: int
    end: int = 0
    head: bytes = b""
    fields: dict[str, str] = field(default_factory=dict)
    block: bytes = b""
    problem: str = ""
    message: str = ""

    def damaged(self, problem: str, message: str) -> WarcRecord:
        """The record, marked."""
        self.problem, self.message = problem, message
        return self


class _Bytes:
    """Reads a stream of blocks by lines and by counts."""

    def __init__(self, blocks: Iterator[bytes]) -> None:
        self.blocks = blocks
        self.held = b""
        self.at = 0
        self.position = 0

    def _fill(self) -> bool:
        block = next(self.blocks, b"")
        self.held, self.at = self.held[self.at :] + block, 0
        return bool(block)

    def line(self, limit: int) -> bytes:
        """Up to a line end (included), the end of the stream, or `limit` bytes."""
        searched = 0
        while True:
            end = self.held.find(b"\n", self.at + searched, self.at + limit)
            if end >= 0:
                return self._take(end + 1 - self.at)
            searched = len(self.held) - self.at
            if searched >= limit or not self._fill():
                return self._take(min(limit, len(self.held) - self.at))

    def read(self, size: int) -> bytes:
        """`size` bytes, or what is left."""
        parts = []
        while size > 0:
            if self.at == len(self.held) and not self._fill():
                break
            parts.append(self._take(min(size, len(self.held) - self.at)))
            size -= len(parts[-1])
        return b"".join(parts)

    def unread(self, content: bytes) -> None:
        """Puts bytes back."""
        self.held, self.at = content + self.held[self.at :], 0
        self.position -= len(content)

    def _take(self, size: int) -> bytes:
        taken = self.held[self.at : self.at + size]
        self.at += size
        self.position += size
        return taken


def warc_records(blocks: Iterator[bytes], limit: int) -> Iterator[WarcRecord]:
    """The records of an uncompressed stream.

    Problems: `broken_warc_header`, `wrong_content_length`, `record_too_long` (its block has more than `limit` bytes),
    `truncated_record` (the stream ends inside), `damaged_file` (the compression is damaged from here on).
    """
    stream = _Bytes(blocks)
    record = WarcRecord(0)
    try:
        while True:
            line = stream.line(_HEADER_LIMIT)
            while line in (b"\r\n", b"\n"):
                line = stream.line(_HEADER_LIMIT)
            if not line:
                return
            record = WarcRecord(stream.position - len(line), head=line)
            _read(stream, record, limit)
            record.end = stream.position
            if record.problem:
                _to_next(stream)
            yield record
    except DamageError as error:
        record = record if record.end == 0 and record.head else WarcRecord(stream.position)
        record.end = stream.position
        yield record.damaged("damaged_file", f"{error}; the records before byte {record.start} were read")


def _read(stream: _Bytes, record: WarcRecord, limit: int) -> None:
    """Reads one record from behind its first line."""
    if not record.head.startswith(_VERSION):
        record.damaged("broken_warc_header", f"a record begins with 'WARC/1.0' or 'WARC/1.1', got {record.head[:40]!r}")
        return
    if not _header(stream, record):
        return
    length = record.fields.get("content-length", "")
    if not (length.isascii() and length.isdigit() and len(length) < 19):
        record.damaged("broken_warc_header", f"Content-Length must be a number of bytes, got {length!r}")
        return
    if int(length) > limit:
        # Not by skipping so many bytes: where the length is wrong, that would pass over all the records behind it.
        record.damaged("record_too_long", f"the record says it has {length} bytes, the limit is {limit}")
        return
    record.block = stream.read(int(length))
    if len(record.block) < int(length):
        _swallowed(stream, record, "truncated_record", f"the file ends after {len(record.block)} of {length} bytes")
        return
    ending = stream.read(4)
    if ending == b"\r\n\r\n" or not ending.strip(b"\r\n"):
        stream.unread(ending.lstrip(b"\r\n"))
        return
    stream.unread(ending)
    message = f"Content-Length is {length}, but the record does not end there"
    _swallowed(stream, record, "wrong_content_length", message)


def _header(stream: _Bytes, record: WarcRecord) -> bool:
    name = ""
    while len(record.head) < _HEADER_LIMIT:
        line = stream.line(_HEADER_LIMIT)
        if line.startswith(_VERSION) or not line.endswith(b"\n"):
            stream.unread(line if line.startswith(_VERSION) else b"")
            record.damaged("broken_warc_header", "the header does not end")
            return False
        record.head += line
        if line in (b"\r\n", b"\n"):
            return True
        text = line.decode(errors="replace").rstrip("\r\n")
        if text[0] in " \t" and name:
            record.fields[name] += f" {text.strip()}"
            continue
        name, colon, value = text.partition(":")
        name = name.strip().lower()
        if not colon or not name:
            record.damaged("broken_warc_header", f"a header line has no name: {text[:80]!r}")
            return False
        record.fields[name] = value.strip()
    record.damaged("broken_warc_header", f"the header has more than {_HEADER_LIMIT} bytes")
    return False


def _swallowed(stream: _Bytes, record: WarcRecord, problem: str, message: str) -> None:
    """Marks a record whose length is wrong, and gives back what it took of the records behind it."""
    found = record.block.find(b"\n" + _VERSION)
    if found >= 0:
        stream.unread(record.block[found + 1 :])
        record.block = record.block[: found + 1]
        problem, message = "wrong_content_length", f"{message}; another record begins inside"
    record.damaged(problem, message)


def _to_next(stream: _Bytes) -> None:
    """Goes on to the next line that begins a record."""
    at_start = True
    while line := stream.line(_HEADER_LIMIT):
        if at_start and line.startswith(_VERSION):
            stream.unread(line)
            return
        at_start = line.endswith(b"\n")
