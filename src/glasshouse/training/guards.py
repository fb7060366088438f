"""What stops a run: a loss or gradient that is not finite, an outlier, a person."""

from __future__ import annotations

import math
import signal
import threading
from contextlib import AbstractContextManager
from types import FrameType, TracebackType
from typing import Any


class TrainingStoppedError(RuntimeError):
    """A run was stopped because of its numbers. `step` is the update, `documents` what its batch was made of."""

    def __init__(self, message: str, step: int, documents: list[str]) -> None:
        super().__init__(message)
        self.step = step
        self.documents = documents


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
