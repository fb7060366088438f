"""Run the benchmark with an engine; its columns: VERTEX, what was verified, how well each tells true from false.

Without any key: `reference` answers well, `paraphrase` well in words that the references do not hold, `wrong` falsely
in like words, and `mock` refuses. With any endpoint: give an engine such as `HttpEngine`.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from glasshouse.store.configuration import named_seed
from glasshouse.symbolic.call import Engine
from glasshouse.symbolic.runtime import Runtime
from glasshouse.symbolic.suite.case import PARTS, Case, Outcome, every_case, grade, held_out, scripted
from glasshouse.symbolic.vertex import Embed, Interval, NodeScore, Vertex, interval


@dataclass(frozen=True, slots=True)
class PartScore:
    """One part's columns: means over its cases with 95 % intervals.

    Attributes:
        vertex: the paper's score.
        sound: the same with what was found wrong counted as 0.
        noise: the score of the refusal.
        right, decided, nodes: of how many nodes it was found that they are true, of how many it was decided, and all.
    """

    part: str
    vertex: Interval
    sound: Interval
    noise: float
    right: int
    decided: int
    nodes: int


def run_suite(
    engine: Engine | str,
    embed: Embed,
    solvers: Iterable[Engine] = (),
    cases: Sequence[Case] | None = None,
    advance: Callable[[Case], object] = lambda _: None,
) -> list[Outcome]:
    """Every case with a runtime of its own.

    Args:
        engine: a language model, or one of the stand-ins `reference`, `paraphrase`, `wrong`, `mock`.
        embed: gives VERTEX its vectors.
        solvers: decide what is true; without one, its checks are undecided.
    """
    scorer = Vertex(embed)
    deciders = tuple(solvers)
    outcomes = []
    for case in every_case() if cases is None else cases:
        model = scripted(case, engine) if isinstance(engine, str) else engine
        graded = held_out(case) if engine == "paraphrase" else case
        outcomes.append(grade(graded, Runtime(model, *deciders), scorer))
        advance(case)
    return outcomes


def part_scores(outcomes: Sequence[Outcome]) -> list[PartScore]:
    """The columns of each part that has cases, in the paper's order."""
    found = []
    for part in PARTS:
        rows = [outcome.nodes for outcome in outcomes if outcome.case.part == part]
        nodes = [node for row in rows for node in row]
        if not rows:
            continue
        found.append(
            PartScore(
                part,
                interval([_mean([node.score for node in row]) for row in rows]),
                interval([_mean([node.sound for node in row]) for row in rows]),
                _mean([_mean([node.noise for node in row]) for row in rows]),
                sum(node.verified is True for node in nodes),
                sum(node.verified is not None for node in nodes),
                len(nodes),
            )
        )
    return found


def total(scores: Sequence[PartScore]) -> tuple[float, float]:
    """The paper's total, the mean over the parts: of VERTEX and of the sound column."""
    return _mean([one.vertex.mean for one in scores]), _mean([one.sound.mean for one in scores])


def separation(
    good: Sequence[Outcome], bad: Sequence[Outcome], column: Callable[[NodeScore], float] = lambda node: node.score
) -> float:
    """The chance that a node of the good outcomes scores above one of the bad ones, ties counted half: the ROC area."""
    above = [column(node) for outcome in good for node in outcome.nodes]
    below = [column(node) for outcome in bad for node in outcome.nodes]
    wins = sum((one > other) + 0.5 * (one == other) for one in above for other in below)
    return wins / (len(above) * len(below))


def permutation_p(
    good: Sequence[Outcome],
    bad: Sequence[Outcome],
    column: Callable[[NodeScore], float] = lambda node: node.score,
    *,
    draws: int = 2000,
    seed: int = 0,
) -> float:
    """The one-sided p-value of `separation`: how often labels given by chance separate as well, cases kept whole.

    The observed labels count as one of the draws, so it is never 0 (Phipson and Smyth, 2010).
    """
    generator, reached = random.Random(named_seed(seed, "permutation")), 1  # noqa: S311 - labels, no secret
    observed, both = separation(good, bad, column), [*good, *bad]
    for _ in range(draws):
        generator.shuffle(both)
        reached += separation(both[: len(good)], both[len(good) :], column) >= observed
    return reached / (draws + 1)


def table(scores: Sequence[PartScore]) -> str:
    """The columns as a Markdown table."""
    lines = ["| part | VERTEX | 95 % | sound | noise | found right |", "|---|---|---|---|---|---|"]
    for one in scores:
        span = f"{one.vertex.low:.2f} to {one.vertex.high:.2f}"
        right = f"{one.right} of {one.decided} decided, {one.nodes} in all"
        lines.append(
            f"| {one.part} | {one.vertex.mean:.2f} | {span} | {one.sound.mean:.2f} | {one.noise:.2f} | {right} |"
        )
    whole, sound = total(scores)
    return "\n".join([*lines, f"| total | {whole:.2f} | | {sound:.2f} | | |"]) + "\n"


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
