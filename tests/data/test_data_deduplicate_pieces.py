"""Repeated paragraphs and n-grams against slow references, the rules of UAX #29, and Dolma's own golden outputs."""

import gzip
import itertools
import random
from pathlib import Path

import numpy as np
import orjson
import pytest
import regex
from hypothesis import given, settings
from hypothesis import strategies as st

from glasshouse.data.deduplication.bloom import Bloom
from glasshouse.data.deduplication.dolma_attributes import piece_attributes, url_attributes
from glasshouse.data.deduplication.first_seen import seen_before
from glasshouse.data.deduplication.methods import Ngrams, Paragraphs, ngrams, paragraphs, url
from glasshouse.data.deduplication.pieces import RepeatedPiecesError
from glasshouse.data.document import Document, Origin, to_batch
from glasshouse.data.executor import Threads
from glasshouse.store.configuration import ConfigurationError

DOLMA = Path(__file__).parents[3] / "shared" / "data" / "dolma"
needs_golden = pytest.mark.skipif(not DOLMA.exists(), reason="Dolma's test data are not at ../shared/data/dolma")


def batch_of(texts):
    return to_batch([Document(str(i), text, "s", Origin("f", 0, 0)) for i, text in enumerate(texts)])


def spans_of(method, shards, executor=None, partitions=None):
    batches = [batch_of(texts) for texts in shards]
    signed = [method.sign(batch) for batch in batches]
    repeated = method.repeated([pieces.keys for pieces in signed], executor, partitions)
    found, at = [], 0
    for batch, pieces in zip(batches, signed, strict=True):
        assert pieces.counts.sum() == len(pieces.keys)
        assert len(pieces.counts) == batch.num_rows
        found += method.spans(batch, repeated[at : at + len(pieces.keys)])
        at += len(pieces.keys)
    return found


# ---- words -------------------------------------------------------------------------------------------------------

VALUES = (
    "CR", "LF", "Newline", "Extend", "ZWJ", "Regional_Indicator", "Format", "Katakana", "Hebrew_Letter", "ALetter",
    "Single_Quote", "Double_Quote", "MidNumLet", "MidLetter", "MidNum", "Numeric", "ExtendNumLet", "WSegSpace",
)  # fmt: skip
SAMPLES = (
    "\r\n\x0b\u0085\u0301\u200d\U0001f1e6\U0001f1e7\u00ad\u30a2\u30ab\u05d0\u05d1aB\u00e9'\".:,\u2019\u00b73 4_\u203f "
    "\u3000\u2003\u65e5\U0001f468\u00a9\u24c2x!#\u0e01\x1c\u00a0"
)


def value_of(character):
    return next((name for name in VALUES if regex.match(rf"\p{{WB={name}}}", character)), "Other")


VALUE = {character: value_of(character) for character in SAMPLES}
SKIPPED = {"Extend", "Format", "ZWJ"}
ENDS = {"CR", "LF", "Newline"}
LETTERS = {"ALetter", "Hebrew_Letter"}


