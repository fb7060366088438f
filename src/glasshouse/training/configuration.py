"""`Training`: everything that decides how an objective is trained."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import Field, model_validator

from glasshouse.store.configuration import Config, ConfigurationError
from glasshouse.training.schedules import ScheduleName

FREE_TO_CHANGE = frozenset({"checkpoint_every", "keep", "prefetch"})
"""Fields that may differ when a run is resumed: they do not touch its numbers."""


class SpikeStop(Config):
    """Stop when a loss exceeds the mean of the last `window` losses by `sigmas` standard deviations."""

    window: int = Field(128, ge=2)
    sigmas: float = Field(6.0, gt=0)


class Training(Config):
    """How to train. Exactly one of `steps`, `examples` (rows) or `tokens` sets the length.

    `batch_size` is rows per update over all ranks; `micro_batch_size` is rows per forward pass (default: the whole
    batch). `warmup` is a fraction of the run below 1 and a number of steps from 1 on. `compile="auto"` compiles block
    by block when the run is long enough to earn the compilation back (see `glasshouse.training.compilation`).
    Defaults are OLMo's (arXiv 2402.00838, section 3) except the learning rate, which suits models under 100M.
    """

    steps: int | None = Field(None, ge=1)
    examples: int | None = Field(None, ge=1)
    tokens: int | None = Field(None, ge=1)
    batch_size: int = Field(32, ge=1)
    micro_batch_size: int | None = Field(None, ge=1)
    seed: int = Field(6198, ge=0)
    order: Literal["keyed", "olmo"] = "keyed"

    optimizer: Literal["adamw", "muon"] = "adamw"
    learning_rate: float = Field(1e-3, gt=0)
    learning_rate_scales: dict[str, float] = Field(default_factory=dict)
    """Multiplies the learning rate of a component of `Objective.learns`, by its name."""
    weight_decay: float = Field(0.1, ge=0)
    decay: Literal["matrices", "everything"] = "matrices"
    """`matrices`: linear and convolution weights only (OLMo-1); `everything`: norms and embeddings too (OLMo-1.7)."""
    betas: tuple[float, float] = (0.9, 0.95)
    eps: float = Field(1e-5, gt=0)

    schedule: ScheduleName = "linear"
    warmup: float = Field(0.02, ge=0)
    final_fraction: float = Field(0.1, ge=0, le=1)
    decay_fraction: float = Field(0.2, gt=0, le=1)
    """Share of the run over which `wsd` comes down."""
    anneal_steps: int = Field(0, ge=0)

    clip_norm: float | None = Field(1.0, gt=0)
    early_clip_norm: float | None = Field(None, gt=0)
    early_clip_steps: int = Field(1000, ge=1)

    precision: Literal["bf16", "fp32"] = "bf16"
    compile: bool | Literal["auto"] = "auto"
    prefetch: int = Field(4, ge=0)

    checkpoint_every: int | None = Field(1000, ge=1)
    keep: int = Field(2, ge=1)
    validate_every: int | None = Field(None, ge=1)
    log_every: int = Field(10, ge=1)
    spike: SpikeStop | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Training:
        given = [name for name in ("steps", "examples", "tokens") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(
                f"exactly one of steps, examples or tokens sets the length, got {', '.join(given) or 'none'}"
            )
        if self.batch_size % self.micro_batch:
            raise ValueError(f"batch_size {self.batch_size} is not divisible by micro_batch_size {self.micro_batch}")
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"betas must lie in [0, 1), got {self.betas}")
        if self.warmup >= 1 and self.warmup != int(self.warmup):
            raise ValueError(f"warmup is a fraction below 1 or a whole number of steps, got {self.warmup}")
        if any(scale < 0 for scale in self.learning_rate_scales.values()):
            raise ValueError(f"learning_rate_scales must not be negative, got {self.learning_rate_scales}")
        return self

    @property
    def micro_batch(self) -> int:
        """Rows per forward pass."""
        return self.micro_batch_size or self.batch_size

    def total_steps(self, tokens_per_row: int | None = None) -> int:
        """Number of updates; a budget that does not fill the last batch is rounded up, as in OLMo.

        Raises `ConfigurationError` for a budget in tokens over data whose rows have no number of tokens, and for a
        warm-up and an anneal that do not fit into the run.
        """
        if self.steps is not None:
            total = self.steps
        elif self.examples is not None:
            total = math.ceil(self.examples / self.batch_size)
        elif tokens_per_row is None:
            raise ConfigurationError("Training.tokens needs data with a `tokens_per_row`; give steps or examples")
        else:
            total = math.ceil((self.tokens or 0) / (self.batch_size * tokens_per_row))
        if self.warmup_steps(total) + self.anneal_steps > total:
            raise ConfigurationError(
                f"Training.warmup ({self.warmup_steps(total)} steps) and anneal_steps ({self.anneal_steps}) "
                f"do not fit into a run of {total} steps"
            )
        return total

    def warmup_steps(self, total: int) -> int:
        """Warm-up in steps of a run of `total`."""
        return int(self.warmup) if self.warmup >= 1 else round(self.warmup * total)
