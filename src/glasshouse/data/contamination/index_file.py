"""The file of an evaluation index: a header in JSON, then plain arrays, then the sha256 of everything before it.

bytes 0-7     GLSEVAL1
bytes 8-15    length of the header, little-endian
header        JSON: what `EvaluationIndex` is, and `arrays`: name -> [dtype, length, offset]
arrays        little-endian, each at a multiple of 64 bytes
last 32       sha256
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from glasshouse.data.contamination.evaluation_sets import INDEX_MAGIC
from glasshouse.data.writing import disk_errors_named

MAGIC = INDEX_MAGIC + b"1"
_ALIGNMENT, _DIGEST = 64, 32
_CHUNK = 1 << 20


class IndexFileError(ValueError):
    """A file is not an evaluation index, or is damaged."""


def write_index_file(path: Path, header: dict[str, Any], arrays: dict[str, Any]) -> None:
    """Writes header and arrays under a partial name and renames the whole file."""
    size = sum(len(orjson.dumps(name)) + 64 for name in arrays)
    begin = _aligned(len(MAGIC) + 8 + len(orjson.dumps(header)) + size)
    places: dict[str, list[object]] = {}
    at = begin
    for name, array in arrays.items():
        places[name] = [array.dtype.str, len(array), at]
        at = _aligned(at + array.nbytes)
    content = orjson.dumps(header | {"arrays": places})
    digest = hashlib.sha256()
    partial = path.with_name(path.name + ".partial")
    path.parent.mkdir(parents=True, exist_ok=True)
    with disk_errors_named(path), partial.open("wb") as file:
        for position, block in [
            (0, MAGIC + len(content).to_bytes(8, "little") + content),
            *((int(str(places[name][2])), np.ascontiguousarray(array).tobytes()) for name, array in arrays.items()),
            (at, b""),
        ]:
            padded = b"\0" * (position - file.tell()) + block
            digest.update(padded)
            file.write(padded)
        file.write(digest.digest())
    partial.replace(path)


def has_magic(path: Path) -> bool:
    """Whether a file begins as an index of any version does."""
    with path.open("rb") as file:
        return file.read(len(INDEX_MAGIC)) == INDEX_MAGIC


def read_index_file(path: Path, types: dict[str, str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Header and memory-mapped arrays; the whole file is checked first.

    Raises:
        IndexFileError: the magic number, the checksum, the header or an array's type or place is wrong.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        if (found := file.read(len(MAGIC))) != MAGIC:
            if found.startswith(INDEX_MAGIC):
                raise IndexFileError(f"{path} is an index of another version of Glasshouse: build it again")
            raise IndexFileError(f"{path} is not an evaluation index: it does not begin with {MAGIC.decode()}")
        file.seek(0)
        digest, left = hashlib.sha256(), size - _DIGEST
        while left > 0 and (block := file.read(min(left, _CHUNK))):
            digest.update(block)
            left -= len(block)
        if file.read() != digest.digest():
            raise IndexFileError(f"{path} is cut or damaged: its checksum is wrong; build it again")
        file.seek(len(MAGIC))
        length = int.from_bytes(file.read(8), "little")
        header = _header(path, file.read(min(length, size)))
    mapped = np.memmap(path, np.uint8, "r")[: size - _DIGEST]
    return header, {name: _array(path, mapped, header["arrays"], name, dtype) for name, dtype in types.items()}


def _header(path: Path, content: bytes) -> dict[str, Any]:
    try:
        header = orjson.loads(content)
        if not (
            all(isinstance(header[name], list) for name in ("sets", "items")) and isinstance(header["arrays"], dict)
        ):
            raise TypeError("lists are missing")
    except (orjson.JSONDecodeError, KeyError, TypeError) as error:
        raise IndexFileError(f"{path} has a header that cannot be read: {error}") from error
    return dict(header)


def _array(path: Path, mapped: Any, places: dict[str, Any], name: str, dtype: str) -> Any:
    try:
        found, length, at = places[name]
        end = at + length * np.dtype(dtype).itemsize
        if found != dtype or length < 0 or at < 0 or at % _ALIGNMENT or end > len(mapped):
            raise ValueError(f"{places[name]}")
    except (KeyError, TypeError, ValueError) as error:
        raise IndexFileError(f"{path} has no usable array {name!r} ({error}); build it again") from error
    return mapped[at:end].view(dtype)


def _aligned(size: int) -> int:
    return -(-size // _ALIGNMENT) * _ALIGNMENT
