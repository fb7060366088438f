"""What meshes cost: pictures shown to a critic and seconds of a processor, by prompt, amortised or one by one.

An `Account` is the cost of one run and what it reached on its way. `Ledger` sets runs over many prompts beside runs of
single prompts:

    cost of n prompts = n x cost of one (per-prompt)      or the whole run's, however many it covers (amortised)

The cost to a quality is read off the points that were measured, in a straight line between neighbours.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from glasshouse.store.panels import Curves, Panel, Table
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

    def per_prompt(self, quality: float, of: str = "images") -> tuple[float, float] | None:
        """Mean cost of a prompt to `quality`: one by one, and amortised. None where a run never reached it.

        `of` is `images` or `cpu_seconds`.
        """
        alone = [getattr(item, f"{of}_to")(quality) for item in self.single]
        together = [(getattr(item, f"{of}_to")(quality), item.prompts) for item in self.amortised]
        if not alone or not together or None in alone or any(cost is None for cost, _ in together):
            return None
        return sum(alone) / len(alone), sum(cost / prompts for cost, prompts in together) / len(together)

    def values(self, quality: float) -> dict[str, float]:
        """Costs by name; what was never reached is left out."""
        found: dict[str, float] = {}
        for of in ("images", "cpu_seconds"):
            costs = self.per_prompt(quality, of)
            if costs is not None:
                alone, together = costs
                found |= {f"{of}/per prompt": alone, f"{of}/amortised": together, f"{of}/ratio": alone / together}
        return found

    def panels(self, quality: float) -> list[Panel]:
        """The accounts, quality over cost, and the amortisation curve."""
        every = [*self.amortised, *self.single]
        columns = ["run", "prompts", "images", "CPU s", "GPU s", "images a prompt", f"images a prompt to {quality:g}"]
        rows = [_row(run, quality) for run in every]
        reached = {a.name: [(images / a.prompts, value) for images, value in a.reached] for a in every if a.reached}
        panels: list[Panel] = [
            Table("Cost ledger", columns, rows, note="Measuring is not counted, and neither is the teacher."),
            Curves("Quality over cost", "images a prompt", "R-probability", reached, levels={"the goal": quality}),
        ]
        costs = self.per_prompt(quality, "images")
        if costs is not None:
            panels.append(amortisation(costs[0], self.amortised, quality))
        return panels

    def write(self, path: Path) -> None:
        """As JSON."""
        text = json.dumps(dataclasses.asdict(self), indent=1)
        path.write_text(text + "\n", encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> Ledger:
        """What `write` wrote."""
        found = json.loads(path.read_text(encoding="utf-8"))
        return cls(*(tuple(_account(item) for item in found[side]) for side in ("amortised", "single")))


def _row(run: Account, quality: float) -> list[str | float | int | None]:
    to = run.images_to(quality)
    seconds = round(run.cpu_seconds, 1), round(run.gpu_seconds, 1)
    each = round(run.images / run.prompts), None if to is None else round(to / run.prompts)
    return [run.name, run.prompts, run.images, *seconds, *each]


def amortisation(alone: float, runs: Sequence[Account], quality: float) -> Curves:
    """Images for n prompts, one by one and by a run that covers them all."""
    most = max(run.prompts for run in runs)
    numbers = sorted({1, *(round(most * share / 8) for share in range(1, 9))} - {0})
    total = sum(run.images_to(quality) or run.images for run in runs) / len(runs)
    series = {
        "one by one": [(float(n), n * alone) for n in numbers],
        "amortised": [(float(n), total) for n in numbers],
    }
    note = "The run over all prompts costs the same however many of them are wanted."
    return Curves("Images until the goal, by prompts wanted", "prompts", "images", series, log_y=True, note=note)


def _account(found: Mapping[str, Any]) -> Account:
    return Account(**{**found, "reached": tuple((float(x), float(y)) for x, y in found["reached"])})
