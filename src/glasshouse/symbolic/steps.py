"""Steps that measure: texts under constraints, VERTEX beside what is true, and programs that other models wrote."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from glasshouse.data.sources.reading import fingerprint_files
from glasshouse.store.artifact import Artifact
from glasshouse.store.configuration import ConfigurationError
from glasshouse.store.panels import Bars, Panel, Table
from glasshouse.store.step import Run, step
from glasshouse.symbolic.adversary import SCHEMAS, trial
from glasshouse.symbolic.recorded_programs import MODELS, SOLVE, Replay, replay
from glasshouse.symbolic.runtime import Runtime
from glasshouse.symbolic.suite.case import every_case
from glasshouse.symbolic.suite.run import part_scores, permutation_p, run_suite, separation, total
from glasshouse.symbolic.vertex import Embed, NodeScore, embedding

Embedder = Literal["minilm", "ngrams"]
STAND_INS = ("reference", "paraphrase", "wrong", "mock")
AREAS = ("all", "logic")
"""Parts over which ROC areas are measured."""
FILE = "measured.json"


class Measurement(Artifact):
    """Values by name, and rows to be shown."""

    @cached_property
    def content(self) -> dict[str, Any]:
        """What was measured."""
        found: dict[str, Any] = json.loads(self.file(FILE).read_text(encoding="utf-8"))
        return found

    @property
    def values(self) -> dict[str, float]:
        """By name."""
        return dict(self.content["values"])


class ConstrainedTexts(Measurement):
    """How many texts of an untrained model are valid."""

    def panels(self) -> list[Panel]:
        """One row for each schema."""
        columns = ["schema", "texts", "valid", "valid with masks alone", "refused"]
        note = "The model is untrained; with masks alone a text is cut off where the budget ends."
        return [Table("Texts under a schema", columns, self.content["rows"], note=note)]


class VertexScores(Measurement):
    """VERTEX of stand-ins for a language model, and what was found true."""

    def panels(self) -> list[Panel]:
        """Means with intervals, beside the score of what is true."""
        groups = {part: {name: score[0] for name, score in several.items()} for part, several in self.parts.items()}
        intervals = {
            part: {name: (score[1], score[2]) for name, score in several.items()}
            for part, several in self.parts.items()
        }
        note = f"Embedder: {self.content['embedder']}. Bars are means over the cases of a part with 95 % intervals."
        columns = ["stand-in", "VERTEX", "with what is false at 0", "of the nodes decided, true"]
        values = self.values
        rows = [(name, values[f"{name}/vertex"], values[f"{name}/sound"], values[f"{name}/true"]) for name in STAND_INS]
        return [
            Bars("VERTEX by part", "VERTEX", groups, intervals=intervals, note=note),
            Table("VERTEX and truth", columns, rows),
        ]

    @property
    def parts(self) -> dict[str, dict[str, list[float]]]:
        """Part -> stand-in -> mean, low, high."""
        found: dict[str, dict[str, list[float]]] = self.content["parts"]
        return found


class ReplayedPrograms(Measurement):
    """Programs that language models wrote once, solved here."""

    def panels(self) -> list[Panel]:
        """One row for each set and model."""
        columns = ["set", "model", "programs", "accuracy", "low", "high", "ran", "commonest answer"]
        return [Table("Recorded programs through solvers", columns, self.content["rows"])]


@step()
def constrain_untrained(run: Run, texts: int = 10, budget: int = 100, seed: int = 0) -> ConstrainedTexts:
    """Have an untrained model write under every schema of `adversary`, with and without closings."""
    trials = {}
    with run.bar("writing under schemas", len(SCHEMAS)) as bar:
        for name, schema in SCHEMAS.items():
            trials[name] = trial(schema, texts, budget, seed)
            bar.advance()
    written = [one for one in trials.values() if not one.refused]
    values = {
        "texts": float(sum(one.texts for one in written)),
        "valid": float(sum(one.valid for one in written)),
        "masked": float(sum(one.masked for one in written)),
        "refused schemas": float(len(trials) - len(written)),
        "refused with the keyword": float(sum(name in one.refused for name, one in trials.items() if one.refused)),
    }
    rows = [(name, one.texts, one.valid, one.masked, one.refused) for name, one in trials.items()]
    _write(run, values, rows=rows)
    return ConstrainedTexts(run.output)


@step()
def score_stand_ins(run: Run, embedder: Embedder = "minilm", draws: int = 500, seed: int = 0) -> VertexScores:
    """The benchmark in five parts with stand-ins for a language model: does VERTEX tell true from false?

    `paraphrase` is right in other words than the references, `wrong` false in like words, `mock` refuses. The p-value
    is that of the ROC area between the first two when their labels are permuted `draws` times.
    """
    from glasshouse.symbolic.solvers.sympy import Sympy
    from glasshouse.symbolic.solvers.z3 import Z3

    embed, algebra = _embedder(embedder), Sympy()
    try:
        with run.bar("scoring", len(STAND_INS) * len(every_case())) as bar:
            outcomes = {
                name: run_suite(name, embed, (Z3(), algebra), advance=lambda _: bar.advance()) for name in STAND_INS
            }
    finally:
        algebra.close()
    values: dict[str, float] = {}
    parts: dict[str, dict[str, list[float]]] = {}
    for name, several in outcomes.items():
        scores = part_scores(several)
        values[f"{name}/vertex"], values[f"{name}/sound"] = total(scores)
        values[f"{name}/true"] = sum(one.right for one in scores) / max(1, sum(one.decided for one in scores))
        for one in scores:
            parts.setdefault(one.part, {})[name] = list(one.vertex)
    for part in AREAS:
        good, bad = (
            [one for one in outcomes[name] if part in ("all", one.case.part)] for name in ("paraphrase", "wrong")
        )
        for column, of in (("vertex", _score), ("sound", _sound)):
            values[f"area/{part}/{column}"] = separation(good, bad, of)
            values[f"p/{part}/{column}"] = permutation_p(good, bad, of, draws=draws, seed=seed)
    _write(run, values, parts=parts, embedder=embedder)
    return VertexScores(run.output)


def _fingerprint(folder: str, **_: Any) -> list[list[str | int]]:
    return [list(entry) for entry in fingerprint_files([f"{folder}/sets/*.json", f"{folder}/programs/*.json"])]


@step(observe=_fingerprint)
def replay_programs(
    run: Run, folder: str, sets: Sequence[str] = tuple(SOLVE), seconds: float = 2.0
) -> ReplayedPrograms:
    """Solve the programs that GPT-4, GPT-3.5 and davinci wrote for Logic-LM (see `recorded_programs`)."""
    found: list[Replay] = []
    with run.bar("replaying programs", len(sets) * len(MODELS)) as bar:
        for name in sets:
            for model in MODELS:
                found.append(replay(Path(folder), name, model, seconds=seconds))
                bar.advance()
    values = {f"{one.dataset}/{one.model}/accuracy": one.accuracy for one in found}
    values["problems with evidence"] = float(sum(len(one.problems) for one in found))
    values["programs"] = float(sum(one.items for one in found))
    rows = [
        (one.dataset, one.model, one.items, one.accuracy, *one.interval, one.ran / one.items, one.baseline)
        for one in found
    ]
    run.measure(cpu_seconds=sum(one.cpu_seconds for one in found))
    _write(run, values, rows=rows)
    return ReplayedPrograms(run.output)


def _embedder(name: Embedder) -> Embed:
    from glasshouse.symbolic.engines.hashing import HashedNgrams
    from glasshouse.symbolic.engines.minilm import MiniLM, installed_folder

    if name == "minilm" and not installed_folder():
        raise ConfigurationError("the embedder minilm is not installed: see glasshouse.symbolic.engines.minilm")
    return embedding(Runtime(MiniLM() if name == "minilm" else HashedNgrams()))


def _score(node: NodeScore) -> float:
    return node.score


def _sound(node: NodeScore) -> float:
    return node.sound


def _write(run: Run, values: dict[str, float], **more: Any) -> None:
    text = json.dumps({"values": values, **more}, indent=1, ensure_ascii=False)
    (run.output / FILE).write_text(text + "\n", encoding="utf-8")
