"""The trainer: one loop for every objective.

An update is: seed the generators from (seed, "step", n); forward and backward of each micro-batch with its loss scaled
by weight / (weight of the whole step), so that accumulation and ranks give the exact mean; clip by the global norm with
coefficient min(1, c / (norm + 1e-6)); optimise; run the objective's `after_step`. Weights and optimiser state are kept
as the modules hold them (fp32 by default); bf16 is an autocast on the device that is really used.

Numbers are read from the device only when a record is due: every step on a CPU, where reading is free, so a bad number
stops the run before it touches the weights; every `log_every` steps and before each checkpoint elsewhere, so a
checkpoint never holds a bad number.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from glasshouse.store.configuration import named_seed
from glasshouse.store.progress import Bar
from glasshouse.training.accumulation import Accumulator
from glasshouse.training.checkpoint import (
    Checkpoint,
    ResumeRefusedError,
    latest_checkpoint,
    load_checkpoint,
    refuse_changes,
    save_checkpoint,
    weights_hash,
)
from glasshouse.training.compilation import compile_blocks, training_flops
from glasshouse.training.configuration import Training
from glasshouse.training.data import DataError, TrainingData
from glasshouse.training.guards import Interruption
from glasshouse.training.identity import rate_schedule, run_identity, training_order
from glasshouse.training.loader import Loader, Prepared
from glasshouse.training.memory import freed_memory_kept
from glasshouse.training.meters import Meter, PowerMeter, peak_flops
from glasshouse.training.objective import Objective, Step, after_step, blocks, trainable, unit
from glasshouse.training.optimizers import build_optimizers, set_learning_rate
from glasshouse.training.outliers import OutlierDetector, step_unless
from glasshouse.training.parallel import ParallelPlan
from glasshouse.training.receipts import Receipts, receipt
from glasshouse.training.records import Reading, Records
from glasshouse.training.schedules import clip_norm_at
from glasshouse.training.sinks import Sink


@dataclass(frozen=True)
class TrainingResult:
    """What a run came to. `units` is what the objective's weight counts; `finished` is false when `stop` ended it.

    `skipped` counts the updates that were left out as outliers.
    """

    step: int
    steps: int
    finished: bool
    loss: float | None
    skipped: int
    examples: int
    units: float
    unit: str
    weights_hash: str
    checkpoint: Path
    metrics: Path
    receipts: Path
    seconds: float
    cpu_seconds: float
    energy: dict[str, Any] | None
    compiled: bool
    resumed_from: int


def train(
    objective: Objective,
    data: TrainingData,
    config: Training,
    directory: Path | str,
    *,
    sinks: Sequence[Sink] = (),
    progress: Bar | None = None,
    stop: Callable[[int], bool] | None = None,
    power: PowerMeter | None = None,
    plan: ParallelPlan | None = None,
) -> TrainingResult:
    """Train `objective` on `data`, in place, resuming from `directory` if it holds a run of the same identity.

    The modules stay on the device they are on. `progress` advances by one per update; `stop(step)` is asked after
    every update and ends the run early with a checkpoint. Ctrl-C does the same and then raises `KeyboardInterrupt`.

    Raises `ResumeRefusedError` when something the run depends on changed, `TrainingStoppedError` for a loss or gradient
    that is not finite or an outlier, `CheckpointError` when a checkpoint cannot be written, `DataError` for empty data.
    """
    run = _Run(objective, data, config, Path(directory), plan or ParallelPlan.current(), list(sinks), progress)
    devices = [run.device] if run.device.type == "cuda" else []
    memory = freed_memory_kept(run.device)
    with torch.random.fork_rng(devices), memory, Interruption() as interruption, run.accumulator, run:
        if power is not None:
            power.start()
        run.updates(interruption, stop)
        return run.result(power.stop() if power is not None else None)


class _Run:
    def __init__(
        self,
        objective: Objective,
        data: TrainingData,
        config: Training,
        directory: Path,
        plan: ParallelPlan,
        sinks: list[Sink],
        progress: Bar | None,
    ) -> None:
        if data.rows < 1:
            raise DataError("there is nothing to train on: the data has no rows")
        for size in config.sizes:
            if size % (config.micro_batch * plan.world):
                raise DataError(
                    f"batch_size {size} is not divisible by micro_batch_size x ranks = "
                    f"{config.micro_batch} x {plan.world}"
                )
        self.objective, self.data, self.config, self.directory = objective, data, config, directory
        self.plan = plan
        self.steps = config.total_steps(getattr(data, "tokens_per_row", None))
        for module in (*objective.carries.values(), *objective.frozen.values()):
            module.requires_grad_(False)
        for module in objective.frozen.values():
            module.eval()
        self.parameters = trainable(objective)
        self.optimizers = build_optimizers(objective, config)
        self.device = next(iter(self.parameters.values())).device
        self.synchronous = reading_is_free(self.device)
        pieces = config.batch_size // (config.micro_batch * plan.world)
        self.accumulator = Accumulator(objective, list(self.parameters.values()), config.precision, pieces)
        self.generator = torch.Generator(device=self.device)
        self.order = training_order(config, data)
        self.rates = rate_schedule(config, self.order.plan, self.steps)
        self.identity = run_identity(objective, data, config, self.order, self.steps)
        self.checkpoints = directory / "checkpoints"
        self.records = Records(directory, data, config, self.steps, plan, sinks, progress)
        self.receipts = Receipts(directory, config, self.steps, leads=plan.leads)
        self.unit = unit(objective)
        self.step, self.examples, self.units = 0, 0, 0.0
        self.saved: Checkpoint | None = None
        # Persistent buffers (batch norm's averages) change in the forward pass, so a run with them is unclean sooner.
        learning = [*objective.learns.values(), *objective.carries.values()]
        self.buffered = any(len(m.state_dict()) > len(list(m.parameters())) for m in learning)
        self.clean = True

    # -- beginning and end -------------------------------------------------------------------------------------------

    def __enter__(self) -> _Run:
        state = self._resume()
        self.plan.prepare(self.objective)
        self.resumed_from = self.step
        self.compiled = self._compile()
        flops = getattr(self.objective, "flops_per_example", None)
        peak = peak_flops(self.device, self.config.precision) if flops else None
        self.meter = Meter(self.unit, flops, peak, self.plan.world)
        past = state.get("outliers", {})
        self.outliers = OutlierDetector(self.config.outliers, self.device, past.get("window", ()))
        self.outliers.skipped = past.get("skipped", 0)
        self.records.begin(self.step, loss=state.get("loss"), outliers=self.outliers, meter=self.meter)
        self.receipts.begin(self.step)
        self._modes(training=True)
        return self

    def __exit__(self, *_: object) -> None:
        self.records.close()
        self.receipts.close()
        self._modes(training=False)

    def _resume(self) -> Mapping[str, Any]:
        self.directory.mkdir(parents=True, exist_ok=True)
        recorded = self.directory / "run.json"
        self.saved = latest_checkpoint(self.checkpoints)
        if self.saved is not None:
            refuse_changes(self.saved.state["identity"], self.identity)
        elif not recorded.exists() and any(self.directory.iterdir()):
            raise ResumeRefusedError(f"{self.directory} is not empty and holds no run; choose another directory")
        if self.plan.leads:
            recorded.write_text(json.dumps(self.identity, indent=1, sort_keys=True) + "\n")
        state: Mapping[str, Any] = self.saved.state if self.saved else {}
        if self.saved is not None:
            load_checkpoint(
                self.saved,
                learns=self.objective.learns,
                carries=self.objective.carries,
                optimizers=self.optimizers,
                parameters=self.parameters,
            )
            self.step, self.examples = int(state["step"]), int(state["examples"])
            self.units, self.records.kept = float(state["units"]), self.saved.step
        return state

    def _compile(self) -> bool:
        rows = self.order.rows_at_step(1)[: self.config.micro_batch]
        units = self.objective.weight(self.data.batch(rows)) / len(rows) * self.order.plan.seen(self.steps)
        flops = training_flops(sum(p.numel() for p in self.parameters.values()), units)
        return compile_blocks(blocks(self.objective), self.config.compile, device=self.device, run_flops=flops)

    def _modes(self, *, training: bool) -> None:
        for module in self.objective.learns.values():
            module.train(training)

    def result(self, energy: dict[str, Any] | None) -> TrainingResult:
        assert self.saved is not None  # noqa: S101 (updates() ends in a checkpoint)
        return TrainingResult(
            step=self.step,
            steps=self.steps,
            finished=self.step == self.steps,
            loss=self.records.loss,
            skipped=self.outliers.skipped,
            examples=self.examples,
            units=self.units,
            unit=self.unit,
            weights_hash=weights_hash(*self.objective.learns.values()),
            checkpoint=self.saved.path,
            metrics=self.records.metrics,
            receipts=self.receipts.path,
            seconds=self.meter.seconds,
            cpu_seconds=self.meter.cpu_seconds,
            energy=energy,
            compiled=self.compiled,
            resumed_from=self.resumed_from,
        )

    # -- the loop ----------------------------------------------------------------------------------------------------

    def updates(self, interruption: Interruption, stop: Callable[[int], bool] | None) -> None:
        """Every update that is left, then the last checkpoint."""
        with Loader(
            self.data,
            self.order,
            first=self.step + 1,
            last=self.steps,
            micro_batch=self.config.micro_batch,
            rank=self.plan.rank,
            world=self.plan.world,
            prefetch=self.config.prefetch,
            pinned=self.device.type == "cuda",
        ) as loader:
            try:
                for prepared in loader:
                    self._update(prepared)
                    self._after(prepared.step)
                    if interruption.requested:
                        raise KeyboardInterrupt
                    if stop is not None and stop(prepared.step):
                        break
            except KeyboardInterrupt:
                if self.clean:
                    self._save()
                raise
        self._save()

    def _update(self, prepared: Prepared) -> None:
        step = self._seeded(prepared.step, "step")
        weights = [float(self.objective.weight(batch)) for batch in prepared.batches]
        total = self.plan.total(sum(weights), self.device)
        if not total > 0:
            self.records.stop(prepared, f"the batch has weight {total}: there is nothing to learn from")
        self.clean = not self.buffered
        loss, metrics = self.accumulator(prepared.batches, weights, total, step)
        self.plan.sum_gradients(self.parameters.values())
        norm = self._clip(step.number)
        outlier = self.outliers.judge(self.plan.sum(loss.clone()), norm) if self.config.outliers else None
        rate = self.rates.at(step.number)
        self.clean = False
        examples = self.order.plan.seen(prepared.step)
        self.records.add(Reading(prepared, loss, norm, metrics, rate, examples, outlier))
        if self.synchronous:
            self.records.read()
        set_learning_rate(self.optimizers, rate)
        step_unless(self.optimizers, outlier)
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=True)
        after_step(self.objective, step)
        self.step = prepared.step
        self.examples = examples
        self.units += total
        self.meter.count(total, len(prepared.rows) * self.plan.world)

    def _clip(self, step: int) -> Tensor:
        gradients = [p.grad for p in self.parameters.values() if p.grad is not None]
        norm = nn.utils.get_total_norm(gradients, foreach=True)
        if self.config.clip_norm is not None:
            limit = clip_norm_at(step, self.config.clip_norm, self.config.early_clip_norm, self.config.early_clip_steps)
            nn.utils.clip_grads_with_norm_(self.parameters.values(), limit, norm, foreach=True)
        return norm

    def _seeded(self, number: int, use: str) -> Step:
        seed = named_seed(self.config.seed, use, number, *([self.plan.rank] if self.plan.rank else []))
        seed_generators(self.device, seed)
        self.generator.manual_seed(seed)
        return Step(number, self.steps, self.config.seed, self.generator)

    # -- after an update ---------------------------------------------------------------------------------------------

    def _after(self, step: int) -> None:
        config, last = self.config, step == self.steps
        saves = config.checkpoint_every is not None and step % config.checkpoint_every == 0
        validates = config.validate_every is not None and (last or step % config.validate_every == 0)
        if self.records.due(step) or saves or validates or last:
            self.records.read()
        if validates:
            self._validate(step)
        if saves and not last:
            self._save()
        self.clean = True
        self.records.advance()

    def _validate(self, step: int) -> None:
        validate: Callable[[], Mapping[str, float]] | None = getattr(self.objective, "validate", None)
        if validate is None:
            return
        self._seeded(step, "validate")
        self._modes(training=False)
        try:
            with torch.no_grad(), self.accumulator.autocast():
                self.records.validation(step, validate())
        finally:
            self._modes(training=True)

    def _save(self) -> None:
        self.records.read()
        if self.saved is not None and self.saved.step == self.step:
            return
        if self.receipts.due(self.step):
            taken = receipt(self.step, self.examples, self.records.loss, self.objective, self.optimizers)
            self.receipts.write(taken)
        if self.plan.leads:
            self.records.flush()
            state = {
                "step": self.step,
                "examples": self.examples,
                "units": self.units,
                "unit": self.unit,
                "loss": self.records.loss,
                "outliers": {"window": self.outliers.past, "skipped": self.outliers.skipped},
                "identity": self.identity,
            }
            self.saved = save_checkpoint(
                self.checkpoints,
                state=state,
                learns=self.objective.learns,
                carries=self.objective.carries,
                optimizers=self.optimizers,
                parameters=self.parameters,
                keep=self.config.keep,
            )
        self.plan.wait()
        if not self.plan.leads:
            self.saved = latest_checkpoint(self.checkpoints)
        self.records.kept = self.step


def reading_is_free(device: torch.device) -> bool:
    """Whether a number can be read from the device without making it wait."""
    return device.type == "cpu"


def seed_generators(device: torch.device, seed: int) -> None:
    """Seed torch's global generators of the host and of `device`.

    `torch.manual_seed` also queues a seeding, with its stack trace, for every accelerator that is not in use: 0.6 ms a
    call, and a queue that only grows.
    """
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)
    elif device.type == "mps":
        torch.mps.manual_seed(seed)
