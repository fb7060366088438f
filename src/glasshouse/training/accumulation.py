"""The gradient of one update from its micro-batches, one after another or side by side.

On a CPU, several micro-batches of an objective that allows it (`concurrent = True`) run side by side, each in a thread
of its own with one arithmetic thread. Small models gain nothing from splitting single operations over cores, and lose
twentyfold on a busy machine, where every operation waits for a core that is taken; micro-batches meet once per update.
Their gradients are added in the order of the batch, so the numbers do not depend on how many cores there are.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from types import TracebackType
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor, nn

from glasshouse.store.environment import usable_cores
from glasshouse.training.data import move
from glasshouse.training.objective import Batch, Objective, Step
from glasshouse.training.parallel import ParallelPlan


class _Part(NamedTuple):
    loss: Tensor
    metrics: dict[str, Tensor]
    gradients: Sequence[Tensor | None]


class Accumulator:
    """Adds up losses, metrics and gradients of micro-batches; a context manager for the length of a run.

    Args:
        objective: gives the loss; side by side only if its `concurrent` is true (its loss draws no random numbers and
            changes no state).
        parameters: whose `.grad` is filled.
        precision: "bf16" (autocast on the parameters' device) or "fp32".
        micro_batches: micro-batches per update.
        plan: how processes share the work; parameters that are spread talk to other processes in the backward pass,
            so that micro-batches then take their turns.
    """

    def __init__(
        self,
        objective: Objective,
        parameters: Sequence[nn.Parameter],
        precision: str,
        micro_batches: int,
        plan: ParallelPlan | None = None,
    ) -> None:
        self._objective, self._parameters = objective, list(parameters)
        self._device = self._parameters[0].device
        self._bf16 = precision == "bf16"
        plan = plan or ParallelPlan()
        self._together = plan.processes > 1
        allowed = self._device.type == "cpu" and plan.whole and bool(getattr(objective, "concurrent", False))
        self._apart = allowed and micro_batches > 1
        workers = min(usable_cores(), micro_batches) if self._apart else 1
        self._pool = ThreadPoolExecutor(workers, "micro-batch") if workers > 1 else None
        self._threads = torch.get_num_threads()

    def __enter__(self) -> Self:
        if self._apart:
            torch.set_num_threads(1)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
        torch.set_num_threads(self._threads)

    def autocast(self, *, cache: bool = True) -> torch.autocast:
        """The run's precision, as a context."""
        return torch.autocast(self._device.type, dtype=torch.bfloat16, enabled=self._bf16, cache_enabled=cache)

    def __call__(
        self, batches: Sequence[Batch], weights: Sequence[float], total: float, step: Step
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Fills the gradients of the weighted mean loss; returns that loss and the mean metrics, on the device."""
        shares = [
            (batch, weight / total)
            for batch, weight in zip(batches, weights, strict=True)
            # With other processes every one does every micro-batch: they meet in the middle of it.
            if weight > 0 or self._together
        ]
        if not self._apart:
            parts = [self._in_place(batch, share, step) for batch, share in shares]
        elif self._pool is None:
            parts = [self._by_itself(batch, share, step) for batch, share in shares]
        else:
            parts = list(self._pool.map(self._by_itself, *zip(*shares, strict=True), repeat(step))) if shares else []
        for part in parts if self._apart else ():
            self._add(part.gradients)
        if not parts:
            return self._nothing(), {}
        loss = parts[0].loss if len(parts) == 1 else torch.stack([part.loss for part in parts]).sum()
        metrics = {name: torch.stack([part.metrics[name] for part in parts]).sum() for name in parts[0].metrics}
        return loss, metrics

    def _in_place(self, batch: Batch, share: float, step: Step) -> _Part:
        scaled, metrics = self._loss(batch, share, step, cache=True)
        scaled.backward()  # type: ignore[no-untyped-call]
        return _Part(scaled.detach(), metrics, ())

    def _by_itself(self, batch: Batch, share: float, step: Step) -> _Part:
        # Autocast's cache of narrow weights is shared by all threads; their graphs must not be.
        scaled, metrics = self._loss(batch, share, step, cache=False)
        return _Part(scaled.detach(), metrics, torch.autograd.grad(scaled, self._parameters, allow_unused=True))

    def _loss(self, batch: Batch, share: float, step: Step, *, cache: bool) -> tuple[Tensor, dict[str, Tensor]]:
        with self.autocast(cache=cache):
            loss = self._objective.loss(move(batch, self._device), step)
        if not share:  # a mean over nothing may be no number
            return loss.value.float().nan_to_num(0, 0, 0) * 0, {name: self._nothing() for name in loss.metrics}
        metrics = {name: _scalar(value) * share for name, value in loss.metrics.items()}
        return loss.value.float() * share, metrics

    def _nothing(self) -> Tensor:
        return torch.zeros((), device=self._device)

    @torch.no_grad()
    def _add(self, gradients: Sequence[Tensor | None]) -> None:
        for parameter, gradient in zip(self._parameters, gradients, strict=True):
            if gradient is None:
                continue
            if parameter.grad is None:
                parameter.grad = gradient
            else:
                parameter.grad += gradient


def _scalar(value: Any) -> Tensor:
    return torch.as_tensor(value, dtype=torch.float32).detach()
