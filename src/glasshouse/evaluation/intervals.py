"""How sure a score is: exact binomial intervals, bootstrap intervals, and two models compared on the same questions."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from glasshouse.store.configuration import named_seed

Floats = npt.NDArray[np.float64]


class Interval(NamedTuple):
    """A 95 % interval."""

    low: float
    high: float


def binomial_interval(successes: int, trials: int, level: float = 0.95) -> Interval:
    """The exact interval of a share [Clopper & Pearson 1934]: every p that `successes` of `trials` do not reject.

    Raises `ValueError` unless 0 <= successes <= trials and there is a trial.
    """
    if not 0 <= successes <= trials or not trials:
        raise ValueError(f"{successes} successes in {trials} trials have no interval")
    tail = (1 - level) / 2
    low = 0.0 if successes == 0 else _solve(lambda p: _at_least(successes, trials, p) - tail)
    high = 1.0 if successes == trials else _solve(lambda p: tail - (1 - _at_least(successes + 1, trials, p)))
    return Interval(low, high)


def _at_least(successes: int, trials: int, share: float) -> float:
    """P(X >= successes) of a binomial X."""
    counts = np.arange(successes, trials + 1)
    return float(
        np.exp(_log_binomial(trials, counts) + counts * math.log(share) + (trials - counts) * math.log1p(-share)).sum()
    )


def _log_binomial(trials: int, counts: npt.NDArray[np.int64]) -> Floats:
    logs = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, trials + 1)))])
    return np.asarray(logs[trials] - logs[counts] - logs[trials - counts])


def _solve(rising: Callable[[float], float]) -> float:
    """Where an increasing function of a share in (0, 1) is zero."""
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if rising(middle) < 0 else (low, middle)
    return (low + high) / 2


def bootstrap(statistic: Callable[[npt.NDArray[np.int64]], float], size: int, seed: int, draws: int = 500) -> Interval:
    """Percentile interval over resampled items [Efron 1979]; `statistic` gets the numbers of the items drawn."""
    generator = np.random.default_rng(named_seed(seed, "bootstrap"))
    values = [statistic(generator.integers(0, size, size=size)) for _ in range(draws)]
    low, high = np.quantile(values, [0.025, 0.975])
    return Interval(float(low), float(high))


class Paired(NamedTuple):
    """Two models on the same questions: how much more the first gets right, and whether that may be chance.

    Attributes:
        difference: accuracy of the first minus that of the second, with a bootstrap interval over questions.
        only_first, only_second: questions that one of them gets right and the other wrong.
        p: of a difference at least as large, in either direction, if both were as good: by the exact McNemar test, or
            as `test` says.
    """

    difference: float
    low: float
    high: float
    only_first: int
    only_second: int
    p: float
    test: str = "McNemar"


def paired(first: npt.ArrayLike, second: npt.ArrayLike, seed: int = 0) -> Paired:
    """Compare which questions two models get right.

    Raises `ValueError` when they did not answer the same number of questions, or none.
    """
    one, other = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if one.shape != other.shape or not one.size:
        raise ValueError(f"a paired comparison needs the same questions of both, got {one.size} and {other.size}")
    gains = one - other
    low, high = bootstrap(lambda chosen: float(gains[chosen].mean()), gains.size, seed)
    better, worse = int((gains > 0).sum()), int((gains < 0).sum())
    apart = better + worse
    p = min(1.0, 2 * _at_least(max(better, worse), apart, 0.5)) if apart else 1.0
    return Paired(float(gains.mean()), low, high, better, worse, p)
