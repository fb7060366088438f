"""Tasks and how they are run: rounds of requests, answered by a scorer, until the task returns its records.

A task whose requests are known beforehand yields once. One whose next request depends on the last answer (a dialogue
whose state the model keeps) yields a round per turn, over all of its dialogues at once:

    def rounds(self) -> Rounds:
        answers = yield requests
        return records
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Protocol

from glasshouse.evaluation.journal import Journal
from glasshouse.evaluation.records import Metric, Record
from glasshouse.evaluation.requests import Answer, Request
from glasshouse.evaluation.scorers import Scorer

Rounds = Generator[Sequence[Request], Sequence[Answer], Sequence[Record]]


class Task(Protocol):
    """Something a model is asked.

    Attributes:
        name: of letters, digits, `_`, `-`, `.` and `/`.
        hashes: of what its numbers depend on beside the model: `data` and `prompts`, and whatever else.
        metrics: what is reported of its records; the first one is what the task is judged by.
    """

    @property
    def name(self) -> str: ...

    @property
    def hashes(self) -> Mapping[str, str]: ...

    @property
    def metrics(self) -> Mapping[str, Metric]: ...

    def rounds(self) -> Rounds:
        """Requests out, answers in, records at the end; a function of the answers alone."""
        ...

    def baselines(self, records: Sequence[Record]) -> Mapping[str, Sequence[Record]]:
        """By name, what trivial methods would have answered: the same items with other responses and scores.

        `records` are the model's own.
        """
        ...


def run(
    task: Task,
    scorer: Scorer,
    advance: Callable[[int], object] = lambda _: None,
    journal: Journal | None = None,
) -> list[Record]:
    """The records of a task.

    Args:
        advance: told how many requests were answered, for a progress bar.
        journal: where answers are kept as they come, and found when the run is repeated.

    Raises:
        ScoringError: naming what cannot be answered.
    """
    rounds, number = task.rounds(), 0
    found: list[Answer] = []
    while True:
        try:
            requests = rounds.send(found) if number else next(rounds)
        except StopIteration as finished:
            records: Sequence[Record] = finished.value
            return list(records)
        known = {} if journal is None else journal.known(number)
        advance(len(known))
        for batch in scorer.batches(requests, set(known)):
            if journal is None:
                known.update(batch)
            else:
                journal.keep(number, batch)
            advance(len(batch))
        found = [known[place] for place in range(len(requests))]
        number += 1
