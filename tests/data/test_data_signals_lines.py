"""Lines: C4's spans and the second dialects."""

import re
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glasshouse.data.document import Document, Origin, to_batch
from glasshouse.data.signals.c4 import C4Lines
from glasshouse.data.signals.families import compute_signals, family


def batch_of(texts):
    return to_batch([Document(f"d{i}", text, "s", Origin("f", 0, 0)) for i, text in enumerate(texts)])


def c4_spans(text):
    unpunctuated, short, place = [], [], 0
    for line in re.findall(r"[^\n]*\n|[^\n]*$", text)[: text.count("\n") + 1]:
        stripped = line.lower().strip()
        unpunctuated += [] if stripped.endswith((".", "?", "!", '"')) else [(place, place + len(line))]
        short += [(place, place + len(line))] if len(stripped.split()) < 3 else []
        place += len(line)
    assert place == len(text)
    return unpunctuated, short


def gopher_second(text):
    lines = re.split(r"\n+", text)
    if not text:
        return [0, 0, 0]
    repeated = sum(count for count in Counter(lines).values() if count > 1)
    bullets, ellipses = sum(x.startswith(("*", "-")) for x in lines), sum(x.endswith("…") for x in lines)
    return [value / len(lines) for value in (bullets, ellipses, repeated)]


def measured_spans(texts, dialect="c4_v1"):
    batch = compute_signals(batch_of(texts), [C4Lines(dialect=dialect)])
    return [
        tuple([(span["start"], span["end"]) for span in spans] for spans in row.values()) for row in batch.to_pylist()
    ]


def assert_equal(texts):
    families = [family("gopher_v2"), family("c4_v2"), family("core")]
    rows = compute_signals(batch_of(texts), families).to_pylist()
    for text, row, spans in zip(texts, rows, measured_spans(texts), strict=True):
        assert spans == c4_spans(text), text
        assert list(row.values())[:3] == pytest.approx(gopher_second(text), abs=1e-12), text
        assert row["gopher_v2_fraction_of_duplicate_lines"] == row["fraction_of_duplicate_nonempty_lines"]
        assert row["c4_v2_has_javascript"] == ("javascript" in text.lower())
        assert row["lines_with_too_few_words"] == len(spans[1])
        assert row["lines_with_no_ending_punctuation"] == len(spans[0])


CORNERS = [
    "",
    "\n",
    "\n\n",
    "a",
    "\na",
    "a\n",
    "\n\na\n\na\n\n",
    "-\n-\n*\n",
    "…\n\n…",
    "- a…\n* b …",
    "x\u2026",
    "\u2026\u2026",
    "A b c.\nd e f\n g h i! \ntwo words.",
    "JAVASCRIPT;",
    "xjavascriptx",
    "java script",
    "é\nö é ü.\n漢 字 。",
    "İ\nİ b c.\nd",
]


def test_corner_cases():
    assert_equal(CORNERS)


pieces = st.sampled_from(
    ["a", "the b", "c.", "\n", "\n", "\n\n", "-", "*", "…", " ", "\u3000", "javascript", "İ", '"', "\x85"]
)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.lists(pieces, max_size=40).map("".join) | st.text(max_size=60), min_size=1, max_size=3))
def test_any_text(texts):
    assert_equal(texts)


def test_c4_v2_counts_characters_of_the_lower_cased_text():
    assert measured_spans(["İx y z.\na"]) == [([(8, 9)], [(8, 9)])]
    assert measured_spans(["İx y z.\na"], "c4_v2") == [([(9, 10)], [(9, 10)])]
    assert measured_spans(CORNERS[:-1], "c4_v2") == measured_spans(CORNERS[:-1])
