"""The order of data: bijective, invertible, the same for any number of ranks, and OLMo's where it is asked for."""

import hashlib
import time
from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glasshouse.training.identity import order_from_identity
from glasshouse.training.order import FEW, BatchPlan, DataOrder, KeyedOrder, OlmoOrder


@pytest.mark.parametrize("rows", [*range(1, 70), 100, 255, 256, 257, 999, 4096, 10_007])
def test_every_epoch_is_a_permutation_and_its_inverse(rows):
    order = KeyedOrder(rows, seed=3)
    everything = np.arange(rows)
    for epoch in range(3):
        permuted = order.row_at(epoch, everything)
        assert np.array_equal(np.sort(permuted), everything)
        assert np.array_equal(order.offset_of(epoch, permuted), everything)


@given(rows=st.integers(1, 2**62), seed=st.integers(0, 2**63), data=st.data())
@settings(max_examples=150, deadline=None)
def test_large_domains_invert(rows, seed, data):
    order = KeyedOrder(rows, seed)
    offset = data.draw(st.integers(0, rows - 1))
    row = order.row_at(5, np.array([offset]))
    assert 0 <= row[0] < rows
    assert order.offset_of(5, row)[0] == offset


@given(rows=st.integers(8, 2**62), seed=st.integers(0, 2**63), data=st.data())
@settings(max_examples=60, deadline=None)
def test_few_values_go_where_many_go(rows, seed, data):
    """Two ways of computing one permutation."""
    order = KeyedOrder(rows, seed)
    offsets = np.array(data.draw(st.lists(st.integers(0, rows - 1), min_size=FEW + 1, max_size=12)))
    many = order.row_at(2, offsets)
    assert [int(order.row_at(2, np.array([offset]))[0]) for offset in offsets] == many.tolist()
    assert [int(order.offset_of(2, np.array([row]))[0]) for row in many] == offsets.tolist()


def test_epochs_and_seeds_differ_and_rows_spread_evenly():
    everything = np.arange(5000)
    first, second = KeyedOrder(5000, 1).row_at(0, everything), KeyedOrder(5000, 1).row_at(1, everything)
    other = KeyedOrder(5000, 2).row_at(0, everything)
    for a, b in [(first, second), (first, other), (first, everything)]:
        assert abs(np.corrcoef(a, b)[0, 1]) < 0.06
        assert np.mean(a == b) < 0.005
    assert np.abs(np.diff(first)).mean() == pytest.approx(5000 / 3, rel=0.05)


@pytest.mark.parametrize("rows", [2, 3, 5, 7, 12])
def test_small_orders_put_every_row_everywhere_equally_often(rows):
    order, epochs = KeyedOrder(rows, 11), 3000
    counts = np.zeros((rows, rows))
    for epoch in range(epochs):
        counts[np.arange(rows), order.row_at(epoch, np.arange(rows))] += 1
    expected = epochs / rows
    chi_square = ((counts - expected) ** 2 / expected).sum()
    freedom = (rows - 1) ** 2
    assert chi_square < freedom + 5 * np.sqrt(2 * freedom) + 5


def test_the_key_is_sixteen_bytes_and_the_numbers_are_pinned():
    order = KeyedOrder(10, 6198)
    assert len(bytes.fromhex(order.key.removeprefix("keyed:"))) == 16
    # These change only if every recorded run is to become untraceable.
    assert order.key == PINNED_KEY
    assert order.row_at(0, np.arange(10)).tolist() == PINNED_ORDER


PINNED_KEY = "keyed:261639b96eecf5c1ae1a195176ca86f4"
PINNED_ORDER = [7, 0, 3, 5, 6, 8, 4, 1, 9, 2]


def test_out_of_range_is_refused():
    with pytest.raises(IndexError, match=r"\[0, 10\)"):
        KeyedOrder(10, 0).row_at(0, np.array([10]))
    with pytest.raises(ValueError, match="between 1"):
        KeyedOrder(0, 0)
    with pytest.raises(IndexError, match="steps count from 1"):
        BatchPlan.constant(4).positions(0)
    with pytest.raises(IndexError, match="rank"):
        DataOrder(KeyedOrder(10, 0), BatchPlan.constant(4)).rows_at_step(1, 2, 2)


def test_olmo_goldens():
    order = OlmoOrder(10)
    assert order.epoch(0).tolist() == [2, 4, 7, 3, 8, 9, 0, 6, 1, 5]
    assert order.epoch(1).tolist() == [6, 4, 1, 8, 3, 2, 5, 9, 0, 7]
    digest = hashlib.sha256(OlmoOrder(100_000).epoch(0).tobytes()).hexdigest()
    assert digest.startswith("078a1b0cbed7a6e2")


PLANS = [BatchPlan.constant(8), BatchPlan.constant(4), BatchPlan(((1, 4), (4, 8), (9, 16)))]


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("world", [1, 2, 4])
@pytest.mark.parametrize("permutation", [KeyedOrder(37, 5), OlmoOrder(37, 5), KeyedOrder(3, 5)])
def test_steps_and_rows_agree_with_brute_force(plan, world, permutation):
    order, steps = DataOrder(permutation, plan), 30
    epochs = 1 + plan.positions(steps).stop // permutation.rows
    stream = np.concatenate([permutation.row_at(e, np.arange(permutation.rows)) for e in range(epochs)])
    seen = defaultdict(list)
    for step in range(1, steps + 1):
        span = plan.positions(step)
        expected = stream[span.start : span.stop]
        for rank in range(world):
            assert order.rows_at_step(step, rank, world).tolist() == expected[rank::world].tolist()
            for row in expected[rank::world].tolist():
                seen[row].append((step, rank))
    assert plan.positions(1).start == 0
    for row in range(permutation.rows):
        visits = order.visits_of_row(row, steps)
        assert sorted((visit.step, visit.rank(world)) for visit in visits) == sorted(seen[row])
        assert order.steps_of_row(row, steps) == sorted(step for step, _ in seen[row])
    counts = Counter(stream[: plan.positions(steps).stop].tolist())
    assert max(counts.values()) - min(counts[row] for row in range(permutation.rows)) <= 1  # nothing dropped


def test_positions_are_contiguous_and_inverted_by_step_at():
    plan = PLANS[2]
    position = 0
    for step in range(1, 40):
        span = plan.positions(step)
        assert span.start == position
        assert {plan.step_at(p) for p in span} == {step}
        position = span.stop
    with pytest.raises(ValueError, match="stages"):
        BatchPlan(((2, 4),))


def test_a_query_takes_under_a_millisecond():
    order = DataOrder(KeyedOrder(1_000_000_007, 1), BatchPlan.constant(256))
    order.rows_at_step(1)
    times = []
    for step in range(100, 160):
        started = time.perf_counter()
        row = order.rows_at_step(step)[0]
        order.visits_of_row(int(row), 4_000_000)
        times.append(time.perf_counter() - started)
    assert sorted(times)[len(times) // 2] < 1e-3


def test_an_order_is_rebuilt_from_its_identity():
    order = DataOrder(KeyedOrder(50, 9), PLANS[2])
    again = order_from_identity(order.identity, 9)
    assert again.rows_at_step(7).tolist() == order.rows_at_step(7).tolist()
    with pytest.raises(ValueError, match="seed 8"):
        order_from_identity(order.identity, 8)
    with pytest.raises(ValueError, match="unknown order"):
        order_from_identity({**order.identity, "order": "random:1"}, 9)