def is_bound(text, at):
    """The rules of UAX #29, section 4.1.1, one after the other, between `text[at - 1]` and `text[at]`."""
    last, this = VALUE[text[at - 1]], VALUE[text[at]]
    if last == "CR" and this == "LF":
        return False
    if last in ENDS or this in ENDS:
        return True
    if last == "ZWJ" and regex.match(r"\p{Extended_Pictographic}", text[at]):
        return False
    if last == this == "WSegSpace":
        return False
    if this in SKIPPED:
        return False
    before = []
    for place in range(at - 1, -1, -1):
        value = VALUE[text[place]]
        if value in SKIPPED and place > 0 and VALUE[text[place - 1]] not in ENDS:
            continue
        before.append(value)
    after = [VALUE[character] for character in text[at:] if VALUE[character] not in SKIPPED]
    one = before[0]
    two = before[1] if len(before) > 1 else ""
    behind = after[1] if len(after) > 1 else ""
    middle_letter, middle_number = {"MidLetter", "MidNumLet", "Single_Quote"}, {"MidNum", "MidNumLet", "Single_Quote"}
    together = [
        one in LETTERS and this in LETTERS,
        one in LETTERS and this in middle_letter and behind in LETTERS,
        two in LETTERS and one in middle_letter and this in LETTERS,
        one == "Hebrew_Letter" and this == "Single_Quote",
        one == "Hebrew_Letter" and this == "Double_Quote" and behind == "Hebrew_Letter",
        two == "Hebrew_Letter" and one == "Double_Quote" and this == "Hebrew_Letter",
        one == "Numeric" and this == "Numeric",
        one in LETTERS and this == "Numeric",
        one == "Numeric" and this in LETTERS,
        two == "Numeric" and one in middle_number and this == "Numeric",
        one == "Numeric" and this in middle_number and behind == "Numeric",
        one == this == "Katakana",
        one in LETTERS | {"Numeric", "Katakana", "ExtendNumLet"} and this == "ExtendNumLet",
        one == "ExtendNumLet" and this in LETTERS | {"Numeric", "Katakana"},
    ]
    if any(together):
        return False
    if one == this == "Regional_Indicator":
        run = 0
        while run < len(before) and before[run] == "Regional_Indicator":
            run += 1
        return run % 2 == 0
    return True


def slow_words(text):
    cuts = [0, *(at for at in range(1, len(text)) if is_bound(text, at)), len(text)]
    parts = [text[start:end] for start, end in itertools.pairwise(cuts)]
    return [part for part in parts if not regex.fullmatch(r"\p{White_Space}*", part)]


def fast_words(text):
    """Hashes of the words of a text."""
    from glasshouse.data.deduplication import word_bounds

    data = np.frombuffer(text.encode(), np.uint8)
    hashes = np.empty(len(data) + 1, np.uint64)
    count = word_bounds.words(data, 0, len(data), word_bounds.word_classes(), hashes)
    assert count == word_bounds.words(data, 0, len(data), word_bounds.word_classes(), hashes[:0])
    return hashes[:count].tolist()


def test_words_are_those_of_the_standard():
    rng = random.Random(5)
    hashes = {}
    for _ in range(4000):
        few = rng.sample(SAMPLES, rng.choice([2, 4, len(SAMPLES)]))  # few characters: long runs of the same rules
        text = "".join(rng.choice(few) for _ in range(rng.randint(0, 8)))
        words, fast = slow_words(text), fast_words(text)
        assert len(words) == len(fast), (text, words)
        for word, value in zip(words, fast, strict=True):
            assert hashes.setdefault(word, value) == value, (text, words)
    assert len(set(hashes.values())) == len(hashes)


def test_words_of_plain_text():
    for text, words in [
        ("You can't stop at 2.0, or 1,000 a_b!", ["You", "can't", "stop", "at", "2.0", ",", "or", "1,000", "a_b", "!"]),
        (
            "日本 e\u0301t\u00e9 \U0001f468\u200d\U0001f469",
            ["日", "本", "e\u0301t\u00e9", "\U0001f468\u200d\U0001f469"],
        ),
        ("", []),
        (" \n\t", []),
    ]:
        assert fast_words(text) == [fast_words(word)[0] for word in words]


# ---- paragraphs --------------------------------------------------------------------------------------------------


def slow_cut(text, separator):
    """Paragraphs and their spans: with the separator behind them, unless the text ends with it."""
    at = 0
    for number, paragraph in enumerate(parts := text.split(separator) if text else []):
        behind = len(separator) if number + 1 < len(parts) and at + len(paragraph) + len(separator) < len(text) else 0
        yield paragraph, at, at + len(paragraph) + behind
        at += len(paragraph) + behind


def slow_paragraphs(texts, separator, skip_empty, minimum_length, minimum_words):
    seen, found = set(), []
    for text in texts:
        found.append([])
        for paragraph, start, end in slow_cut(text, separator):
            if skip_empty and regex.fullmatch(r"\p{White_Space}*", paragraph):
                continue
            if len(paragraph) < minimum_length or len(fast_words(paragraph)) < minimum_words:
                continue
            if paragraph in seen:
                found[-1].append((start, end, 1.0))
            seen.add(paragraph)
    return found


