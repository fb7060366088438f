"""Models of different bytes side by side: what fewer bits cost in tasks and in the perplexity of held-out text.

Every model has one row: its method, bits and bytes, what it reaches in tasks, and of query rewriting how its errors are
made (the last query repeated, an answer in place of a rewrite: arXiv 2402.00858, table 9). Quality is drawn over bytes,
a line per method, which is how the paper's table 6 is to be read: a large model of few bits beside a small one of many.

A dense model counts 2 bytes a parameter, the 16 bits that are enough for it; a quantised one the bytes of its files.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any, Protocol

from glasshouse.data.steps import Shards
from glasshouse.data.tokens.shards import TokenShards
from glasshouse.evaluation.catalogue import tasks_named
from glasshouse.evaluation.perplexity import perplexity
from glasshouse.evaluation.running import Task
from glasshouse.evaluation.scoreboard import PREFIX, baselines_of, scoreboard
from glasshouse.language.model import LanguageModel, LoadedModel
from glasshouse.language.quantisation.steps import QuantisedModel
from glasshouse.store.artifact import Artifact
from glasshouse.store.configuration import Config
from glasshouse.store.panels import Bars, Curves, Panel, Table
from glasshouse.store.progress import Bar
from glasshouse.store.step import Run, step

DENSE_BYTES = 2
ERRORS = ("right", "repeat", "answer", "other")
"""Shares that query rewriting reports, where a task does."""


class TaskSet(Protocol):
    """Tasks that are made when they are needed; what it holds is what its tasks depend on."""

    def made(self) -> Sequence[Task]: ...


class NamedTasks(Config):
    """Tasks by the names that the command line takes."""

    names: tuple[str, ...]
    limit: int | None = None
    shots: int = 0
    seed: int = 0

    def made(self) -> list[Task]:
        """The tasks. Raises `NoSuchTaskError` telling what there is."""
        return tasks_named(self.names, limit=self.limit, seed=self.seed, shots=self.shots)


class CompressionMap(Artifact):
    """What models of different bytes reach."""

    @cached_property
    def rows(self) -> list[dict[str, Any]]:
        """Of every model its label, method, bits and bytes, and the values that were measured."""
        found: list[dict[str, Any]] = json.loads(self.file("models.json").read_text(encoding="utf-8"))
        return found

    @property
    def values(self) -> dict[str, float]:
        """`<label>/bytes`, `<label>/perplexity` and `<label>/tasks/…` of every model."""
        found: dict[str, float] = {}
        for row in self.rows:
            found[f"{row['label']}/bytes"] = float(row["bytes"])
            found |= {f"{row['label']}/{name}": value for name, value in row["values"].items()}
        return found

    def panels(self) -> list[Panel]:
        """A table of models and tasks, quality over bytes, and how errors are made."""
        return [_table(self.rows), *_over_bytes(self.rows), *_errors(self.rows)]


def _observed(models: Any, tasks: Sequence[TaskSet], **_: Any) -> list[dict[str, str]]:
    return [dict(task.hashes) for one in tasks for task in one.made()]


@step(observe=_observed)
def map_compression(
    run: Run,
    models: Mapping[str, LanguageModel],
    tasks: Sequence[TaskSet],
    shards: Shards | None = None,
    per_source: int | None = None,
    seed: int = 0,
) -> CompressionMap:
    """Measure models, dense and quantised, in tasks and on held-out text.

    Args:
        models: by the label that their values are to have.
        shards: in the models' tokens, whose held-out documents nobody trained on; without them there is no perplexity.
        per_source: most held-out documents of every source.
        seed: of intervals and samples.
    """
    made = [task for one in tasks for task in one.made()]
    held_out = None if shards is None else shards.holdout
    rows = [
        {"label": label, **_about(model), **measured(model.load(), made, held_out, run.bar, per_source, seed)}
        for label, model in models.items()
    ]
    (run.output / "models.json").write_text(json.dumps(rows, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return CompressionMap(run.output)


def measured(
    model: LoadedModel,
    tasks: Sequence[Task],
    held_out: TokenShards | None,
    bar: Callable[[str, float | None], Bar],
    per_source: int | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """What one model reaches: `values` by name, and of every `task` what it is judged by."""
    values: dict[str, float] = {}
    judged: dict[str, str] = {}
    if held_out is not None:
        found = perplexity(held_out, per_domain=per_source, seed=seed).measure(model, bar)
        values["perplexity"] = math.exp(found["values"]["nats_per_token/model"])
        values["bits_per_byte"] = found["values"]["bits_per_byte/model/micro"]
    if tasks:
        found = scoreboard(*tasks, seed=seed).measure(model, bar)
        values |= found["values"]
        judged = {name: about["metric"] for name, about in found["tasks"].items()}
    return {"values": values, "judged": judged}


def _about(model: LanguageModel) -> dict[str, Any]:
    parameters = int(model.training["outcome"]["parameters"])
    if isinstance(model, QuantisedModel):
        settings = model.quantisation["settings"]
        return {"method": settings["method"], "bits": settings["bits"], "bytes": model.size, "parameters": parameters}
    return {"method": "dense", "bits": 16, "bytes": DENSE_BYTES * parameters, "parameters": parameters}


def _table(rows: Sequence[Mapping[str, Any]]) -> Table:
    judged = _judged(rows)
    columns = ["model", "method", "bits", "bytes", "perplexity", *judged, "normalised", "below a trivial method in"]
    found: list[list[str | float | int | None]] = []
    for row in rows:
        values = row["values"]
        scores = [values.get(f"{PREFIX}/{task}/{metric}") for task, metric in judged.items()]
        macro = values.get(f"{PREFIX}/macro/normalised")
        below = ", ".join(below_trivial(values, judged)) or "none"
        head = [row["label"], row["method"], row["bits"], row["bytes"], values.get("perplexity")]
        found.append([*head, *scores, macro, below])
    note = "Every task by what it is judged by: " + ", ".join(f"{task} {metric}" for task, metric in judged.items())
    note += ". Normalised is the mean over tasks, 0 the best trivial method, 1 perfect. Dense models count 16 bits."
    return Table("Bits, methods and tasks", columns, found, note=note)


def below_trivial(values: Mapping[str, float], judged: Mapping[str, str]) -> list[str]:
    """The tasks in which a trivial method does better than the model."""
    found = []
    for task, metric in judged.items():
        key = f"{PREFIX}/{task}/{metric}"
        if values.get(f"{key}/normalised", 0.0) < 0:
            best = max(baselines_of(values, key).items(), key=lambda item: item[1])
            found.append(f"{task} ({best[0]} {best[1]:.3f})")
    return found


def _judged(rows: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    found: dict[str, str] = {}
    for row in rows:
        found |= row["judged"]
    return found


def _over_bytes(rows: Sequence[Mapping[str, Any]]) -> list[Panel]:
    """Curves over kilobytes, a line for every method and size of model, so that a line joins one model's bits."""
    wanted = {"Perplexity": "perplexity", "Tasks, normalised mean": f"{PREFIX}/macro/normalised"}
    wanted |= {f"{task} ({metric})": f"{PREFIX}/{task}/{metric}" for task, metric in _judged(rows).items()}
    panels: list[Panel] = []
    for title, name in wanted.items():
        series: dict[str, list[tuple[float, float]]] = {}
        for row in rows:
            if name in row["values"]:
                line = f"{row['method']}, {row['parameters'] / 1e6:.2g}M" if row["method"] != "dense" else "dense"
                series.setdefault(line, []).append((row["bytes"] / 1000, row["values"][name]))
        if series:
            lines = {line: sorted(points) for line, points in series.items()}
            panels.append(Curves(f"{title} over bytes", "kilobytes", title, lines))
    return panels


def _errors(rows: Sequence[Mapping[str, Any]]) -> list[Panel]:
    """Bars of how errors are made, for every task that tells them apart."""
    panels: list[Panel] = []
    for task in _judged(rows):
        shares = {
            row["label"]: {kind: row["values"][f"{PREFIX}/{task}/{kind}"] for kind in ERRORS}
            for row in rows
            if all(f"{PREFIX}/{task}/{kind}" in row["values"] for kind in ERRORS)
        }
        if shares:
            note = "Repeat: the last query as it was. Answer: a text that is neither near the query nor the rewrite."
            panels.append(Bars(f"How errors are made: {task}", "of all items", shares, note=note))
    return panels
