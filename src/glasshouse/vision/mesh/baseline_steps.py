"""Steps beside the generator: prompts optimised one by one, the cost ledger, and the time from prompt to file."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch

from glasshouse.store.artifact import Artifact
from glasshouse.store.panels import Panel, Table
from glasshouse.store.step import Run, step
from glasshouse.vision.mesh.amortisation import costs, panels, table
from glasshouse.vision.mesh.generator import GeneratorConfig
from glasshouse.vision.mesh.ledger import Account, Ledger
from glasshouse.vision.mesh.measuring import Looking
from glasshouse.vision.mesh.objectives import MeshTraining
from glasshouse.vision.mesh.per_prompt import ALONE, train_one_by_one
from glasshouse.vision.mesh.sds import Distillation
from glasshouse.vision.mesh.steps import (
    ACCOUNTS,
    RESULT,
    HoldsJudge,
    HoldsTeacher,
    HoldsWorld,
    TrainedTextToMesh,
    studio_of,
)  # fmt: skip

GOAL = 0.8
"""The R-probability that costs are compared at."""
MOST = 16
"""Meshes that the time to a file is measured with."""
TIMINGS, OTHERS = "timings.json", "others.json"


class SinglePrompts(Artifact):
    """Prompts that were optimised one by one."""

    @property
    def values(self) -> dict[str, float]:
        """What the judge says of them in the end, on average."""
        found: dict[str, float] = json.loads(self.file(RESULT).read_text(encoding="utf-8"))
        return found

    @property
    def accounts(self) -> Sequence[Account]:
        """One for each."""
        return Ledger.read(self.path / "record" / ACCOUNTS).single


@step()
def train_single_prompts(
    run: Run,
    teacher: HoldsTeacher,
    judge: HoldsJudge,
    world: HoldsWorld,
    prompts: Sequence[str],
    generator: GeneratorConfig,
    distillation: Distillation | None,
    looking: Looking,
    training: MeshTraining = ALONE,
    start: TrainedTextToMesh | None = None,
    device: str = "cpu",
) -> SinglePrompts:
    """Optimise every prompt alone: from nothing, or from what a trained generator makes of it (`start`)."""
    studio = studio_of(teacher, judge, world, device)
    with run.bar("optimising single prompts", len(prompts)) as bar:
        outcomes = train_one_by_one(
            studio, prompts, generator, training, distillation, looking, run.scratch,
            start=None if start is None else start.load().generator, advance=lambda: bar.advance(1),
        )  # fmt: skip
    values = {name: sum(o.scores[name] for o in outcomes) / len(outcomes) for name in outcomes[0].scores}
    (run.output / RESULT).write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
    Ledger([], [outcome.account for outcome in outcomes]).write(Artifact(run.output).record / ACCOUNTS)
    return SinglePrompts(run.output)


class CostLedger(Artifact):
    """Costs of runs over many prompts beside those of single ones."""

    @property
    def ledger(self) -> Ledger:
        """The accounts; CPU seconds differ from run to run."""
        return Ledger.read(self.path / "record" / ACCOUNTS)

    @property
    def values(self) -> dict[str, float]:
        """Cost of a prompt to the goal, alone and amortised, in pictures and CPU seconds; their ratio; every run's."""
        runs = [*self.ledger.amortised, *self.others]
        return costs(self.ledger, GOAL) | {f"CPU seconds/{run.name}": run.cpu_seconds for run in runs}

    @property
    def others(self) -> Sequence[Account]:
        """Runs that nothing is compared with."""
        return Ledger.read(self.path / "record" / OTHERS).amortised

    def panels(self) -> list[Panel]:
        """The ledger and the amortisation curve."""
        return [*panels(self.ledger, GOAL), table("What other runs cost", self.others, GOAL)]


@step()
def settle(
    run: Run,
    amortised: Mapping[str, TrainedTextToMesh],
    single: SinglePrompts,
    others: Mapping[str, TrainedTextToMesh],
) -> CostLedger:
    """Set the costs of generators beside those of single prompts, and list those of others."""
    named, listed = (
        [replace(artifact.account, name=name) for name, artifact in given.items()] for given in (amortised, others)
    )
    Ledger(listed, []).write(Artifact(run.output).record / OTHERS)
    (run.output / "names.json").write_text(json.dumps([*amortised, *others]) + "\n", encoding="utf-8")
    Ledger(named, single.accounts).write(Artifact(run.output).record / ACCOUNTS)
    return CostLedger(run.output)


class Latency(Artifact):
    """How long a prompt takes to become a file, and whether the meshes are closed."""

    @property
    def values(self) -> dict[str, float]:
        """CPU seconds of parts, and the share of prompts whose mesh is watertight."""
        timings: dict[str, float] = json.loads((self.path / "record" / TIMINGS).read_text(encoding="utf-8"))
        shares: dict[str, float] = json.loads(self.file(RESULT).read_text(encoding="utf-8"))
        return timings | shares

    def panels(self) -> list[Panel]:
        """The values."""
        return [Table("From prompt to file", ["", "value"], [(name, value) for name, value in self.values.items()])]


@step()
def measure_latency(run: Run, model: TrainedTextToMesh, prompts: Sequence[str], resolution: int = 32) -> Latency:
    """Make meshes one after another and write each as GLB; medians of CPU seconds, the first two left out.

    Of fewer than three prompts the last is made again. At most `MOST` are made.
    """
    from glasshouse.vision.mesh.export_glb import glb_bytes

    loaded = model.load()
    spent: dict[str, list[float]] = {"text and planes": [], "prompt to GLB": []}
    closed = []
    for prompt in [*prompts, prompts[-1], prompts[-1]][:MOST]:
        begin = time.process_time()
        with torch.no_grad():
            loaded.generator.shapes(loaded.tokens([prompt]))
        spent["text and planes"].append(time.process_time() - begin)
        begin = time.process_time()
        (mesh,) = loaded.make([prompt], resolution).separate({"prompt": prompt})
        glb_bytes(mesh)
        spent["prompt to GLB"].append(time.process_time() - begin)
        closed.append(mesh.is_watertight)
    medians = {f"{name}, CPU s": sorted(times[2:])[len(times[2:]) // 2] for name, times in spent.items()}
    (Artifact(run.output).record / TIMINGS).write_text(json.dumps(medians) + "\n", encoding="utf-8")
    shares = {"watertight": sum(closed) / len(closed)}
    (run.output / RESULT).write_text(json.dumps(shares) + "\n", encoding="utf-8")
    return Latency(run.output)