@given(
    st.lists(st.text(alphabet="ab é\U0001f468\n|", max_size=14), max_size=7),
    st.sampled_from(["\n", "\n\n", "é", "|\n", "\U0001f468"]), st.booleans(), st.integers(0, 3), st.integers(0, 2),
    st.sampled_from([1, 2, 16]),
)  # fmt: skip
@settings(max_examples=300, deadline=None)
def test_paragraphs_are_those_of_a_slow_reference(texts, separator, skip_empty, length, words, partitions):
    method = Paragraphs(separator=separator, skip_empty=skip_empty, minimum_length=length, minimum_words=words)
    got = spans_of(method, [texts[:2], texts[2:]], Threads(2), partitions)
    assert got == slow_paragraphs(texts, separator, skip_empty, length, words)


def test_spans_are_characters_and_stay_inside_the_text():
    line = "Übergrößenträger: élève"
    assert spans_of(paragraphs(), [[line], [f"anew\n{line}"]]) == [[], [(5, 28, 1.0)]]


def test_the_first_occurrence_stays_whatever_the_shards():
    texts = ["a\nb", "b\nc\na", "c\nd"]
    expected = [[], [(0, 2, 1.0), (4, 5, 1.0)], [(0, 2, 1.0)]]
    for shards in ([texts], [texts[:1], texts[1:]], [[text] for text in texts]):
        assert spans_of(paragraphs(), shards) == expected


def test_runs_over_partitions_together_find_what_one_run_finds():
    rng = random.Random(2)
    texts = ["\n".join(rng.choice("abcdefghij") * 3 for _ in range(6)) for _ in range(30)]
    whole = spans_of(paragraphs(), [texts])
    parts = [spans_of(Paragraphs(partitions=3, partition_index=i), [texts]) for i in range(3)]
    assert [sorted(itertools.chain(*found)) for found in zip(*parts, strict=True)] == whole
    assert all(any(part) for part in parts)
    with pytest.raises(ConfigurationError, match="partition_index 3 is not below partitions 3"):
        Paragraphs(partitions=3, partition_index=3)


def test_flags_of_other_pieces_are_refused():
    batch = batch_of(["a\nb"])
    for method in (paragraphs(), ngrams()):
        with pytest.raises(RepeatedPiecesError, match="3 values but the batch has 2 pieces"):
            method.spans(batch, np.zeros(3, bool))


def test_a_bloom_filter_finds_what_the_exact_table_finds_unless_it_is_full():
    rng = random.Random(4)
    texts = ["\n".join(f"line {rng.randrange(60)}" for _ in range(5)) for _ in range(40)]
    exactly = spans_of(paragraphs(), [texts])
    assert any(exactly)
    assert spans_of(Paragraphs(filter=Bloom(expected=200, false_positive_rate=1e-9)), [texts]) == exactly


@given(
    st.lists(st.lists(st.sampled_from([0, 1, 7, 2**63, 2**64 - 1]), max_size=6), max_size=4), st.sampled_from([1, 4])
)
@settings(max_examples=100, deadline=None)
def test_seen_before_is_what_a_set_says(shards, partitions):
    seen, expected = set(), []
    for key in (key for shard in shards for key in shard):
        expected.append(key in seen)
        seen.add(key)
    got = seen_before([np.array(shard, np.uint64) for shard in shards], Threads(2), partitions)
    assert got.tolist() == expected


# ---- n-grams -----------------------------------------------------------------------------------------------------


def slow_ngrams(texts, length, stride, threshold, skip_short):
    grams_seen, paragraphs_seen, found = set(), set(), []
    for text in texts:
        found.append([])
        for paragraph, start, end in slow_cut(text, "\n"):
            words, last, count, repeated = paragraph.split(), 0, 0, 0
            for at in range(len(words) - length + 1):
                if last == 0 or at - last >= stride:
                    last, gram = at, tuple(words[at : at + length])
                    count, repeated = count + 1, repeated + (gram in grams_seen)
                    grams_seen.add(gram)
            if count < 2 and not skip_short:
                score = float(paragraph in paragraphs_seen)
                paragraphs_seen.add(paragraph)
            else:
                score = float(np.float32(repeated) / np.float32(count)) if count else float("nan")
            if score >= np.float32(threshold):
                found[-1].append((start, end, score))
    return found


