"""The n-gram baseline against a direct reading of its formula."""

from __future__ import annotations

import math
from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glasshouse.evaluation.ngram import NGram


def brute_force(train: list[int], vocabulary: int, order: int, history: list[int], word: int) -> float:
    if order == 0:
        return 1 / vocabulary
    context = tuple(history[len(history) - order + 1 :]) if order > 1 else ()
    grams = Counter(tuple(train[i : i + order]) for i in range(len(train) - order + 1))
    followers = defaultdict(int)
    kinds = defaultdict(set)
    for gram, count in grams.items():
        followers[gram[:-1]] += count
        kinds[gram[:-1]].add(gram[-1])
    lower = brute_force(train, vocabulary, order - 1, history, word)
    if not followers[context]:
        return lower
    distinct = len(kinds[context])
    return (grams[(*context, word)] + distinct * lower) / (followers[context] + distinct)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(0, 4), min_size=4, max_size=40),
    st.lists(st.integers(0, 4), min_size=1, max_size=12),
    st.integers(1, 4),
)
def test_equals_the_formula(train: list[int], text: list[int], order: int) -> None:
    nats = NGram(train, 5, order).nats(text, history=0)
    padded = [0] * (order - 1) + text
    for index in range(len(text)):
        expected = -math.log(brute_force(train, 5, order, padded[: order - 1 + index], text[index]))
        assert nats[index] == pytest.approx(expected, rel=1e-12)


def test_probabilities_sum_to_one() -> None:
    model = NGram(np.random.default_rng(0).integers(0, 7, 200), 7, 3)
    total = sum(math.exp(-model.nats([3, 1, word], history=0)[-1]) for word in range(7))
    assert total == pytest.approx(1, abs=1e-12)


def test_longer_histories_help_on_a_deterministic_cycle() -> None:
    cycle = [0, 1, 2, 0, 2, 1] * 200
    bits = [NGram(cycle[:900], 3, order).nats(cycle[900:], history=0).mean() for order in (1, 2, 3)]
    assert bits[0] > bits[1] > bits[2]


def test_bad_input() -> None:
    with pytest.raises(ValueError, match="order 9 must be 1 to 6"):
        NGram([1, 2], 1024, 9)
    with pytest.raises(ValueError, match="needs at least 3 tokens"):
        NGram([1, 2], 4, 3)
    with pytest.raises(ValueError, match=r"all in \[0, 4\)"):
        NGram([1, 9, 2], 4, 2)
