"""`Training`: everything that decides how an objective is trained."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from glasshouse.store.configuration import Config, ConfigurationError
from glasshouse.training.order import BatchPlan
from glasshouse.training.schedules import ScheduleName

FREE_TO_CHANGE = frozenset({"checkpoint_every", "keep", "prefetch"})
"""Fields that may differ when a run is resumed: they do not touch its numbers."""


class Outliers(Config):
    """What to do about an update whose loss or gradient norm is far from the last `window` ones.

    `skip` leaves weights and optimiser state as they were and goes on, `stop` ends the run with the documents of the
    batch named (see `glasshouse.training.outliers`).
    """

    action: Literal["skip", "stop"] = "skip"
    window: int = Field(128, ge=20)
    sigmas: float = Field(6.0, gt=0)


class BatchStage(Config):
    """A smaller batch at the beginning of a run: its rows per update, and how long it lasts (one of the three)."""

    batch_size: int = Field(ge=1)
    steps: int | None = Field(None, ge=1)
    examples: int | None = Field(None, ge=1)
    tokens: int | None = Field(None, ge=1)

    @model_validator(mode="after")
    def _consistent(self) -> BatchStage:
        _exactly_one(self, "how long the stage lasts")
        return self


class Training(Config):
    """How to train. Exactly one of `steps`, `examples` (rows) or `tokens` sets the length.

    `batch_size` is rows per update over all ranks; `batch_warmup` are the smaller batches that come before it.
    `micro_batch_size` is rows per forward pass (default: all that a rank has of a batch, the smallest
    one). `warmup` is a fraction of the run below 1 and a number of steps from 1 on. `compile="auto"` compiles block by
    block when the run is long enough to earn the compilation back (see `glasshouse.training.compilation`). Defaults are
    OLMo's (arXiv 2402.00838, section 3) except the learning rate, which suits models under 100M.
    """

    steps: int | None = Field(None, ge=1)
    examples: int | None = Field(None, ge=1)
    tokens: int | None = Field(None, ge=1)
    batch_size: int = Field(32, ge=1)
    batch_warmup: tuple[BatchStage, ...] = ()
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
    float8: bool | Literal["emulated"] = False
    """Products inside blocks in float8 (see `glasshouse.training.float8`)."""
    compile: bool | Literal["auto"] = "auto"
    prefetch: int = Field(4, ge=0)

    checkpoint_every: int | None = Field(1000, ge=1)
    keep: int = Field(2, ge=1)
    validate_every: int | None = Field(None, ge=1)
    log_every: int = Field(10, ge=1)
    outliers: Outliers | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Training:
        _exactly_one(self, "the length")
        if self.sizes != sorted(set(self.sizes)):
            raise ValueError(f"batch_warmup has to grow up to batch_size, got {self.sizes}")
        for size in self.sizes:
            if size % self.micro_batch:
                raise ValueError(f"batch_size {size} is not divisible by micro_batch_size {self.micro_batch}")
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"betas must lie in [0, 1), got {self.betas}")
        if self.warmup >= 1 and self.warmup != int(self.warmup):
            raise ValueError(f"warmup is a fraction below 1 or a whole number of steps, got {self.warmup}")
        if any(scale < 0 for scale in self.learning_rate_scales.values()):
            raise ValueError(f"learning_rate_scales must not be negative, got {self.learning_rate_scales}")
        if self.early_clip_norm is not None and self.clip_norm is None:
            raise ValueError("early_clip_norm loosens clip_norm for the first steps, but clip_norm is None")
        if self.float8 and self.precision != "bf16":
            raise ValueError(f"float8 stands on precision='bf16', the precision is {self.precision!r}")
        if self.decay_fraction != 0.2 and self.schedule != "wsd":
            raise ValueError(f"decay_fraction shapes the schedule wsd only, the schedule is {self.schedule}")
        return self

    @classmethod
    def small(cls, **settings: Any) -> Training:
        """For a model too small to gain from less: float32, nothing compiled, Adam's own eps, no weight decay.

        `settings` are the other fields, or others of these.
        """
        return cls(**{"precision": "fp32", "compile": False, "eps": 1e-8, "weight_decay": 0.0, **settings})

    @property
    def micro_batch(self) -> int:
        """Rows per forward pass."""
        return self.micro_batch_size or min(self.sizes)

    @property
    def sizes(self) -> list[int]:
        """Rows per update of every stage, in order."""
        return [*(stage.batch_size for stage in self.batch_warmup), self.batch_size]

    def batch_plan(self, tokens_per_row: int | None = None) -> BatchPlan:
        """Which rows each update takes. A stage that does not fill its last batch is rounded up.

        Raises `ConfigurationError` for a stage in tokens over data whose rows have no number of tokens.
        """
        stages, first = [], 1
        for stage in self.batch_warmup:
            stages.append((first, stage.batch_size))
            rows = _rows(stage, tokens_per_row)
            first += stage.steps if rows is None else -(-rows // stage.batch_size)  # type: ignore[operator]
        return BatchPlan((*stages, (first, self.batch_size)))

    def total_steps(self, tokens_per_row: int | None = None) -> int:
        """Number of updates; a budget that does not fill the last batch is rounded up, as in OLMo.

        Raises `ConfigurationError` for a budget in tokens over data whose rows have no number of tokens, and for a
        warm-up and an anneal that do not fit into the run.
        """
        rows = _rows(self, tokens_per_row)
        total = (self.steps or 0) if rows is None else self.batch_plan(tokens_per_row).step_at(rows - 1)
        if self.warmup_steps(total) + self.anneal_steps > total:
            raise ConfigurationError(
                f"Training.warmup ({self.warmup_steps(total)} steps) and anneal_steps ({self.anneal_steps}) "
                f"do not fit into a run of {total} steps"
            )
        return total

    def warmup_steps(self, total: int) -> int:
        """Warm-up in steps of a run of `total`."""
        return int(self.warmup) if self.warmup >= 1 else round(self.warmup * total)


def _exactly_one(config: Training | BatchStage, what: str) -> None:
    given = [name for name in ("steps", "examples", "tokens") if getattr(config, name) is not None]
    if len(given) != 1:
        raise ValueError(f"exactly one of steps, examples or tokens sets {what}, got {', '.join(given) or 'none'}")


def _rows(length: Training | BatchStage, tokens_per_row: int | None) -> int | None:
    """Rows of a length; None when it is given in steps."""
    if length.tokens is None:
        return length.examples
    if tokens_per_row is None:
        name = type(length).__name__
        raise ConfigurationError(f"{name}.tokens needs data with a `tokens_per_row`; give steps or examples")
    return -(-length.tokens // tokens_per_row)
