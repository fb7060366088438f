"""Ranked search against BM25 written out, and queries meant to do harm."""

from __future__ import annotations

import math
import re
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glasshouse.data.document import Document, Origin, batches
from glasshouse.data.search.building import Indexing
from glasshouse.data.search.corpus_index import CorpusIndex
from glasshouse.data.search.errors import QueryError, SearchIndexError
from glasshouse.data.search.ranked import LONGEST_QUERY

pytest.importorskip("tantivy")
pytest.importorskip("pydivsufsort")

TEXTS = [
    "The glass house keeps warm air and light.",
    "Light falls on the glass, and the GLASS is clear: glass, glass.",
    "A house of clay; warm, warm house.",
    "Rain.",
    "A gardener writes down what was sown in the glass house of the town " + "and watered " * 8,
    "naïve café 日本語",
    "",
]


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    return made(TEXTS, tmp_path_factory.mktemp("ranked") / "i")


def made(texts: list[str], out: Path) -> CorpusIndex:
    rows = [Document(f"d{n}", text, "s", Origin(f"f{n}", 0, 1)) for n, text in enumerate(texts)]
    return CorpusIndex.build(batches(rows), out, Indexing(shard_bytes=120))


def words_of(text: str) -> list[str]:
    return [word.lower() for word in re.findall(r"[^\W_]+", text)]


def bm25(query: str) -> dict[int, float]:
    """Robertson & Zaragoza (2009), equation 3.15, with the smoothed idf; documents shorter than 40 words."""
    lists = [words_of(text) for text in TEXTS]
    average = sum(map(len, lists)) / len(lists)
    scores: Counter[int] = Counter()
    for word in words_of(query):
        having = sum(word in words for words in lists)
        for number, words in enumerate(lists):
            if count := words.count(word):
                idf = math.log(1 + (len(lists) - having + 0.5) / (having + 0.5))
                scores[number] += idf * count * 2.2 / (count + 1.2 * (0.25 + 0.75 * len(words) / average))
    return dict(scores)


@pytest.mark.parametrize("query", ["glass", "warm house", "the glass house", "日本語 rain", "watered light gardener"])
def test_scores_are_bm25(index, query):
    expected = bm25(query)
    found = {item.occurrence.ordinal: item.score for item in index.rank(query)}
    assert found == pytest.approx(expected, rel=1e-5)
    assert list(found) == sorted(expected, key=lambda number: (-expected[number], number))


def numbers(index: CorpusIndex, query: str) -> set[int]:
    return {item.occurrence.ordinal for item in index.rank(query)}


def test_phrases_and_signs(index):
    assert numbers(index, '"glass house"') == {0, 4}
    assert numbers(index, '"house glass"') == set()
    assert numbers(index, "glass +light") == {0, 1}
    assert numbers(index, "glass -light") == {4}
    assert numbers(index, '+warm -"glass house"') == {2}
    assert numbers(index, "glass-house") == {0, 4}, "joined words are a phrase"
    assert index.ranked.count("glass") == 3


def test_the_match_is_shown_in_its_place(index):
    best = index.rank("clear glass", limit=1)[0].occurrence
    assert best.ordinal == 1
    assert TEXTS[1].encode()[best.start : best.end].decode() == best.match
    assert {"clear", "glass"} <= set(words_of(best.match))


def test_equal_scores_come_in_the_order_of_the_corpus(tmp_path):
    many = made(["same words here"] * 500 + ["other"], tmp_path / "i")
    for limit in (1, 7, 100):
        assert [item.occurrence.ordinal for item in many.rank("words", limit)] == list(range(limit))


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ('"glass', "does not close"), ("", "no word"), ("?? ()", "no word"), ("-glass", "must not occur"),
        ("a" * 50, "no word"), ("x " * LONGEST_QUERY, "characters"),
    ],
)  # fmt: skip
def test_queries_that_cannot_be_answered(index, query, message):
    with pytest.raises(QueryError, match=message):
        index.rank(query)


@pytest.mark.parametrize("limit", [0, -1, 10**9])
def test_a_number_of_results_that_cannot_be(index, limit):
    with pytest.raises(QueryError, match="number of results"):
        index.ranked.search("glass", limit)


@pytest.mark.parametrize(
    "query", ["text:glass", "glass*", "/g.*s/", "[a TO z]", "glass~5", "(" * 2000 + "glass", "glass^99", "glass AND OR"]
)
def test_no_symbol_means_anything(index, query):
    plain = " ".join(words_of(query))
    assert numbers(index, query) <= numbers(index, plain)
    assert bool(numbers(index, query)) == (query in {"glass*", "[a TO z]", "(" * 2000 + "glass", "glass AND OR"})


@settings(deadline=None, max_examples=150)
@given(st.text(max_size=60) | st.text(alphabet='ab"+-:()[]{}*~^\\/ ', max_size=60))
def test_any_text_is_answered_or_refused(index, query):
    try:
        found = index.rank(query)
    except QueryError:
        return
    assert all(item.score > 0 for item in found)


def test_the_index_is_only_read(index):
    folder = index.path / "record" / "ranked"
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    links = index.ranked._links
    index.rank("glass")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    with CorpusIndex(index.path) as other:
        other.rank("glass")
        assert other.ranked._links != links
        mine = other.ranked._links
    assert not mine.exists()


def test_a_damaged_or_missing_ranked_index(tmp_path):
    index = made(TEXTS, tmp_path / "i")
    file = next((tmp_path / "i" / "record" / "ranked").glob("*.idx"))
    file.write_bytes(file.read_bytes()[:-3])
    with pytest.raises(SearchIndexError, match="cut or damaged"):
        index.rank("glass")
    rows = batches([Document("d", "a", "s", Origin("f", 0, 1))])
    plain = CorpusIndex.build(rows, tmp_path / "plain", Indexing(ranked=False))
    with pytest.raises(SearchIndexError, match="without the ranked index"):
        plain.rank("a")


def test_without_the_package_the_extra_is_named(index, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "tantivy", None)
    with CorpusIndex(index.path) as other, pytest.raises(ModuleNotFoundError, match=r"glasshouse\[search\]"):
        other.rank("glass")
