"""What a person sees of a frontier: curves at equal KL, a table of the policies, the reward models beside it.

Several frontiers of one kind (worlds of several seeds) are drawn as their mean, with bands from the least to the most;
one alone with the bands of its bootstrap.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean

from glasshouse.alignment.frontier import Frontier, Point
from glasshouse.store.panels import Curves, Numbers, Panel, Table

DRAWN = 6
"""Utilities that are drawn: as many as a reader can tell apart; the table has all."""
BANDED = 2
"""Utilities with a band: the one compared with, and the first that is compared."""
Place = tuple[str, str, float]
"""Utility, policy and KL to three digits: where points of several frontiers are the same point."""
Values = Mapping[str, tuple[float, float, float]]


def averaged(frontiers: Sequence[Frontier]) -> dict[Place, tuple[Values, Values]]:
    """Measures and gains, as (value, low, high), of every point that all frontiers have."""
    if len(frontiers) == 1:
        return {place(point): (point.measures, point.gains) for point in frontiers[0].points}
    found: dict[Place, list[Point]] = {}
    for frontier in frontiers:
        for point in frontier.points:
            found.setdefault(place(point), []).append(point)
    whole = {where: points for where, points in found.items() if len(points) == len(frontiers)}
    return {
        where: (_spread([point.measures for point in points]), _spread([point.gains for point in points]))
        for where, points in whole.items()
    }


def place(point: Point) -> Place:
    """A tilted policy stands at its KL; a best of k has nearly the same KL everywhere, and none is compared by it."""
    return point.utility, point.policy, round(point.kl, 3) if point.policy == "tilt" else 0.0


def panels(frontiers: Sequence[Frontier]) -> list[Panel]:
    """Everything that is shown of one frontier, or of several of one kind."""
    first, points = frontiers[0], averaged(frontiers)
    names = list(dict.fromkeys(point.utility for point in first.points))
    measures = list(first.points[0].measures)
    wins = [name for name in measures if name.startswith("win/")]
    shown: list[Panel] = [_beside(frontiers)]
    bands = (
        "Bands: a bootstrap over prompts."
        if len(frontiers) == 1
        else f"Bands: least to most of {len(frontiers)} worlds."
    )
    for measure in ["joint", *wins] if len(wins) > 1 else wins:
        title = f"{said(measure)}, at the same KL"
        shown.append(_curves(title, said(measure).lower(), points, names, measure, gains=False, note=bands))
    if len(names) > 1:
        best = "joint" if len(wins) > 1 else wins[0]
        title = f"Gain over {names[0]}: {said(best).lower()}"
        shown.append(_curves(title, "gain", points, names, best, gains=True, note=bands))
    spreads = [name for name in measures if name.endswith("/sd")]
    for measure in spreads:
        note = "Smaller is more even: fewer prompts that gain little while others gain much."
        shown.append(_curves(f"{said(measure)}", "reward", points, names, measure, gains=False, note=note))
    shown.append(_table(points, names, measures, frontiers))
    if first.left_out:
        rows = [(text,) for text in dict.fromkeys(text for frontier in frontiers for text in frontier.left_out)]
        shown.append(Table("Points that are not shown", ["policy and reason"], rows))
    return shown


def said(measure: str) -> str:
    """A measure's name as people read it."""
    kind, _, rest = measure.partition("/")
    if kind == "win":
        return f"Win rate, {rest}"
    if kind == "improvement":
        name, _, how = rest.rpartition("/")
        words = {"mean": "Mean improvement", "sd": "Spread of the improvement per prompt", "p10": "Improvement, 10th %"}
        return f"{words[how]}, {name}"
    return {"joint": "All properties good", "worst": "Worst property"}[measure]


def _beside(frontiers: Sequence[Frontier]) -> Panel:
    """What the picture rests on."""
    first = frontiers[0]
    values = {
        "prompts": f"{first.prompts}",
        "samples of each": f"{first.samples}",
        "KL that they carry": f"{first.trusted_kl:.2f} nats",
    }
    for name in first.accuracy:
        shares = [frontier.accuracy[name] for frontier in frontiers]
        values[f"right of pairs, reward model {name}"] = _percent(shares)
    own = " and ".join(first.own_judge)
    note = f"Judged by the very scores that are optimised, an optimist's picture: {own}." if own else ""
    return Numbers("What the frontier rests on", values, note=note)


def _percent(shares: Sequence[float]) -> str:
    low, high = 100 * min(shares), 100 * max(shares)
    return f"{100 * fmean(shares):.1f} %" + (f" ({low:.1f} to {high:.1f})" if len(shares) > 1 else "")


def _curves(
    title: str,
    y: str,
    points: Mapping[Place, tuple[Values, Values]],
    names: Sequence[str],
    measure: str,
    *,
    gains: bool,
    note: str,
) -> Curves:
    series: dict[str, list[tuple[float, float]]] = {}
    bands: dict[str, list[tuple[float, float, float]]] = {}
    for (name, policy, kl), found in points.items():
        nothing = (0.0, 0.0, 0.0) if gains and name == names[0] else None  # the first gains nothing over itself
        drawn = found[gains].get(measure, nothing)
        if name in names[:DRAWN] and policy == "tilt" and drawn is not None:
            value, low, high = drawn
            series.setdefault(name, []).append((kl, value))
            if names.index(name) < BANDED:
                bands.setdefault(name, []).append((kl, low, high))
    return Curves(title, "mean KL from the base policy, nats", y, series, bands=bands, note=note)


def _table(
    points: Mapping[Place, tuple[Values, Values]],
    names: Sequence[str],
    measures: Sequence[str],
    frontiers: Sequence[Frontier],
) -> Table:
    kls: dict[Place, list[float]] = {}
    gammas: dict[Place, list[float]] = {}
    for point in (point for frontier in frontiers for point in frontier.points):
        kls.setdefault(place(point), []).append(point.kl)
        gammas.setdefault(place(point), []).extend([] if point.gamma is None else [point.gamma])
    shown = [measure for measure in measures if not measure.endswith("/mean")]
    rows: list[Sequence[str | float | None]] = []
    for where in sorted(points, key=lambda key: (names.index(key[0]), key[1] != "tilt", fmean(kls[key]))):
        gamma = f"{fmean(gammas[where]):.3g}" if gammas[where] else ""
        values = [points[where][0][measure][0] for measure in shown]
        rows.append((where[0], "optimum" if where[1] == "tilt" else where[1], fmean(kls[where]), gamma, *values))
    return Table("Policies", ["utility", "policy", "KL", "gamma", *map(briefly, shown)], rows)


def briefly(measure: str) -> str:
    """A measure's name at the head of a column."""
    kind, _, rest = measure.partition("/")
    return {"win": f"{rest} wins", "improvement": rest.replace("/", ", "), "joint": "all good"}.get(kind, kind)


def _spread(several: Iterable[Values]) -> dict[str, tuple[float, float, float]]:
    """Mean, least and most of the values."""
    listed = list(several)
    shared = [name for name in listed[0] if all(name in values for values in listed)]
    columns = {name: [values[name][0] for values in listed] for name in shared}
    return {name: (fmean(column), min(column), max(column)) for name, column in columns.items()}
