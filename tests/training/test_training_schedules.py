"""Schedules against OLMo-7B's published numbers, and their shapes."""

import pytest

from glasshouse.training.order import BatchPlan
from glasshouse.training.schedules import RateSchedule, clip_norm_at, learning_rate

OLMO_7B = {"peak": 3e-4, "steps": 476_838, "warmup": 5000, "schedule": "linear"}


@pytest.mark.parametrize(
    ("step", "rate"), [(1, 3.0054e-5), (2500, 1.65e-4), (5000, 3e-4), (240_919, 1.65e-4), (476_838, 3e-5)]
)
def test_olmo_7b_table(step, rate):
    assert learning_rate(step, **OLMO_7B) == pytest.approx(rate, rel=1e-9)


def test_cosine_wsd_constant():
    def at(step, schedule, **more):
        return learning_rate(step, peak=1.0, steps=100, warmup=20, schedule=schedule, **more)

    assert at(20, "cosine") == pytest.approx(1.0)
    assert at(60, "cosine") == pytest.approx(0.55)
    assert at(100, "cosine") == pytest.approx(0.1)
    assert at(80, "wsd", decay=0.2) == pytest.approx(1.0)
    assert at(90, "wsd", decay=0.2, final=0.0) == pytest.approx(0.5)
    assert at(100, "wsd", decay=0.2, final=0.0) == pytest.approx(0.0)
    assert at(100, "constant") == 1.0
    assert at(10, "constant") == pytest.approx(0.55)


@pytest.mark.parametrize("schedule", ["linear", "cosine", "wsd", "constant"])
def test_anneal_goes_linearly_to_zero_from_where_the_schedule_ended(schedule):
    rates = [
        learning_rate(step, peak=2.0, steps=1100, warmup=50, schedule=schedule, anneal=100) for step in range(1, 1101)
    ]
    assert rates[1000 - 1] == pytest.approx(2.0 if schedule == "constant" else 0.2)
    assert rates[1050 - 1] == pytest.approx(rates[999] / 2)
    assert rates[-1] == 0.0
    assert all(rate >= 0 for rate in rates)


def test_no_warmup_starts_below_the_peak_by_one_step():
    assert learning_rate(1, peak=1.0, steps=10, warmup=0, schedule="linear", final=0.0) == pytest.approx(0.9)
    assert learning_rate(1, peak=1.0, steps=1, warmup=1, schedule="linear") == pytest.approx(1.0)


def test_clip_is_loose_for_the_first_thousand_steps():
    assert [clip_norm_at(s, 1.0, 10.0) for s in (1, 1000, 1001)] == [10.0, 10.0, 1.0]
    assert clip_norm_at(1, 1.0) == 1.0


@pytest.mark.parametrize("schedule", ["linear", "cosine", "wsd", "constant"])
def test_the_clock_counts_rows_while_batches_grow(schedule):
    """With one batch size it is the clock of steps; a run of two halves moves twice as far with the batch doubled."""
    shape = {"peak": 2.0, "schedule": schedule, "final": 0.1}
    constant = RateSchedule(BatchPlan.constant(7), 100, warmup=10, anneal=20, **shape)
    for step in range(1, 101):
        assert constant.at(step) == pytest.approx(learning_rate(step, steps=100, warmup=10, anneal=20, **shape))
    growing = RateSchedule(BatchPlan(((1, 4), (41, 8))), 90, warmup=10, anneal=10, **shape)  # 40 x 4 + 50 x 8 rows
    rows = [4 * step for step in range(1, 41)] + [160 + 8 * step for step in range(1, 51)]
    for step, seen in enumerate(rows, 1):
        expected = learning_rate(seen, steps=560, warmup=40, anneal=80, **shape)
        assert growing.at(step) == pytest.approx(expected)
    assert growing.at(10) == pytest.approx(2.0)
    assert growing.at(90) == 0.0
