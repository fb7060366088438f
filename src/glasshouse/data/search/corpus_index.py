"""The index of a corpus: suffix arrays for exact search, an inverted index for ranked search, in one directory.

shards/00000 …      suffix arrays (`suffix_array.py`), each of a bounded piece of the corpus
record/ranked       the ranked index (`ranked.py`); below `record` because its files differ from build to build
index.json          what was indexed, written last
"""

from __future__ import annotations

import bisect
import dataclasses
import re
from collections.abc import Callable, Iterable
from functools import cached_property
from itertools import accumulate, islice
from pathlib import Path

import numpy as np
import pyarrow as pa

from glasshouse.data.corpus import CorpusDirectory
from glasshouse.data.executor import Executor, Threads
from glasshouse.data.resumption import claimed
from glasshouse.data.search.building import HEADER, RANKED, SHARDS, IndexHeader, Indexing, move_index, write_index
from glasshouse.data.search.errors import CorpusChangedError, SearchIndexError, encoded
from glasshouse.data.search.header import FORMAT, read_header
from glasshouse.data.search.occurrence import CONTEXT, Occurrence, occurrence_at, occurrences_at
from glasshouse.data.search.ranked import RankedIndex
from glasshouse.data.search.suffix_array import Matches, SuffixArray
from glasshouse.data.sources.reading import fingerprint_files
from glasshouse.store.configuration import fingerprint

PLACES = 1000
"""Most places of a query's words that are looked at to choose what to show of a document."""


@dataclasses.dataclass(frozen=True)
class Found:
    """What an exact search found: how often the query occurs, and the first occurrences in the order of the corpus."""

    query: str
    count: int
    occurrences: tuple[Occurrence, ...]


@dataclasses.dataclass(frozen=True)
class Ranked:
    """A document found by ranked search: its BM25 score, and the first place where a word of the query stands."""

    score: float
    occurrence: Occurrence


