"""Longest matching spans of a text against trying every stretch of words in every document."""

from __future__ import annotations

import json
import math
import random
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glasshouse.data.document import Document, Origin, batches
from glasshouse.data.search.building import Indexing
from glasshouse.data.search.corpus_index import CorpusIndex
from glasshouse.data.search.errors import QueryError
from glasshouse.data.search.matching import LONGEST_TEXT, Matching, match_text, maximal_spans
from glasshouse.data.search.words import split_words

pytest.importorskip("pydivsufsort")


def made(texts: list[str], out: Path, shard_bytes: int = 1 << 20) -> CorpusIndex:
    rows = [Document(f"d{n}", text, "s", Origin(f"f{n}", 0, len(text))) for n, text in enumerate(texts)]
    return CorpusIndex.build(batches(rows), out, Indexing(ranked=False, shard_bytes=shard_bytes))


def joins(character: str) -> bool:
    """A letter, mark, digit or underscore of a script with spaces (the tests use no other)."""
    return unicodedata.category(character)[0] in "LMN" or character == "_"


def pieces(text: str) -> list[tuple[int, int]]:
    """(start, end) of words and of single symbols, in characters."""
    found: list[tuple[int, int]] = []
    for at, character in enumerate(text):
        if character.isspace():
            continue
        if found and found[-1][1] == at and joins(character) and joins(text[at - 1]):
            found[-1] = (found[-1][0], at + 1)
        else:
            found.append((at, at + 1))
    return found


def stands_as_words(corpus: str, part: str) -> int:
    """How often a part stands in a text with no word running on at its ends."""
    count, at = 0, -1
    while (at := corpus.find(part, at + 1)) >= 0:
        end = at + len(part)
        left = at > 0 and joins(corpus[at - 1]) and joins(corpus[at])
        right = end < len(corpus) and joins(corpus[end - 1]) and joins(corpus[end])
        count += not left and not right
    return count


def brute_force(corpus: str, text: str, minimum: int) -> list[tuple[int, int]]:
    """All maximal stretches of at least `minimum` words that stand in the corpus, as byte ranges."""
    parts, found = pieces(text), []
    for first, (start, _) in enumerate(parts):
        longest = None
        for _, end in parts[first:]:
            if not stands_as_words(corpus, text[start:end]):
                break
            longest = end
        words = sum(joins(text[low]) for low, high in parts if longest and low >= start and high <= longest)
        if longest and words >= minimum:
            found.append((start, longest))
    spans = [
        (low, high) for low, high in found if not any(a <= low and high <= b for a, b in found if (a, b) != (low, high))
    ]
    return [(len(text[:low].encode()), len(text[:high].encode())) for low, high in spans]


@settings(deadline=None, max_examples=80)
@given(
    st.lists(st.text(alphabet="ab é.\n", max_size=40), min_size=1, max_size=5),
    st.text(alphabet="ab éc.", max_size=25), st.integers(1, 3), st.integers(5, 100),
)  # fmt: skip
def test_maximal_spans_equal_brute_force_on_small_alphabets(tmp_path_factory, texts, text, minimum, shard_bytes):
    index = made(texts, tmp_path_factory.mktemp("index") / "i", shard_bytes)
    found = maximal_spans(index, text.encode(), split_words(text), minimum)
    assert found == brute_force("\N{NOT SIGN}\0".join(texts), text, minimum)


@pytest.fixture(scope="module")
def megabyte() -> list[str]:
    """A megabyte of Python's own library: always here, and never the same for two versions."""
    texts, size = [], 0
    for path in sorted(Path(json.__file__).parents[1].glob("*.py")):
        texts.append(path.read_text(encoding="utf-8", errors="replace"))
        size += len(texts[-1].encode())
        if size > 1_000_000:
            break
    return texts


def quoting(texts: list[str], draw: random.Random) -> str:
    """A text that quotes the corpus, with words of its own between and inside the quotations."""
    parts = []
    for _ in range(5):
        source = draw.choice([text for text in texts if len(text) > 400])
        start = draw.randrange(len(source) - 200)
        parts += [source[start : start + draw.randint(20, 160)], draw.choice(["zebra crossing", " — ", "the", "\n\n"])]
    return " ".join(parts)


