"""Commands that search a corpus and trace text: search, trace text."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from glasshouse.cli.options import READS, names_files, open_store, printable, printable_json

if TYPE_CHECKING:
    from glasshouse.data.search.corpus_index import CorpusIndex


@click.command()
@click.argument("corpus")
@click.argument("query")
@click.option("--exact", "form", flag_value="exact", default="exact", help="The very bytes of QUERY (the default).")
@click.option("--words", "form", flag_value="words", help="Exact, but only as whole words.")
@click.option("--ranked", "form", flag_value="ranked", help='BM25; knows "a phrase", +needed and -unwanted words.')
@click.option("--index", type=click.Path(path_type=Path, file_okay=False), help="Where the index is kept.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=10, show_default=True, help="Most places shown.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@READS
def search(corpus: str, query: str, form: str, index: Path | None, limit: int, as_json: bool, location: str) -> None:
    """Find QUERY in a CORPUS: how often it occurs, and where.

    CORPUS is a directory that `curate` wrote, a file, directory, pattern or URL of documents, an index, or an artifact
    of the store (an id, a pin). The first search makes the index: beside a directory as CORPUS.index, for an artifact
    in the store, else in the directory given with --index.
    """
    with open_index(corpus, index, location) as opened:
        if form == "ranked":
            print_ranked(opened, query, limit, as_json)
        else:
            found = opened.find_words(query, limit) if form == "words" else opened.find(query, limit)
            print_found(found, as_json)


def open_index(corpus: str, index: Path | None, location: str) -> CorpusIndex:
    """The index of a corpus, made if there is none yet."""
    from glasshouse.data.search.building import HEADER
    from glasshouse.data.search.corpus_index import CorpusIndex

    path = Path(corpus)
    if (path / HEADER).is_file():
        return CorpusIndex(path)
    if not names_files(corpus):
        return _index_of_artifact(corpus, index, location)
    if index is None and not path.is_dir():
        raise click.UsageError(f"{corpus} is no directory: say with --index DIRECTORY where its index shall be kept")
    if index is None and (path / "manifest.json").is_file():
        raise click.UsageError(
            f"{corpus} is an artifact: name it by its id to keep the index in its store, or use --index"
        )
    target = index or path.resolve().with_name(path.resolve().name + ".index")
    return (
        _index_of_directory(path, target) if any(path.glob("documents-*.parquet")) else _index_of_files(corpus, target)
    )


def _index_of_directory(path: Path, target: Path) -> CorpusIndex:
    from glasshouse.data.corpus import CorpusDirectory
    from glasshouse.data.search.building import HEADER
    from glasshouse.data.search.corpus_index import CorpusIndex

    corpus = CorpusDirectory(path)
    if (target / HEADER).is_file():
        found = CorpusIndex(target)
        found.check_corpus(corpus)
        return found
    _say_building(corpus.path, target)
    return CorpusIndex.build(corpus, target)


def _index_of_files(location: str, target: Path) -> CorpusIndex:
    from glasshouse.data.quarantine import Quarantine
    from glasshouse.data.search.building import HEADER
    from glasshouse.data.search.corpus_index import CorpusIndex
    from glasshouse.data.sources.reading import fingerprint_files, read_documents
    from glasshouse.store.configuration import fingerprint

    known = fingerprint([list(entry) for entry in fingerprint_files([location])])
    if (target / HEADER).is_file():
        found = CorpusIndex(target)
        found.check_fingerprint(known, location)
        return found
    _say_building(location, target)
    with Quarantine(target.with_name(target.name + ".quarantine.jsonl")) as quarantine:
        made = CorpusIndex.build(read_documents(location, quarantine), target, known=known)
    if quarantine.rows_quarantined:
        click.echo(f"{quarantine.rows_quarantined} records were put aside in {quarantine.path}", err=True)
    elif quarantine.path is not None:
        quarantine.path.unlink()
    return made


def _index_of_artifact(reference: str, index: Path | None, location: str) -> CorpusIndex:
    from glasshouse.data.steps import Documents
    from glasshouse.data.steps.search import SearchIndex, index_corpus
    from glasshouse.store.execution import execute
    from glasshouse.store.store import StoreError

    store = open_store(location)
    found = store.open(reference)
    if isinstance(found, SearchIndex):
        return found.index
    if not isinstance(found, Documents):
        raise StoreError(f"{reference!r} is a {found.manifest['type']}: give a corpus, documents or a search index")
    if index is not None:
        return _index_of_directory(found.path, index)
    made = execute(index_corpus(found), store)
    assert isinstance(made, SearchIndex)  # noqa: S101 (what the step returns)
    return made.index


def _say_building(corpus: object, target: Path) -> None:
    click.echo(f"indexing {corpus} into {target}: about 0.1 s per MB, once", err=True)


def print_found(found: Any, as_json: bool) -> None:
    """What an exact search found."""
    from dataclasses import asdict

    if as_json:
        click.echo(printable_json(asdict(found)))
        return
    shown = len(found.occurrences)
    times = "time" if found.count == 1 else "times"
    click.echo(f"{found.query!r} occurs {found.count:,} {times}" + (f"; the first {shown}:" if shown else ""))
    for occurrence in found.occurrences:
        print_occurrence(occurrence)


def print_ranked(index: CorpusIndex, query: str, limit: int, as_json: bool) -> None:
    """What a ranked search finds."""
    from dataclasses import asdict

    results, count = index.rank(query, limit), index.ranked.count(query)
    if as_json:
        rows = [asdict(item) for item in results]
        click.echo(printable_json({"query": query, "documents": count, "results": rows}))
        return
    shown = len(results)
    click.echo(f"{count:,} document{'s' * (count != 1)} fit {query!r}" + (f"; the best {shown}:" if shown else ""))
    for item in results:
        print_occurrence(item.occurrence, f"{item.score:7.3f}  ")


def print_occurrence(occurrence: Any, head: str = "") -> None:
    """A place in the corpus: the document, its file and bytes, and the match in its context."""
    first, last = occurrence.bytes
    place = f"{occurrence.document} ({occurrence.source}), {occurrence.file}"
    click.echo(f"{head}{printable(place)} [{first}-{last}]")
    click.echo(f"    {printable(occurrence.snippet)}")


@click.command("text")
@click.argument("model")
@click.argument("text")
@click.option("--words", default=4, show_default=True, help="Words of the shortest span.")
@click.option("--share", default=0.05, show_default=True, help="Spans kept, as a share of the words; 1 keeps all.")
@click.option("--documents", default=5, show_default=True, help="Most places shown of a span.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@READS
def trace_text(model: str, text: str, words: int, share: float, documents: int, as_json: bool, location: str) -> None:
    """Find what TEXT says word for word in the documents of a MODEL, and the updates that saw it.

    TEXT may be `-` for standard input. The first call indexes the model's corpus in the store: about 0.1 s per MB.
    """
    from dataclasses import asdict

    from glasshouse.cli.models import open_model
    from glasshouse.data.search.matching import Matching
    from glasshouse.language.trace_text import text_trace_of

    matching = Matching(minimum_words=words, share=share, documents=documents)
    given: str = sys.stdin.read() if text == "-" else text
    traced = text_trace_of(open_model(location, model), open_store(location)).of_text(given, matching)
    if as_json:
        click.echo(printable_json(asdict(traced)))
        return
    print_traced(traced)


def print_traced(traced: Any) -> None:
    """Spans, most unusual first, each with its documents and the steps that saw it."""
    matches = traced.matches
    click.echo(
        f"{matches.words:,} words, {matches.maximal:,} spans of them in the corpus; the most unusual "
        f"{len(traced.spans)} cover {100 * matches.coverage:.0f} % of the text"
    )
    for item in traced.spans:
        span = item.span
        times = "time" if span.count == 1 else "times"
        click.echo(f"\n{span.text!r}\n  {span.words} words, in the corpus {span.count:,} {times}")
        for place in item.occurrences:
            steps = ", ".join(map(str, place.steps[:8])) + (" …" if len(place.steps) > 8 else "")
            level = "" if place.exact else " (of the whole document)"
            fate = f"seen at update {steps}{level}" if place.steps else f"{place.fate.value}{level}"
            where = place.occurrence
            named = printable(f"{where.document} ({where.source}), {where.file}")
            click.echo(f"  {named} [{where.bytes[0]}-{where.bytes[1]}]: {fate}")
            click.echo(f"      {printable(where.snippet)}")
