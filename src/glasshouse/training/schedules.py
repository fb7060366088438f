"""Learning-rate and clipping schedules as pure functions of the step (updates counted from 1).

The learning rate's clock counts rows seen, that is tokens: while batches grow, a step of a small batch moves it by
less. OLMo's 65B configuration does the same (`scheduler.units: tokens`, with a warm-up of 5000 steps of its first batch
size). With batches of one size it is the same as counting steps, as OLMo-7B's configuration does.

Warm-up is linear from 10 % of the peak, as in OLMo (arXiv 2402.00838; `warmup_min_lr`). After it, with w warm-up steps
of T, u = (t - w) / (T - w), peak p and floor f = final fraction:

- linear:   p - (1 - f) p u
- cosine:   f p + (1 - f) p (1 + cos(pi u)) / 2
- wsd:      p until the last `decay` fraction of the run, then linearly to f p (warm-up, stable, decay)
- constant: p

An anneal takes the last steps of any of them linearly to zero; the schedule proper then ends where the anneal begins.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from glasshouse.training.order import BatchPlan

ScheduleName = Literal["linear", "cosine", "wsd", "constant"]
WARMUP_FROM = 0.1


def learning_rate(
    step: int,
    *,
    peak: float,
    steps: int,
    warmup: int,
    schedule: ScheduleName,
    final: float = 0.1,
    decay: float = 0.2,
    anneal: int = 0,
) -> float:
    """Learning rate at `step` of `steps`; `warmup` and `anneal` in the same unit, `final` and `decay` as fractions."""
    main = steps - anneal
    if step > main:
        last = learning_rate(main, peak=peak, steps=main, warmup=warmup, schedule=schedule, final=final, decay=decay)
        return last * max(steps - step, 0) / anneal
    if step <= warmup:
        return peak * (WARMUP_FROM + (1 - WARMUP_FROM) * step / warmup)
    done = min(1.0, (step - warmup) / max(1, main - warmup))
    return peak * _shape(schedule, done, final, decay * main / max(1, main - warmup))


def _shape(schedule: ScheduleName, done: float, final: float, decay: float) -> float:
    if schedule == "linear":
        return 1 - (1 - final) * done
    if schedule == "cosine":
        return final + (1 - final) * (1 + math.cos(math.pi * done)) / 2
    if schedule == "wsd":
        return 1 - (1 - final) * max(0.0, 1 - (1 - done) / min(1.0, decay)) if decay > 0 else 1.0
    return 1.0


@dataclass(frozen=True)
class RateSchedule:
    """The learning rate of every update of a run whose batches follow `plan`; `warmup` and `anneal` in steps."""

    plan: BatchPlan
    steps: int
    peak: float
    warmup: int
    schedule: ScheduleName
    final: float = 0.1
    decay: float = 0.2
    anneal: int = 0

    @cached_property
    def _rows(self) -> tuple[int, int, int]:
        total = self.plan.seen(self.steps)
        return total, self.plan.seen(self.warmup), total - self.plan.seen(self.steps - self.anneal)

    def at(self, step: int) -> float:
        """Learning rate of update `step`."""
        total, warmup, anneal = self._rows
        return learning_rate(
            self.plan.seen(step),
            peak=self.peak,
            steps=total,
            warmup=warmup,
            schedule=self.schedule,
            final=self.final,
            decay=self.decay,
            anneal=anneal,
        )


def clip_norm_at(step: int, clip_norm: float, early: float | None = None, early_steps: int = 1000) -> float:
    """Largest global gradient norm at update `step`: `early` up to and including `early_steps`, then `clip_norm`.

    This is what OLMo-7B's configuration says (10 for the first 1000 steps). Its code clips before it advances the
    schedule, so in the published run update 1 used 1.0 and updates 2 to 1001 used 10; we follow the configuration.
    """
    return early if early is not None and step <= early_steps else clip_norm
