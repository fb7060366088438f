"""The judge of a world as an artifact, and what it says of a teacher's samples."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from glasshouse.store.artifact import Artifact
from glasshouse.store.configuration import named_seed
from glasshouse.store.files import read_json
from glasshouse.store.panels import Bars, Numbers, Panel, Pictures
from glasshouse.store.step import Run, step
from glasshouse.vision.diffusion.sampler import sample
from glasshouse.vision.mesh.cameras import sample_cameras
from glasshouse.vision.mesh.conditioning import camera_vectors
from glasshouse.vision.mesh.judge import Judge, JudgeSettings, load_judge, save_judge, train_judge
from glasshouse.vision.mesh.metrics import Retrieval, retrieval
from glasshouse.vision.mesh.teacher import OwnTeacher
from glasshouse.vision.mesh.teacher_steps import TrainedTeacher
from glasshouse.vision.mesh.world_steps import WorldPictures, sheet
from glasshouse.vision.mesh.worlds.pictures import World

SCORES = "scores.json"
HELD_OUT_VIEWS = 16


class TrainedJudge(Artifact):
    """A judge, and how well it reads true pictures that nobody trained on."""

    def load(self, device: str = "cpu") -> Judge:
        """The judge, ready to judge."""
        return load_judge(self.path).to(device)

    @property
    def values(self) -> dict[str, float]:
        """`r_at_1` and `r_probability` on held-out true pictures, one view each, and `chance`."""
        return dict(read_json(self.file(SCORES)))

    def panels(self) -> list[Panel]:
        """How well it reads."""
        values = self.values
        figures = {
            "true pictures read right": f"{100 * values['r_at_1']:.1f} %",
            "probability of the true prompt": f"{values['r_probability']:.3f}",
            "chance": f"{values['chance']:.4f}",
        }
        return [Numbers("Judge", figures)]


@step()
def train_world_judge(run: Run, world: WorldPictures, settings: JudgeSettings, device: str = "cpu") -> TrainedJudge:
    """Train a judge on true pictures of a world, and try it on others. A killed run goes on."""
    home, opened = run.scratch / "run", world.load()
    with run.bar("training a judge", settings.steps) as bar:
        judge, result = train_judge(opened, settings, home, device=device, progress=bar)
    save_judge(judge, run.output)
    held = opened.held_out(HELD_OUT_VIEWS, seed=named_seed(settings.seed, "judging the judge"))
    found = retrieval(judge.probabilities(held.rgb.to(device), opened.prompts).cpu(), held.prompt)
    values = {"r_at_1": found.r_at_1, "r_probability": found.r_probability, "chance": found.chance}
    _write(run, values)
    shutil.copyfile(result.metrics, run.output / "metrics.jsonl")
    run.measure(cpu_seconds=round(result.cpu_seconds, 3), **values)
    return TrainedJudge(run.output)


class TeacherScores(Artifact):
    """What a judge says of a teacher's samples, at several strengths of guidance."""

    @property
    def values(self) -> dict[str, float]:
        """`guidance 4/r_at_1`, `guidance 4/r_probability` and so on."""
        return dict(read_json(self.file(SCORES)))

    def panels(self) -> list[Panel]:
        """Scores, and samples."""
        groups: dict[str, dict[str, float]] = {}
        for name, value in self.values.items():
            group, _, what = name.partition("/")
            groups.setdefault(group, {})[what] = value
        shown = [(path.stem, path.read_bytes()) for path in sorted(self.path.glob("guidance*.png"))]
        note = "Prompts and cameras drawn from those of the world; the same noise in both."
        return [Bars("Samples of the teacher", "share", groups), Pictures("Samples of the teacher", shown, note=note)]


@step()
def judge_teacher(
    run: Run,
    teacher: TrainedTeacher,
    judge: TrainedJudge,
    world: WorldPictures,
    guidance: Sequence[float] = (1.0, 4.0),
    samples: int = 128,
    steps: int = 15,
    seed: int = 0,
    device: str = "cpu",
) -> TeacherScores:
    """Draw samples of prompts and cameras of the world, and ask the judge which prompts they show."""
    opened, made, reader = world.load(), teacher.load(device), judge.load(device)
    values: dict[str, float] = {}
    with run.bar("judging the teacher's samples", len(guidance) * steps) as bar:
        for scale in guidance:
            found, rgb = sampled(made, reader, opened, scale, samples, steps, seed, bar.advance)
            values[f"guidance {scale:g}/r_at_1"] = found.r_at_1
            values[f"guidance {scale:g}/r_probability"] = found.r_probability
            (run.output / f"guidance {scale:g}.png").write_bytes(sheet(rgb[:32], 8))
    _write(run, values)
    run.measure(**values)
    return TeacherScores(run.output)


def sampled(
    teacher: OwnTeacher,
    judge: Judge,
    world: World,
    guidance: float,
    count: int,
    steps: int,
    seed: int,
    advance: Any = lambda: None,
) -> tuple[Retrieval, Tensor]:
    """Scores of samples, one view each, and the samples in [0, 1]. Prompts differ as long as there are enough."""
    generator = torch.Generator().manual_seed(named_seed(seed, "samples of a teacher"))
    every = world.prompts
    rounds = -(-count // len(every))
    chosen = torch.cat([torch.randperm(len(every), generator=generator) for _ in range(rounds)])[:count]
    cameras = sample_cameras(count, generator, world.rules)
    mixed = camera_vectors(cameras)[torch.randperm(count, generator=generator)]  # they come in the order of azimuth
    camera = mixed.to(teacher.model.device) if teacher.camera_conditioned else None
    found = sample(
        teacher.model, prompts=[every[place] for place in chosen.tolist()], camera=camera, guidance=guidance,
        steps=steps, generator=generator, after_step=lambda _: advance(),
    )  # fmt: skip
    rgb = ((found + 1) / 2).clamp(0, 1)
    return retrieval(judge.probabilities(rgb, every).cpu(), chosen), rgb


def _write(run: Run, values: dict[str, float]) -> None:
    (run.output / SCORES).write_text(json.dumps(values, indent=1, sort_keys=True) + "\n", encoding="utf-8")


__all__ = ["TeacherScores", "TrainedJudge", "judge_teacher", "sampled", "train_world_judge"]
