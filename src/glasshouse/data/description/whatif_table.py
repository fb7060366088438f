"""The signals of a finished corpus in memory, ready to be asked about: one column of numbers per signal.

A corpus of 100,000 documents with 40 signals takes 32 MB; columns are read when they are asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from glasshouse.data.corpus import KEPT, CorpusDirectory
from glasshouse.data.opening import DamagedCorpusError, open_corpus

Mask = npt.NDArray[np.bool_]
Numbers = npt.NDArray[np.float64]

RULES = "rules"
EXCERPT = 200
_NOT_SIGNALS = ("id", "source", "origin", "verdict")


class UnmeasuredSignalError(ValueError):
    """A rule names a column that this corpus does not have, or that holds no numbers."""


class Amount(NamedTuple):
    """How much of a corpus: documents, bytes of UTF-8 text before masking, words. `None` where it was not measured."""

    documents: int
    bytes: int | None
    words: int | None


class Duplicates(NamedTuple):
    """Removed duplicates: their rows in the table, the rows of what they duplicate, and whether they are near ones."""

    rows: npt.NDArray[np.int64]
    keepers: npt.NDArray[np.int64]
    near: Mask


class SignalTable:
    """Signals, sources and verdicts of every document that came in.

    Args:
        corpus: the directory of a corpus, or a reader of it.

    Raises:
        NotACorpusError: there is no corpus at that place.
    """

    def __init__(self, corpus: str | Path | CorpusDirectory) -> None:
        self.corpus = open_corpus(corpus)
        base = self.corpus.signals(["source", "verdict"])
        self.sources, self.source_codes = _encoded(base.column("source"))
        self.verdicts, self.verdict_codes = _encoded(base.column("verdict"))
        self._columns: dict[str, Numbers] = {}

    def __len__(self) -> int:
        return len(self.source_codes)

    @cached_property
    def schema(self) -> pa.Schema:
        """Columns of the signal files, with the documentation of each signal as metadata."""
        return pq.read_schema(self.corpus.signal_files[0])

    @cached_property
    def ids(self) -> pa.ChunkedArray[Any]:
        return self.corpus.signals(["id"]).column("id")

    def column(self, name: str) -> Numbers:
        """A signal as float64, NaN where it is missing. Raises `UnmeasuredSignalError` with the nearest names."""
        if name not in self._columns:
            self._check(name)
            values = self.corpus.signals([name]).column(name).combine_chunks()
            self._columns[name] = pc.cast(values, pa.float64()).to_numpy(zero_copy_only=False)
        return self._columns[name]

    def has(self, name: str) -> bool:
        """Whether the corpus has a column of numbers of that name."""
        return name in self.numeric

    @cached_property
    def numeric(self) -> list[str]:
        """Names of the signals that are numbers or flags."""
        kinds = (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean)
        fields = (self.schema.field(position) for position in range(len(self.schema)))
        return [f.name for f in fields if f.name not in _NOT_SIGNALS and any(kind(f.type) for kind in kinds)]

    def removed_by(self, verdict: str) -> Mask:
        """The documents with this verdict."""
        code = self.verdicts.index(verdict) if verdict in self.verdicts else -1
        return np.asarray(self.verdict_codes == code)

    @cached_property
    def kept(self) -> Mask:
        """The documents that the corpus keeps."""
        return self.removed_by(KEPT)

    @property
    def later_stages(self) -> list[str]:
        """Names of the stages after the rules that removed something, in the order of the corpus's configuration."""
        methods = self.corpus.summary.get("curation", {}).get("deduplicate", [])
        order = ["pii", *(str(method.get("name", "")) for method in methods)]
        found = [verdict for verdict in self.verdicts if verdict not in (KEPT, RULES)]
        return sorted(found, key=lambda name: (order.index(name) if name in order else len(order), name))

    @cached_property
    def bytes(self) -> Numbers | None:
        return self.column("byte_count") if self.has("byte_count") else None

    @cached_property
    def words(self) -> Numbers | None:
        return self.column("word_count") if self.has("word_count") else None

    def amount(self, mask: Mask) -> Amount:
        """How much the documents of `mask` are."""
        sizes = [None if column is None else int(column[mask].sum()) for column in (self.bytes, self.words)]
        return Amount(int(np.count_nonzero(mask)), *sizes)

    def by_source(self, mask: Mask) -> list[Amount]:
        """`amount` of the documents of `mask` for every source, in the order of `sources`."""
        codes, size = self.source_codes[mask], len(self.sources)
        counts = np.bincount(codes, minlength=size).astype(int).tolist()
        sums = [
            [None] * size if column is None else np.bincount(codes, column[mask], size).astype(int).tolist()
            for column in (self.bytes, self.words)
        ]
        return [Amount(*row) for row in zip(counts, *sums, strict=True)]

    def identities(self, rows: npt.NDArray[np.int64]) -> list[tuple[str, str]]:
        """(id, source) of some documents."""
        names = self.ids.take(pa.array(rows, pa.int64())).to_pylist()
        return [(str(name), self.sources[self.source_codes[row]]) for name, row in zip(names, rows, strict=True)]

    def kept_excerpts(self, rows: Sequence[int]) -> list[str]:
        """The beginning of the texts of kept documents (by row of this table), as they are in the corpus.

        Kept documents lie in the documents' files in the order of the signals; their ids are compared all the same.
        """
        ranks = np.cumsum(self.kept) - 1
        return [self._excerpt(int(ranks[row]), row) for row in rows]

    def removed_excerpts(self, rows: npt.NDArray[np.int64]) -> list[str]:
        """The beginning of the (masked) texts of removed documents, from the reasons of their removal."""
        wanted = self.identities(rows)
        columns = ["id", "source", "excerpt"]
        only = pa.array([name for name, _ in wanted], pa.string())
        found: dict[tuple[str, str], str] = {}
        for file in self.corpus.removed_files:
            table = pq.read_table(file, columns=columns)
            for row in table.filter(pc.is_in(table.column("id"), only)).to_pylist():
                found.setdefault((row["id"], row["source"]), row["excerpt"])
        return [found.get(identity, "") for identity in wanted]

    @cached_property
    def duplicates(self) -> Duplicates:
        """What was removed as a duplicate, and of what."""
        removed = self.corpus.removed()
        removed = removed.filter(pc.is_valid(removed.column("duplicate_of")))
        sources = pa.array(np.array(self.sources, object)[self.source_codes], pa.string())
        names = _joined(sources, self.ids.combine_chunks())
        rows, keepers = (
            pc.index_in(_joined(removed.column(source), removed.column(name)), names)
            for source, name in (("source", "id"), ("duplicate_of_source", "duplicate_of"))
        )
        found = np.asarray(pc.and_(pc.is_valid(rows), pc.is_valid(keepers)).to_numpy(zero_copy_only=False), bool)
        near = np.array(removed.column("stage").to_pylist(), object) == "minhash"
        first, second = (np.asarray(column.fill_null(0).to_numpy(), np.int64)[found] for column in (rows, keepers))
        return Duplicates(first, second, near[found])

    def _check(self, name: str) -> None:
        import difflib

        if self.has(name):
            return
        if name in self.schema.names:
            raise UnmeasuredSignalError(
                f"{name!r} holds {self.schema.field(name).type}, not numbers: no rule can use it"
            )
        near = difflib.get_close_matches(name, self.numeric, n=3, cutoff=0.4)
        hint = f"did you mean {' or '.join(near)}?" if near else f"there are: {', '.join(self.numeric)}"
        raise UnmeasuredSignalError(f"{self.corpus.path} has no signal {name!r}; {hint}")

    @cached_property
    def _groups(self) -> tuple[list[tuple[Path, int]], npt.NDArray[np.int64]]:
        """Row groups of the documents' files, and the first document of each (with the total at the end)."""
        places, counts = [], [0]
        for file in self.corpus.document_files:
            about = pq.read_metadata(file)
            for group in range(about.num_row_groups):
                places.append((file, group))
                counts.append(about.row_group(group).num_rows)
        starts = np.cumsum(counts)
        if starts[-1] != np.count_nonzero(self.kept):
            raise DamagedCorpusError(
                f"{self.corpus.path}: its files hold {starts[-1]} documents but {np.count_nonzero(self.kept)} have the "
                "verdict 'kept': a file is missing or from another run; curate again"
            )
        return places, starts

    def _excerpt(self, rank: int, row: int) -> str:
        places, starts = self._groups
        group = int(np.searchsorted(starts, rank, side="right")) - 1
        file, number = places[group]
        with pq.ParquetFile(file) as table:
            found = (
                table.read_row_group(number, columns=["id", "text"]).slice(rank - int(starts[group]), 1).to_pylist()[0]
            )
        expected = self.ids[row].as_py()
        if found["id"] != expected:
            raise DamagedCorpusError(
                f"{file}: found document {found['id']!r} where {expected!r} should be; curate again"
            )
        return str(found["text"])[:EXCERPT]


def _joined(sources: Any, names: Any) -> pa.Array[Any]:
    """One text for source and id."""
    joined: Any = pc.binary_join_element_wise(sources, names, "\0")
    return joined.combine_chunks() if isinstance(joined, pa.ChunkedArray) else joined


def _encoded(column: pa.ChunkedArray[Any]) -> tuple[list[str], npt.NDArray[np.int32]]:
    """Sorted distinct values of a column of strings, and for every row the number of its value."""
    if not len(column):
        return [], np.zeros(0, np.int32)
    encoded = column.combine_chunks().dictionary_encode()
    values = [str(value) for value in encoded.dictionary.to_pylist()]
    order = sorted(range(len(values)), key=values.__getitem__)
    places = np.empty(len(values), np.int32)
    places[order] = np.arange(len(values), dtype=np.int32)
    return [values[number] for number in order], places[encoded.indices.to_numpy()]