def test_maximal_spans_equal_brute_force_on_a_megabyte(megabyte, tmp_path):
    assert sum(len(text.encode()) for text in megabyte) > 1_000_000
    index = made(megabyte, tmp_path / "i", 300_000)
    assert len(index.shards) > 2
    corpus, draw, seen = "\0".join(megabyte), random.Random(0), 0
    for _ in range(12):
        text = quoting(megabyte, draw)
        found = maximal_spans(index, text.encode(), split_words(text), 2)
        assert found == brute_force(corpus, text, 2)
        seen += len(found)
    assert seen > 50


def test_counts_probabilities_and_places(megabyte, tmp_path):
    index = made(megabyte, tmp_path / "i", 300_000)
    text = quoting(megabyte, random.Random(3))
    found = match_text(index, text, Matching(minimum_words=3, share=1.0, documents=3))
    assert found.spans
    assert len(found.spans) == found.maximal
    total = sum(len(item.encode()) + 1 for item in megabyte)
    for span in found.spans:
        assert text[span.start : span.end] == span.text
        assert span.count == sum(stands_as_words(item, span.text) for item in megabyte) > 0
        words = [span.text[low:high] for low, high in pieces(span.text) if joins(span.text[low])]
        assert len(words) == span.words
        chances = [sum(overlapping(item, word) for item in megabyte) / total for word in words]
        assert span.log_probability == pytest.approx(sum(map(math.log, chances)))
        assert len(span.occurrences) == min(span.count, 3)
        for place in span.occurrences:
            source = megabyte[place.ordinal].encode()
            assert source[place.start : place.end].decode() == span.text
    values = [span.log_probability for span in found.spans]
    assert values == sorted(values)


def overlapping(text: str, word: str) -> int:
    count, at = 0, -1
    while (at := text.find(word, at + 1)) >= 0:
        count += 1
    return count


def test_only_the_most_unusual_spans_stay_and_overlaps_are_put_together(tmp_path):
    index = made(["the cat sat on the mat and slept", "on the mat and slept a dog", "the the the cat"], tmp_path / "i")
    text = "So the cat sat on the mat and slept a dog. The cat slept a dog"
    everything = match_text(index, text, Matching(minimum_words=2, share=1.0))
    assert {span.text for span in everything.spans} == {
        "the cat sat on the mat and slept", "on the mat and slept a dog", "slept a dog"
    }  # fmt: skip
    assert [passage.text for passage in everything.passages] == [
        "the cat sat on the mat and slept a dog", "slept a dog"
    ]  # fmt: skip
    assert [len(passage.spans) for passage in everything.passages] == [2, 1]
    one = match_text(index, text, Matching(minimum_words=2, share=0.05))
    assert one.maximal == 3
    assert [span.text for span in one.spans] == ["the cat sat on the mat and slept"]
    assert everything.coverage == pytest.approx((38 + 11) / len(text))


@pytest.mark.parametrize("text", ["", "   \n", "!?", "zebra zebra zebra zebra", "cat at the mats"])
def test_a_text_that_is_not_in_the_corpus(tmp_path, text):
    index = made(["the cat at the mat", "xcat at the mat"], tmp_path / "i")
    found = match_text(index, text, Matching(minimum_words=4, share=1.0))
    assert (found.spans, found.passages, found.coverage) == ((), (), 0.0)


@pytest.mark.parametrize(("text", "message"), [("a\ud800b", "surrogate"), ("a" * (LONGEST_TEXT + 1), "at most")])
def test_texts_that_are_refused(tmp_path, text, message):
    with pytest.raises(QueryError, match=message):
        match_text(made(["a"], tmp_path / "i"), text)


def test_words_in_scripts_without_spaces_stand_alone():
    words = split_words("日本語 naïve_1 नमस्ते don't")
    data = "日本語 naïve_1 नमस्ते don't".encode()
    assert [data[low:high].decode() for low, high in zip(words.starts, words.ends, strict=True)] == [
        "日", "本", "語", "naïve_1", "नमस्ते", "don", "'", "t"
    ]  # fmt: skip
    assert words.is_word.tolist() == [True] * 6 + [False, True]
