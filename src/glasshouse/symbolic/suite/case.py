"""A case of the benchmark: a graph with a language model in it, and what is expected at each node that asks it.

SymbolicAI (arXiv 2402.00854) scores 31 tests in five parts. There are as many cases here, of the same kinds; their
texts are this project's own, and so are three corrections: every score of a case counts, an exception scores 0 in all
nodes that were not reached, and each node has the second column, whether its answer is true, decided without a language
model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from glasshouse.symbolic.call import Call, Reply
from glasshouse.symbolic.engines.function import FunctionEngine
from glasshouse.symbolic.errors import NoEngineError, RejectedProgramError, SymbolicError
from glasshouse.symbolic.program import Program, program
from glasshouse.symbolic.runtime import Runtime
from glasshouse.symbolic.trace import Record
from glasshouse.symbolic.vertex import REFUSAL, NodeScore, Reference, Vertex

Check = Callable[[Any, Runtime], "bool | None"]
PARTS = ("associations", "modality", "code", "logic", "graphs")


@dataclass(frozen=True, slots=True)
class Expected:
    """What is expected of one answer of the language model.

    Attributes:
        texts: good answers, as a model would write them; the first is that of the reference engine.
        wrong: a false answer that is worded like a good one.
        check: whether a value is true, decided by comparison or by a solver; None when it cannot be decided.
        typed: the value itself is compared with the first good one: the score is 1 or 0, as the paper's booleans.
        code: texts are Python, compared by the shape of their syntax trees.
    """

    texts: tuple[str, ...]
    wrong: str
    check: Check = lambda value, runtime: None
    typed: bool = False
    code: bool = False


@dataclass(frozen=True, slots=True)
class Case:
    """One test: a program without inputs, and what is expected at its text nodes, in the order they are asked."""

    part: str
    name: str
    program: Program
    expected: tuple[Expected, ...]


def case(part: str, name: str, build: Callable[[], Any], *expected: Expected) -> Case:
    """A case whose graph a function builds."""
    return Case(part, name, program(build), expected)


def equal(value: Any) -> Check:
    """True for this value and nothing else."""
    return lambda found, runtime: bool(type(found) is type(value) and found == value)


def any_of(*values: str) -> Check:
    """True for one of these texts, whatever the case and the dots at the end."""
    return lambda found, runtime: str(found).strip().rstrip(".").lower() in {value.lower() for value in values}


def solved(ask: Callable[[Any], Any], wanted: Any = True) -> Check:
    """Ask a solver about the value; true when it answers `wanted`. A value it cannot read is not true."""

    def check(value: Any, runtime: Runtime) -> bool | None:
        try:
            return bool(runtime.run(ask(value)).value == wanted)
        except NoEngineError:
            return None
        except RejectedProgramError:
            return False

    return check


def held_out(case: Case) -> Case:
    """The case without the last of several good texts, which `paraphrase` answers with."""
    return replace(case, expected=tuple(replace(one, texts=one.texts[:-1] or one.texts) for one in case.expected))


def scripted(case: Case, which: str) -> FunctionEngine:
    """A stand-in for a language model.

    `reference` answers with the first good text, `paraphrase` with the last, `wrong` falsely but in like words, `mock`
    refuses, as the paper's random column does.
    """
    answers = {
        "reference": [one.texts[0] for one in case.expected],
        "paraphrase": [one.texts[-1] for one in case.expected],
        "wrong": [one.wrong for one in case.expected],
        "mock": [REFUSAL] * 100,
    }[which]
    left = iter(answers)

    def answer(call: Call) -> Reply:
        text = next(left, REFUSAL)
        return Reply(text, text, model=which, finish="stop")

    return FunctionEngine(answer, name=which)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a case: the columns of each expected node, and why it ended early, if it did."""

    case: Case
    nodes: tuple[NodeScore, ...]
    error: str = ""


def grade(case: Case, runtime: Runtime, scorer: Vertex) -> Outcome:
    """Run a case and score every node that asks the language model.

    The runtime should know no values from earlier cases: a scripted engine answers in order.
    """
    error = ""
    try:
        runtime.run(case.program)
    except (SymbolicError, ValueError, TypeError, LookupError, ArithmeticError, AttributeError) as problem:
        error = f"{type(problem).__name__}: {problem}"
    answered = [record for record in runtime.known.values() if record.kind == "text"]
    nodes = []
    for place, expected in enumerate(case.expected):
        record = answered[place] if place < len(answered) else None
        nodes.append(_scored(f"{case.name} {place + 1}" if place else case.name, record, expected, runtime, scorer))
    return Outcome(case, tuple(nodes), error)


def _scored(name: str, record: Record | None, expected: Expected, runtime: Runtime, scorer: Vertex) -> NodeScore:
    if record is None:
        return scorer.node(name, None, Reference(expected.texts), False)
    verified = expected.check(record.value, runtime)
    if expected.typed:
        score = 1.0 if verified else 0.0
        return NodeScore(name, score, 1.0, 0.0, score, 0.0, verified)
    if expected.code:
        from glasshouse.symbolic.suite.syntax import likeness

        kernel = max(likeness(record.text, text) for text in expected.texts)
        return NodeScore(name, kernel, 1.0, 0.0, kernel, 0.0, verified)
    return scorer.node(name, [record.text], Reference(expected.texts), verified)


def every_case() -> Sequence[Case]:
    """All cases, part by part."""
    from glasshouse.symbolic.suite import associations, code, graphs, logic, modality

    return (*associations.CASES, *modality.CASES, *code.CASES, *logic.CASES, *graphs.CASES)
