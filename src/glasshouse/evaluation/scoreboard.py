"""Tasks as a measure: every score beside what trivial methods reach, with its interval and what is left to gain."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from glasshouse.evaluation.intervals import Paired
from glasshouse.evaluation.records import Record
from glasshouse.evaluation.running import Task, run
from glasshouse.evaluation.scorers import LocalScorer
from glasshouse.evaluation.scores import Score, compare_records, score
from glasshouse.store.panels import Bars, Panel, Table
from glasshouse.store.progress import Bar

if TYPE_CHECKING:
    from glasshouse.language.measures import CausalModel

PREFIX = "tasks"


class TaskNameError(ValueError):
    """Tasks cannot be told apart by their names."""


@dataclasses.dataclass(frozen=True)
class Scoreboard:
    """The measure: what a model reaches in tasks.

    Attributes:
        tasks: each of another name.
        seed: of intervals.
    """

    tasks: tuple[Task, ...]
    seed: int = 0

    def measure(self, model: CausalModel, bar: Callable[[str, float | None], Bar]) -> dict[str, Any]:
        """Values `tasks/<task>/<metric>` with `…/low`, `…/high`, `…/normalised` and `…/baseline/<name>`;
        `tasks/<task>/items`, and `tasks/<task>/cut`: items whose context lost its beginning. `tasks/macro/normalised`
        is the mean over tasks of what they are judged by.

        The outcome holds the records, so that two models can be compared item by item.
        """
        scorer, found = LocalScorer(model), {}
        for task in self.tasks:
            with bar(f"answering {task.name}", None) as shown:
                found[task.name] = scored(task, run(task, scorer, shown.advance), self.seed)
        return outcome_of(found)

    @staticmethod
    def panels(outcome: Mapping[str, Any]) -> list[Panel]:
        """A table of scores beside their baselines, and bars of what tasks are judged by."""
        return panels_of(outcome)


@dataclasses.dataclass(frozen=True)
class Scored:
    """A task done: its records, and what its metrics find of them."""

    task: Task
    records: Sequence[Record]
    scores: Mapping[str, Score]

    @property
    def cut(self) -> int:
        """Items whose context lost its beginning."""
        return sum(record.cut > 0 for record in self.records)


def scored(task: Task, records: Sequence[Record], seed: int = 0) -> Scored:
    """Every metric of a task beside its baselines."""
    baselines = task.baselines(records)
    return Scored(
        task, records, {name: score(metric, records, baselines, seed=seed) for name, metric in task.metrics.items()}
    )


def compare(first: Scored, second: Scored, seed: int = 0) -> dict[str, Paired]:
    """Two runs of the same task item by item, in every metric of the first. `ValueError` where items differ."""
    return {
        name: compare_records(metric, first.records, second.records, seed=seed)
        for name, metric in first.task.metrics.items()
    }


def outcome_of(found: Mapping[str, Scored]) -> dict[str, Any]:
    """What was found of tasks, as the outcome of a measure."""
    values: dict[str, float] = {}
    for name, done in found.items():
        for metric, reached in done.scores.items():
            key = f"{PREFIX}/{name}/{metric}"
            values |= {key: reached.value, f"{key}/low": reached.low, f"{key}/high": reached.high}
            values |= {f"{key}/baseline/{one}": value for one, value in reached.baselines.items()}
            if reached.normalised is not None:
                values[f"{key}/normalised"] = reached.normalised
        values |= {f"{PREFIX}/{name}/items": float(len(done.records)), f"{PREFIX}/{name}/cut": float(done.cut)}
    judged = {name: next(iter(done.scores.items())) for name, done in found.items()}
    if gained := [score.normalised for _, score in judged.values() if score.normalised is not None]:
        values[f"{PREFIX}/macro/normalised"] = statistics.fmean(gained)
    tasks = {
        name: {
            "metric": judged[name][0],
            "metrics": list(done.scores),
            "hashes": dict(done.task.hashes),
            "baselines": list(judged[name][1].baselines),
            "records": [_row(record) for record in done.records],
        }
        for name, done in found.items()
    }
    return {"values": values, "tasks": tasks, "curves": [_curve(name, about) for name, about in tasks.items()]}


def _row(record: Record) -> dict[str, Any]:
    """A record without what was asked: that is the task's, and large."""
    return {
        field.name: getattr(record, field.name)
        for field in dataclasses.fields(Record)
        if field.name not in ("asked", "prompt")
    }


def _curve(name: str, about: Mapping[str, Any]) -> dict[str, Any]:
    """How what a task is judged by is drawn over updates."""
    key = f"{PREFIX}/{name}/{about['metric']}"
    return {
        "title": f"{name} ({about['metric']})",
        "y": about["metric"],
        "series": {"score": key} | {one: f"{key}/baseline/{one}" for one in about["baselines"]},
        "bands": {"score": [f"{key}/low", f"{key}/high"]},
    }


def panels_of(outcome: Mapping[str, Any]) -> list[Panel]:
    """A table with a row per metric, and bars of what tasks are judged by."""
    values = outcome["values"]
    rows: list[list[str | float | int | None]] = []
    bars: dict[str, dict[str, float]] = {}
    intervals: dict[str, dict[str, tuple[float, float]]] = {}
    for name, about in outcome["tasks"].items():
        for metric in about["metrics"]:
            key = f"{PREFIX}/{name}/{metric}"
            trivial = baselines_of(values, key)
            shown = ", ".join(f"{one} {value:.3f}" for one, value in trivial.items())
            items, cut = (int(values[f"{PREFIX}/{name}/{part}"]) for part in ("items", "cut"))
            low, high, gained = (values.get(f"{key}/{part}") for part in ("low", "high", "normalised"))
            rows.append([name, metric, items, values[key], low, high, gained, shown, cut])
        key = f"{PREFIX}/{name}/{about['metric']}"
        bars[f"{name} ({about['metric']})"] = {"score": values[key], **baselines_of(values, key)}
        intervals[f"{name} ({about['metric']})"] = {"score": (values[f"{key}/low"], values[f"{key}/high"])}
    columns = ["task", "metric", "items", "value", "95 % from", "to", "normalised", "trivial methods", "cut"]
    note = (
        "The first metric of a task is what it is judged by. Normalised: 0 is the best trivial method, 1 is perfect. "
        "Intervals are exact for accuracies, bootstrap else. `cut` counts items whose context lost its beginning."
    )
    return [Table("Scores", columns, rows, note=note), Bars("Scores beside trivial methods", "", bars, intervals)]


def baselines_of(values: Mapping[str, float], key: str) -> dict[str, float]:
    """The baselines of a metric by name."""
    start = f"{key}/baseline/"
    return {name.removeprefix(start): value for name, value in values.items() if name.startswith(start)}


def scoreboard(*tasks: Task, seed: int = 0) -> Scoreboard:
    """Measure what a model reaches in tasks. Raises `TaskNameError` for no tasks, or two of the same name."""
    names = [task.name for task in tasks]
    if not names or len(set(names)) < len(names):
        raise TaskNameError(f"tasks of different names are needed, got {', '.join(names) or 'none'}")
    return Scoreboard(tasks, seed)
