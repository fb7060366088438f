"""Spans of a text replaced, against a reference that goes character by character."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glasshouse.data.mixing.spans import Replacement, SpanReplacement, replace_spans
from glasshouse.store.configuration import ConfigurationError

_SPANS = st.lists(
    st.tuples(st.integers(0, 12), st.integers(0, 6), st.sampled_from(["", "X", "[{}]", "{}{}"])), max_size=6
).map(lambda found: [Replacement(start, start + length, new) for start, length, new in found])


def _reference(text: str, spans: list[Replacement]) -> tuple[str, int]:
    """Marks characters span by span in the order of their starts; a span that meets a marked place is left out."""
    owner: list[int | None] = [None] * len(text)
    inserted: dict[int, int] = {}
    taken: list[int] = []
    for number in sorted(range(len(spans)), key=lambda n: spans[n].start):
        start, end, *_ = spans[number]
        beyond = start > len(text) or (start == len(text) and end > start)
        same_start = any(spans[other].start == start for other in taken)
        covered = any(spans[other].start < start < min(spans[other].end, len(text)) for other in taken)
        if beyond or same_start or covered:
            continue
        taken.append(number)
        inserted[start] = number
        for place in range(start, min(end, len(text))):
            owner[place] = number
    out = []
    for place in range(len(text) + 1):
        if place in inserted:
            start, end, new, _ = spans[inserted[place]]
            out.append(new.replace("{}", text[start:end]))
        if place < len(text) and owner[place] is None:
            out.append(text[place])
    return "".join(out), len(spans) - len(taken)


@given(st.text("abé🎉\n", max_size=14), _SPANS)
def test_spans_are_replaced_as_one_would_by_hand(text: str, spans: list[Replacement]) -> None:
    done = replace_spans(text, spans)
    assert (done.text, done.overlapping) == _reference(text, spans)
    assert done.replaced + done.overlapping == len(spans)


@given(st.text(max_size=20), _SPANS)
def test_replaced_by_themselves_nothing_changes(text: str, spans: list[Replacement]) -> None:
    assert replace_spans(text, [span._replace(replacement="{}") for span in spans]).text == text


def test_overlaps_are_settled_by_place_then_by_rule() -> None:
    text = "0123456789"
    assert replace_spans(text, [Replacement(4, 8, "B"), Replacement(2, 5, "A")]).text == "01A56789"
    assert replace_spans(text, [Replacement(2, 5, "first"), Replacement(2, 9, "second")]).text == "01first56789"
    assert replace_spans(text, [Replacement(0, 10, "all"), Replacement(3, 4, "in")]).text == "all"
    assert replace_spans(text, [Replacement(0, 2, "A"), Replacement(2, 4, "B")]).text == "AB456789"
    assert replace_spans(text, [Replacement(8, 99, "end")]).text == "01234567end"
    assert replace_spans(text, [Replacement(50, 99, "never")]) == (text, 0, 1)


def test_an_empty_span_inserts_and_loses_nothing() -> None:
    assert replace_spans("abc", [Replacement(1, 1, "-"), Replacement(2, 3, "C")]).text == "a-bC"


def test_a_literal_replacement_is_no_template() -> None:
    assert replace_spans("abc", [Replacement(1, 2, "<{}>", literal=True)]).text == "a<{}>c"
    with pytest.raises(ConfigurationError, match="not both"):
        SpanReplacement(spans="x", replacement="y", replacement_field="source")


def test_scores_from_the_least_up_to_below_the_greatest() -> None:
    rule = SpanReplacement(spans="x", minimum_score=0.4, maximum_score=0.9)
    assert [rule.takes(score) for score in (0.39, 0.4, 0.89, 0.9)] == [False, True, True, False]
    with pytest.raises(ConfigurationError, match="nothing would ever be replaced"):
        SpanReplacement(spans="x", minimum_score=0.9, maximum_score=0.4)
