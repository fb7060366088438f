"""Self-training with a solver as the teacher: new ways to say things are learnt from problems whose answers are known.

A parser reads problems in sentences that it was not trained on. Where a solver proves the known answer from what it
wrote, the sentences of the proof were read rightly, unless several errors cancelled out. Their words are put back into
slots (`learnt_forms`), and what at least `support` problems show alike becomes a template; the parser is trained on
these beside its own. The loop is that of STaR (Zelikman et al., arXiv 2203.14465) with a proof in place of an answer.
Deviation: templates are learnt, not sentences. They can be read, and one stands for all the words of its classes.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import Field

from glasshouse.language.generation import Sampling
from glasshouse.language.model import LoadedModel
from glasshouse.store.configuration import Config, named_seed
from glasshouse.symbolic.learnt_forms import LEARNT, Form, learnt_forms, with_forms
from glasshouse.symbolic.paraphrases import Pair, Templates
from glasshouse.symbolic.parser_training import ParserTraining, train_parser
from glasshouse.symbolic.parsing import LONGEST, Parser
from glasshouse.symbolic.rule_problems import Problem
from glasshouse.symbolic.solved_problems import Solved, solve
from glasshouse.training.trainer import TrainingResult


class SelfTraining(Config):
    """How a parser teaches itself.

    Attributes:
        rounds: of reading, filtering and training.
        temperature: of the second reading, of problems that the most likely programs did not solve.
        support: in how many problems a template must have been shown.
        pairs: of what was learnt, and as many of what was known, that every round trains on.
        steps: updates of every round.
        learning_rate: their peak.
    """

    rounds: int = Field(2, ge=1)
    temperature: float = Field(3.0, gt=0)
    support: int = Field(2, ge=1)
    pairs: int = Field(8000, ge=1)
    steps: int = Field(150, ge=1)
    learning_rate: float = Field(1e-3, gt=0)


class Round(NamedTuple):
    """One round.

    Attributes:
        proved: the share of problems whose known answer was proved, by the most likely programs and by drawn ones.
        forms: what was learnt up to here -> in how many problems it was shown.
        result: of the training; on what was known alone where nothing was learnt.
    """

    proved: float
    forms: dict[Form, int]
    result: TrainingResult


def self_train(
    model: LoadedModel,
    known: Sequence[Pair],
    templates: Templates,
    problems: Sequence[Problem],
    training: ParserTraining,
    settings: SelfTraining,
    directory: Path | str,
    *,
    advance: Callable[[], object] = lambda: None,
    **options: Any,
) -> list[Round]:
    """Train a parser in place on what it can prove of problems with known answers; their programs are not looked at.

    `templates` are those of its own pairs, `known` a sample of these. `advance` is told of every problem read.
    """
    forms: dict[Form, int] = {}
    rounds = []
    for number in range(settings.rounds):
        solved = _read(model, templates, problems, settings, number + 1, advance)
        forms |= learnt_forms(solved, templates, settings.support)
        share = sum(one.proved for one in solved) / len(problems)
        pairs = _pairs(known, with_forms(templates, forms) if forms else None, settings, training.seed, number)
        chosen = training.but(seed=named_seed(training.seed, "round", number) % 2**31)
        chosen = chosen.but(learning_rate=settings.learning_rate, steps=settings.steps)
        result = train_parser(model, pairs, chosen, Path(directory) / f"round-{number}", **options)
        rounds.append(Round(share, dict(forms), result))
    return rounds


def _read(
    model: LoadedModel,
    templates: Templates,
    problems: Sequence[Problem],
    settings: SelfTraining,
    seed: int,
    advance: Callable[[], object],
) -> list[Solved]:
    """Every problem by the most likely programs, and those that these do not prove once more by drawn ones."""
    first = solve(problems, Parser(model, templates.grammar, templates.copies), advance=advance)
    drawing = Parser(
        model, templates.grammar, templates.copies, Sampling(tokens=LONGEST, temperature=settings.temperature)
    )
    again = solve([one.problem for one in first if not one.proved], drawing, seed=seed)
    return [*(one for one in first if one.proved), *again]


def _pairs(
    known: Sequence[Pair], learnt: Templates | None, settings: SelfTraining, seed: int, number: int
) -> list[Pair]:
    draw = random.Random(named_seed(seed, "self-training", number))  # noqa: S311 - an order of data, no secret
    pairs = draw.choices(known, k=settings.pairs)
    pairs += learnt.pairs(settings.pairs, (LEARNT,), seed + number) if learnt else []
    draw.shuffle(pairs)
    return pairs
