"""How small learners of the papers are trained: Adam with its own defaults at a constant rate, nothing more."""

from __future__ import annotations

from typing import Any

from glasshouse.training.configuration import Training


def constant_adam(*, steps: int, batch_size: int, learning_rate: float, seed: int, **options: Any) -> Training:
    """The trainer's configuration: float32, no decay, no warm-up, no clipping. `options` are its other fields."""
    return Training.small(
        steps=steps,
        batch_size=batch_size,
        learning_rate=learning_rate,
        seed=seed,
        betas=(0.9, 0.999),
        schedule="constant",
        warmup=0,
        clip_norm=None,
        **options,
    )
