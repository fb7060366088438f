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


def run(task: Task, scorer: Scorer, advance: Callable[[int], object] = lambda _: None) -> list[Record]:
    """The records of a task. `advance` is told how many requests were answered, for a progress bar.

    Raises:
        ScoringError: naming what cannot be answered.
    """
    rounds = task.rounds()
    found: Sequence[Answer] | None = None
    while True:
        try:
            requests = next(rounds) if found is None else rounds.send(found)
        except StopIteration as finished:
            records: Sequence[Record] = finished.value
            return list(records)
        known: dict[int, Answer] = {}
        for batch in scorer.batches(requests):
            known |= batch
            advance(len(batch))
        found = [known[number] for number in range(len(requests))]
