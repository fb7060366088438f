"""Bytes to lines with bounded memory: decompression in small blocks, over-long lines dropped as they pass."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from typing import IO, NamedTuple

BLOCK = 1 << 20
# A zstd block of a few bytes can stand for 128 KiB, and the decompressor has no output limit: feed it little at a time.
_ZSTD_BLOCK = 4 << 10


class DamageError(Exception):
    """A compressed stream is truncated or corrupt; everything before the damage was delivered."""


class Line(NamedTuple):
    """One line without its end. `content` is only the beginning when `size` exceeds the limit or `cut` by damage."""

    number: int
    offset: int
    size: int
    content: bytes
    damage: str = ""


def plain_blocks(file: IO[bytes]) -> Iterator[bytes]:
    """The bytes of an uncompressed file."""
    while block := file.read(BLOCK):
        yield block


def gzip_blocks(file: IO[bytes]) -> Iterator[bytes]:
    """The bytes of a gzip file of one or more members. Raises `DamageError` after the last good byte."""
    member = zlib.decompressobj(wbits=31)
    pending, began = b"", False
    while True:
        if not pending:
            pending = file.read(BLOCK)
            if not pending:
                break
        if member.eof:
            if not pending.strip(b"\0"):  # padding after the last member is allowed
                pending = b""
                continue
            member = zlib.decompressobj(wbits=31)
        began = True
        try:
            block = member.decompress(pending, BLOCK)
        except zlib.error as error:
            raise DamageError(f"corrupt gzip data: {error}") from error
        pending = member.unused_data if member.eof else member.unconsumed_tail
        if block:
            yield block
    while began and not member.eof:
        block = member.decompress(b"", BLOCK)
        if not block:
            raise DamageError("truncated gzip data: the file ends before its end mark")
        yield block


def zstd_blocks(file: IO[bytes]) -> Iterator[bytes]:
    """The bytes of a zstd file of one or more frames. Raises `DamageError` after the last good byte."""
    import zstandard

    decompressor = zstandard.ZstdDecompressor()
    frame = decompressor.decompressobj()
    pending, began = b"", False
    while True:
        if not pending:
            pending = file.read(_ZSTD_BLOCK)
            if not pending:
                break
        if frame.eof:
            frame = decompressor.decompressobj()
        began = True
        try:
            block = frame.decompress(pending)
        except zstandard.ZstdError as error:
            raise DamageError(f"corrupt zstd data: {error}") from error
        pending = frame.unused_data if frame.eof else b""
        if block:
            yield block
    if began and not frame.eof:
        raise DamageError("truncated zstd data: the file ends before its end mark")


def blocks_of(name: str) -> Callable[[IO[bytes]], Iterator[bytes]]:
    """The reader of the compression that a file's suffix names."""
    if name.endswith(".gz"):
        return gzip_blocks
    return zstd_blocks if name.endswith(".zst") else plain_blocks


def lines(blocks: Iterator[bytes], limit: int, excerpt: int = 200) -> Iterator[Line]:
    """The lines of a byte stream; of a line longer than `limit` bytes only the first `excerpt` bytes are held.

    DamageError in the stream becomes one last `Line` whose `damage` says what happened; its content is the cut line.
    """
    number, offset, damage = 1, 0, ""
    held = bytearray()
    size = 0
    stream = iter(blocks)
    while True:
        try:
            block = next(stream, b"")
        except DamageError as error:
            block, damage = b"", str(error)
        if not block:
            break
        start = 0
        while (end := block.find(b"\n", start)) >= 0:
            _hold(held, block, start, end, size, limit, excerpt)
            size += end - start
            yield Line(number, offset, size, bytes(held))
            number, offset, size, start = number + 1, offset + size + 1, 0, end + 1
            held.clear()
        _hold(held, block, start, len(block), size, limit, excerpt)
        size += len(block) - start
    if size or damage:
        yield Line(number, offset, size, bytes(held), damage)


def _hold(held: bytearray, block: bytes, start: int, end: int, size: int, limit: int, excerpt: int) -> None:
    if size + end - start <= limit:
        held += block[start:end]
    else:
        room = max(0, excerpt - len(held))
        held += block[start : min(end, start + room)]
        del held[excerpt:]
