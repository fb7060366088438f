"""What meshes cost: pictures shown to a critic and seconds of a processor, by prompt, amortised or one by one.

An `Account` is the cost of one run and what it reached on its way; a `Ledger` keeps runs over many prompts beside runs
of single prompts (`glasshouse.vision.mesh.amortisation` compares them). The cost to a quality is read off the points
that were measured, in a straight line between neighbours.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from glasshouse.training.trainer import TrainingResult

Point = tuple[float, float]


@dataclasses.dataclass(frozen=True)
class Account:
    """The cost of one run.

    Attributes:
        name: of the run.
        prompts: how many it was trained on.
        images: pictures that the critic saw.
        cpu_seconds: of all threads, without measuring; of a run that was resumed, from the speed since then.
        gpu_seconds: wall seconds on a GPU; 0 without one.
        reached: (images, quality) while it went on.
    """

    name: str
    prompts: int
    images: int
    cpu_seconds: float
    gpu_seconds: float
    reached: tuple[Point, ...] = ()

    def images_to(self, quality: float) -> float | None:
        """Pictures until `quality` was reached; None where it never was."""
        for (images, before), (later, after) in pairwise(((0.0, 0.0), *self.reached)):
            if after >= quality:
                share = (quality - before) / (after - before) if after > before else 1.0
                return images + max(0.0, share) * (later - images)
        return None

    def cpu_seconds_to(self, quality: float) -> float | None:
        """The same in CPU seconds, every picture at the run's average."""
        images = self.images_to(quality)
        return None if images is None else images * self.cpu_seconds / self.images


def account(
    name: str, prompts: int, result: TrainingResult, *, watching: float, quality: str, on_gpu: bool = False
) -> Account:
    """The account of a finished run whose measurements are called `quality`; `watching`: CPU seconds of measuring."""
    share = (result.step - result.resumed_from) / result.step
    cpu = (result.cpu_seconds - watching) / share if share > 0 else 0.0
    return Account(
        name,
        prompts,
        round(result.units),
        cpu,
        result.seconds / share if on_gpu and share > 0 else 0.0,
        measured(result, quality),
    )


def measured(result: TrainingResult, quality: str) -> tuple[Point, ...]:
    """(images, quality) of every measurement of a run."""
    images = result.units / result.step
    rows = (json.loads(line) for line in result.metrics.read_text(encoding="utf-8").splitlines())
    name = f"validation/{quality}"
    return tuple((row["step"] * images, float(row[name])) for row in rows if name in row)


@dataclasses.dataclass(frozen=True)
class Ledger:
    """Runs over many prompts, and runs of one prompt each."""

    amortised: Sequence[Account]
    single: Sequence[Account]

    def write(self, path: Path) -> None:
        """As JSON."""
        text = json.dumps(dataclasses.asdict(self), indent=1)
        path.write_text(text + "\n", encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> Ledger:
        """What `write` wrote."""
        found = json.loads(path.read_text(encoding="utf-8"))
        return cls(*(tuple(_account(item) for item in found[side]) for side in ("amortised", "single")))


def _account(found: Mapping[str, Any]) -> Account:
    return Account(**{**found, "reached": tuple((float(x), float(y)) for x, y in found["reached"])})
