"""Receipts: what a run was at each of its checkpoints, small enough to keep for all of them.

`receipts.jsonl` in a run's directory has a line per scheduled checkpoint (every `checkpoint_every` updates and the
last): the update, the rows seen, the loss of that update, and the hashes of the weights and of the optimiser's state.
It depends on the run alone, not on interruptions. Whoever computes the updates between two receipts again, from the
checkpoint of the first, must arrive at the hashes of the second.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from glasshouse.store.configuration import Config
from glasshouse.training.checkpoint import optimizer_tensors, weights_hash
from glasshouse.training.configuration import Training
from glasshouse.training.objective import Objective, trainable
from glasshouse.training.shards import tensors_hash
from glasshouse.training.sinks import JsonLines

RECEIPTS = "receipts.jsonl"


class Receipt(Config):
    """One line: `weights` are the modules that learn and those carried along, `optimizer` is the optimiser's state."""

    step: int
    examples: int
    loss: float | None
    weights: str
    optimizer: str

    def differences(self, other: Receipt) -> list[str]:
        """Names of the fields in which two receipts differ."""
        return [name for name in type(self).model_fields if getattr(self, name) != getattr(other, name)]


class Receipts:
    """Writes a run's receipts; one process (`leads`) does, all of them compute."""

    def __init__(self, directory: Path, config: Training, steps: int, *, leads: bool) -> None:
        self.path = directory / RECEIPTS
        self._every, self._steps = config.checkpoint_every, steps
        self._lines = JsonLines(self.path) if leads else None

    def due(self, step: int) -> bool:
        """Whether a checkpoint after update `step` is one of the schedule, and not of an interruption."""
        return step == self._steps or (self._every is not None and step % self._every == 0)

    def begin(self, step: int) -> None:
        """Go on after update `step`."""
        if self._lines is not None:
            self._lines.begin(step)

    def write(self, receipt: Receipt) -> None:
        """Write a receipt; it is on the disk before the checkpoint it stands for."""
        if self._lines is not None:
            self._lines.write(receipt.model_dump())
            self._lines.flush()

    def close(self) -> None:
        if self._lines is not None:
            self._lines.close()


def receipt(
    step: int, examples: int, loss: float | None, objective: Objective, optimizers: Iterable[torch.optim.Optimizer]
) -> Receipt:
    """The receipt of a run as it is now; a call of all processes where modules are spread over them."""
    return Receipt(
        step=step,
        examples=examples,
        loss=loss,
        weights=weights_hash(*objective.learns.values(), *objective.carries.values()),
        optimizer=optimizer_hash(objective, optimizers),
    )


def optimizer_hash(objective: Objective, optimizers: Iterable[torch.optim.Optimizer]) -> str:
    """sha256 (hex) over the names, types, shapes and bytes of the optimisers' state, by parameter."""
    state = optimizer_tensors(optimizers, trainable(objective), separator=" ")
    return tensors_hash(sorted(state.items()))


def read_receipts(path: Path) -> list[Receipt]:
    """The receipts of a run, by update. Raises `ValueError` naming the line that is none."""
    found = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            values: dict[str, Any] = json.loads(line)
            found.append(Receipt(**values))
        except (ValueError, TypeError) as error:
            raise ValueError(f"line {number} of {path} is not a receipt: {error}") from None
    return found
