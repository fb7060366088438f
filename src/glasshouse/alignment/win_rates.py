"""What curves of win rates over seeds come to: values for claims, tables and figures for people.

A label is an answered query. "Queries to 85 %" are those until the win rate has gone 85 % of the way from 1/2 to the
oracle's. Medians over seeds count a seed that never came there as one that needs more than any other.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean, median, pstdev, stdev

from glasshouse.alignment.interaction import Curve
from glasshouse.store.panels import Curves, Panel, Table

SHARES = (0.6, 0.75, 0.85)
EARLY = 0.05
"""Share of the queries that the figure of win rates leaves out: the steep beginning would hide the rest."""
Run = Mapping[int, Curve]
"""The curve of every seed."""


def values(runs: Mapping[str, Run]) -> dict[str, float]:
    """Numbers by `<run>/mean`, `/end`, `/last quarter`, of all seeds together and one by one under `/seed <n>`."""
    found: dict[str, float] = {}
    for name, run in runs.items():
        for label, number in (("mean", _mean), ("end", _end), ("last quarter", last_quarter)):
            by_seed = {seed: number(curve) for seed, curve in run.items()}
            found[f"{name}/{label}"] = fmean(by_seed.values())
            found |= {f"{name}/{label}/seed {seed}": value for seed, value in by_seed.items()}
        for share in SHARES:
            needed = queries_to(run, share)
            if math.isfinite(needed):
                found[f"{name}/queries to {share:.0%}"] = needed
    return found


def queries_to(run: Run, share: float) -> float:
    """Median over seeds; infinite when half of the seeds never came there."""
    needed = (curve.queries_to(share) for curve in run.values())
    return median(math.inf if asked is None else asked for asked in needed)


def _mean(curve: Curve) -> float:
    return curve.mean


def _end(curve: Curve) -> float:
    return curve.win_rate[-1]


def last_quarter(curve: Curve) -> float:
    """Mean over the last quarter of the epochs: a single assessment of a neural agent has much noise."""
    return fmean(curve.win_rate[-(len(curve.win_rate) // 4) :])


def panels(world: str, runs: Mapping[str, Run]) -> list[Panel]:
    """Win rate against queries, labels that a win rate takes, and both as a table."""
    return [win_rate_figure(world, runs), labels_figure(world, runs), comparison(world, runs)]


def win_rate_figure(world: str, runs: Mapping[str, Run]) -> Curves:
    """Means over seeds with their standard errors, from a twentieth of the queries on."""
    series: dict[str, list[tuple[float, float]]] = {}
    bands: dict[str, list[tuple[float, float, float]]] = {}
    for name, run in runs.items():
        asked = next(iter(run.values())).queries
        rates = list(zip(*(curve.win_rate for curve in run.values()), strict=True))
        points = [(x, at) for x, at in zip(asked, rates, strict=True) if x >= EARLY * asked[-1]]
        series[name] = [(x, fmean(at)) for x, at in points]
        errors = [(x, fmean(at), stdev(at) / len(at) ** 0.5 if len(at) > 1 else 0.0) for x, at in points]
        bands[name] = [(x, mean - error, mean + error) for x, mean, error in errors]
    seeds = len(next(iter(runs.values())))
    return Curves(
        f"{world}: win rate against queries",
        x="queries answered",
        y="win rate of best-of-n",
        series=series,
        bands=bands,
        levels={"oracle": _oracle(runs)},
        note=f"Against a plain sample; 0.5 before the first query. Lines are means over {seeds} seeds, bands one "
        "standard error to each side. Every rule meets the same worlds: differences by seed are surer than the bands.",
    )


def labels_figure(world: str, runs: Mapping[str, Run]) -> Curves:
    """How many labels each rule takes to the same place."""
    shares = [step / 100 for step in range(60, 100)]
    series = {}
    for name, run in runs.items():
        needed = [(100 * share, queries_to(run, share)) for share in shares]
        series[name] = [point for point in needed if math.isfinite(point[1])]
    return Curves(
        f"{world}: labels that a win rate takes",
        x="% of the way from chance to the oracle",
        y="queries to get there",
        series={name: points for name, points in series.items() if points},
        note="Medians over seeds; lower is better: what lies between two lines are labels saved. A line ends where "
        "half of the seeds never came further.",
    )


def comparison(world: str, runs: Mapping[str, Run]) -> Table:
    """One row per run."""
    columns = ["rule", "mean over the curve", "at the end", "sd over seeds", *(f"queries to {s:.0%}" for s in SHARES)]
    rows: list[Sequence[str | float]] = []
    for name, run in runs.items():
        ends = [_end(curve) for curve in run.values()]
        row = (name, fmean(map(_mean, run.values())), fmean(ends), pstdev(ends))
        rows.append((*row, *(_needed(run, share) for share in SHARES)))
    note = f"The oracle, who knows the rewards, wins {_oracle(runs):.3f}. Queries are medians over seeds."
    return Table(f"{world}: what each rule came to", columns, rows, note=note)


def _needed(run: Run, share: float) -> str:
    missed = sum(curve.queries_to(share) is None for curve in run.values())
    needed = queries_to(run, share)
    told = f"{needed:,.0f}" if math.isfinite(needed) else "never"
    return told + (f" ({missed} of {len(run)} seeds never)" if missed and math.isfinite(needed) else "")


def _oracle(runs: Mapping[str, Run]) -> float:
    return fmean(curve.oracle for run in runs.values() for curve in run.values())
