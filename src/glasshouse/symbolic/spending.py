"""What a run may spend and has spent, and how long to wait before a call is made again."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from glasshouse.symbolic.call import NO_USAGE, Budget, Usage
from glasshouse.symbolic.errors import BudgetError, EngineError, RateLimitError


@dataclass(frozen=True, slots=True)
class Retry:
    """How often a call that may succeed later is made again, and after how long.

    Attributes:
        attempts: calls at most, the first one included.
        base: seconds before the second; each further wait is twice as long, at most `ceiling`.
        jitter: share of a wait that is random, so that many clients do not come back together.
        patience: a server that asks for a longer wait than these seconds is not waited for.
    """

    attempts: int = 3
    base: float = 0.5
    ceiling: float = 15.0
    jitter: float = 0.1
    patience: float = 60.0

    def wait(self, number: int, error: EngineError, generator: random.Random) -> float:
        """Seconds before the attempt after the `number`-th; at least what the server asks for."""
        seconds = min(self.base * 2.0 ** (number - 1), self.ceiling)
        seconds *= 1 + self.jitter * (2 * generator.random() - 1)
        asked = error.retry_after if isinstance(error, RateLimitError) else None
        return max(seconds, asked or 0.0)


class Meter:
    """Counts calls, tokens and seconds against a budget; safe to use from several threads."""

    def __init__(self, budget: Budget, clock: Callable[[], float] = time.monotonic) -> None:
        self.budget = budget
        self.calls = 0
        self.usage = NO_USAGE
        self._clock = clock
        self._start = clock()
        self._lock = threading.Lock()

    @property
    def seconds(self) -> float:
        """Since the run began."""
        return self._clock() - self._start

    def longest_wait(self, patience: float) -> float:
        """Seconds that may be waited: `patience`, or what is left of the time."""
        return patience if self.budget.seconds is None else min(patience, self.budget.seconds - self.seconds)

    def begin(self, label: str, tokens: int | None = None) -> Budget:
        """Count one call, and say what it may spend: what is left, and no more than `tokens`.

        Raises `BudgetError` when nothing is left.
        """
        budget = self.budget
        with self._lock:
            left = None if budget.tokens is None else budget.tokens - self.usage.output_tokens
            time_left = None if budget.seconds is None else budget.seconds - self.seconds
            gone = [
                f"{limit} {name}"
                for name, limit, spent in (
                    ("calls", budget.calls, budget.calls is not None and self.calls >= budget.calls),
                    ("tokens", budget.tokens, left is not None and left <= 0),
                    ("seconds", budget.seconds, time_left is not None and time_left <= 0),
                )
                if spent
            ]
            if gone:
                raise BudgetError(f"the budget of {' and '.join(gone)} is spent; {label} was not asked")
            self.calls += 1
        allowed = [one for one in (left, tokens) if one is not None]
        return Budget(tokens=min(allowed) if allowed else None, seconds=time_left)

    def add(self, usage: Usage) -> None:
        """Count what a reply cost."""
        with self._lock:
            self.usage = self.usage.plus(usage)
