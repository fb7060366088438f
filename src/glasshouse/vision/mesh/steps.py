"""Steps of text to mesh: a teacher, a judge and a world give a generator, its baselines, and what they cost."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Protocol

from glasshouse.store.artifact import Artifact
from glasshouse.store.panels import Curves, Numbers, Panel, Pictures
from glasshouse.store.step import Run, step
from glasshouse.vision.mesh.amortised import Outcome, Studio, train_generator
from glasshouse.vision.mesh.generator import GeneratorConfig
from glasshouse.vision.mesh.judge import Judge
from glasshouse.vision.mesh.ledger import Account, Ledger
from glasshouse.vision.mesh.measuring import Looking
from glasshouse.vision.mesh.objectives import MeshTraining
from glasshouse.vision.mesh.prompt_sets import PromptSet
from glasshouse.vision.mesh.sds import Distillation
from glasshouse.vision.mesh.showing import album
from glasshouse.vision.mesh.teacher import Teacher
from glasshouse.vision.mesh.text_to_mesh import TextToMeshModel
from glasshouse.vision.mesh.worlds.pictures import World

RESULT, ACCOUNTS = "result.json", "accounts.json"


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
        """`kind`, `seed`, `seen` and `unseen` prompts, `scores`, `images`, `reached`."""
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
        result, cost = self.result, self.account
        figures = {label: f"{value:.3f}" for label, value in result["scores"].items()}
        figures |= {"CPU seconds": f"{cost.cpu_seconds:.1f}"}
        reached = {"seen prompts": [tuple(point) for point in result["reached"]]}
        pictures = [(path.stem.replace("_", " "), path.read_bytes()) for path in sorted(self.path.glob("*.png"))]
        title = f"{self.kind}, {len(result['seen'])} prompts, {cost.images:,} pictures, seed {result['seed']}"
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
    _write(run, outcome, prompts, {"kind": generator.kind, "seed": training.seed})
    for name, content in album(model, prompts, looking).items():
        (run.output / f"{name}.png").write_bytes(content)
    run.measure(cpu_seconds=round(outcome.account.cpu_seconds, 1), **outcome.scores)
    return TrainedTextToMesh(run.output)


def _write(run: Run, outcome: Outcome, prompts: PromptSet, about: Mapping[str, Any]) -> None:
    result = {
        **about,
        "seen": prompts.seen,
        "unseen": prompts.unseen,
        "scores": dict(outcome.scores),
        "images": round(outcome.result.units),
        "reached": outcome.account.reached,
    }
    (run.output / RESULT).write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    Ledger([outcome.account], []).write(Artifact(run.output).record / ACCOUNTS)
