"""Token shards as OLMo reads them (arXiv 2402.00838, section 3): header-less little-endian files of token ids.

A directory holds one split: `tokens-00000.bin` … (uint16, or uint32 for more than 65,536 tokens), `spans-00000.parquet`
… (which document lies where, and which bytes of which file it came from) and `shards.json`. Every document ends in the
end-of-sequence token, and its span includes it.

A row of a context length is a run of that many consecutive tokens *inside one shard*; the remainder at a shard's end is
dropped, as in OLMo's `MemMapDataset`. Rows are numbered through the shards, so row → documents and document → rows are
searches in sorted arrays.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from glasshouse.data.document import document_hash
from glasshouse.store.configuration import Config
from glasshouse.store.files import hash_file

_COLUMNS: dict[str, pa.DataType] = {
    "start": pa.int64(),
    "end": pa.int64(),
    "id": pa.string(),
    "source": pa.string(),
    "file": pa.string(),
    "byte_start": pa.int64(),
    "byte_end": pa.int64(),
    "hash": pa.uint64(),
}
SPANS: pa.Schema = pa.schema(_COLUMNS)
MANIFEST = "shards.json"


class ShardError(ValueError):
    """A token shard is damaged, is not what its manifest says, or does not fit the tokenizer."""


class ShardEntry(Config):
    """One shard in the manifest."""

    tokens_file: str
    spans_file: str
    tokens: int
    documents: int
    tokens_sha256: str
    spans_sha256: str


class ShardManifest(Config):
    """`shards.json`: what the shards of one split are."""

    split: str
    dtype: str
    vocabulary: int
    eos_id: int
    text_bytes: int
    sources: dict[str, int]
    shards: tuple[ShardEntry, ...]


class DocumentSpan(NamedTuple):
    """A document's part of a row: tokens `[row_start, row_end)` of the row; the bytes are the whole document's."""

    document_id: str
    source: str
    file: str
    byte_start: int
    byte_end: int
    row_start: int
    row_end: int


class TokenShards:
    """Reads the shards of one split; nothing but the manifest is in memory until it is asked for.

    Raises on opening: `FileNotFoundError` without a manifest; `ShardError` for an empty split, a shard of an odd or
    other number of bytes than its manifest says, and a NumPy `.npy` file in place of raw tokens.
    """

    def __init__(self, directory: str | Path) -> None:
        self.directory = Path(directory)
        path = self.directory / MANIFEST
        if not path.is_file():
            inside = sorted(child.name for child in self.directory.glob("*/") if (child / MANIFEST).is_file())
            hint = f"; open one of its splits: {', '.join(inside)}" if inside else ""
            raise FileNotFoundError(f"{self.directory} holds no {MANIFEST}, so no token shards{hint}")
        self.manifest = ShardManifest(**orjson.loads(path.read_bytes()))
        self.dtype = np.dtype(self.manifest.dtype)
        if not self.token_count:
            raise ShardError(f"{self.directory} is an empty split: it holds no tokens")
        for entry in self.manifest.shards:
            self._check_size(entry)
        self._maps = [np.memmap(self.directory / e.tokens_file, self.dtype, "r") for e in self.manifest.shards]

    @property
    def vocabulary(self) -> int:
        return self.manifest.vocabulary

    @property
    def eos_id(self) -> int:
        return self.manifest.eos_id

    @property
    def token_count(self) -> int:
        return sum(entry.tokens for entry in self.manifest.shards)

    @property
    def document_count(self) -> int:
        return sum(entry.documents for entry in self.manifest.shards)

    @property
    def sources(self) -> list[str]:
        """The sources of the documents, sorted."""
        return sorted(self.manifest.sources)

    def row_count(self, context: int) -> int:
        """Number of rows of `context` tokens."""
        return int(self._first_rows(context)[-1])

    def rows(self, indices: Sequence[int] | npt.NDArray[np.int64], context: int) -> npt.NDArray[np.int64]:
        """Tokens `[rows, context]` (int64) of the rows with these numbers.

        Raises `IndexError` for a row out of range, `ShardError` for a token id outside the vocabulary.
        """
        first = self._first_rows(context)
        wanted = np.asarray(indices, dtype=np.int64).reshape(-1)
        if len(wanted) and (wanted.min() < 0 or wanted.max() >= first[-1]):
            raise IndexError(f"rows must be in [0, {first[-1]}), got {wanted.min()} to {wanted.max()}")
        out = np.empty((len(wanted), context), dtype=np.int64)
        shards = np.searchsorted(first, wanted, side="right") - 1
        for place, (row, shard) in enumerate(zip(wanted.tolist(), shards.tolist(), strict=True)):
            start = (row - int(first[shard])) * context
            out[place] = self._maps[shard][start : start + context]
        if out.size and out.max() >= self.vocabulary:
            place = int(np.argmax(out.max(axis=1)))
            raise self._outside(int(out.max()), f"row {wanted[place]} of {self.directory}")
        return out

    def spans_of_row(self, row: int, context: int) -> list[DocumentSpan]:
        """The documents in a row, in order; O(log documents)."""
        shard, start = self._place(row, context)
        table = self._spans(shard)
        end = start + context
        lowest = int(np.searchsorted(table["end"], start, side="right"))
        highest = int(np.searchsorted(table["start"], end, side="left"))
        return [self._span(shard, span, start, end) for span in range(lowest, highest)]

    def rows_of_document(self, document_id: str, context: int, source: str | None = None) -> list[int]:
        """The numbers of the rows that hold tokens of a document, ascending; O(log documents) after the first call.

        Empty when all its tokens fell into a dropped remainder. Ids are unique inside a source only: without `source`
        all documents of that id count. Raises `KeyError` for an id that is not in this split.
        """
        first = self._first_rows(context)
        hashes, places = self._index
        wanted = np.uint64(document_hash(document_id))
        found, rows = False, set()
        for at in range(int(np.searchsorted(hashes, wanted)), int(np.searchsorted(hashes, wanted, side="right"))):
            shard, span = int(places[at, 0]), int(places[at, 1])
            table = self._tables[shard]
            if table.column("id")[span].as_py() != document_id:
                continue
            if source is not None and table.column("source")[span].as_py() != source:
                continue
            found = True
            bounds = self._spans(shard)
            low, high = int(bounds["start"][span]) // context, (int(bounds["end"][span]) - 1) // context
            rows |= {int(first[shard]) + row for row in range(low, high + 1) if first[shard] + row < first[shard + 1]}
        if not found:
            raise KeyError(f"no document {document_id!r} in {self.directory}")
        return sorted(rows)

    def documents(self) -> pa.Table:
        """All spans, with a column `shard`, in the order of the tokens."""
        tables = [table.append_column("shard", pa.array(np.full(len(table), number, np.int64)))
                  for number, table in enumerate(self._tables)]  # fmt: skip
        return pa.concat_tables(tables)

    def spans_table(self, shard: int) -> pa.Table:
        """The spans of one shard (`SPANS`), in order."""
        return self._tables[shard]

    def document_tokens(self, shard: int, start: int, end: int) -> npt.NDArray[np.int64]:
        """Tokens `[start, end)` of a shard, e.g. of one document."""
        return np.asarray(self._maps[shard][start:end], dtype=np.int64)

    def verify(self) -> None:
        """Reads everything: hashes, every token id against the vocabulary, spans without gaps, every document's end.

        Raises `ShardError` naming the shard and what is wrong with it.
        """
        for number, entry in enumerate(self.manifest.shards):
            for name, sha in ((entry.tokens_file, entry.tokens_sha256), (entry.spans_file, entry.spans_sha256)):
                if hash_file(self.directory / name) != sha:
                    raise ShardError(f"{self.directory / name} has changed: its sha256 is not the one in {MANIFEST}")
            tokens, bounds = self._maps[number], self._spans(number)
            path = self.directory / entry.tokens_file
            if tokens.max() >= self.vocabulary:
                raise self._outside(int(tokens.max()), f"{path} at token {int(tokens.argmax())}")
            if (
                bounds["start"][0] != 0
                or bounds["end"][-1] != len(tokens)
                or (bounds["start"][1:] != bounds["end"][:-1]).any()
            ):
                raise ShardError(f"the spans of {path} do not cover its tokens without gaps")
            wrong = np.flatnonzero(tokens[bounds["end"] - 1] != self.eos_id)
            if len(wrong):
                identifier = self._tables[number].column("id")[int(wrong[0])].as_py()
                raise ShardError(
                    f"document {identifier!r} in {path} does not end in the end-of-sequence id {self.eos_id}, but in "
                    f"{int(tokens[bounds['end'][wrong[0]] - 1])} ({len(wrong)} documents do so): wrong eos_id?"
                )

    def _check_size(self, entry: ShardEntry) -> None:
        path = self.directory / entry.tokens_file
        if not path.is_file():
            raise FileNotFoundError(f"the shard {path} named in {MANIFEST} is missing")
        size, width = path.stat().st_size, self.dtype.itemsize
        with path.open("rb") as file:
            if file.read(6) == b"\x93NUMPY":
                raise ShardError(f"{path} is a NumPy file with a header; token shards are raw: write the bare array")
        if size % width:
            raise ShardError(f"{path} has {size} bytes, not a multiple of {width} ({self.dtype}): it is cut or damaged")
        if size != entry.tokens * width:
            raise ShardError(
                f"{path} holds {size // width} tokens, {MANIFEST} says {entry.tokens}: it is cut or damaged"
            )

    def _outside(self, token: int, where: str) -> ShardError:
        return ShardError(
            f"token id {token} in {where} is outside the vocabulary of {self.vocabulary}: "
            "the shard was written with another tokenizer or dtype"
        )

    def _first_rows(self, context: int) -> npt.NDArray[np.int64]:
        if context < 1:
            raise ValueError(f"context must be at least 1 token, got {context}")
        return np.concatenate([[0], np.cumsum([entry.tokens // context for entry in self.manifest.shards])]).astype(
            np.int64
        )

    def _place(self, row: int, context: int) -> tuple[int, int]:
        first = self._first_rows(context)
        if not 0 <= row < first[-1]:
            raise IndexError(f"row must be in [0, {first[-1]}), got {row}")
        shard = int(np.searchsorted(first, row, side="right")) - 1
        return shard, (row - int(first[shard])) * context

    def _span(self, shard: int, span: int, start: int, end: int) -> DocumentSpan:
        bounds, table = self._spans(shard), self._tables[shard]
        names = ("id", "source", "file", "byte_start", "byte_end")
        identifier, source, file, first, last = [table.column(name)[span].as_py() for name in names]
        low, high = max(start, int(bounds["start"][span])), min(end, int(bounds["end"][span]))
        return DocumentSpan(identifier, source, file, first, last, low - start, high - start)

    @cached_property
    def _tables(self) -> list[pa.Table]:
        return [pq.read_table(self.directory / entry.spans_file).combine_chunks() for entry in self.manifest.shards]

    @cached_property
    def _bounds(self) -> list[dict[str, npt.NDArray[np.int64]]]:
        return [{name: table.column(name).to_numpy() for name in ("start", "end")} for table in self._tables]

    def _spans(self, shard: int) -> dict[str, npt.NDArray[np.int64]]:
        return self._bounds[shard]

    @cached_property
    def _index(self) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.int64]]:
        """Hashes of all ids, sorted, and (shard, span) of each."""
        hashes = np.concatenate([table.column("hash").to_numpy() for table in self._tables])
        places = np.concatenate([
            np.stack([np.full(len(table), number), np.arange(len(table))], axis=1)
            for number, table in enumerate(self._tables)
        ])  # fmt: skip
        order = np.argsort(hashes, kind="stable")
        return hashes[order], places[order].astype(np.int64)
