"""When a run's checkpoints are written: at once, or by a thread while training goes on."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from torch import nn

from glasshouse.training.checkpoint import Checkpoint, agreed_checkpoint, take_snapshot, write_snapshot
from glasshouse.training.objective import Objective
from glasshouse.training.parallel import ParallelPlan

_log = logging.getLogger(__name__)


class Checkpointer:
    """Writes checkpoints of one run into `directory`, one at a time.

    With `asynchronous_checkpoints` a periodic one costs training a copy of what this process owns; the error of a
    checkpoint that could not be written is raised when the next one is due or the run ends.
    """

    def __init__(self, directory: Path, plan: ParallelPlan, keep: int) -> None:
        self._directory, self._plan, self._keep = directory, plan, keep
        self._pool = ThreadPoolExecutor(1, "checkpoint")
        self._pending: Future[Checkpoint] | None = None
        self.saved: Checkpoint | None = None
        """The newest one that is whole."""
        self.step: int | None = None
        """The step of the newest one, which may still be being written."""

    def find(self) -> Checkpoint | None:
        """The newest complete checkpoint on disk."""
        self.saved = agreed_checkpoint(self._directory, self._plan.messages)
        self.step = self.saved.step if self.saved else None
        return self.saved

    def save(
        self,
        objective: Objective,
        state: Mapping[str, Any],
        optimizers: list[torch.optim.Optimizer],
        parameters: Mapping[str, nn.Parameter],
        *,
        last: bool,
    ) -> None:
        """Begin to write a checkpoint of this moment; the `last` one is whole when this returns.

        Raises `CheckpointError` when this one or the one before it could not be written.
        """
        self.wait()
        later = self._plan.config.asynchronous_checkpoints and not last
        snapshot = take_snapshot(
            state=state,
            learns=objective.learns,
            carries=objective.carries,
            optimizers=optimizers,
            parameters=parameters,
            place=self._plan.place,
            copied=later,
        )
        self.step = int(state["step"])
        self._pending = self._pool.submit(
            write_snapshot, self._directory, snapshot, keep=self._keep, channel=self._plan.writing
        )
        if not later:
            self.wait()

    def wait(self) -> None:
        """Until what was begun is whole. Raises `CheckpointError` when it could not be written."""
        pending, self._pending = self._pending, None
        if pending is not None:
            self.saved = pending.result()

    def close(self) -> None:
        """Wait at the end of a run that may have failed already: a second error is only logged."""
        try:
            self.wait()
        except Exception:
            _log.exception("the last checkpoint that was begun is not whole")
        self._pool.shutdown()
