"""Rank classification: a model answers by the choice it finds likeliest, and is right when that is the gold one.

With c a choice after the context x, and |c| its length without the leading space, a choice is ranked by

    acc        log p(c | x)
    len_norm   log p(c | x) / characters
    per_token  log p(c | x) / tokens
    per_byte   log p(c | x) / UTF-8 bytes
    pmi_dc     log p(c | x) - log p(c | domain prompt)      [Holtzman et al., arXiv 2104.08315, eq. 3]

and, of the gold choice alone, `bpb` = - log p / (ln 2 bytes) and `ce_loss` = - log p / characters (OLMo's name and
unit) are means over questions. `f1` is the mean over labels of the F1 of the answers by `acc`. The names are those of
OLMo's evaluation in the loop (arXiv 2402.00838, section 2.4; allenai/OLMo, `olmo/eval/downstream.py`).

Deviations from OLMo's code: its `pmi_dc` divides the two log-likelihoods. Both are negative, so the largest quotient
belongs to the choice that the question makes *less* likely, and the worse answer wins; the difference above is the
right one. Its `f1` is of one label, here it is the mean over all. Its tokens are those of context and choice
encoded apart (see `likelihood` for the border). Ties go to the first choice, as there.

Beside every accuracy stand its exact 95 % interval, `chance` (the mean over questions of 1 / choices) and `prior`: what
the same model gets right without reading the question, from log p(c | domain prompt). `bpb_prior` is that of bpb.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from glasshouse.evaluation.intervals import Floats, Interval, Paired, binomial_interval, bootstrap, paired
from glasshouse.evaluation.likelihood import encode_requests, log_likelihoods
from glasshouse.evaluation.requests import LogLikelihood
from glasshouse.evaluation.tasks import Question, TaskSource
from glasshouse.store.panels import Bars, Panel, Table
from glasshouse.store.progress import Bar

if TYPE_CHECKING:
    from glasshouse.language.measures import CausalModel

RANKINGS = ("acc", "len_norm", "per_token", "per_byte", "pmi_dc", "prior")
PREFIX = "tasks"


@dataclasses.dataclass(frozen=True)
class Scored:
    """Log-likelihoods of the choices of questions, one entry per choice, the choices of a question side by side.

    Attributes:
        first: number of the first choice of every question, and the number of all choices at the end.
        labels: the right choice of every question.
        given: log p(c | context), in nats.
        prior: log p(c | domain prompt), in nats.
        characters, tokens, size: lengths of the choices, leading space left out (of `tokens`, not); `size` in bytes.
        cut: questions whose context lost tokens on its left.
    """

    first: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int64]
    given: Floats
    prior: Floats
    characters: Floats
    tokens: Floats
    size: Floats
    cut: int = 0

    def ranked_by(self, ranking: str) -> Floats:
        """What choices are compared by. `ranking` is one of `RANKINGS`."""
        match ranking:
            case "acc":
                return self.given
            case "len_norm":
                return self.given / self.characters
            case "per_token":
                return self.given / self.tokens
            case "per_byte":
                return self.given / self.size
            case "pmi_dc":
                return self.given - self.prior
            case "prior":
                return self.prior
        raise ValueError(f"choices are ranked by one of {', '.join(RANKINGS)}; got {ranking!r}")

    def answers(self, ranking: str) -> npt.NDArray[np.int64]:
        """The choice taken for every question."""
        return np.array([int(np.argmax(part)) for part in np.split(self.ranked_by(ranking), self.first[1:-1])])

    def correct(self, ranking: str) -> npt.NDArray[np.bool_]:
        """Which questions are answered right."""
        return np.equal(self.answers(ranking), self.labels)

    @property
    def gold(self) -> npt.NDArray[np.int64]:
        """The number of the right choice of every question among all choices."""
        return self.first[:-1] + self.labels

    @property
    def chance(self) -> float:
        """Accuracy of a guess."""
        return float(np.mean(1 / np.diff(self.first)))


def score_questions(
    model: CausalModel,
    questions: Sequence[Question],
    *,
    batch_tokens: int = 4096,
    advance: Callable[[int], object] = lambda _: None,
) -> Scored:
    """Log-likelihoods of every choice with and without its question.

    Args:
        advance: told the number of choices scored, of twice as many as there are.

    Raises:
        ScoringError: naming what cannot be scored.
    """
    asked = [request for question in questions for request in question.requests]
    apart = [LogLikelihood(q.domain_prompt, request.continuation) for q in questions for request in q.requests]
    every = list(dict.fromkeys([*asked, *apart]))
    encoded = dict(
        zip(
            every,
            encode_requests(model.tokenizer, every, end_of_sequence=model.end_of_sequence, context=model.context),
            strict=True,
        )
    )
    found = log_likelihoods(
        model.transformer, list(encoded.values()), context=model.context, batch_tokens=batch_tokens, advance=advance
    )
    nats = dict(zip(every, found.log_likelihood, strict=True))
    texts = [request.continuation.removeprefix(" ") for request in asked]
    return Scored(
        first=np.cumsum([0, *(len(question.requests) for question in questions)]),
        labels=np.array([question.label for question in questions]),
        given=np.array([nats[request] for request in asked]),
        prior=np.array([nats[request] for request in apart]),
        characters=np.array([max(1, len(text)) for text in texts], np.float64),
        tokens=np.array([len(encoded[request].continuation) for request in asked], np.float64),
        size=np.array([max(1, len(text.encode())) for text in texts], np.float64),
        cut=sum(any(encoded[request].cut for request in question.requests) for question in questions),
    )


def macro_f1(labels: npt.NDArray[np.int64], answers: npt.NDArray[np.int64]) -> float:
    """Mean over the labels that occur, as answer or as gold, of 2 hits / (answers + golds)."""
    kinds = np.union1d(labels, answers)
    hits = [int(((labels == kind) & (answers == kind)).sum()) for kind in kinds]
    counts = [int((labels == kind).sum() + (answers == kind).sum()) for kind in kinds]
    return float(np.mean([2 * hit / count for hit, count in zip(hits, counts, strict=True)]))


def summarise(scored: Scored, metric: str, seed: int = 0) -> dict[str, float]:
    """The measured values of a task; an interval is `<value>/low` and `<value>/high`. `score` is that of `metric`."""
    count = len(scored.labels)
    values: dict[str, float] = {}
    for ranking in RANKINGS:
        right = int(scored.correct(ranking).sum())
        values |= _with_interval(ranking, right / count, binomial_interval(right, count))
    answers, gold = scored.answers("acc"), scored.gold
    f1 = bootstrap(lambda chosen: macro_f1(scored.labels[chosen], answers[chosen]), count, seed)
    values |= _with_interval("f1", macro_f1(scored.labels, answers), f1)
    for name, nats in (("bpb", scored.given), ("bpb_prior", scored.prior)):
        bits = -nats[gold] / (math.log(2) * scored.size[gold])
        spread = bootstrap(lambda chosen, bits=bits: float(bits[chosen].mean()), count, seed)  # type: ignore[misc]
        values |= _with_interval(name, float(bits.mean()), spread)
    values["ce_loss"] = float((-scored.given[gold] / scored.characters[gold]).mean())
    values |= {"chance": scored.chance, "questions": float(count), "cut_contexts": float(scored.cut)}
    return values | {f"score{part}": values[f"{metric}{part}"] for part in ("", "/low", "/high")}


def _with_interval(name: str, value: float, interval: Interval) -> dict[str, float]:
    return {name: value, f"{name}/low": interval.low, f"{name}/high": interval.high}


@dataclasses.dataclass(frozen=True)
class RankClassification:
    """The measure: tasks answered by likelihood.

    Attributes:
        tasks: `Task`, `TaskFile` or generated tasks, each of another name.
        seed: of the bootstrap intervals.
    """

    tasks: tuple[TaskSource, ...]
    seed: int = 0

    def measure(self, model: CausalModel, bar: Callable[[str, float | None], Bar]) -> dict[str, Any]:
        """Values `tasks/<task>/<metric>`, and `tasks/macro`, the mean of the tasks' scores with `tasks/macro/chance`.

        The record holds what every question was answered with, so that two models can be compared by question.
        """
        values: dict[str, float] = {}
        records: dict[str, Any] = {}
        with bar("answering questions", 2 * sum(len(q.requests) for t in self.tasks for q in t.questions)) as shown:
            for task in self.tasks:
                scored = score_questions(model, task.questions, advance=shown.advance)
                found = summarise(scored, task.metric, self.seed)
                values |= {f"{PREFIX}/{task.name}/{name}": value for name, value in found.items()}
                records[task.name] = _record(task, scored)
        for part, key in (("score", "macro"), ("chance", "macro/chance")):
            each = [values[f"{PREFIX}/{task.name}/{part}"] for task in self.tasks]
            values[f"{PREFIX}/{key}"] = float(np.mean(each))
        return {"values": values, "tasks": records, "curves": [_curve(task) for task in self.tasks]}

    @staticmethod
    def panels(outcome: Mapping[str, Any]) -> list[Panel]:
        """A table of scores beside chance and intervals, and bars."""
        values = outcome["values"]
        rows: list[list[str | float | int | None]] = []
        bars: dict[str, dict[str, float]] = {}
        intervals: dict[str, dict[str, tuple[float, float]]] = {}
        for name, record in outcome["tasks"].items():
            of = {key: values[f"{PREFIX}/{name}/{key}"] for key in _SHOWN}
            cut = int(of.pop("cut_contexts"))
            low, high = of.pop("score/low"), of.pop("score/high")
            rows.append(
                [name, record["metric"], int(of.pop("questions")), of.pop("score"), low, high, *of.values(), cut]
            )
            bars[name] = {"score": values[f"{PREFIX}/{name}/score"], "without the question": of["prior"]}
            intervals[name] = {"score": (low, high)}
        columns = ["task", "judged by", "questions", "score", "95 % from", "to", *(_HEADS.get(k, k) for k in of), "cut"]
        note = (
            "The choice of the highest likelihood is the answer. Chance is a guess; `prior` is what the model answers "
            "without reading the question. Intervals are exact for accuracies, bootstrap for f1. `cut` counts "
            "questions whose context was too long and lost its beginning."
        )
        chance = {name: values[f"{PREFIX}/{name}/chance"] for name in outcome["tasks"]}
        shown = Bars("Rank classification, with chance as a line", "", bars, intervals=intervals, levels=chance)
        return [Table("Rank classification", columns, rows, note=note), shown]


_SHOWN = (
    "questions", "score", "score/low", "score/high", "chance", "prior", "acc", "len_norm", "per_token", "per_byte",
    "pmi_dc", "f1", "bpb", "bpb_prior", "ce_loss", "cut_contexts",
)  # fmt: skip
_HEADS = {"bpb": "gold bits/byte", "bpb_prior": "the same without the question", "ce_loss": "gold nats/character"}


def _record(task: TaskSource, scored: Scored) -> dict[str, Any]:
    return {
        "metric": task.metric,
        "ids": [question.id for question in task.questions],
        "labels": scored.labels.tolist(),
        "answers": {ranking: scored.answers(ranking).tolist() for ranking in RANKINGS},
        "log_likelihoods": [part.tolist() for part in np.split(scored.given.round(5), scored.first[1:-1])],
    }


def _curve(task: TaskSource) -> dict[str, Any]:
    """How the score of a task is drawn over updates."""
    name = f"{PREFIX}/{task.name}"
    return {
        "title": f"{task.name} ({task.metric})",
        "y": "share of questions",
        "series": {"score": f"{name}/score", "without the question": f"{name}/prior"},
        "bands": {"score": [f"{name}/score/low", f"{name}/score/high"]},
        "levels": {"chance": f"{name}/chance"},
    }


def compare(first: Mapping[str, Any], second: Mapping[str, Any], seed: int = 0) -> dict[str, Paired]:
    """Two models' records of the same tasks, question by question, by what each task is judged by (f1: by `acc`).

    Raises `ValueError` naming a task whose questions are not the same.
    """
    found = {}
    for name, record in first["tasks"].items():
        other = second["tasks"].get(name)
        if other is None or (record["ids"], record["labels"]) != (other["ids"], other["labels"]):
            raise ValueError(f"the two models did not answer the same questions of {name}")
        ranking = "acc" if record["metric"] == "f1" else record["metric"]
        right = [np.equal(one["answers"][ranking], one["labels"]) for one in (record, other)]
        found[name] = paired(right[0], right[1], seed)
    return found


def rank_classification(*tasks: TaskSource, seed: int = 0) -> RankClassification:
    """Measure how many questions of each task a model answers right.

    Raises `ValueError` when there is no task, or two have the same name.
    """
    names = [task.name for task in tasks]
    if not names or len(set(names)) < len(names):
        raise ValueError(f"rank classification needs tasks of different names, got {', '.join(names) or 'none'}")
    return RankClassification(tasks, seed)
