"""A number beside what trivial methods reach, and two runs compared on the same items.

    normalised = (value - baseline) / (best - baseline)

with the strongest baseline: 0 is what can be had for nothing, 1 is perfect. Intervals resample groups of records that
are not independent (documents, dialogues) [bootstrap: Efron 1979]; a share of right answers to single questions has its
exact binomial interval instead, since resampling 0 of 20 gives 0 to 0.

Two runs: the exact McNemar test for answers that are right or wrong, else approximate randomisation [Noreen 1989]: the
two runs' records of a group are exchanged at random, and p is how often the difference is as large as the one found.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from glasshouse.evaluation.intervals import Floats, Interval, Paired, binomial_interval, bootstrap, paired
from glasshouse.evaluation.records import Metric, MetricError, Record
from glasshouse.store.configuration import named_seed

DRAWS = 500
"""Resamples of an interval."""
EXCHANGES = 1000
"""Random exchanges of a test."""


@dataclasses.dataclass(frozen=True)
class Score:
    """A metric of a run.

    Attributes:
        low, high: 95 % interval.
        baselines: what trivial methods reach, by name; those for which the metric is not defined are left out.
        normalised: where the value stands between the strongest baseline (0) and `best` (1); `None` without either.
    """

    value: float
    low: float
    high: float
    baselines: Mapping[str, float]
    best: float | None
    normalised: float | None

    @property
    def strongest(self) -> str | None:
        """The name of the baseline that comes nearest to the best."""
        best = self.best
        return None if best is None else min(self.baselines, key=lambda k: abs(best - self.baselines[k]), default=None)


def score(
    metric: Metric, records: Sequence[Record], baselines: Mapping[str, Sequence[Record]], *, seed: int = 0
) -> Score:
    """What a metric finds of records, with its interval, beside what it finds of baselines' records.

    Raises:
        MetricError: there are no records, or the metric is not defined for them.
    """
    if not records:
        raise MetricError("there are no records: the task has no items")
    value, reached = metric(records), dict[str, float]()
    for name, theirs in baselines.items():
        try:
            reached[name] = metric(theirs)
        except MetricError:
            continue
    low, high = _interval(metric, records, seed)
    found = Score(value, low, high, reached, metric.best, None)
    if (strongest := found.strongest) is None or metric.best is None or reached[strongest] == metric.best:
        return found
    start = reached[strongest]
    return dataclasses.replace(found, normalised=(value - start) / (metric.best - start))


def _groups(records: Sequence[Record]) -> list[list[int]]:
    """The numbers of the records of every group; a record without one is its own."""
    found: dict[tuple[bool, str], list[int]] = {}
    for number, record in enumerate(records):
        found.setdefault((bool(record.group), record.group or record.id), []).append(number)
    return list(found.values())


def _interval(metric: Metric, records: Sequence[Record], seed: int) -> Interval:
    groups = _groups(records)
    if metric.score is not None:
        scores = [record.scores.get(metric.score) for record in records]
        if len(groups) == len(records) and all(value in (0, 1) for value in scores):
            return binomial_interval(sum(value == 1 for value in scores), len(scores))
        return bootstrap(_mean_of_groups(groups, scores), len(groups), seed, DRAWS)

    def resampled(chosen: npt.NDArray[np.int64]) -> float:
        return metric([records[number] for group in chosen for number in groups[group]])

    return bootstrap(resampled, len(groups), seed, DRAWS)


def _mean_of_groups(
    groups: Sequence[Sequence[int]], scores: Sequence[float | None]
) -> Callable[[npt.NDArray[np.int64]], float]:
    """The mean over the records of the groups drawn, by sums."""
    had = [[value for number in group if (value := scores[number]) is not None] for group in groups]
    sums, counts = np.array([sum(values) for values in had], np.float64), np.array([len(values) for values in had])
    return lambda chosen: float(sums[chosen].sum() / max(1, counts[chosen].sum()))


def compare_records(metric: Metric, first: Sequence[Record], second: Sequence[Record], *, seed: int = 0) -> Paired:
    """How much better the first run is than the second on the same items, and whether that may be chance.

    Raises:
        ValueError: the items or their targets are not the same.
    """
    second = _same_items(first, second)
    groups = _groups(first)
    if metric.score is not None:
        one, other = ([record.scores.get(metric.score, np.nan) for record in run] for run in (first, second))
        if len(groups) == len(first) and set(one) | set(other) <= {0, 1}:
            return paired(one, other, seed)
        gains = np.array(one, np.float64) - np.array(other, np.float64)
        better, worse = int((gains > 0).sum()), int((gains < 0).sum())
    else:
        better = worse = 0
    differences = _differences(metric, first, second, groups)
    none = np.zeros(len(groups), np.bool_)
    found = differences(np.arange(len(groups)), none)
    interval = bootstrap(lambda chosen: differences(chosen, none), len(groups), seed, DRAWS)
    generator = np.random.default_rng(named_seed(seed, "exchanges"))
    every = np.arange(len(groups))
    as_large = sum(
        abs(differences(every, generator.random(len(groups)) < 0.5)) >= abs(found) * (1 - 1e-9)
        for _ in range(EXCHANGES)
    )
    return Paired(found, *interval, better, worse, (1 + as_large) / (1 + EXCHANGES), "randomisation")


def _same_items(first: Sequence[Record], second: Sequence[Record]) -> list[Record]:
    """The second run's records in the order of the first's."""
    by_id = {record.id: record for record in second}
    if len(first) != len(second) or any(
        record.id not in by_id or str(by_id[record.id].target) != str(record.target) for record in first
    ):
        raise ValueError(
            f"the two runs did not answer the same items ({len(first)} and {len(second)}): compare runs of the same "
            "task, data, limit and seed"
        )
    return [by_id[record.id] for record in first]


def _differences(
    metric: Metric, first: Sequence[Record], second: Sequence[Record], groups: Sequence[Sequence[int]]
) -> Callable[[npt.NDArray[np.int64], npt.NDArray[np.bool_]], float]:
    """The difference of the metric for groups drawn, the runs exchanged in those of `swapped` (by number of group)."""
    if metric.score is not None:
        sums: list[Floats] = []
        for run in (first, second):
            scores = [record.scores.get(metric.score) for record in run]
            sums.append(np.array([sum(scores[n] or 0.0 for n in group) for group in groups]))
        counts = np.array([sum(metric.score in first[n].scores for n in group) for group in groups])
        gains = sums[0] - sums[1]

        def of_sums(chosen: npt.NDArray[np.int64], swapped: npt.NDArray[np.bool_]) -> float:
            return float(np.where(swapped, -gains, gains)[chosen].sum() / max(1, counts[chosen].sum()))

        return of_sums

    def of_records(chosen: npt.NDArray[np.int64], swapped: npt.NDArray[np.bool_]) -> float:
        one, other = list[Record](), list[Record]()
        for group in chosen:
            for number in groups[group]:
                pair = (second[number], first[number]) if swapped[group] else (first[number], second[number])
                one.append(pair[0])
                other.append(pair[1])
        return metric(one) - metric(other)

    return of_records
