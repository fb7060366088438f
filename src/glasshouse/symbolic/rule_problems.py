"""Problems about kinds of things, in sentences, with their answers: generated, or read from a file.

A generated problem is of ProntoQA's kind (Saparov and He, arXiv 2210.01240): kinds that are kinds of others in a chain,
a quality that each has or lacks, somebody of one of the kinds, and a statement about a quality some steps up the chain.
A kind outside the chain has the quality the other way round, so that the statement cannot be judged without the chain.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from glasshouse.store.configuration import ConfigurationError, named_seed
from glasshouse.symbolic.paraphrases import Pair, Templates, Word

ASKED = "Is the following statement true or false?"
LONGEST_CHAIN = 5


@dataclass(frozen=True, slots=True)
class Problem:
    """What is known, a statement, and whether it is true.

    Attributes:
        programs: of the sentences and of the statement, where they are known; nothing reads them but measures.
    """

    name: str
    sentences: tuple[str, ...]
    statement: str
    answer: bool
    programs: tuple[str, ...] = ()

    @property
    def pairs(self) -> list[Pair]:
        """Every sentence, the statement last, with its program."""
        return [Pair(*both) for both in zip((*self.sentences, self.statement), self.programs, strict=True)]


def generated_problems(
    templates: Templates,
    count: int,
    styles: Sequence[str],
    *,
    deepest: int = LONGEST_CHAIN,
    around: int = 1,
    seed: int = 0,
) -> list[Problem]:
    """Problems in the words and sentences of templates that have the meanings of the set `kinds`.

    `styles` are drawn from for every sentence. The statement lies up to `deepest` steps up the chain, and up to
    `around` kinds more stand at both of its ends. Raises `ConfigurationError` for templates with too few words.
    """
    needed = deepest + 2 * around + 1
    if (least := min(len(templates.words.get(name, ())) for name in ("kind", "quality"))) < needed:
        raise ConfigurationError(
            f"{templates.name} has {least} kinds or qualities; problems of {deepest} steps with {around} kinds around "
            f"take {needed}: give more words, or a smaller deepest or around"
        )
    draw = random.Random(named_seed(seed, "rule problems", templates.name))  # noqa: S311 - data, no secret
    sizes = (deepest, around)
    return [_generated(f"{templates.name} {seed}.{n}", templates, styles, sizes, draw) for n in range(count)]


def _generated(
    name: str, templates: Templates, styles: Sequence[str], sizes: tuple[int, int], draw: random.Random
) -> Problem:
    depth, start, above = draw.randint(1, sizes[0]), draw.randint(0, sizes[1]), draw.randint(0, sizes[1])
    kinds = draw.sample(templates.words["kind"], start + depth + above + 1)
    qualities = draw.sample(templates.words["quality"], len(kinds))
    person, chain = draw.choice(templates.words["person"]), kinds[:-1]
    has = [draw.random() < 0.5 for _ in chain]
    asked = start + depth - 1

    def said(meaning: str, **words: Word) -> Pair:
        able = [style for style in styles if templates.by_name[meaning].texts.get(style)]
        return templates.pair(meaning, draw.choice(able), draw, words)

    pairs = [said(_QUALITY[has[n]], kind1=kind, quality=qualities[n]) for n, kind in enumerate(chain)]
    pairs += [said("kind is kind", kind1=one, kind2=other) for one, other in pairwise(chain)]
    pairs.append(said(_QUALITY[not has[asked]], kind1=kinds[-1], quality=qualities[asked]))
    draw.shuffle(pairs)
    pairs.append(said("one is kind", person=person, kind1=chain[start]))
    positive = draw.random() < 0.5
    statement = said("one has quality" if positive else "one lacks quality", person=person, quality=qualities[asked])
    sentences = tuple(pair.text for pair in pairs)
    programs = (*(pair.program for pair in pairs), statement.program)
    return Problem(name, sentences, statement.text, positive == has[asked], programs)


_QUALITY = {True: "kind has quality", False: "kind lacks quality"}


def read_problems(path: Path | str) -> list[Problem]:
    """The problems of a file in the form of Logic-LM's ProntoQA: a list of `id`, `context`, `question`, `answer`.

    Raises `ValueError` naming the first item that is not of that form.
    """
    try:
        items = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from None
    if not isinstance(items, list) or not items:
        raise ValueError(f"{path} is no list of problems")
    return [_read(item, f"{path}, item {number}") for number, item in enumerate(items)]


def _read(item: Any, where: str) -> Problem:
    try:
        name, context, question, answer = (str(item[field]) for field in ("id", "context", "question", "answer"))
    except (KeyError, TypeError):
        raise ValueError(f"{where}: a problem has id, context, question and answer") from None
    asked, found, statement = question.partition(ASKED)
    if asked.strip() or not found or answer not in ("A", "B"):
        raise ValueError(f"{where}: the question begins with {ASKED!r} and is answered by A (true) or B (false)")
    return Problem(name, tuple(sentences_of(context)), statement.strip(), answer == "A")


def sentences_of(text: str) -> list[str]:
    """The sentences of a text, each with its full stop."""
    return [part.strip() for part in re.findall(r"[^.]+\.", text)]
