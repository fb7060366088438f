"""What stops a run: a loss or gradient that is not finite, a spike, a person."""

from __future__ import annotations

import math
import signal
import threading
from collections import deque
from collections.abc import Iterable
from contextlib import AbstractContextManager
from types import FrameType, TracebackType
from typing import Any

from glasshouse.training.configuration import SpikeStop


class TrainingStoppedError(RuntimeError):
    """A run was stopped because of its numbers. `step` is the update, `documents` what its batch was made of."""

    def __init__(self, message: str, step: int, documents: list[str]) -> None:
        super().__init__(message)
        self.step = step
        self.documents = documents


class SpikeDetector:
    """Loss spikes against the recent past (as OLMo-core's SkipStep measures them); None watches nothing.

    `recent` is part of a checkpoint, so that a resumed run stops where an undisturbed one would.
    """

    def __init__(self, config: SpikeStop | None, recent: Iterable[float] = ()) -> None:
        self._config = config
        self._recent: deque[float] = deque(recent, maxlen=config.window if config else 0)

    @property
    def recent(self) -> list[float]:
        return list(self._recent)

    def problem(self, loss: float) -> str | None:
        """Take note of a loss; says what is wrong with it, if anything."""
        if self._config is None:
            return None
        if len(self._recent) == self._config.window:
            mean = sum(self._recent) / len(self._recent)
            deviation = math.sqrt(sum((x - mean) ** 2 for x in self._recent) / (len(self._recent) - 1))
            limit = mean + self._config.sigmas * max(deviation, 1e-6 * abs(mean))
            if loss > limit:
                return (
                    f"the loss {loss:.6g} is a spike: the last {self._config.window} steps have mean {mean:.6g} and "
                    f"standard deviation {deviation:.3g}, the limit is {limit:.6g}"
                )
        self._recent.append(loss)
        return None


def not_finite(loss: float, gradient_norm: float) -> str | None:
    """Says which of the two is not a finite number, if one is."""
    if not math.isfinite(loss):
        return f"the loss is {loss}"
    return None if math.isfinite(gradient_norm) else f"the gradient norm is {gradient_norm} (loss {loss:.6g})"


class Interruption(AbstractContextManager["Interruption"]):
    """Holds the first Ctrl-C back until the update in progress is whole; the second one is immediate.

    Only in the main thread, where signals arrive; elsewhere it does nothing.
    """

    def __init__(self) -> None:
        self.requested = False
        self._previous: Any = None
        self._installed = False

    def __enter__(self) -> Interruption:
        if threading.current_thread() is threading.main_thread():
            self._previous = signal.getsignal(signal.SIGINT)
            if self._previous is signal.default_int_handler:
                signal.signal(signal.SIGINT, self._note)
                self._installed = True
        return self

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._installed:
            signal.signal(signal.SIGINT, self._previous)
