"""What all layouts share: documents as ids, and writing them as token shards."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from glasshouse.data.document import document_hashes
from glasshouse.data.tokens.encoder import Ids
from glasshouse.data.tokens.encoding import ABOUT, Encoded
from glasshouse.data.tokens.shard_reader import ShardError, ShardManifest, TokenShards
from glasshouse.data.tokens.shard_writer import SHARD_TOKENS, TRAIN, SplitWriter

_HELD = 1 << 22


class LayoutError(ShardError):
    """Files of another layout do not fit together, or cannot hold what they should."""


class ImportedDocument(NamedTuple):
    """A document of another layout; what the layout does not keep is empty or -1."""

    tokens: Ids
    id: str
    source: str = ""
    file: str = ""
    start: int = -1
    end: int = -1


class Documents(Protocol):
    """What a layout's module offers."""

    def export(self, shards: TokenShards, home: Path) -> list[Path]: ...

    def read(self, source: Path, dtype: str, eos_id: int) -> Iterator[ImportedDocument]: ...


def write_imported(
    documents: Iterator[ImportedDocument], directory: Path, vocabulary: int, eos_id: int
) -> ShardManifest:
    """Writes documents as one split. `text_bytes` of the manifest is 0: the text is not known."""
    writer = SplitWriter(directory, TRAIN, vocabulary, eos_id, SHARD_TOKENS)
    held: list[ImportedDocument] = []
    size = 0
    try:
        for document in documents:
            held.append(_checked(document, vocabulary, eos_id))
            size += len(document.tokens)
            if size >= _HELD:
                writer.add(_encoded(held), np.arange(len(held)))
                held, size = [], 0
        if held:
            writer.add(_encoded(held), np.arange(len(held)))
        return writer.finish()
    finally:
        writer.abandon()


def _checked(document: ImportedDocument, vocabulary: int, eos_id: int) -> ImportedDocument:
    tokens = document.tokens
    if len(tokens) and int(tokens.max()) >= vocabulary:
        raise LayoutError(
            f"document {document.id!r} holds the id {int(tokens.max())}, outside the vocabulary of {vocabulary}: "
            "wrong tokenizer or dtype?"
        )
    if not len(tokens) or tokens[-1] != eos_id:
        tokens = np.append(tokens, np.uint32(eos_id))
    return document._replace(tokens=tokens.astype(np.uint32))


def _encoded(held: list[ImportedDocument]) -> Encoded:
    ids = [document.id for document in held]
    columns = {
        "id": ids, "source": [document.source for document in held], "file": [document.file for document in held],
        "byte_start": [document.start for document in held], "byte_end": [document.end for document in held],
        "hash": document_hashes(ids).tolist(),
    }  # fmt: skip
    rows = pa.RecordBatch.from_pydict(columns, schema=ABOUT)
    return Encoded(rows, [document.tokens for document in held], np.zeros(len(held), np.bool_), [0] * len(held))


def raw_ids(path: Path, dtype: str) -> npt.NDArray[np.uint16] | npt.NDArray[np.uint32]:
    """A header-less file of ids, memory-mapped. Raises `LayoutError` for a NumPy header or an odd size."""
    if dtype not in ("uint16", "uint32"):
        raise LayoutError(f"token ids are uint16 or uint32, got {dtype!r}")
    kind = np.dtype(dtype).newbyteorder("<")
    size = path.stat().st_size
    with path.open("rb") as file:
        if file.read(6) == b"\x93NUMPY":
            raise LayoutError(f"{path} is a NumPy file with a header; raw token ids have none")
    if size == 0 or size % kind.itemsize:
        raise LayoutError(f"{path} has {size} bytes, which is no whole number of {dtype} ids: cut, or another dtype")
    return np.memmap(path, kind, "r")


def split_at(tokens: npt.NDArray[np.uint16] | npt.NDArray[np.uint32], eos_id: int) -> Iterator[tuple[int, int]]:
    """Bounds of the documents of a stream, each with the end-of-sequence id that ends it; looks at it in parts."""
    start, part = 0, 1 << 24
    for at in range(0, len(tokens), part):
        for place in np.flatnonzero(tokens[at : at + part] == eos_id).tolist():
            yield start, at + place + 1
            start = at + place + 1
    if start < len(tokens):
        yield start, len(tokens)


def files_of(source: Path, pattern: str) -> list[Path]:
    """The file itself, or those in a directory, sorted. Raises `FileNotFoundError` when there is none."""
    found = sorted(source.glob(pattern)) if source.is_dir() else [source] if source.is_file() else []
    if not found:
        raise FileNotFoundError(f"there is no {pattern} at {source}")
    return found
