"""What is kept of one item of a task: what was asked, what was answered, and what that is worth."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from glasshouse.evaluation.requests import Answer, Request


@dataclasses.dataclass(frozen=True)
class Record:
    """One item answered.

    Attributes:
        id: of the item, unique in its task.
        prompt: the text that the model read last.
        target, response: what is right, and what the model's answer was taken to be; JSON data.
        scores: numbers of this item by name; accuracies are 0 or 1.
        extras: whatever else is worth keeping; JSON data.
        group: items that are not independent share it (a document, a dialogue); intervals resample groups.
        asked: the requests of this item with their answers.
    """

    id: str
    prompt: str
    target: Any
    response: Any
    scores: Mapping[str, float] = dataclasses.field(default_factory=dict)
    extras: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    group: str = ""
    asked: tuple[tuple[Request, Answer], ...] = ()

    @property
    def cut(self) -> int:
        """Most tokens that a context of this item lost on its left."""
        return max((answer.cut for _, answer in self.asked), default=0)

    def but(self, **changes: Any) -> Record:
        """The same with other fields: what a baseline would have answered."""
        return dataclasses.replace(self, **changes)


class MetricError(ValueError):
    """A metric is not defined for these records."""


@dataclasses.dataclass(frozen=True)
class Metric:
    """A number of records: corpus measures (BLEU, CoNLL F1) read `response` and `target`, or `extras`.

    Attributes:
        of: the function; it raises `MetricError` where it is not defined.
        best: its value for right answers; less than that of a trivial method where lower is better. `None`: not known.
        score: of a mean over records (`mean_of`), the score.
    """

    of: Callable[[Sequence[Record]], float]
    best: float | None = 1.0
    score: str | None = None

    def __call__(self, records: Sequence[Record]) -> float:
        return self.of(records)


def mean_of(score: str, best: float | None = 1.0) -> Metric:
    """The mean of a score over the records that have it; `MetricError` naming it when none has."""

    def mean(records: Sequence[Record]) -> float:
        found = [record.scores[score] for record in records if score in record.scores]
        if not found:
            raise MetricError(f"none of {len(records)} records has the score {score!r}")
        return sum(found) / len(found)

    return Metric(mean, best, score)
