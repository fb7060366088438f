"""Personal information: the corrected dialect, case by case."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glasshouse.data.document import Document, Origin, to_batch
from glasshouse.data.signals.pii import find_spans, mask, spans_of_batch

FOUND = [
    ("write to jane.doe+x@mail.example.org", "jane.doe+x@mail.example.org", "EMAIL_ADDRESS"),
    ("jane@example.com", "jane@example.com", "EMAIL_ADDRESS"),
    ("(jane@example.com).", "jane@example.com", "EMAIL_ADDRESS"),
    ("écrire à zoé@exemple.fr, merci", "zoé@exemple.fr", "EMAIL_ADDRESS"),
    ("206-555-0100 is mine", "206-555-0100", "PHONE_NUMBER"),
    ("call (206) 555-0100.", "(206) 555-0100", "PHONE_NUMBER"),
    ("call +1 206 555 0100", "+1 206 555 0100", "PHONE_NUMBER"),
    ("tél. +33 6 12 34 56 78", None, "PHONE_NUMBER"),
    ("at 192.168.10.1, port", "192.168.10.1", "IP_ADDRESS"),
    ("255.255.255.255", "255.255.255.255", "IP_ADDRESS"),
]


@pytest.mark.parametrize(("text", "span", "kind"), FOUND)
def test_found(text, span, kind):
    spans = find_spans(text)
    assert [found.kind for found in spans] == [kind]
    if span is not None:
        assert text[spans[0].start : spans[0].end] == span


@pytest.mark.parametrize("text", [
    "2065550100", "x = 1234567890123", "@property", "a @ b.com", "user@localhost", "1.2.3", "1.2.3.4.5", "256.1.1.1",
    "version 10.20.30", "3.14159 2.71828", "date 2024-01-02", "a@b.c1", "",
])  # fmt: skip
def test_not_found(text):
    assert find_spans(text) == []


def test_mask_and_batch():
    text = "a@b.org and 10.0.0.1, c@d.org"
    assert mask(text, find_spans(text)) == "|||EMAIL_ADDRESS||| and |||IP_ADDRESS|||, |||EMAIL_ADDRESS|||"
    texts = [text, "nothing", "", "206-555-0100", "é" * 5 + " a@b.org"]
    batch = to_batch([Document(str(i), t, "s", Origin("f", 0, 0)) for i, t in enumerate(texts)])
    assert spans_of_batch(batch.slice(1)) == [find_spans(t) for t in texts[1:]]


pieces = st.sampled_from(
    [
        "a@b.org",
        "206-555-0100",
        "(206) 555 0100",
        "10.0.0.1",
        "+33 6 12 34 56 78",
        "é",
        "漢",
        "@",
        ".",
        "1",
        "234",
        "-",
        "x",
    ]
)
gaps = st.sampled_from(["", " ", "\n", "\r\n", "\u2028", ", "])


@settings(max_examples=200, deadline=None)
@given(st.lists(st.lists(st.tuples(pieces, gaps), max_size=25), min_size=1, max_size=3))
def test_the_filter_before_the_patterns_loses_nothing(documents):
    texts = ["".join(piece + gap for piece, gap in pairs) for pairs in documents]
    batch = to_batch([Document(str(i), text, "s", Origin("f", 0, 0)) for i, text in enumerate(texts)])
    assert spans_of_batch(batch) == [find_spans(text) for text in texts]


def test_hostile_text_takes_linear_time():
    start = time.process_time()
    for text in (
        "a." * 200_000 + "@",
        "a" * 400_000 + "@",
        "@" * 200_000,
        "a@" + "b." * 100_000,
        "+1 " * 100_000,
        "12 " * 100_000,
    ):
        find_spans(text)
    assert time.process_time() - start < 5
