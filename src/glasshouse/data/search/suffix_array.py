"""A suffix array over the UTF-8 bytes of a piece of a corpus: exact search for any string.

A folder holds `text.bin` (the documents, each followed by the byte 0xFF), `suffixes.bin` (int32, little-endian: 4 bytes
per byte of text), `documents.parquet` (id, source, origin and offset of every document) and `header.json`. Files are
memory-mapped: opening costs the documents' table, and a query reads some 30 pages.

The sort is libdivsufsort's (Fischer & Kurpicz, "Dismantling DivSufSort", 2017), in memory: 5 bytes per byte of text.
"""

from __future__ import annotations

import importlib.metadata
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from glasshouse.data.search.errors import QueryError, SearchIndexError
from glasshouse.data.search.header import (
    FORMAT,
    FileEntry,
    check_hashes,
    check_sizes,
    entries_of,
    read_header,
    write_header,
)
from glasshouse.data.suffixes import sorted_suffixes
from glasshouse.data.writing import disk_errors_named
from glasshouse.store.configuration import Config

HEADER = "header.json"
TEXT, SUFFIXES, DOCUMENTS = "text.bin", "suffixes.bin", "documents.parquet"
SAMPLED = 4096

_COLUMNS: dict[str, pa.DataType] = {
    "id": pa.string(),
    "source": pa.string(),
    "file": pa.string(),
    "byte_start": pa.int64(),
    "byte_end": pa.int64(),
    "offset": pa.int64(),
}
DOCUMENT_TABLE: pa.Schema = pa.schema(_COLUMNS)
"""`file`, `byte_start`, `byte_end`: the document's origin; `offset`: where its text begins in `text.bin`."""


class ShardHeader(Config):
    """`header.json` of one suffix array."""

    format: int
    documents: int
    text_bytes: int
    sorter: str
    files: dict[str, FileEntry]


class Matches(NamedTuple):
    """The longest match that begins at every position of a query: lengths and counts `[positions]` (int64)."""

    lengths: npt.NDArray[np.int64]
    counts: npt.NDArray[np.int64]


def write_suffix_array(folder: Path, text: bytes | bytearray, documents: pa.Table) -> ShardHeader:
    """Sorts and writes one shard into an empty folder.

    Args:
        text: the documents' UTF-8, each followed by 0xFF.
        documents: a table of the schema `DOCUMENT_TABLE`, in the order of the text.
    """
    with disk_errors_named(folder / TEXT):
        (folder / TEXT).write_bytes(text)
    with disk_errors_named(folder / SUFFIXES):
        sorted_suffixes(np.frombuffer(text, np.uint8)).astype("<i4", copy=False).tofile(folder / SUFFIXES)
    with disk_errors_named(folder / DOCUMENTS):
        pq.write_table(documents.cast(DOCUMENT_TABLE), folder / DOCUMENTS, compression="zstd")
    header = ShardHeader(
        format=FORMAT, documents=documents.num_rows, text_bytes=len(text),
        sorter=f"pydivsufsort {importlib.metadata.version('pydivsufsort')}",
        files=entries_of(folder, [TEXT, SUFFIXES, DOCUMENTS]),
    )  # fmt: skip
    write_header(folder / HEADER, header)
    return header


