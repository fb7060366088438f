"""A parser reads the sentences of a problem and a solver answers it: as a program, and how often it is right."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from glasshouse.symbolic.call import Engine
from glasshouse.symbolic.errors import SymbolicError
from glasshouse.symbolic.logic_programs.rules_text import parse_statement
from glasshouse.symbolic.paraphrases import Pair
from glasshouse.symbolic.program import Program
from glasshouse.symbolic.rule_problems import Problem
from glasshouse.symbolic.runtime import Runtime
from glasshouse.symbolic.solvers.horn import Horn
from glasshouse.symbolic.sym import Sym, lift


class Solve(Program):
    """From the sentences of a text and a statement to whether it follows: True, False, or None for neither.

    Args:
        seed: makes another draw of every program, where the parser draws.
    """

    def __init__(self, seed: int = 0) -> None:
        self._options: dict[str, Any] = {"seed": seed} if seed else {}

    def forward(self, *inputs: Any) -> Sym:
        """A node that parses each sentence, and one that asks a solver about the statement's program."""
        *sentences, statement = (text.sem(**self._options).parse() for text in inputs)
        return lift(sentences).sem.entails(statement)


@dataclass(frozen=True, slots=True)
class Solved:
    """What came of a problem.

    Attributes:
        found: True or False where the statement or its denial follows; None where neither does, or there was an error.
        programs: of the sentences, and of the statement last; none where one could not be written.
        shown: the sentences that the proof rests on, and the statement, with their programs.
        error: why there is no answer.
    """

    problem: Problem
    found: bool | None = None
    programs: tuple[str, ...] = ()
    shown: tuple[Pair, ...] = ()
    error: str = ""

    @property
    def right(self) -> bool:
        """There are two answers: what does not follow counts as false. What was not read or solved is wrong."""
        return not self.error and (self.found is True) == self.problem.answer

    @property
    def proved(self) -> bool:
        """Whether the right answer was shown by a proof, of the statement or of its denial."""
        return self.found is not None and self.found == self.problem.answer


def solve(
    problems: Iterable[Problem],
    parser: Engine,
    *,
    seed: int = 0,
    advance: Callable[[], object] = lambda: None,
) -> list[Solved]:
    """Every problem, read by the parser and answered by forward chaining; a sentence is read once for all problems."""
    runtime, program = Runtime(parser, Horn()), Solve(seed)
    found = []
    for problem in problems:
        found.append(_solved(problem, runtime, program))
        advance()
    return found


def accuracy(solved: Sequence[Solved]) -> float:
    """The share of right answers. Raises `ValueError` for no problems."""
    if not solved:
        raise ValueError("no problems have no accuracy")
    return sum(one.right for one in solved) / len(solved)


def _solved(problem: Problem, runtime: Runtime, program: Solve) -> Solved:
    texts = (*problem.sentences, problem.statement)
    try:
        result = runtime.run(program, *texts)
    except SymbolicError as error:
        return Solved(problem, error=f"{type(error).__name__}: {error}")
    lines, statement = (result.records[node.id].value for node in result.node.inputs)
    programs = (*lines, statement)
    pairs = [Pair(text, written) for text, written in zip(texts, programs, strict=True)]
    shown = [*_lines_of_proof(lines, result.record.evidence or {}), len(lines)] if result.value is not None else []
    return Solved(problem, result.value, programs, tuple(pairs[number] for number in shown))


def _lines_of_proof(lines: Sequence[str], evidence: dict[str, Any]) -> list[int]:
    """Which lines the steps of a proof come from."""
    origin = [
        number
        for number, line in enumerate(lines)
        for rule in parse_statement(line)
        if rule.body or rule.head.ground  # what is put aside has no number
    ]
    return sorted({origin[rule] for _, rule, _ in evidence["proof"]})
