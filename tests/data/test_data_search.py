"""Exact search against scanning every document, and indexes that are damaged, stopped or of another corpus."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock
from hypothesis import given, settings
from hypothesis import strategies as st

from glasshouse.data.corpus import CorpusDirectory
from glasshouse.data.document import Document, Origin, batches
from glasshouse.data.executor import Threads
from glasshouse.data.resumption import BusyDirectoryError
from glasshouse.data.search import building
from glasshouse.data.search.building import Indexing
from glasshouse.data.search.corpus_index import CorpusIndex, densest
from glasshouse.data.search.errors import CorpusChangedError, QueryError, SearchIndexError
from glasshouse.data.search.suffix_array import HEADER, SUFFIXES, TEXT
from glasshouse.data.writing import write_documents

pytest.importorskip("pydivsufsort")
pytest.importorskip("tantivy")

ONLY_EXACT = Indexing(ranked=False)


def documents(texts: list[str]) -> list[Document]:
    return [
        Document(f"d{n}", text, f"s{n % 2}", Origin(f"f{n}.txt", 10 * n, 10 * n + 5)) for n, text in enumerate(texts)
    ]


def made(texts: list[str], out: Path, indexing: Indexing = ONLY_EXACT) -> CorpusIndex:
    shutil.rmtree(out, ignore_errors=True)
    return CorpusIndex.build(batches(documents(texts), 64), out, indexing)


def scan(texts: list[str], query: bytes) -> list[tuple[int, int]]:
    """(document, byte) of every occurrence, overlaps included."""
    found = []
    for number, text in enumerate(texts):
        data, at = text.encode(), -1
        while (at := data.find(query, at + 1)) >= 0:
            found.append((number, at))
    return found


small = st.text(alphabet="ab é\x00\n", max_size=30)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(small, min_size=1, max_size=8), st.text(alphabet="ab é\x00\n", min_size=1, max_size=5), st.integers(1, 80)
)
def test_every_occurrence_is_found_once_in_order(tmp_path_factory, texts, query, shard_bytes):
    index = made(texts, tmp_path_factory.mktemp("index") / "i", Indexing(ranked=False, shard_bytes=shard_bytes))
    expected = scan(texts, query.encode())
    found = index.find(query, limit=1000)
    assert index.count(query) == found.count == len(expected)
    assert [(item.ordinal, item.start) for item in found.occurrences] == expected
    for item in found.occurrences:
        assert item.document == f"d{item.ordinal}"
        assert texts[item.ordinal].encode()[item.start : item.end].decode() == item.match == query
        assert item.bytes == (10 * item.ordinal, 10 * item.ordinal + 5)
        assert item.before + item.match + item.after in texts[item.ordinal]
    few = index.find(query, limit=2).occurrences
    assert [(item.ordinal, item.start) for item in few] == expected[:2]


@settings(deadline=None, max_examples=40)
@given(st.lists(small, min_size=1, max_size=6), st.text(alphabet="abcé ", min_size=1, max_size=12), st.integers(1, 80))
def test_matching_statistics_equal_brute_force(tmp_path_factory, texts, query, shard_bytes):
    index = made(texts, tmp_path_factory.mktemp("index") / "i", Indexing(ranked=False, shard_bytes=shard_bytes))
    data = query.encode()
    lengths, counts = [], []
    for start in range(len(data)):
        length = max(n for n in range(len(data) - start + 1) if not n or scan(texts, data[start : start + n]))
        lengths.append(length)
        counts.append(len(scan(texts, data[start : start + length])) if length else 0)
    found = index.longest_matches(query)
    assert (found.lengths.tolist(), found.counts.tolist()) == (lengths, counts)


def test_no_match_crosses_documents(tmp_path):
    index = made(["one two", "three four"], tmp_path / "i")
    assert index.count("two") == 1
    assert index.count("twothree") == index.count("two three") == 0
    with pytest.raises(QueryError, match="0xFF"):
        index.count(b"two\xffthree")


def test_two_hundred_spans_of_fifty_characters_are_found_where_they_were_taken(tmp_path):
    texts = [path.read_text(errors="replace") for path in sorted(Path(json.__file__).parents[1].glob("*.py"))[:60]]
    index = made(texts, tmp_path / "i", Indexing(ranked=False, shard_bytes=400_000))
    assert len(index.shards) > 1
    draw = np.random.default_rng(0)
    long = [n for n, text in enumerate(texts) if len(text) > 60]
    for _ in range(200):
        number = int(draw.choice(long))
        start = int(draw.integers(0, len(texts[number]) - 50))
        query = texts[number][start : start + 50]
        found = index.find(query, limit=10_000)
        assert (number, len(texts[number][:start].encode())) in [(o.ordinal, o.start) for o in found.occurrences]


def test_whole_words_only(tmp_path):
    index = made(["art start art_work art, artful", "naïve art", "naïveté 日本語の art"], tmp_path / "i")
    assert index.count("art") == 7
    assert index.find_words("art").count == 4
    assert index.find_words("naïve").count == 1
    assert index.find_words("本").count == 1, "in scripts without spaces every character is a word"
    assert [item.start for item in index.find_words("art", limit=2).occurrences] == [0, 19]
    assert index.find_words("art", limit=0).occurrences == ()


def test_a_snippet_never_breaks_a_character_or_leaves_the_document(tmp_path):
    index = made(["日本" * 50 + "glass" + "é" * 3, "house"], tmp_path / "i")
    item = index.find("glass", context=7).occurrences[0]
    assert (item.before, item.after) == (("日本" * 50)[-7:], "ééé")
    assert index.find("glass", context=0).occurrences[0].before == ""
    assert item.snippet.count("⟦glass⟧") == 1


@pytest.mark.parametrize("query", ["", b"", b"\xff", "a\ud800"])
def test_queries_that_cannot_be(tmp_path, query):
    with pytest.raises(QueryError):
        made(["a"], tmp_path / "i").find(query)


def test_nothing_to_index(tmp_path):
    with pytest.raises(SearchIndexError, match="no documents"):
        CorpusIndex.build([], tmp_path / "i")
    assert not (tmp_path / "i").exists()


def damage_cut_text(shard):
    (shard / TEXT).write_bytes((shard / TEXT).read_bytes()[:-1])


def damage_missing(shard):
    (shard / SUFFIXES).unlink()


def damage_out_of_range(shard):
    places = np.fromfile(shard / SUFFIXES, "<i4")
    np.full_like(places, 2**31 - 1).tofile(shard / SUFFIXES)


def damage_negative(shard):
    np.full(len(np.fromfile(shard / SUFFIXES, "<i4")), -5, "<i4").tofile(shard / SUFFIXES)


def damage_reversed(shard):
    np.fromfile(shard / SUFFIXES, "<i4")[::-1].copy().tofile(shard / SUFFIXES)


def damage_other_text(shard):
    (shard / TEXT).write_bytes((shard / TEXT).read_bytes()[::-1])


def damage_header(shard):
    (shard / HEADER).write_text("{")


def damage_no_header(shard):
    (shard / HEADER).unlink()


def damage_sizes(shard):
    said = json.loads((shard / HEADER).read_text())
    said["text_bytes"] += 1
    (shard / HEADER).write_text(json.dumps(said))


def damage_escape(shard):
    said = json.loads((shard / HEADER).read_text())
    said["files"]["../../index.json"] = said["files"].pop(TEXT)
    (shard / HEADER).write_text(json.dumps(said))


@pytest.mark.parametrize("damage", [value for name, value in sorted(globals().items()) if name.startswith("damage_")])
def test_a_damaged_index_is_refused_by_name(tmp_path, damage):
    made(["the glass house keeps warm air", "and light"] * 5, tmp_path / "i")
    assert CorpusIndex(tmp_path / "i").count("glass") == 5
    damage(tmp_path / "i" / "shards" / "00000")
    with pytest.raises(SearchIndexError, match="shards/00000"):
        CorpusIndex(tmp_path / "i")


def test_damage_that_the_sample_misses_never_reads_outside_the_text(tmp_path):
    index = made(["the glass house keeps warm air"], tmp_path / "i")
    index.shards[0].suffixes = np.full(len(index.shards[0].suffixes), 2**31 - 1, np.int32)
    for search in (index.count, index.find, index.find_words, index.longest_matches):
        with pytest.raises(SearchIndexError, match="damaged"):
            search("glass")


def test_verify_sees_one_flipped_bit(tmp_path):
    index = made(["the glass house"], tmp_path / "i")
    index.verify()
    path = tmp_path / "i" / "shards" / "00000" / TEXT
    data = bytearray(path.read_bytes())
    data[4] ^= 1
    path.write_bytes(data)
    with pytest.raises(SearchIndexError, match="has changed"):
        CorpusIndex(tmp_path / "i").verify()


def hashes(path: Path) -> dict[str, bytes]:
    return {
        str(file.relative_to(path)): file.read_bytes()
        for file in sorted(path.rglob("*"))
        if file.is_file() and "ranked" not in file.parts
    }


def test_the_same_bytes_with_any_number_of_workers_and_after_being_stopped(tmp_path, monkeypatch):
    texts = [f"document {n} of the glass house " * (n % 5 + 1) for n in range(40)]
    indexing = Indexing(shard_bytes=500)
    one = CorpusIndex.build(batches(documents(texts), 300), tmp_path / "one", indexing)
    assert len(one.shards) > 4
    two = CorpusIndex.build(batches(documents(texts), 90), tmp_path / "two", indexing, executor=Threads(3))
    assert hashes(one.path) == hashes(two.path)

    sorted_shards = []
    write = building.write_suffix_array

    def stops(folder, text, table):
        sorted_shards.append(folder.name)
        if len(sorted_shards) == 3:
            raise KeyboardInterrupt
        return write(folder, text, table)

    monkeypatch.setattr(building, "write_suffix_array", stops)
    with pytest.raises(KeyboardInterrupt):
        CorpusIndex.build(batches(documents(texts)), tmp_path / "three", indexing)
    assert not (tmp_path / "three").exists()
    three = CorpusIndex.build(batches(documents(texts)), tmp_path / "three", indexing)
    assert hashes(one.path) == hashes(three.path)
    assert len(sorted_shards) == len(one.shards) + 1, "finished shards are not sorted again"
    assert not (tmp_path / "three.partial").exists()


def test_shards_of_an_earlier_longer_corpus_do_not_stay(tmp_path, monkeypatch):
    indexing = Indexing(shard_bytes=20, ranked=True)

    def fails(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(building, "write_ranked", fails)
        with pytest.raises(KeyboardInterrupt):
            CorpusIndex.build(batches(documents(["a long text of words"] * 5)), tmp_path / "i", indexing)
    index = CorpusIndex.build(batches(documents(["a new text of words", "and more"])), tmp_path / "i", indexing)
    assert index.count("long") == 0
    assert sorted(path.name for path in (tmp_path / "i" / "shards").iterdir()) == ["00000", "00001"]


def corpus_of(texts: list[str], home: Path) -> CorpusDirectory:
    home.mkdir(exist_ok=True)
    write_documents(batches(documents(texts)), home / "documents-00000.parquet")
    return CorpusDirectory(home)


def test_an_index_knows_its_corpus(tmp_path):
    corpus = corpus_of(["the glass house"], tmp_path / "corpus")
    index = CorpusIndex.build(corpus, tmp_path / "i")
    index.check_corpus(corpus)
    again = CorpusIndex.build(tmp_path / "corpus", tmp_path / "i")
    assert again.header == index.header
    changed = corpus_of(["another house"], tmp_path / "corpus")
    with pytest.raises(CorpusChangedError, match="was not made from"):
        index.check_corpus(changed)
    with pytest.raises(CorpusChangedError, match="already holds"):
        CorpusIndex.build(changed, tmp_path / "i")
    assert CorpusIndex(tmp_path / "i").count("glass") == 1


def test_one_build_at_a_time(tmp_path):
    corpus = corpus_of(["the glass house"], tmp_path / "corpus")
    with FileLock(str(tmp_path / "i.partial.lock")), pytest.raises(BusyDirectoryError, match="another run is writing"):
        CorpusIndex.build(corpus, tmp_path / "i")
    assert CorpusIndex.build(corpus, tmp_path / "i").count("glass") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["corpus", "i"]


def test_an_unfinished_folder_is_no_index(tmp_path):
    with pytest.raises(SearchIndexError, match=r"holds no index\.json"):
        CorpusIndex(tmp_path)


def test_without_the_package_the_extra_is_named(tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "pydivsufsort", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'glasshouse\[search\]'"):
        made(["a"], tmp_path / "i")


@given(st.text(alphabet="ab x", max_size=30), st.integers(1, 12))
@settings(deadline=None)
def test_the_stretch_shown_of_a_ranked_document_holds_most_words(text, most):
    wanted = {"a", "b"}
    first, last = densest(text, wanted, most)
    places = [n for n in range(len(text)) if text[n] in "ab" and (text[max(n - 1, 0) : n + 2]).split() == [text[n]]]
    words = [n for n in places if (n == 0 or text[n - 1] == " ") and (n + 1 == len(text) or text[n + 1] == " ")]
    best = max((len({text[n] for n in words if low <= n < low + max(most, 1)}) for low in words), default=0)
    assert len(set(text[first:last].split()) & wanted) == best
