"""Ranked search: BM25 (Robertson & Zaragoza, 2009; k1 = 1.2, b = 0.75) over an inverted index made by tantivy.

A query is words, all optional, the more and the rarer the better; "words in quotes" must stand in that order; `+word`
must occur and `-word` must not. Nothing else has a meaning, so no query can be made to run away.
Words are runs of letters and digits, without case; those of 40 bytes and more are not indexed.

Equal scores are ordered by the documents' numbers. The index files carry random names, so they differ between two
builds; what is found does not.
"""

from __future__ import annotations

import re
import shutil
import tempfile
import weakref
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

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
from glasshouse.data.writing import disk_errors_named
from glasshouse.store.configuration import Config

HEADER = "header.json"
LONGEST_WORD = 40
LONGEST_QUERY = 4096
MOST_RESULTS = 10_000
WRITER_BYTES = 64 << 20
"""Memory of the index writer: what it holds before it writes a segment."""

_PARTS = re.compile(r'([+-]?)(?:"([^"]*)"|([^\s"]+))')


class RankedHeader(Config):
    """`header.json` of a ranked index."""

    format: int
    documents: int
    engine: str
    files: dict[str, FileEntry]


class Scored(NamedTuple):
    """A document that fits a query: its number and its BM25 score."""

    ordinal: int
    score: float


class Part(NamedTuple):
    """A part of a query: it must (+), must not (-) or may occur; its words with their distance from the first."""

    sign: str
    words: list[tuple[int, str]]


def write_ranked(folder: Path, documents: Iterable[tuple[str, str, str]], memory: int = WRITER_BYTES) -> RankedHeader:
    """Indexes documents `(id, source, text)`, numbered in their order, into an empty folder.

    Raises `ModuleNotFoundError` when tantivy is not installed (`pip install 'glasshouse[search]'`).
    """
    tantivy = _tantivy()
    index = tantivy.Index(_schema(tantivy), path=str(folder))
    # One thread: documents get their numbers in order, and the memory is bounded once.
    writer = index.writer(heap_size=memory, num_threads=1)
    count = 0
    with disk_errors_named(folder):
        for ordinal, (identifier, source, text) in enumerate(documents):
            writer.add_document(tantivy.Document(ordinal=ordinal, id=identifier, source=source, text=text))
            count += 1
        writer.commit()
        writer.wait_merging_threads()
    del writer, index
    for lock in folder.glob(".tantivy-*.lock"):
        lock.unlink()
    names = sorted(path.name for path in folder.iterdir() if path.is_file())
    header = RankedHeader(
        format=FORMAT, documents=count, engine=str(tantivy.__version__), files=entries_of(folder, names)
    )
    write_header(folder / HEADER, header)
    return header