class SuffixArray:
    """Searches one shard. Opening checks sizes and a sample of the order; `verify` reads and hashes everything.

    Raises on opening: `SearchIndexError` naming what is missing, cut or damaged.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.header = read_header(self.folder / HEADER, ShardHeader)
        self._check()
        self.text = _mapped(self.folder / TEXT, np.uint8)
        self.suffixes = _mapped(self.folder / SUFFIXES, np.dtype("<i4"))
        self._check_order()

    @cached_property
    def documents(self) -> pa.Table:
        """The documents, in order (`DOCUMENT_TABLE`)."""
        try:
            table = pq.read_table(self.folder / DOCUMENTS).combine_chunks()
        except (pa.ArrowException, OSError) as error:
            raise SearchIndexError(f"{self.folder / DOCUMENTS} is damaged ({error}): build the index again") from None
        if table.num_rows != self.header.documents or table.schema.names != DOCUMENT_TABLE.names:
            raise SearchIndexError(f"{self.folder / DOCUMENTS} is not what its header says: build the index again")
        return table

    @cached_property
    def offsets(self) -> npt.NDArray[np.int64]:
        """Document `i` is `text[offsets[i]:offsets[i + 1] - 1]`; int64 `[documents + 1]`."""
        starts = self.documents.column("offset").to_numpy()
        offsets = np.append(starts, self.header.text_bytes).astype(np.int64)
        if offsets[0] != 0 or (np.diff(offsets) < 1).any():
            raise SearchIndexError(f"{self.folder / DOCUMENTS} is damaged: its offsets do not ascend")
        return offsets

    def interval(self, query: bytes) -> tuple[int, int]:
        """The places `[low, high)` in the suffix array of all occurrences of a query.

        Raises `QueryError` for an empty query or one with the byte 0xFF, `SearchIndexError` for a damaged array.
        """
        from glasshouse.data.search.kernel import interval

        wanted = as_query(query)
        return self._sound(interval(self.text, self.suffixes, wanted, 0, len(wanted)))

    def count(self, query: bytes) -> int:
        """How often a string of bytes occurs (overlaps included)."""
        low, high = self.interval(query)
        return high - low

    def positions(self, low: int, high: int, most: int | None = None) -> npt.NDArray[np.int64]:
        """Positions in the text of the suffixes `[low, high)`, ascending; the smallest `most` of them."""
        found = self.suffixes[low:high]
        if most is not None and most < len(found):
            found = np.partition(found, most)[:most]
        return np.sort(found).astype(np.int64)

    def rows(self, positions: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """The rows of the documents in which positions lie."""
        return np.searchsorted(self.offsets, positions, side="right") - 1

    def longest_matches(self, query: bytes) -> Matches:
        """Matching statistics: the longest match that begins at every byte of a query, and how often it occurs."""
        from glasshouse.data.search.kernel import matching_statistics

        wanted = as_query(query)
        out = np.zeros((len(wanted), 3), np.int64)
        if not matching_statistics(self.text, self.suffixes, wanted, out):
            raise self._damaged()
        return Matches(out[:, 0], out[:, 2] - out[:, 1])

    def longest_spans(
        self, query: bytes, starts: npt.NDArray[np.int64], ends: npt.NDArray[np.int64], least: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.int64]:
        """For every start, the end of the longest span of whole words that occurs here and lies in no earlier one; -1
        for none (`kernel.longest_spans`).
        """
        from glasshouse.data.search.kernel import longest_spans
        from glasshouse.data.search.words import word_classes

        out = np.empty(len(starts), np.int64)
        if not longest_spans(self.text, self.suffixes, as_query(query), starts, ends, least, word_classes(), out):
            raise self._damaged()
        return out

    def whole_words(self, query: bytes) -> npt.NDArray[np.int64]:
        """Positions at which a query stands as whole words, ascending."""
        from glasshouse.data.search.kernel import whole_word_places
        from glasshouse.data.search.words import word_classes

        low, high = self.interval(query)
        out = np.empty(high - low, np.int64)
        found = whole_word_places(
            self.text, self.suffixes, low, high, len(query), word_classes(), max(high - low, 1), out
        )  # fmt: skip
        if found < 0:
            raise self._damaged()
        return np.sort(out[:found])

    def document_text(self, row: int) -> str:
        """The text of a document."""
        return self.document_bytes(row).decode()

    def document_bytes(self, row: int) -> bytes:
        """The UTF-8 of a document."""
        return bytes(self.text[self.offsets[row] : self.offsets[row + 1] - 1])

    def verify(self) -> None:
        """Raises `SearchIndexError` unless every file has its recorded sha256."""
        check_hashes(self.folder, self.header.files)

    def _check(self) -> None:
        header = self.header
        if header.format != FORMAT:
            raise SearchIndexError(
                f"{self.folder} has format {header.format}, this version reads {FORMAT}: build again"
            )
        expected = {TEXT: header.text_bytes, SUFFIXES: 4 * header.text_bytes}
        for name in (TEXT, SUFFIXES, DOCUMENTS):
            entry = header.files.get(name)
            if entry is None or entry.bytes != expected.get(name, entry.bytes):
                raise SearchIndexError(f"{self.folder / HEADER} is damaged: what it says of {name} does not fit")
        check_sizes(self.folder, header.files)

    def _check_order(self) -> None:
        from glasshouse.data.search.kernel import SEPARATOR, count_disorder

        size = len(self.text)
        places = np.unique(np.linspace(0, size - 2, min(SAMPLED, size - 1)).astype(np.int64))
        if self.text[-1] != SEPARATOR or (size > 1 and count_disorder(self.text, self.suffixes, places)):
            raise self._damaged()

    def _sound(self, found: tuple[int, int]) -> tuple[int, int]:
        if found[0] < 0:
            raise self._damaged()
        return int(found[0]), int(found[1])

    def _damaged(self) -> SearchIndexError:
        return SearchIndexError(
            f"{self.folder / SUFFIXES} is damaged: it is not the sorted order of {TEXT}; build the index again"
        )


def as_query(query: bytes) -> npt.NDArray[np.uint8]:
    """A query as an array. Raises `QueryError` when it is empty or holds the byte 0xFF."""
    if not query:
        raise QueryError("the query is empty: give at least one character")
    if b"\xff" in query:
        raise QueryError("the query holds the byte 0xFF, which no text in UTF-8 has")
    return np.frombuffer(query, np.uint8)


def _mapped(path: Path, dtype: npt.DTypeLike) -> npt.NDArray[np.generic]:
    # A plain array view: the compiled loops know no memmap.
    return np.asarray(np.memmap(path, dtype, "r"))
