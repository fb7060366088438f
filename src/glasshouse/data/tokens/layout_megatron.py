"""Megatron-LM's indexed dataset: `.bin` with the ids of all documents, `.idx` with where each lies.

The index, little-endian: `MMIDIDX\\0\\0`; version 1 (u64); dtype code (u8: 4 int32, 8 uint16); sequences (u64); bounds
of documents (u64); length of every sequence (i32); its first byte in `.bin` (i64); for every document its first
sequence, and one past the last (i64). Every document here is one sequence. It keeps no ids and no sources.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from glasshouse.data.tokens.layout_olmo import copy_ids
from glasshouse.data.tokens.layout_reading import ImportedDocument, LayoutError, files_of
from glasshouse.data.tokens.shard_reader import TokenShards
from glasshouse.data.writing import disk_errors_named

MAGIC = b"MMIDIDX\x00\x00"
CODES = {4: "int32", 8: "uint16"}
Int = npt.NDArray[np.int64]
_HEAD = struct.Struct("<QBQQ")


def export(shards: TokenShards, home: Path) -> list[Path]:
    """Writes a pair of files per shard. Wide vocabularies become int32, as Megatron has no uint32."""
    code = 8 if shards.manifest.dtype == "uint16" else 4
    if shards.vocabulary > 1 << 31:
        raise LayoutError(f"a vocabulary of {shards.vocabulary} does not fit Megatron's int32 ids")
    written: list[Path] = []
    for number, entry in enumerate(shards.manifest.shards):
        tokens, index = home / f"tokens-{number:05d}.bin", home / f"tokens-{number:05d}.idx"
        table = shards.spans_table(number)
        starts, ends = table.column("start").to_numpy(), table.column("end").to_numpy()
        if len(starts) and int((ends - starts).max()) > np.iinfo(np.int32).max:
            raise LayoutError(f"a document of {int((ends - starts).max())} tokens is too long for Megatron's int32")
        written.append(copy_ids(shards, number, entry.tokens, tokens, CODES[code]))
        partial = index.with_name(index.name + ".partial")
        with disk_errors_named(index), partial.open("wb") as file:
            file.write(MAGIC + _HEAD.pack(1, code, len(starts), len(starts) + 1))
            file.write((ends - starts).astype("<i4").tobytes())
            file.write((starts * np.dtype(CODES[code]).itemsize).astype("<i8").tobytes())
            file.write(np.arange(len(starts) + 1, dtype="<i8").tobytes())
        written.append(partial.replace(index))
    return written


def read(source: Path, dtype: str, eos_id: int) -> Iterator[ImportedDocument]:
    """The documents of all pairs of files; ids are made from file and number. The files say their own dtype."""
    del dtype, eos_id
    for index in files_of(source, "*.idx"):
        path = index.with_suffix(".bin")
        if not path.is_file():
            raise LayoutError(f"{index} has no {path.name} beside it")
        kind, lengths, pointers, documents = _index(index)
        tokens = np.memmap(path, kind, "r") if path.stat().st_size else np.zeros(0, kind)
        firsts, odd = np.divmod(pointers, kind.itemsize)
        if (
            odd.any() or (lengths < 0).any() or (firsts < 0).any() or (firsts + lengths > len(tokens)).any()
            or (documents < 0).any() or (documents > len(lengths)).any() or (np.diff(documents) < 0).any()
        ):  # fmt: skip
            raise LayoutError(f"{index} points outside {path}, which holds {len(tokens)} ids: one of them is damaged")
        for number in range(len(documents) - 1):
            parts = [
                tokens[firsts[s] : firsts[s] + lengths[s]] for s in range(documents[number], documents[number + 1])
            ]
            joined = np.concatenate([np.zeros(0, kind), *parts])
            if (joined < 0).any():
                raise LayoutError(f"document {number} of {path} holds a negative id")
            yield ImportedDocument(joined.astype(np.uint32), f"{path.stem}:{number}", "", str(path))


def _index(path: Path) -> tuple[np.dtype[Any], Int, Int, Int]:
    content = path.read_bytes()
    at = len(MAGIC) + _HEAD.size
    if content[: len(MAGIC)] != MAGIC or len(content) < at:
        raise LayoutError(f"{path} is not a Megatron index")
    version, code, sequences, documents = _HEAD.unpack_from(content, len(MAGIC))
    if version != 1 or code not in CODES:
        known = ", ".join(f"{number} {name}" for number, name in CODES.items())
        raise LayoutError(f"{path} has version {version} and dtype code {code}; read are version 1 and {known}")
    if len(content) != at + 12 * sequences + 8 * documents:
        raise LayoutError(f"{path} has {len(content)} bytes, not what {sequences} sequences need: it is cut or damaged")
    lengths = np.frombuffer(content, "<i4", sequences, at).astype(np.int64)
    pointers = np.frombuffer(content, "<i8", sequences, at + 4 * sequences).astype(np.int64)
    bounds = np.frombuffer(content, "<i8", documents, at + 12 * sequences).astype(np.int64)
    return np.dtype(CODES[code]).newbyteorder("<"), lengths, pointers, bounds
