"""Logic programs that language models wrote once, run again through our solvers, and scored against the gold answers.

The forms are those of Logic-LM (Pan et al., arXiv 2305.12295; teacherpeterpan/Logic-LLM: `data`, `outputs`): a folder
with `sets/NAME.json`, questions with their answers, and `programs/NAME_MODEL.json`, the program of each question.

    ProntoQA          rules     A when the goal follows, else B (two options, so what is not shown counts as false)
    ProofWriter       rules     A when it follows, B when its denial does, else C
    FOLIO             formulas  the same
    LogicalDeduction  puzzle    the first option that holds in every solution

A program that is not read, or takes too long, counts as wrong; nothing is guessed.
"""

from __future__ import annotations

import json
import math
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from glasshouse.symbolic.errors import EngineError
from glasshouse.symbolic.logic_programs.formulas_text import parse_formulas
from glasshouse.symbolic.logic_programs.puzzle import parse_puzzle
from glasshouse.symbolic.logic_programs.rules_text import parse_rules
from glasshouse.symbolic.solvers import horn, z3
from glasshouse.symbolic.solvers.choices import check_counter_examples

MODELS = ("gpt-4", "gpt-3.5-turbo", "text-davinci-003")


class Answer(NamedTuple):
    """The letter of an option, or nothing; what the evidence of it is, and what is wrong with the evidence."""

    letter: str | None
    evidence: str
    problem: str | None = None


def two_options(text: str, seconds: float) -> Answer:
    """ProntoQA: true or false."""
    return _rules(text, seconds, {True: "A", False: "B", None: "B"})


def open_world(text: str, seconds: float) -> Answer:
    """ProofWriter: true, false or unknown."""
    return _rules(text, seconds, {True: "A", False: "B", None: "C"})


def _rules(text: str, seconds: float, letters: Mapping[bool | None, str]) -> Answer:
    program = parse_rules(text)
    verdict = horn.entails(program, seconds=seconds)
    evidence = "closed world" if verdict.answer is None else "proof"
    return Answer(letters[verdict.answer], evidence, horn.check_verdict(verdict, program))


def first_order(text: str, seconds: float) -> Answer:
    """FOLIO: true, false or uncertain; undecided within the time counts as uncertain and is told apart."""
    program = parse_formulas(text)
    verdict = z3.entails(program, seconds=seconds)
    letter = {True: "A", False: "B", None: "C"}[verdict.answer]
    if verdict.undecided:
        return Answer(letter, "undecided")
    if verdict.answer is None:
        return Answer(letter, "two models", z3.check_models(verdict, program))
    return Answer(letter, "refutation by Z3, not checked")


def puzzle(text: str, seconds: float) -> Answer:
    """LogicalDeduction: the option that holds in every solution; the others have a solution without them."""
    read = parse_puzzle(text)
    choices = z3.choose(read, seconds=seconds)
    if not choices.follow:
        return Answer(None, "counter-examples to all" if choices.consistent else "contradiction")
    return Answer(choices.follow[0], "counter-examples to the others", check_counter_examples(choices, read))


SOLVE: Mapping[str, Callable[[str, float], Answer]] = {
    "ProntoQA": two_options,
    "ProofWriter": open_world,
    "FOLIO": first_order,
    "LogicalDeduction": puzzle,
}


@dataclass(frozen=True, slots=True)
class Replay:
    """What came of one model's programs for one set.

    Attributes:
        dataset, model: which.
        items: programs on record.
        right: answers equal to gold.
        ran: programs that were read and answered.
        baseline: the share of the commonest gold answer, which needs no program.
        evidence: how many answers have which evidence.
        problems: answers whose evidence was found wrong, by question.
        refusals: why programs were not run, by question.
        cpu_seconds: of this process.
    """

    dataset: str
    model: str
    items: int
    right: int
    ran: int
    baseline: float
    evidence: Mapping[str, int]
    problems: Mapping[str, str]
    refusals: Mapping[str, str]
    cpu_seconds: float

    @property
    def accuracy(self) -> float:
        """Right answers over all items."""
        return self.right / self.items

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval of the accuracy."""
        return wilson(self.right, self.items)


def wilson(right: int, items: int) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson, 1927)."""
    z, n, p = 1.959964, items, right / items
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return middle - half, middle + half


def replay(folder: Path, dataset: str, model: str, *, seconds: float = 2.0) -> Replay:
    """Run the programs of one model for one set. Raises `ValueError` for a set that is not known, or a damaged file."""
    if dataset not in SOLVE:
        raise ValueError(f"no set is called {dataset!r}; known: {', '.join(SOLVE)}")
    gold = {str(item["id"]): str(item["answer"]) for item in _items(folder / "sets" / f"{dataset}.json", "answer")}
    programs = _items(folder / "programs" / f"{dataset}_{model}.json", "raw_logic_programs")
    evidence: Counter[str] = Counter()
    problems, refusals, right = {}, {}, 0
    began = time.process_time()
    for item in programs:
        name, text = str(item["id"]), str(item["raw_logic_programs"][0])
        try:
            answer = SOLVE[dataset](text, seconds)
        except EngineError as error:
            refusals[name] = str(error)
            continue
        evidence[answer.evidence] += 1
        if answer.problem is not None:
            problems[name] = answer.problem
        right += answer.letter == gold[name]
    spent = time.process_time() - began
    commonest = max(Counter(gold[str(item["id"])] for item in programs).values()) / len(programs)
    ran = len(programs) - len(refusals)
    return Replay(dataset, model, len(programs), right, ran, commonest, dict(evidence), problems, refusals, spent)


def _items(path: Path, field: str) -> list[dict[str, Any]]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if found and all(isinstance(item, dict) and "id" in item and item.get(field) for item in found):
            return list(found)
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    raise ValueError(f"{path}: every item needs an id and {field}")
