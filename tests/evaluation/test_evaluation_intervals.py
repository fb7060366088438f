"""Intervals and the paired comparison against SciPy and against simulation."""

import numpy as np
import pytest
from scipy import stats

from glasshouse.evaluation.intervals import binomial_interval, bootstrap, paired


@pytest.mark.parametrize(
    ("successes", "trials"), [(0, 5), (5, 5), (1, 1), (3, 10), (250, 500), (4000, 4562), (17, 4562)]
)
def test_the_binomial_interval_is_scipys(successes, trials):
    expected = stats.binomtest(successes, trials).proportion_ci(0.95, method="exact")
    assert binomial_interval(successes, trials) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_it_holds_the_true_share_at_least_95_times_in_100():
    shares = stats.binom(40, 0.3).pmf(range(41))
    held = [low <= 0.3 <= high for low, high in (binomial_interval(count, 40) for count in range(41))]
    assert 0.95 <= shares[held].sum() < 0.99


def test_impossible_counts_are_refused():
    for counts in ((1, 0), (3, 2), (-1, 4)):
        with pytest.raises(ValueError, match="have no interval"):
            binomial_interval(*counts)


def test_the_bootstrap_interval_is_that_of_a_mean():
    values = np.random.default_rng(1).normal(2, 1, 400)
    found = bootstrap(lambda chosen: float(values[chosen].mean()), 400, seed=0, draws=2000)
    half = 1.96 * values.std() / 20
    assert found == pytest.approx((values.mean() - half, values.mean() + half), abs=0.02)
    assert found == bootstrap(lambda chosen: float(values[chosen].mean()), 400, seed=0, draws=2000)


def test_the_paired_comparison_is_mcnemars():
    draw = np.random.default_rng(2)
    first, second = draw.random(300) < 0.6, draw.random(300) < 0.5
    found = paired(first, second)
    better, worse = int((first & ~second).sum()), int((~first & second).sum())
    assert (found.only_first, found.only_second) == (better, worse)
    assert found.difference == pytest.approx((better - worse) / 300)
    assert found.p == pytest.approx(stats.binomtest(better, better + worse).pvalue)
    assert found.low < found.difference < found.high
    same = paired(first, first)
    assert (same.difference, same.p) == (0, 1)
    mirrored = paired(second, first)
    assert (mirrored.difference, mirrored.p) == pytest.approx((-found.difference, found.p))
    with pytest.raises(ValueError, match="the same questions of both, got 300 and 2"):
        paired(first, [True, False])
