"""Scores beside baselines, intervals by group and paired tests, against their definitions and against scipy."""

import numpy as np
import pytest
from scipy.stats import binomtest, permutation_test

from glasshouse.evaluation.records import Metric, MetricError, Record, mean_of
from glasshouse.evaluation.scores import compare_records, score


def records(values, groups=None, name="acc"):
    return [
        Record(str(n), "", 0, 0, {name: float(value)}, group="" if groups is None else str(groups[n]))
        for n, value in enumerate(values)
    ]


def test_the_headroom_is_what_the_strongest_baseline_leaves():
    mine = records([1, 1, 1, 0, 0])
    found = score(mean_of("acc"), mine, {"guess": records([0.25] * 5), "always": records([1, 1, 0, 0, 0])})
    assert (found.value, found.baselines) == (0.6, {"guess": 0.25, "always": 0.4})
    assert found.strongest == "always"
    assert found.normalised == pytest.approx((0.6 - 0.4) / (1 - 0.4))
    assert score(mean_of("acc"), mine, {"all right": records([1] * 5)}).normalised is None
    assert score(mean_of("acc"), mine, {}).normalised is None
    assert score(mean_of("acc", best=None), mine, {"guess": records([0.25] * 5)}).normalised is None


def test_where_less_is_better_the_headroom_goes_down():
    found = score(mean_of("acc", best=0), records([2, 2]), {"a": records([4, 4]), "b": records([8, 8])})
    assert found.strongest == "a"
    assert found.normalised == pytest.approx(0.5)


def test_a_baseline_without_the_score_is_left_out_and_a_run_without_it_refused():
    found = score(mean_of("acc"), records([1, 0]), {"other": records([1, 0], name="f1")})
    assert found.baselines == {}
    with pytest.raises(MetricError, match="none of 2 records has the score 'f1'"):
        score(mean_of("f1"), records([1, 0]), {})
    with pytest.raises(MetricError, match="the task has no items"):
        score(mean_of("acc"), [], {})


def test_single_right_answers_have_the_exact_interval():
    found = score(mean_of("acc"), records([0] * 20), {})
    exact = binomtest(0, 20).proportion_ci(0.95, method="exact")
    assert (found.low, found.high) == pytest.approx((exact.low, exact.high), abs=1e-9)


def test_an_interval_resamples_groups():
    """Forty groups of ten equal items know as little as forty items: the interval is as wide, not a third."""
    draw = np.random.default_rng(0)
    once = draw.random(40)
    ten, groups = np.repeat(once, 10), np.repeat(np.arange(40), 10)
    wide = score(mean_of("acc"), records(ten, groups), {})
    single = score(mean_of("acc"), records(once), {})
    assert wide.high - wide.low == pytest.approx(single.high - single.low, rel=1e-9)
    narrow = score(mean_of("acc"), records(ten), {})
    assert (narrow.high - narrow.low) < 0.5 * (wide.high - wide.low)
    plain = Metric(lambda chosen: sum(record.scores["acc"] for record in chosen) / len(chosen))
    assert (score(plain, records(ten, groups), {}).low, score(plain, records(ten, groups), {}).high) == pytest.approx(
        (wide.low, wide.high)
    )


def test_right_and_wrong_answers_are_compared_by_mcnemar():
    one, other = records([1] * 14 + [0] * 6), records([1] * 5 + [0] * 15)
    found = compare_records(mean_of("acc"), one, other)
    assert (found.test, found.only_first, found.only_second) == ("McNemar", 9, 0)
    assert found.p == pytest.approx(binomtest(9, 9, 0.5).pvalue)
    assert found.difference == pytest.approx(0.45)


def test_other_scores_are_compared_by_exchanging_groups_as_scipy_does():
    draw = np.random.default_rng(1)
    groups = np.repeat(np.arange(12), 3)
    one, other = draw.random(36) + 0.15, draw.random(36)
    found = compare_records(mean_of("acc"), records(one, groups), records(other, groups))
    sums = (one - other).reshape(12, 3).sum(1)
    theirs = permutation_test((sums,), np.mean, permutation_type="samples", n_resamples=np.inf)
    assert found.test == "randomisation"
    assert found.p == pytest.approx(theirs.pvalue, abs=0.04)
    assert found.difference == pytest.approx((one - other).mean())
    assert found.low < found.difference < found.high
    plain = Metric(lambda chosen: sum(record.scores["acc"] for record in chosen) / len(chosen))
    again = compare_records(plain, records(one, groups), records(other, groups))
    assert (again.difference, again.low, again.high, again.p) == pytest.approx(
        (found.difference, found.low, found.high, found.p)
    )


def test_runs_of_other_items_are_not_compared():
    with pytest.raises(ValueError, match=r"did not answer the same items \(2 and 3\)"):
        compare_records(mean_of("acc"), records([1, 0]), records([1, 0, 1]))
    mine, other = records([1, 0]), records([0, 1])
    assert compare_records(mean_of("acc"), mine, other[::-1]).only_first == 1
    with pytest.raises(ValueError, match="the same task, data, limit and seed"):
        compare_records(mean_of("acc"), mine, [other[0], other[1].but(target=5)])
