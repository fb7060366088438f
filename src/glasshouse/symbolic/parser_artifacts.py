"""What the steps of a parser leave behind: pairs, problems, the parser, and how many problems were solved."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from glasshouse.language.model import LanguageModel
from glasshouse.store.artifact import Artifact
from glasshouse.store.panels import Numbers, Panel, Table
from glasshouse.symbolic.paraphrases import Pair, Templates
from glasshouse.symbolic.parser_training import ParserTraining
from glasshouse.symbolic.recorded_programs import wilson
from glasshouse.symbolic.rule_problems import Problem
from glasshouse.symbolic.solved_problems import Solved

PAIRS, PROBLEMS, TEMPLATES, SETTINGS, SOLVED = (
    "pairs.jsonl",
    "problems.jsonl",
    "templates.json",
    "settings.json",
    "solved.json",
)
SHOWN = 8


class ParsingPairs(Artifact):
    """Sentences with their programs as documents of JSON Lines, and the templates they were made from."""

    @cached_property
    def templates(self) -> Templates:
        """With the grammar of the programs."""
        return _templates(self)

    @cached_property
    def pairs(self) -> list[Pair]:
        """In the order of their ids."""
        documents = read_rows(self.file(PAIRS))
        return [Pair(one["text"], **one["metadata"]) for one in documents]

    def panels(self) -> list[Panel]:
        """Some of them."""
        rows = [(pair.text, pair.program, pair.meaning) for pair in self.pairs[:SHOWN]]
        note = f"{len(self.pairs):,} pairs, from templates; half are about made-up words where these were asked for."
        return [Table("Pairs to train on", ["sentence", "program", "meaning"], rows, note=note)]


class Problems(Artifact):
    """Problems with their answers."""

    @cached_property
    def problems(self) -> list[Problem]:
        """In order."""
        fields = ("sentences", "programs")
        return [
            Problem(**{**one, **{name: tuple(one[name]) for name in fields}}) for one in read_rows(self.file(PROBLEMS))
        ]


class TrainedParser(LanguageModel):
    """A language model that writes programs of a grammar."""

    @cached_property
    def templates(self) -> Templates:
        """What it was trained on, with the grammar."""
        return _templates(self)

    @property
    def settings(self) -> ParserTraining:
        """How it was trained."""
        return ParserTraining.model_validate_json(self.file(SETTINGS).read_text(encoding="utf-8"))

    @property
    def learnt(self) -> list[dict[str, Any]]:
        """What it taught itself, round by round; empty for a parser that did not."""
        found: list[dict[str, Any]] = self.training.get("rounds", [])
        return found

    @property
    def values(self) -> dict[str, float]:
        """Those of the training run, and of every round of self-training."""
        cpu = float(self.manifest["measurements"].get("cpu_seconds", float("nan")))
        rounds = {f"round {n}/proved": one["proved"] for n, one in enumerate(self.learnt, 1)}
        forms = {f"round {n}/forms": float(len(one["forms"])) for n, one in enumerate(self.learnt, 1)}
        return super().values | {"training/cpu_seconds": cpu} | rounds | forms

    def panels(self) -> list[Panel]:
        """The training, and the templates that it taught itself."""
        panels = super().panels()
        if self.learnt:
            rows = [(form["text"], form["program"], form["problems"]) for form in self.learnt[-1]["forms"]]
            columns = ["sentence", "program", "problems that show it"]
            panels.append(Table("Learnt from answers alone", columns, rows))
        return panels


class SolvedProblems(Artifact):
    """What became of problems: how many were answered rightly, and which were not."""

    @cached_property
    def content(self) -> dict[str, Any]:
        """`values`, and some of the problems that were `missed`."""
        found: dict[str, Any] = json.loads(self.file(SOLVED).read_text(encoding="utf-8"))
        return found

    @property
    def values(self) -> dict[str, float]:
        """`accuracy` and its interval, `proved`, `unread`, `sentences` (read exactly, if that is known), `problems`."""
        return dict(self.content["values"])

    def panels(self) -> list[Panel]:
        """The shares, and what was missed."""
        figures = {name: f"{value:.3f}" for name, value in self.values.items() if name != "problems"}
        title = f"{self.values['problems']:.0f} problems {self.content['how']}".strip()
        rows = [(one["name"], one["sentence"], one["program"], one["error"]) for one in self.content["missed"]]
        table = Table("Some that were missed", ["problem", "sentence", "read as", "error"], rows)
        return [Numbers(title, figures), *([table] if rows else [])]


def solved_values(solved: Sequence[Solved]) -> dict[str, float]:
    """The values of `SolvedProblems`."""
    right = sum(one.right for one in solved)
    low, high = wilson(right, len(solved))
    values = {
        "problems": float(len(solved)),
        "accuracy": right / len(solved),
        "accuracy/low": low,
        "accuracy/high": high,
        "proved": sum(one.proved for one in solved) / len(solved),
        "unread": sum(bool(one.error) for one in solved) / len(solved),
    }
    wanted = [program for one in solved for program in one.problem.programs]
    if wanted:
        exact = sum(
            ours == gold for one in solved for ours, gold in zip(one.programs, one.problem.programs, strict=False)
        )
        values["sentences"] = exact / len(wanted)
    return values


def missed(solved: Sequence[Solved]) -> list[dict[str, str]]:
    """Some problems that were not solved, each with the first sentence that was read wrongly."""
    told = []
    for one in [one for one in solved if not one.right or (one.problem.programs and not one.proved)][:SHOWN]:
        texts = (*one.problem.sentences, one.problem.statement)
        both = zip(texts, one.programs, one.problem.programs or one.programs, strict=False)
        text, program = next(((text, ours) for text, ours, gold in both if ours != gold), ("", ""))
        told.append({"name": one.problem.name, "sentence": text, "program": program, "error": one.error[:160]})
    return told


def _templates(artifact: Artifact) -> Templates:
    return Templates.model_validate_json(artifact.file(TEMPLATES).read_text(encoding="utf-8"))


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Rows as JSON Lines."""
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of JSON Lines."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