@given(
    st.lists(st.lists(st.lists(st.sampled_from(["a", "bc", "é", "日"]), max_size=7), max_size=4), max_size=5),
    st.integers(1, 3), st.integers(1, 3), st.sampled_from([0.0, 0.3, 0.5, 1.0]), st.booleans(),
)  # fmt: skip
@settings(max_examples=300, deadline=None)
def test_ngrams_are_those_of_a_slow_reference(texts, length, stride, threshold, skip_short):
    texts = ["\n".join(" ".join(words) for words in text) for text in texts]
    method = Ngrams(
        ngram_length=length, stride=stride, overlap_threshold=threshold, skip_short_paragraphs=skip_short,
        skip_empty=False,
    )  # fmt: skip
    assert spans_of(method, [texts[:2], texts[2:]]) == slow_ngrams(texts, length, stride, threshold, skip_short)


# ---- Dolma -------------------------------------------------------------------------------------------------------


def rows_of(name):
    with gzip.open(DOLMA / name) as file:
        return [orjson.loads(line) for line in file]


@pytest.fixture(scope="module")
def provided():
    rows = rows_of("provided/deduper/documents/000.json.gz")
    return to_batch(
        [
            Document(
                row["id"],
                row["text"],
                row["source"],
                Origin("f", i, i),
                metadata=orjson.dumps(row["metadata"]).decode(),
            )
            for i, row in enumerate(rows)
        ]
    )


@needs_golden
def test_addresses_as_dolma_writes_them(provided):
    assert list(url_attributes([provided], url(), "bff_duplicate_url")) == rows_of("expected/dedupe-by-url.json.gz")


def differences(got, expected, name="bff_duplicate_paragraph_spans"):
    """(text, ours, Dolma's) of every span in which the rows differ; all else is asserted equal."""
    assert [row["id"] for row in got] == [row["id"] for row in expected]
    for ours, theirs in zip(got, expected, strict=True):
        here, there = ours["attributes"][name], theirs["attributes"][name]
        for span in here:
            if span not in there:
                yield ours["id"], "ours", span
        for span in there:
            if span not in here:
                yield ours["id"], "theirs", span
        assert [span for span in here if span in there] == [span for span in there if span in here]


PAST_THE_END = [  # the text has 5835 characters: Dolma's last span ends one behind it
    ("http://advocatesaz.org/tag/good-cholesterol/", "ours", [5788, 5835, 1.0]),
    ("http://advocatesaz.org/tag/good-cholesterol/", "theirs", [5788, 5836, 1]),
]


@needs_golden
def test_paragraphs_as_dolma_writes_them_but_inside_the_text(provided):
    got = list(piece_attributes([provided], Paragraphs(skip_empty=False), "bff_duplicate_paragraph_spans"))
    expected = rows_of("expected/dedupe-paragraphs.json.gz")
    assert list(differences(got, expected)) == PAST_THE_END
    assert len(provided.column("text")[1].as_py()) == 5835


@needs_golden
def test_ngrams_as_dolma_writes_them_but_inside_the_text(provided):
    """The golden file is older than Dolma 1.2.1, which like us also reports a share equal to the threshold."""
    method = Ngrams(skip_empty=False, ngram_length=6, stride=3, overlap_threshold=0.5)
    got = list(piece_attributes([provided], method, "bff_duplicate_paragraph_spans"))
    expected = rows_of("expected/dedupe-paragraph-ngrams.json.gz")
    assert list(differences(got, expected)) == [
        *PAST_THE_END,
        ("http://bufvc.ac.uk/allbufvc/search.php?q=Discussion&sort=relevance", "ours", [2174, 2246, 0.5]),
        ("http://groovenotes.org/tag/duke-ellington/", "ours", [1768, 1833, 0.5]),
    ]
    above = Ngrams(skip_empty=False, ngram_length=6, stride=3, overlap_threshold=0.5001)
    got = list(piece_attributes([provided], above, "bff_duplicate_paragraph_spans"))
    assert list(differences(got, expected)) == PAST_THE_END
