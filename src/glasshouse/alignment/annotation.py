"""People answer: questions are shown one after the other, and every answer is a row of the ledger at once.

Which response stands left, as A, is a coin toss for every question, from the seed, because people tend to one side. A
question that this person has answered before is not asked again, so a session can be left and taken up at any time.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Sequence
from typing import Literal

from glasshouse.alignment.ledger import Ledger, Query
from glasshouse.alignment.questions import Question
from glasshouse.store.configuration import named_seed

Choice = Literal["A", "B", "tie", "skip"]
CHOICES: tuple[Choice, ...] = ("A", "B", "tie", "skip")


class AnnotationError(ValueError):
    """An answer to a question that is not being asked, or that is none."""


@dataclasses.dataclass(frozen=True)
class Shown:
    """A question as a person sees it: number `number` (from 1) of `total`; which is A is drawn."""

    question: Question
    number: int
    total: int
    a: str
    b: str
    swapped: bool

    @property
    def expected(self) -> str | None:
        """What the reward model expects, in words; None where it is not known. To be looked at after judging."""
        chance = self.question.why.get("first_preferred")
        if chance is None:
            return None
        for_a = 1 - chance if self.swapped else chance
        return f"The reward model gives A a chance of {100 * for_a:.0f} %."


class Annotation:
    """A session: which question is next, and what is written when it is answered. Safe to call from several threads.

    Args:
        questions: in the order they are asked.
        ledger: where answers go.
        annotator: who answers, as the ledger records it.
        seed: of the sides.
    """

    def __init__(self, questions: Sequence[Question], ledger: Ledger, annotator: str, *, seed: int = 0) -> None:
        if not annotator.strip() or len(annotator) > 100:
            raise AnnotationError("the annotator needs a name, of at most 100 letters")
        self.questions, self.ledger, self.annotator, self.seed = list(questions), ledger, annotator, seed
        self._lock = threading.Lock()
        done = {(query.prompt_id, query.first, query.second) for query in ledger if query.answered_by == annotator}
        self._pending = [number for number, item in enumerate(questions) if _key(item) not in done]
        self.answers = dict.fromkeys(CHOICES, 0)

    @property
    def left_to_ask(self) -> int:
        """Questions without an answer of this person."""
        return len(self._pending)

    def next(self) -> Shown | None:
        """The question to ask now; None when all are answered."""
        pending = self._pending[:1]
        return self._shown(pending[0]) if pending else None

    def answer(self, number: int, choice: str) -> Shown | None:
        """Write the answer to question `number`, and give the next. Raises `AnnotationError` if it is not asked now."""
        if choice not in CHOICES:
            raise AnnotationError(f"an answer is one of {', '.join(CHOICES)}, got {choice!r}")
        with self._lock:
            shown = self.next()
            if shown is None or shown.number != number:
                now = "all are answered" if shown is None else f"number {shown.number} is"
                raise AnnotationError(f"question {number} is not asked now: {now}")
            item = shown.question
            preferred = {"A": 1.0, "B": 0.0, "tie": 0.5, "skip": None}[choice]
            if preferred is not None and shown.swapped:
                preferred = 1 - preferred
            row = Query(
                prompt_id=item.prompt_id,
                prompt=item.prompt,
                first=item.first,
                second=item.second,
                rule=item.rule,
                seed=item.seed,
                why=item.why,
                answered_by=self.annotator,
                answer=preferred,
            )
            self.ledger.append([row])
            self._pending.pop(0)
            self.answers[choice] += 1
        return self.next()

    def _shown(self, place: int) -> Shown:
        item = self.questions[place]
        swapped = bool(named_seed(self.seed, "side", item.prompt_id) & 1)
        a, b = (item.second, item.first) if swapped else (item.first, item.second)
        return Shown(item, place + 1, len(self.questions), a, b, swapped)


def _key(item: Question) -> tuple[str, str, str]:
    return item.prompt_id, item.first, item.second
