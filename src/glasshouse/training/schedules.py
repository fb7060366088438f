"""Learning-rate and clipping schedules as pure functions of the step (updates counted from 1).

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
from typing import Literal

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
    """Learning rate of update `step` of `steps`; `warmup` and `anneal` in steps, `final` and `decay` as fractions."""
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


def clip_norm_at(step: int, clip_norm: float, early: float | None = None, early_steps: int = 1000) -> float:
    """Largest global gradient norm at update `step`: `early` up to and including `early_steps`, then `clip_norm`.

    This is what OLMo-7B's configuration says (10 for the first 1000 steps). Its code clips before it advances the
    schedule, so in the published run update 1 used 1.0 and updates 2 to 1001 used 10; we follow the configuration.
    """
    return early if early is not None and step <= early_steps else clip_norm
