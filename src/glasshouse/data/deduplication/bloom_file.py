"""Bloom filters on disk.

A file is a header of 72 bytes, little-endian, and the filter's bits as 64-bit words:

    8 bytes  "GLASSBLM"
    u32      version of the form: 1
    u32      hashes per key
    u64      bits (a multiple of 64)
    i64      seed
    u64      different keys that were added
    u64      keys that it was sized for
    f64      rate of false positives that it was sized for
    16 bytes BLAKE2b of the header before it and of the words

Nothing in it is code, and what the digest does not confirm is refused.
"""

from __future__ import annotations

import hashlib
import math
import os
import struct
from pathlib import Path

import numpy as np
import numpy.typing as npt

from glasshouse.data.deduplication.bloom import BloomFilter, size_of
from glasshouse.data.writing import disk_errors_named

MAGIC = b"GLASSBLM"
VERSION = 1
_HEAD = struct.Struct("<8sIIQqQQd")
_DIGEST = 16
HEADER_BYTES = _HEAD.size + _DIGEST
_DOLMA_MAGIC = 0x81F0F117


class BloomFileError(ValueError):
    """A file that holds no Bloom filter that can be used."""


def save(bloom: BloomFilter, path: str | Path) -> None:
    """Writes a filter; what exists under `path` is always whole.

    Raises:
        DiskFullError: naming the file.
    """
    path = Path(path)
    partial = path.with_name(path.name + ".partial")
    head = _HEAD.pack(
        MAGIC, VERSION, bloom.hashes, bloom.bits, bloom.seed, bloom.inserted, bloom.expected, bloom.false_positive_rate
    )
    words = bloom.words.astype("<u8", copy=False)
    with disk_errors_named(path), partial.open("wb") as file:
        file.write(head + _digest(head, words))
        file.write(words.data)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def load(path: str | Path, read_only: bool = True) -> BloomFilter:
    """Reads a filter.

    Args:
        path: a file that `save` wrote.
        read_only: open it for looking up; with False keys can be added (in memory; `save` it again).

    Raises:
        BloomFileError: it is of another kind (Dolma's own are told by name), cut short, damaged, or of another version.
        FileNotFoundError: there is none.
    """
    path = Path(path)
    with path.open("rb") as file:
        head = file.read(_HEAD.size)
        _refuse_others(path, head)
        if len(head) < _HEAD.size:
            raise BloomFileError(f"{path} is cut short: {len(head)} bytes, the header alone has {HEADER_BYTES}")
        _, version, hashes, bits, seed, inserted, expected, rate = _HEAD.unpack(head)
        if version != VERSION:
            raise BloomFileError(f"{path} has version {version}; this program reads {VERSION}: make the filter again")
        size, wanted = path.stat().st_size, HEADER_BYTES + bits // 8
        if size != wanted:
            raise BloomFileError(
                f"{path} has {size} bytes, its header says {wanted}: it was cut short or damaged, make it again"
            )
        digest, words = file.read(_DIGEST), np.fromfile(file, "<u8").astype(np.uint64, copy=False)
    if digest != _digest(head, words):
        raise BloomFileError(f"{path} is damaged: its digest does not fit what it holds, make it again")
    if not (expected and math.isfinite(rate) and 0 < rate < 1) or size_of(expected, rate) != (bits, hashes):
        raise BloomFileError(f"{path} says {bits} bits and {hashes} hashes for {expected} keys, which no filter has")
    bloom = BloomFilter(expected, rate, seed)
    bloom.words, bloom.inserted, bloom.read_only = words, inserted, read_only
    return bloom


def _refuse_others(path: Path, head: bytes) -> None:
    if head[: len(MAGIC)] == MAGIC[: len(head)] and head:
        return
    if len(head) >= 12 and int.from_bytes(head[:4], "little") == _DOLMA_MAGIC:
        version, hashers = struct.unpack_from("<II", head, 4)
        raise BloomFileError(
            f"{path} is a filter of Dolma (version {version}, {hashers} hashes): its keys went through ahash with "
            "random seeds, a hash that differs between its versions and machines, so no other program can look keys up "
            "in it; make a filter from the documents"
        )
    raise BloomFileError(f"{path} is no Bloom filter: it begins with {head[:8]!r}, not {MAGIC!r}")


def _digest(head: bytes, words: npt.NDArray[np.uint64]) -> bytes:
    digest = hashlib.blake2b(head, digest_size=_DIGEST)
    digest.update(words.data)
    return digest.digest()
