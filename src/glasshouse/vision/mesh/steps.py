"""Steps of text to mesh: a teacher, a judge and a world give a generator, its baselines, and what they cost."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Protocol

import torch

from glasshouse.store.artifact import Artifact
from glasshouse.store.panels import Curves, Numbers, Panel, Pictures, Table
from glasshouse.store.step import Run, step
from glasshouse.vision.mesh.amortised import Outcome, Studio, train_generator
from glasshouse.vision.mesh.generator import GeneratorConfig
from glasshouse.vision.mesh.judge import Judge
from glasshouse.vision.mesh.ledger import Account, Ledger
from glasshouse.vision.mesh.measuring import Looking
from glasshouse.vision.mesh.objectives import MeshTraining
from glasshouse.vision.mesh.per_prompt import ALONE, train_one_by_one
from glasshouse.vision.mesh.prompt_sets import PromptSet
from glasshouse.vision.mesh.sds import Distillation
from glasshouse.vision.mesh.showing import album
from glasshouse.vision.mesh.teacher import Teacher
from glasshouse.vision.mesh.text_to_mesh import TextToMeshModel
from glasshouse.vision.mesh.worlds.pictures import World

GOAL = 0.8
"""The R-probability that costs are compared at."""
MOST = 16
"""Meshes that the time to a file is measured with."""
RESULT, ACCOUNTS, TIMINGS = "result.json", "accounts.json", "timings.json"


class HoldsTeacher(Protocol):
    """An artifact with a teacher in it."""

    def load(self, device: str = "cpu") -> Teacher: ...


class HoldsJudge(Protocol):
    """An artifact with a judge in it."""

    def load(self, device: str = "cpu") -> Judge: ...


class HoldsWorld(Protocol):
    """An artifact with a world in it."""

    def load(self) -> World: ...


def studio_of(teacher: HoldsTeacher, judge: HoldsJudge | None, world: HoldsWorld | None, device: str) -> Studio:
    """Everything opened, on a device."""
    reader = None if judge is None else judge.load(device)
    return Studio(teacher.load(device), reader, None if world is None else world.load())


class TrainedTextToMesh(Artifact):
    """A text-to-mesh model as a folder (`glasshouse.vision.mesh.text_to_mesh`), what it is worth and what it cost."""

    def load(self) -> TextToMeshModel:
        """The model, ready to make meshes."""
        return TextToMeshModel.load(self.path / "model")

    @cached_property
    def result(self) -> dict[str, Any]:
        """`kind`, `prompts` seen and unseen, `scores`, `reached`."""
        found: dict[str, Any] = json.loads(self.file(RESULT).read_text(encoding="utf-8"))
        return found

    @property
    def kind(self) -> str:
        """The feature network."""
        return str(self.result["kind"])

    @property
    def covers(self) -> int:
        """Prompts of its set, seen and unseen."""
        return len(self.result["seen"]) + len(self.result["unseen"])

    @property
    def values(self) -> dict[str, float]:
        """Scores of prompts that were seen and of those that were not, and pictures it was trained with."""
        return {**self.result["scores"], "images": float(self.result["images"])}

    @property
    def account(self) -> Account:
        """What it cost."""
        return Ledger.read(self.path / "record" / ACCOUNTS).amortised[0]

    def panels(self) -> list[Panel]:
        """Scores, its course, and pictures of what it makes."""
        values, name = self.result["scores"], self.manifest["step"] if (self.path / "manifest.json").exists() else ""
        cost = self.account
        figures = {label: f"{value:.3f}" for label, value in values.items()}
        figures |= {"pictures": f"{cost.images:,}", "CPU seconds": f"{cost.cpu_seconds:.1f}"}
        reached = {"seen prompts": [tuple(point) for point in self.result["reached"]]}
        pictures = [(path.stem.replace("_", " "), path.read_bytes()) for path in sorted(self.path.glob("*.png"))]
        title = f"{self.kind}, {len(self.result['seen'])} prompts{f' ({name})' if name else ''}"
        panels: list[Panel] = [Numbers(f"Text to mesh: {title}", figures)]
        if reached["seen prompts"]:
            panels.append(Curves(f"R-probability while it trains: {title}", "images", "R-probability", reached))
        return [*panels, Pictures(f"What it makes: {title}", pictures)] if pictures else panels


@step()
def train_text_to_mesh(
    run: Run,
    teacher: HoldsTeacher,
    judge: HoldsJudge | None,
    world: HoldsWorld | None,
    prompts: PromptSet | Sequence[str],
    generator: GeneratorConfig,
    training: MeshTraining,
    distillation: Distillation | None,
    looking: Looking,
    device: str = "cpu",
) -> TrainedTextToMesh:
    """Train one generator on the seen prompts of a set, or on all that are given.

    Without `distillation` it learns from true pictures.
    """
    if not isinstance(prompts, PromptSet):
        prompts = PromptSet("given", tuple(prompts), ())
    studio = Studio(teacher.load(), None if judge is None else judge.load(), None if world is None else world.load())
    with run.bar(f"training a {generator.kind} generator", training.stages.updates) as bar:
        outcome = train_generator(
            studio, prompts, generator, training, distillation, looking, run.scratch / "run", progress=bar
        )
    origin = {
        "teacher": studio.teacher.fingerprint,
        "prompts": prompts.name,
        "distillation": None if distillation is None else distillation.model_dump(mode="json"),
        "training": training.model_dump(mode="json"),
        "images": round(outcome.result.units),
        "weights": outcome.result.weights_hash,
    }
    model = TextToMeshModel.of(outcome.generator, studio.teacher, origin)
    model.save(run.output / "model")
    _write(run, outcome, prompts, generator.kind)
    for name, content in album(model, prompts, looking).items():
        (run.output / f"{name}.png").write_bytes(content)
    run.measure(cpu_seconds=round(outcome.account.cpu_seconds, 1), **outcome.scores)
    return TrainedTextToMesh(run.output)


def _write(run: Run, outcome: Outcome, prompts: PromptSet, kind: str) -> None:
    result = {
        "kind": kind,
        "seen": prompts.seen,
        "unseen": prompts.unseen,
        "scores": dict(outcome.scores),
        "images": round(outcome.result.units),
        "reached": outcome.account.reached,
    }
    (run.output / RESULT).write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    Ledger([outcome.account], []).write(Artifact(run.output).record / ACCOUNTS)


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
        """Cost of a prompt to the goal, alone and amortised, in pictures and CPU seconds, and their ratio."""
        return self.ledger.values(GOAL)

    def panels(self) -> list[Panel]:
        """The ledger and the amortisation curve."""
        return self.ledger.panels(GOAL)


@step()
def settle(run: Run, amortised: Mapping[str, TrainedTextToMesh], single: SinglePrompts) -> CostLedger:
    """Set the costs of generators beside those of single prompts."""
    named = [_named(artifact.account, name) for name, artifact in amortised.items()]
    (run.output / "names.json").write_text(json.dumps(list(amortised)) + "\n", encoding="utf-8")
    Ledger(named, single.accounts).write(Artifact(run.output).record / ACCOUNTS)
    return CostLedger(run.output)


def _named(account: Account, name: str) -> Account:
    return Account(
        name, *(getattr(account, field) for field in ("prompts", "images", "cpu_seconds", "gpu_seconds", "reached"))
    )


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
