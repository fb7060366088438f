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
from torch import Tensor

from glasshouse.store.configuration import named_seed
from glasshouse.store.progress import Bar
from glasshouse.training.accumulation import Accumulator
from glasshouse.training.checkpoint import ResumeRefusedError, load_checkpoint, refuse_changes, weights_hash
from glasshouse.training.checkpointing import Checkpointer
from glasshouse.training.compilation import compile_blocks, training_flops
from glasshouse.training.configuration import Training
from glasshouse.training.data import DataError, TrainingData
from glasshouse.training.devices import device_of, reading_is_free, seed_generators
from glasshouse.training.float8 import use_float8
from glasshouse.training.gradients import clip_by, global_norm
from glasshouse.training.guards import Interruption
from glasshouse.training.identity import rate_schedule, run_identity, training_order
from glasshouse.training.loader import Loader, Prepared
from glasshouse.training.memory import freed_memory_kept
from glasshouse.training.meters import Meter, PowerMeter, peak_flops
from glasshouse.training.objective import Objective, Step, after_step, blocks, trainable, unit
from glasshouse.training.optimizers import build_optimizers, set_learning_rate
from glasshouse.training.outliers import OutlierDetector, step_unless
from glasshouse.training.parallel import ParallelPlan
from glasshouse.training.parallelize import parallelize, reshard, separate
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
    device: torch.device | str | None = None,
) -> TrainingResult:
    """Train `objective` on `data`, in place, resuming from `directory` if it holds a run of the same identity.

    The modules stay on the device they are on; those on the meta device are made on `device`. With several processes
    all of them make this call, `plan` (default: `ParallelPlan.current()`) says how they share the work, and modules
    that it spreads stay spread. `progress` advances by one per update; `stop(step)` is asked after
    every update and ends the run early with a checkpoint. Ctrl-C does the same and then raises `KeyboardInterrupt`.

    Raises `ResumeRefusedError` when something the run depends on changed, `TrainingStoppedError` for a loss or gradient
    that is not finite or an outlier, `CheckpointError` when a checkpoint cannot be written, `DataError` for empty data.
    """
    plan = plan or ParallelPlan.current()
    run = _Run(objective, data, config, Path(directory), plan, list(sinks), progress, device)
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
        device: torch.device | str | None,
    ) -> None:
        if data.rows < 1:
            raise DataError("there is nothing to train on: the data has no rows")
        self.micro_batch = config.micro_batch_size or max(1, config.micro_batch // plan.world)
        for size in config.sizes:
            if size % (self.micro_batch * plan.world):
                raise DataError(
                    f"batch_size {size} is not divisible by micro_batch_size x ranks = "
                    f"{self.micro_batch} x {plan.world}"
                )
        self.objective, self.data, self.config, self.directory = objective, data, config, directory
        self.plan = plan
        self.steps = config.total_steps(getattr(data, "tokens_per_row", None))
        for module in (*objective.carries.values(), *objective.frozen.values()):
            module.requires_grad_(False)
        for module in objective.frozen.values():
            module.eval()
        self.order = training_order(config, data)
        self.rates = rate_schedule(config, self.order.plan, self.steps)
        self.device = device_of(objective, device)
        plain = use_float8(blocks(objective), config.float8, self.device, plan) if config.float8 else None
        self.compiled, self.unwrapping = parallelize(
            objective,
            plan,
            device=self.device,
            seed=config.seed,
            precision=config.precision,
            compile_blocks=self._compile,
        )
        if plain is not None:
            self.unwrapping.callback(plain)
        self.parameters = trainable(objective)
        self.optimizers = build_optimizers(objective, config)
        separate(self.optimizers)
        self.synchronous = reading_is_free(self.device)
        pieces = config.batch_size // (self.micro_batch * plan.world)
        self.accumulator = Accumulator(objective, list(self.parameters.values()), config.precision, pieces, plan)
        self.generator = torch.Generator(device=self.device)
        self.identity = run_identity(objective, data, config, self.order, self.steps)
        self.checkpoints = Checkpointer(directory / "checkpoints", plan, config.keep)
        self.records = Records(directory, data, config, self.steps, plan, sinks, progress)
        self.receipts = Receipts(directory, config, self.steps, leads=plan.leads)
        self.unit = unit(objective)
        self.step, self.units = 0, 0.0
        # Persistent buffers (batch norm's averages) change in the forward pass, so a run with them is unclean sooner.
        learning = [*objective.learns.values(), *objective.carries.values()]
        self.buffered = any(len(m.state_dict()) > len(list(m.parameters())) for m in learning)
        self.clean = True
        self.agreed = False
        """Whether all processes stop at this step; one that stops by itself cannot save what it shares with others."""

    # -- beginning and end -------------------------------------------------------------------------------------------

    def __enter__(self) -> _Run:
        try:
            state = self._resume()
        except BaseException:
            self.unwrapping.close()
            raise
        self.resumed_from = self.step
        flops = getattr(self.objective, "flops_per_example", None)
        peak = peak_flops(self.device, self.config.precision) if flops else None
        self.meter = Meter(self.unit, flops, peak, self.plan.processes)
        past = state.get("outliers", {})
        self.outliers = OutlierDetector(self.config.outliers, self.device, past.get("window", ()))
        self.outliers.skipped = past.get("skipped", 0)
        self.records.begin(self.step, loss=state.get("loss"), outliers=self.outliers, meter=self.meter)
        self.receipts.begin(self.step)
        self._modes(training=True)
        return self

    def __exit__(self, *_: object) -> None:
        self.checkpoints.close()
        self.records.close()
        self.receipts.close()
        self.unwrapping.close()
        self._modes(training=False)

    def _resume(self) -> Mapping[str, Any]:
        self.directory.mkdir(parents=True, exist_ok=True)
        recorded = self.directory / "run.json"
        saved = self.checkpoints.find()
        if saved is not None:
            refuse_changes(saved.state["identity"], self.identity)
        elif self.plan.messages.tell(not recorded.exists() and any(self.directory.iterdir())):
            raise ResumeRefusedError(f"{self.directory} is not empty and holds no run; choose another directory")
        if self.plan.leads:
            recorded.write_text(json.dumps(self.identity, indent=1, sort_keys=True) + "\n")
        state: Mapping[str, Any] = saved.state if saved else {}
        if saved is not None:
            load_checkpoint(
                saved,
                learns=self.objective.learns,
                carries=self.objective.carries,
                optimizers=self.optimizers,
                parameters=self.parameters,
            )
            self.step, self.units, self.records.kept = saved.step, float(state["units"]), saved.step
        return state

    @property
    def examples(self) -> int:
        """Rows seen so far."""
        return self.order.plan.seen(self.step)

    def _compile(self) -> bool:
        rows = self.order.rows_at_step(1)[: self.micro_batch]
        units = self.objective.weight(self.data.batch(rows)) / len(rows) * self.order.plan.seen(self.steps)
        flops = training_flops(sum(p.numel() for p in trainable(self.objective).values()), units)
        return compile_blocks(blocks(self.objective), self.config.compile, device=self.device, run_flops=flops)

    def _modes(self, *, training: bool) -> None:
        for module in self.objective.learns.values():
            module.train(training)

    def result(self, energy: dict[str, Any] | None) -> TrainingResult:
        saved = self.checkpoints.saved
        assert saved is not None  # noqa: S101 (updates() ends in a checkpoint)
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
            checkpoint=saved.path,
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
            micro_batch=self.micro_batch,
            rank=self.plan.rank,
            world=self.plan.world,
            prefetch=self.config.prefetch,
            pinned=self.device.type == "cuda",
        ) as loader:
            try:
                for prepared in loader:
                    self._update(prepared)
                    self._after(prepared.step)
                    if self.plan.any(interruption.requested):
                        self.agreed = True
                        raise KeyboardInterrupt
                    if stop is not None and self.plan.any(stop(prepared.step)):
                        break
            except KeyboardInterrupt:
                if self.clean and (self.agreed or self.plan.processes == 1):
                    self._save(last=True)
                raise
        self._save(last=True)

    def _update(self, prepared: Prepared) -> None:
        step = self._seeded(prepared.step, "step")
        weights = [float(self.objective.weight(batch)) for batch in prepared.batches]
        total = self.plan.total(sum(weights))
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
        if not self.plan.whole:
            reshard([*self.objective.learns.values(), *self.objective.carries.values()])
        after_step(self.objective, step)
        self.step = prepared.step
        self.units += total
        self.meter.count(total, len(prepared.rows) * self.plan.world)

    def _clip(self, step: int) -> Tensor:
        norm = global_norm(self.parameters.values())
        if self.config.clip_norm is not None:
            limit = clip_norm_at(step, self.config.clip_norm, self.config.early_clip_norm, self.config.early_clip_steps)
            clip_by(self.parameters.values(), limit, norm)
        return norm

    def _seeded(self, number: int, use: str) -> Step:
        seed = named_seed(self.config.seed, use, number, *([self.plan.rank] if self.plan.rank else []))
        seed_generators(self.device, seed)
        self.generator.manual_seed(seed)
        return Step(number, self.steps, self.config.seed, self.generator)

    # -- after an update ---------------------------------------------------------------------------------------------

    def _after(self, step: int) -> None:
        every, last, saves = self.config.validate_every, step == self.steps, self.receipts.due(step)
        validates = every is not None and (last or step % every == 0)
        if self.records.due(step) or saves or validates:
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
            if not self.plan.whole:
                reshard(self.objective.learns.values())

    def _save(self, *, last: bool = False) -> None:
        self.records.read()
        if self.checkpoints.step == self.step:
            if last:
                self.checkpoints.wait()
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
        self.checkpoints.save(self.objective, state, self.optimizers, self.parameters, last=last)
        self.records.kept = self.step
