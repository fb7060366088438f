"""The numbers of a run: fetched from the device in one transfer, checked, and written where they belong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import torch
from torch import Tensor

from glasshouse.store.progress import Bar
from glasshouse.training.configuration import Training
from glasshouse.training.data import TrainingData
from glasshouse.training.guards import TrainingStoppedError, not_finite
from glasshouse.training.loader import Prepared
from glasshouse.training.meters import Meter
from glasshouse.training.outliers import OutlierDetector
from glasshouse.training.parallel import ParallelPlan
from glasshouse.training.sinks import JsonLines, Sink


@dataclass(frozen=True)
class Reading:
    """Numbers of one update that may still be on the device; `examples` counts rows up to and including it.

    `loss` and `metrics` are this rank's share; `norm` and `outlier` (0 or 1) are the same on every rank.
    """

    prepared: Prepared
    loss: Tensor
    norm: Tensor
    metrics: Mapping[str, Tensor]
    rate: float
    examples: int
    outlier: Tensor | None = None

    @property
    def numbers(self) -> list[Tensor]:
        """Everything there is to read, in the order in which it is read."""
        return [self.loss, self.norm, *([] if self.outlier is None else [self.outlier]), *self.metrics.values()]


class Records:
    """`metrics.jsonl` and `timings.jsonl` in the run's directory, and the sinks that were asked for."""

    def __init__(
        self,
        directory: Path,
        data: TrainingData,
        config: Training,
        steps: int,
        plan: ParallelPlan,
        sinks: Sequence[Sink],
        progress: Bar | None,
    ) -> None:
        self.metrics = directory / "metrics.jsonl"
        self._timings = JsonLines(directory / "timings.jsonl")
        self._sinks: list[Sink] = [JsonLines(self.metrics), *sinks] if plan.leads else []
        self._data, self._config, self._steps = data, config, steps
        self._plan, self._progress = plan, progress
        self._pending: list[Reading] = []
        self._closing = ExitStack()
        self.loss: float | None = None
        self.kept: int | None = None
        """Step of the last good checkpoint, for messages."""

    def begin(self, step: int, *, loss: float | None, outliers: OutlierDetector, meter: Meter) -> None:
        """Start after update `step`, whose loss a checkpoint remembered."""
        self.loss, self._outliers, self._meter = loss, outliers, meter
        for sink in (*self._sinks, self._timings) if self._plan.leads else ():
            sink.begin(step)
            self._closing.callback(sink.close)
        if self._progress is not None and step:
            self._progress.advance(step)

    def due(self, step: int) -> bool:
        """Whether update `step` gets a record."""
        return step % self._config.log_every == 0 or step in (1, self._steps)

    def add(self, reading: Reading) -> None:
        self._pending.append(reading)

    def read(self) -> None:
        """Fetch everything pending, stop at the first bad number, write the records that are due."""
        if not self._pending:
            return
        readings, self._pending = self._pending, []
        device = readings[0].loss.device
        flat = [x.float().to(device) for r in readings for x in r.numbers]
        values = iter(self._plan.sum(torch.stack(flat)).tolist())
        for reading in readings:
            # Norms and outliers are the same on every rank, so the sum has counted them once per rank.
            loss, norm = next(values), next(values) / self._plan.world
            outlier = reading.outlier is not None and next(values) > 0
            self._one(reading, loss, norm, {name: next(values) for name in reading.metrics}, outlier=outlier)

    def _one(self, reading: Reading, loss: float, norm: float, metrics: Mapping[str, float], *, outlier: bool) -> None:
        skipped = outlier and self._outliers.skips
        problem = not_finite(loss, norm)
        if problem is None and outlier and not skipped:
            problem = self._outliers.problem(loss, norm)
        if problem:
            self.stop(reading.prepared, problem)
        self.loss = loss
        self._outliers.skipped += skipped
        if skipped or self.due(reading.prepared.step):
            self._write(reading, loss, norm, {**metrics, **({"skipped": 1} if skipped else {})})

    def _write(self, reading: Reading, loss: float, norm: float, metrics: Mapping[str, float]) -> None:
        step = reading.prepared.step
        if self._progress is not None:
            self._progress.say(f"loss {loss:.4f}")
        record = {"step": step, "loss": loss, "gradient_norm": norm, "learning_rate": reading.rate}
        for sink in self._sinks:
            sink.write({**record, "examples": reading.examples, **metrics})
        if self._plan.leads:
            self._timings.write({"step": step, **self._meter.read()})

    def validation(self, step: int, values: Mapping[str, float]) -> None:
        """A record of its own, its names under `validation/`."""
        for sink in self._sinks:
            sink.write({"step": step, **{f"validation/{name}": float(value) for name, value in values.items()}})

    def advance(self) -> None:
        """One more update is whole."""
        if self._progress is not None:
            self._progress.advance(1)

    def stop(self, prepared: Prepared, problem: str) -> NoReturn:
        """Raise `TrainingStoppedError` naming the step, the problem and the documents of the batch."""
        documents = list(self._data.describe(prepared.rows))
        shown = ", ".join(documents[:8]) + (f" and {len(documents) - 8} more" if len(documents) > 8 else "")
        kept = "there is no checkpoint yet" if self.kept is None else f"the checkpoint of step {self.kept} is kept"
        raise TrainingStoppedError(
            f"training stopped at step {prepared.step}: {problem}; its batch holds {shown}; {kept}. "
            "Look at these documents, lower the learning rate or clip_norm, and start again",
            prepared.step,
            documents,
        )

    def flush(self) -> None:
        """What was written survives a crash from here on."""
        for sink in self._sinks:
            sink.flush()

    def close(self) -> None:
        self._closing.close()
