"""Bytes to lines with bounded memory: decompression in small blocks, over-long lines dropped as they pass."""

from __future__ import annotations

import bz2
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from typing import IO, NamedTuple

BLOCK = 1 << 20
_ZSTD_BLOCK = 128 << 10
_ZSTD_FRAME, _ZSTD_SKIPPABLE = 0xFD2FB528, 0x184D2A50
_ZSTD_CUT = "truncated zstd data: the file ends before its end mark"
UNREADABLE = (OSError, EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, tarfile.TarError)
"""What storage raises that cannot give a file's bytes; the later ones are of archives (`zip://…::archive.zip`)."""

BYTE_ORDER_MARK = b"\xef\xbb\xbf"


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
    damage: zlib.error | None = None
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
        before = member.copy()  # some 40 KiB for each MiB: an error would take along what the call had decompressed
        try:
            block = member.decompress(pending, BLOCK)
        except zlib.error as error:
            block, damage = _before_damage(before, pending), error
        pending = member.unused_data if member.eof else member.unconsumed_tail
        if block:
            yield block
        if damage is not None:
            raise DamageError(f"corrupt gzip data: {damage}") from damage
    while began and not member.eof:
        try:
            block = member.decompress(b"", BLOCK)
        except zlib.error as error:
            raise DamageError(f"corrupt gzip data: {error}") from error
        if not block:
            raise DamageError("truncated gzip data: the file ends before its end mark")
        yield block


def _before_damage(member: zlib._Decompress, given: bytes) -> bytes:
    """What the longest beginning of `given` that has no error decompresses to, at most `BLOCK` bytes."""
    good, bad, found = 0, len(given), b""
    while bad - good > 1:
        middle = (good + bad) // 2
        try:
            found = member.copy().decompress(given[:middle], BLOCK)
        except zlib.error:
            bad = middle
        else:
            good = middle
    return found


def zstd_blocks(file: IO[bytes]) -> Iterator[bytes]:
    """The bytes of a zstd file of one or more frames. Raises `DamageError` after the last good byte.

    The decompressor has no output limit, and 4 bytes can stand for 128 KiB: it is fed one block of the format at a time
    (RFC 8878, section 3.1.1), which never stands for more than that.
    """
    import zstandard

    decompressor = zstandard.ZstdDecompressor()
    while magic := file.read(4):
        number = int.from_bytes(magic, "little")
        if number & 0xFFFFFFF0 == _ZSTD_SKIPPABLE:
            _skip(file, int.from_bytes(_exactly(file, 4), "little"))
            continue
        if number != _ZSTD_FRAME:
            raise DamageError("corrupt zstd data: no frame begins here" if len(magic) == 4 else _ZSTD_CUT)
        frame = decompressor.decompressobj()
        for piece in _zstd_pieces(file, magic):
            try:
                block = frame.decompress(piece)
            except zstandard.ZstdError as error:
                raise DamageError(f"corrupt zstd data: {error}") from error
            if block:
                yield block
        if not frame.eof:
            raise DamageError("corrupt zstd data: a frame does not end with its last block")


def _zstd_pieces(file: IO[bytes], magic: bytes) -> Iterator[bytes]:
    """A frame in pieces: its header, each block, its checksum."""
    flags = _exactly(file, 1)[0]
    single, content_size = flags >> 5 & 1, flags >> 6
    size = 1 - single + (0, 1, 2, 4)[flags & 3] + (single, 2, 4, 8)[content_size]
    yield magic + bytes([flags]) + _exactly(file, size)
    last = 0
    while not last:
        head = _exactly(file, 3)
        number = int.from_bytes(head, "little")
        last, kind, length = number & 1, number >> 1 & 3, number >> 3
        if length > _ZSTD_BLOCK:
            raise DamageError(f"corrupt zstd data: a block says it has {length} bytes, the format's limit is 128 KiB")
        yield head + _exactly(file, 1 if kind == 1 else length)
    if flags >> 2 & 1:
        yield _exactly(file, 4)


def _skip(file: IO[bytes], size: int) -> None:
    """Passes over bytes of no use, which may be 4 GiB, without holding them."""
    while size:
        size -= len(_exactly(file, min(size, BLOCK)))


def _exactly(file: IO[bytes], size: int) -> bytes:
    content = file.read(size)
    if len(content) < size:
        raise DamageError(_ZSTD_CUT)
    return content


def bzip2_blocks(file: IO[bytes]) -> Iterator[bytes]:
    """The bytes of a bzip2 file of one or more streams. Raises `DamageError` after the last good byte."""
    stream = bz2.BZ2Decompressor()
    began = False
    while pending := file.read(BLOCK):
        while pending or not stream.needs_input:
            if stream.eof:
                if not pending:
                    break
                stream = bz2.BZ2Decompressor()
            began = True
            try:
                block = stream.decompress(pending, BLOCK)
            except (OSError, EOFError, ValueError) as error:
                raise DamageError(f"corrupt bzip2 data: {error}") from error
            pending = stream.unused_data if stream.eof else b""
            if block:
                yield block
            elif stream.needs_input:
                break
    if began and not stream.eof:
        raise DamageError("truncated bzip2 data: the file ends before its end mark")


def range_blocks(file: IO[bytes], start: int, end: int) -> Iterator[bytes]:
    """The bytes `[start, end)` of an uncompressed file. Raises `DamageError` when the file is shorter by now."""
    file.seek(start)
    while start < end:
        block = file.read(min(BLOCK, end - start))
        if not block:
            raise DamageError(f"the file ends at byte {start}, before byte {end} where it ended when it was planned")
        start += len(block)
        yield block


def compression_of(name: str) -> str:
    """The compression that a file's suffix names: "gz", "zst", "bz2", or "" for none."""
    ending = name.rsplit(".", 1)[-1]
    return ending if ending in READERS else ""


def blocks_of(name: str) -> Callable[[IO[bytes]], Iterator[bytes]]:
    """The reader of the compression that a file's suffix names."""
    return READERS[compression_of(name)]


READERS: dict[str, Callable[[IO[bytes]], Iterator[bytes]]] = {
    "": plain_blocks,
    "gz": gzip_blocks,
    "zst": zstd_blocks,
    "bz2": bzip2_blocks,
}


def lines(blocks: Iterator[bytes], limit: int, excerpt: int = 200, offset: int = 0) -> Iterator[Line]:
    """The lines of a byte stream; of a line longer than `limit` bytes only the first `excerpt` bytes are held.

    DamageError in the stream becomes one last `Line` whose `damage` says what happened; its content is the cut line.

    Args:
        offset: of the stream's first byte in the file.
    """
    number, damage = 1, ""
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
            if size or end - start > limit:
                _hold(held, block, start, end, size, limit, excerpt)
                size += end - start
                yield Line(number, offset, size, bytes(held))
                held.clear()
            else:
                size = end - start
                yield Line(number, offset, size, block[start:end])
            number, offset, size, start = number + 1, offset + size + 1, 0, end + 1
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
