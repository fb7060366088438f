"""The step `evaluate`: a model and a list of measures give an `Evaluation` with its decided claims."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any, Protocol

from glasshouse.evaluation.adaptation import FormatAccuracy, KullbackLeibler, PreferenceAccuracy, Recall
from glasshouse.evaluation.carbon_table import CarbonTable
from glasshouse.evaluation.comparison import Comparison
from glasshouse.evaluation.curation import CuratedCorpus
from glasshouse.evaluation.grammar import KnownEntropy
from glasshouse.evaluation.perplexity import Perplexity
from glasshouse.evaluation.samples import Generations
from glasshouse.evaluation.scoreboard import Scoreboard
from glasshouse.language.measures import InTheLoop, Measure, measured_curves
from glasshouse.language.model import LanguageModel
from glasshouse.store.artifact import Artifact
from glasshouse.store.claims import Claim, check_claims
from glasshouse.store.panels import Numbers, Panel, Table
from glasshouse.store.step import Run, step

PANELS: dict[str, Callable[[Mapping[str, Any]], list[Panel]]] = {
    kind.__name__: kind.panels
    for kind in (
        CarbonTable, Comparison, CuratedCorpus, FormatAccuracy, Generations, KnownEntropy, KullbackLeibler, Perplexity,
        PreferenceAccuracy, Recall, Scoreboard,
    )
}  # fmt: skip


class Evaluation(Artifact):
    """Measured values, what they were measured on, and the claims decided by them."""

    @property
    def outcomes(self) -> list[dict[str, Any]]:
        """One record per measure, in the order they were asked for."""
        found: list[dict[str, Any]] = json.loads(self.file("outcomes.json").read_text(encoding="utf-8"))
        return found

    @property
    def values(self) -> dict[str, float]:
        """All measured values by name."""
        return {name: value for outcome in self.outcomes for name, value in outcome["values"].items()}

    @property
    def claims(self) -> list[dict[str, Any]]:
        """Decided claims (see `glasshouse.store.claims.check_claims`)."""
        found: list[dict[str, Any]] = json.loads(self.file("claims.json").read_text(encoding="utf-8"))
        return found

    def panels(self) -> list[Panel]:
        """Headline figures, then every measure's own panels."""
        micro = {name: value for name, value in self.values.items() if name.endswith("/micro")}
        figures = {_figure(name): f"{value:.3f}" for name, value in micro.items()}
        panels: list[Panel] = [Numbers("Result", figures)] if figures else []
        for outcome in self.outcomes:
            if outcome.get("shown_by") != "part":  # its panels stand in the report beside these
                panels += _panels(outcome)
        return panels


def _figure(name: str) -> str:
    """`dpo/seed 1/bits_per_byte/model/micro` as people read it."""
    stage, _, rest = name.rpartition("bits_per_byte/")
    return f"bits per byte, {rest.split('/')[0]}" + (f", {stage.rstrip('/')}" if stage else "")


def _panels(outcome: Mapping[str, Any]) -> list[Panel]:
    """A measure's own panels; those of another model's measure have its stage before their titles."""
    if outcome["measure"] != "Of":
        return PANELS.get(outcome["measure"], _plain)(outcome)
    found: list[Panel] = []
    for panel in _panels({"measure": outcome["inner"], **outcome["found"]}):
        title = f"{outcome['stage']}: {panel.title}"
        if isinstance(panel, Numbers):  # the headline figures of a report are those of the model evaluated
            found.append(Table(title, ["", "measured"], list(panel.values.items()), note=panel.note))
        else:
            found.append(dataclasses.replace(panel, title=title))
    return found


def _plain(outcome: Mapping[str, Any]) -> list[Panel]:
    """What is shown of a measure that brings no panels of its own: its values."""
    rows = [(name, value) for name, value in outcome["values"].items()]
    return [Table(outcome["measure"], ["measured", "value"], rows)]


class CheckpointEvaluation(Artifact):
    """What was measured at every kept checkpoint of a run."""

    @cached_property
    def measured(self) -> dict[str, Any]:
        """`points`: update and values, by update; `curves`: how they are drawn."""
        found: dict[str, Any] = json.loads(self.file("checkpoints.json").read_text(encoding="utf-8"))
        return found

    def panels(self) -> list[Panel]:
        """A curve for everything that was measured."""
        points = [(float(update), values) for update, values in self.measured["points"]]
        return measured_curves(self.measured["curves"], points)


@step()
def evaluate_checkpoints(run: Run, model: LanguageModel, measures: Sequence[Measure]) -> CheckpointEvaluation:
    """Measure a model at every checkpoint that `pretrain(..., keep_checkpoints=True)` kept, and when it was finished.

    Raises `StoreError` for a model without kept checkpoints.
    """
    last = int(model.training["outcome"]["steps"])
    if not model.checkpoints:
        model.load_checkpoint(last)  # tells what to do
    points: list[tuple[int, dict[str, float]]] = []
    curves: list[dict[str, Any]] = []
    updates = sorted({*model.checkpoints, last})
    with run.bar("measuring checkpoints", len(updates)) as shown:
        for update in updates:
            loaded = model.load_checkpoint(update) if update in model.checkpoints else model.load()
            taken = InTheLoop(measures, loaded)
            points.append((update, taken()))
            curves = taken.curves
            shown.advance()
    text = json.dumps({"points": points, "curves": curves}, indent=1, ensure_ascii=False)
    (run.output / "checkpoints.json").write_text(text + "\n", encoding="utf-8")
    return CheckpointEvaluation(run.output)


@step()
def evaluate(run: Run, model: LanguageModel, measures: Sequence[Measure], claims: Sequence[Claim] = ()) -> Evaluation:
    """Measure a model and decide claims by what was measured.

    Claims see all values of all measures, and the model's own figures under `training/…`.
    """
    loaded = model.load()
    outcomes = [{"measure": type(item).__name__, **item.measure(loaded, run.bar)} for item in measures]
    return _concluded(run, outcomes, model.values, claims)


class Measured(Protocol):
    """An artifact that brings its own values by name; its panels stand in the report beside the evaluation's."""

    @property
    def values(self) -> Mapping[str, float]: ...


@step()
def conclude(run: Run, parts: Mapping[str, Measured], claims: Sequence[Claim] = ()) -> Evaluation:
    """Decide claims by what several artifacts measured; a value of a part is called `<part>/<name>`."""
    outcomes = [
        {"measure": name, "shown_by": "part", "values": {f"{name}/{key}": value for key, value in part.values.items()}}
        for name, part in parts.items()
    ]
    return _concluded(run, outcomes, {}, claims)


def _concluded(
    run: Run, outcomes: Sequence[Mapping[str, Any]], known: Mapping[str, float], claims: Sequence[Claim]
) -> Evaluation:
    values = {**known, **{name: value for outcome in outcomes for name, value in outcome["values"].items()}}
    decided = check_claims(claims, values)
    for name, content in (("outcomes.json", outcomes), ("claims.json", decided)):
        (run.output / name).write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    run.measure(claims=len(decided), claims_that_hold=sum(item["status"] == "holds" for item in decided))
    return Evaluation(run.output)