class CorpusIndex:
    """Searches a corpus; `build` makes an index, `CorpusIndex(path)` opens one.

    Raises on opening: `SearchIndexError` naming what is missing, cut or damaged.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.header = read_header(self.path / HEADER, IndexHeader)
        if self.header.format != FORMAT:
            raise SearchIndexError(f"{self.path} has format {self.header.format}, this version reads {FORMAT}")
        self.shards = [SuffixArray(self.path / SHARDS / f"{n:05d}") for n in range(len(self.header.shards))]
        counts = [shard.header.documents for shard in self.shards]
        self.first = [0, *accumulate(counts)]
        if self.first[-1] != self.header.documents:
            raise SearchIndexError(
                f"{self.path} holds {self.first[-1]} documents, {HEADER} says {self.header.documents}"
            )

    @classmethod
    def open(cls, path: str | Path) -> CorpusIndex:
        """An index that `build` made."""
        return cls(path)

    @classmethod
    def build(
        cls,
        corpus: CorpusDirectory | str | Path | Iterable[pa.RecordBatch],
        out: str | Path,
        indexing: Indexing = Indexing(),  # noqa: B008 (frozen)
        *,
        executor: Executor | None = None,
        work: Path | None = None,
        known: str = "",
        progress: Callable[[int], None] | None = None,
    ) -> CorpusIndex:
        """Indexes a corpus into a directory. A build that was stopped goes on with the shards it has not finished.

        Args:
            corpus: a curated corpus, its directory, or any documents (`document.DOCUMENT`).
            out: new or empty directory; it appears when all is done. When it holds the index of this very corpus, that
                is opened and nothing is done.
            executor: where the suffix arrays are sorted; one thread by default.
            work: where unfinished shards are kept; `OUT.partial` by default.
            known: what says whether the corpus changed, for documents that are no curated corpus; else the content.
            progress: called with the bytes of text of every shard when it is done.

        Raises:
            CorpusChangedError: `out` holds the index of another corpus.
            SearchIndexError: there are no documents.
            BusyDirectoryError: another run is building there.
        """
        target = Path(out)
        directory = CorpusDirectory(corpus) if isinstance(corpus, str | Path) else corpus
        known = corpus_fingerprint(directory) if isinstance(directory, CorpusDirectory) else known
        if (target / HEADER).exists():
            return _same(cls(target), known)
        home = work or target.with_name(target.name + ".partial")
        batches = directory.batches() if isinstance(directory, CorpusDirectory) else directory
        with claimed(target, home):
            if (target / HEADER).exists():  # another run was quicker
                return _same(cls(target), known)
            write_index(batches, known, home, indexing, executor or Threads(), progress)
            move_index(home, target)
        return cls(target)

    def check_corpus(self, corpus: CorpusDirectory) -> None:
        """Raises `CorpusChangedError` unless a corpus is the one that was indexed (by the sha256 of its files)."""
        self.check_fingerprint(corpus_fingerprint(corpus), corpus.path)

    def check_fingerprint(self, known: str, corpus: object) -> None:
        """The same for a fingerprint that `build` was given; `corpus` names it in the error."""
        if known != self.header.corpus:
            raise CorpusChangedError(
                f"{self.path} was not made from the documents that are in {corpus} now: remove it, or give another "
                "directory for the index, and build again"
            )

    def count(self, query: str | bytes) -> int:
        """How often a string occurs in the corpus, to the byte (overlaps included).

        Raises `QueryError` for an empty string, or one that is no UTF-8 text; so do all searches.
        """
        return sum(shard.count(_bytes(query)) for shard in self.shards)

    def find(self, query: str | bytes, limit: int = 10, context: int = CONTEXT) -> Found:
        """All occurrences counted, and the first `limit` of them in the order of the corpus."""
        wanted, count = _bytes(query), 0
        found: list[Occurrence] = []
        for number, shard in enumerate(self.shards):
            low, high = shard.interval(wanted)
            count += high - low
            if high > low and len(found) < limit:
                positions = shard.positions(low, high, limit - len(found))
                found += occurrences_at(shard, self.first[number], positions, len(wanted), context)
        return Found(wanted.decode(errors="replace"), count, tuple(found))

    def find_words(self, query: str, limit: int = 10, context: int = CONTEXT) -> Found:
        """As `find`, but only where the query begins and ends as words do (`words.py`)."""
        wanted, count = _bytes(query), 0
        found: list[Occurrence] = []
        for number, shard in enumerate(self.shards):
            positions = shard.whole_words(wanted)
            count += len(positions)
            shown = positions[: max(limit - len(found), 0)]
            found += occurrences_at(shard, self.first[number], shown, len(wanted), context)
        return Found(query, count, tuple(found))

    def longest_matches(self, query: str | bytes) -> Matches:
        """Matching statistics over all shards: for every byte of a query, the longest match that begins there and how
        often it occurs.
        """
        wanted = _bytes(query)
        each = [shard.longest_matches(wanted) for shard in self.shards]
        lengths = np.max([item.lengths for item in each], axis=0)
        counts = np.sum([np.where(item.lengths == lengths, item.counts, 0) for item in each], axis=0)
        return Matches(lengths, counts)

    def rank(self, query: str, limit: int = 10, context: int = CONTEXT) -> list[Ranked]:
        """The best documents for a query by BM25 (`ranked.py` says what a query may hold).

        Raises:
            QueryError: as `RankedIndex.search`.
            SearchIndexError: the index was made without the ranked part.
        """
        words = self.ranked.matched_words(query)
        return [
            Ranked(item.score, self._shown(item.ordinal, words, context)) for item in self.ranked.search(query, limit)
        ]

    @cached_property
    def ranked(self) -> RankedIndex:
        """The ranked index. Raises `SearchIndexError` when it was not made."""
        if not self.header.ranked:
            raise SearchIndexError(f"{self.path} was made without the ranked index: build it with ranked=True")
        return RankedIndex(self.path / RANKED)

    def place(self, ordinal: int) -> tuple[SuffixArray, int]:
        """The shard and the row of a document's number."""
        number = bisect.bisect_right(self.first, ordinal) - 1
        return self.shards[number], ordinal - self.first[number]

    def document_text(self, ordinal: int) -> str:
        """The text of a document by its number."""
        shard, row = self.place(ordinal)
        return shard.document_text(row)

    def verify(self) -> None:
        """Reads everything; raises `SearchIndexError` naming the first file that has changed."""
        for shard in self.shards:
            shard.verify()
        if self.header.ranked:
            self.ranked.verify()

    def close(self) -> None:
        """Closes the ranked index, if it was opened."""
        if "ranked" in self.__dict__:
            self.ranked.close()

    def __enter__(self) -> CorpusIndex:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _shown(self, ordinal: int, words: set[str], context: int) -> Occurrence:
        shard, row = self.place(ordinal)
        text = shard.document_text(row)
        first, last = densest(text, words, context)
        start = len(text[:first].encode())
        return occurrence_at(shard, ordinal - row, row, start, start + len(text[first:last].encode()), context)


def corpus_fingerprint(corpus: CorpusDirectory) -> str:
    """Says which documents a corpus holds: names, sizes and sha256 of its files."""
    return fingerprint([list(entry) for entry in fingerprint_files([str(path) for path in corpus.document_files])])


def _bytes(query: str | bytes) -> bytes:
    return encoded(query) if isinstance(query, str) else query


def _same(found: CorpusIndex, known: str) -> CorpusIndex:
    if known and found.header.corpus == known:
        return found
    raise CorpusChangedError(
        f"{found.path} already holds an index, of {'other' if known else 'perhaps other'} documents: remove it, or "
        "give another directory"
    )


def densest(text: str, words: set[str], most: int) -> tuple[int, int]:
    """The shortest stretch of at most `most` characters with the most different words of a set, the first such; (0, 0)
    where there is none. Only the first `PLACES` occurrences are looked at.
    """
    pattern = rf"(?<![^\W_])(?:{'|'.join(map(re.escape, sorted(words)))})(?![^\W_])"
    found = islice(re.finditer(pattern, text, re.IGNORECASE), PLACES) if words else ()
    places = [(word.start(), word.end(), word.group().lower()) for word in found]
    best, chosen = (0, 0), (0, 0)
    for index, (start, end, _) in enumerate(places):
        seen: set[str] = set()
        for _, until, word in places[index : index + 4 * len(words)]:
            if until - start > most and until > end:
                break
            seen.add(word)
            if (len(seen), start - until) > best:
                best, chosen = (len(seen), start - until), (start, until)
    return chosen