class RankedIndex:
    """Searches a ranked index; a context manager. The folder is only read: locks go to a temporary directory of links.

    Raises on opening: `SearchIndexError` naming what is missing, cut or damaged; `ModuleNotFoundError` without tantivy.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.header = read_header(self.folder / HEADER, RankedHeader)
        if self.header.format != FORMAT:
            raise SearchIndexError(f"{self.folder} has format {self.header.format}, this version reads {FORMAT}")
        check_sizes(self.folder, self.header.files)
        self._tantivy = _tantivy()
        self._links = Path(tempfile.mkdtemp(prefix="glasshouse-search-"))
        self.close = weakref.finalize(self, shutil.rmtree, self._links, ignore_errors=True)
        """Removes the temporary links; done at the latest when the process ends."""
        try:
            for name in self.header.files:
                (self._links / name).symlink_to((self.folder / name).resolve())
            self._index = self._tantivy.Index.open(str(self._links))
            self._searcher = self._index.searcher()
        except Exception as error:
            self.close()
            raise SearchIndexError(f"{self.folder} is damaged ({error}): build the index again") from error
        self._schema = _schema(self._tantivy)
        self._analyser = _analyser(self._tantivy)

    def search(self, query: str, limit: int = 10) -> list[Scored]:
        """The best documents, best first; equal scores by number.

        Raises:
            QueryError: the query is empty, too long, has an open quote, no word, or only words that must not occur.
        """
        if not 1 <= limit <= MOST_RESULTS:
            raise QueryError(f"the number of results must be 1 to {MOST_RESULTS}, got {limit}")
        built = self._built(parse(query, self._words))
        asked = limit
        while True:
            hits = self._searcher.search(built, limit=asked, count=False).hits
            # Which of several equal scores tantivy keeps depends on its segments: ask until the last one is no tie.
            if len(hits) < asked or hits[limit - 1][0] > hits[-1][0]:
                break
            asked *= 4
        documents = [(score, self._searcher.doc(address)) for score, address in hits]
        scored = [Scored(int(document["ordinal"][0]), float(score)) for score, document in documents]
        return sorted(scored, key=lambda item: (-item.score, item.ordinal))[:limit]

    def count(self, query: str) -> int:
        """How many documents fit a query."""
        return int(self._searcher.search(self._built(parse(query, self._words)), limit=1, count=True).count)

    def matched_words(self, query: str) -> set[str]:
        """The words of a query that a document may show (lower case)."""
        return {word for part in parse(query, self._words) if part.sign != "-" for _, word in part.words}

    def verify(self) -> None:
        """Raises `SearchIndexError` unless every file has its recorded sha256."""
        check_hashes(self.folder, self.header.files)

    def __enter__(self) -> RankedIndex:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _words(self, text: str) -> list[str]:
        return list(self._analyser.analyze(text))

    def _built(self, parts: list[Part]) -> Any:
        occur, query = self._tantivy.Occur, self._tantivy.Query
        signs = {"+": occur.Must, "-": occur.MustNot, "": occur.Should}
        built = []
        for sign, words in parts:
            if len(words) == 1:
                one = query.term_query(self._schema, "text", words[0][1])
            else:
                one = query.phrase_query(self._schema, "text", words)
            built.append((signs[sign], one))
        return query.boolean_query(built)


def parse(query: str, words_of: Any) -> list[Part]:
    """The parts of a query. `words_of` splits a text into lower-case words.

    Raises `QueryError` as `RankedIndex.search` says.
    """
    if len(query) > LONGEST_QUERY:
        raise QueryError(f"the query has {len(query)} characters, at most {LONGEST_QUERY} are allowed")
    if query.count('"') % 2:
        raise QueryError(f"the query {query!r} opens a quotation mark and does not close it")
    parts = [part for part in _parts(query, words_of) if part.words]
    if not parts:
        raise QueryError(f"the query {query!r} holds no word that is indexed (letters or digits, below 40 bytes)")
    if all(part.sign == "-" for part in parts):
        raise QueryError(f"the query {query!r} only says what must not occur: add a word to look for")
    return parts


def _parts(query: str, words_of: Any) -> Iterator[Part]:
    for sign, quoted, bare in _PARTS.findall(query):
        words = enumerate(words_of(quoted or bare))
        kept = [(place, word) for place, word in words if len(word.encode()) < LONGEST_WORD]
        first = kept[0][0] if kept else 0
        yield Part(sign, [(place - first, word) for place, word in kept])


def _schema(tantivy: Any) -> Any:
    builder = tantivy.SchemaBuilder()
    builder.add_integer_field("ordinal", stored=True, indexed=False)
    builder.add_text_field("id", stored=False, tokenizer_name="raw", index_option="basic")
    builder.add_text_field("source", stored=False, tokenizer_name="raw", index_option="basic")
    # The text is not stored again: the suffix arrays hold it.
    builder.add_text_field("text", stored=False, tokenizer_name="default", index_option="position")
    return builder.build()


def _analyser(tantivy: Any) -> Any:
    """The analyser of the text, as tantivy's "default", but keeping long words so that distances stay right."""
    return tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.simple()).filter(tantivy.Filter.lowercase()).build()


def _tantivy() -> Any:
    try:
        import tantivy
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("tantivy is not installed: pip install 'glasshouse[search]'") from error
    return tantivy
