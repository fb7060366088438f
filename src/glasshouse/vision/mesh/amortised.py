"""Training one generator on a set of prompts, from beginning to end: critic, run, account, the judge's opinion."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from glasshouse.store.configuration import ConfigurationError, named_seed
from glasshouse.training.trainer import TrainingResult, train
from glasshouse.vision.mesh.cameras import CameraRules, Cameras
from glasshouse.vision.mesh.critic import Criticism, DirectLoss, ScoreDistillation
from glasshouse.vision.mesh.generator import GeneratorConfig, MeshGenerator
from glasshouse.vision.mesh.judge import Judge
from glasshouse.vision.mesh.ledger import Account, account
from glasshouse.vision.mesh.measuring import Looking, compared, distances, judged, scores, some
from glasshouse.vision.mesh.objectives import MeshTraining, TextToMesh, prompt_rows
from glasshouse.vision.mesh.prompt_sets import PromptSet
from glasshouse.vision.mesh.sds import Distillation
from glasshouse.vision.mesh.teacher import Teacher
from glasshouse.vision.mesh.worlds.pictures import World


@dataclasses.dataclass(frozen=True)
class Studio:
    """What generators are trained with and judged by.

    Attributes:
        teacher: encodes prompts, and criticises pictures with score distillation.
        judge: None where nobody can judge, as with prompts that belong to no world.
        world: for cameras, all prompts, and true pictures; None for a teacher that was trained elsewhere.
    """

    teacher: Teacher
    judge: Judge | None = None
    world: World | None = None

    @property
    def cameras(self) -> CameraRules:
        """Where training cameras stand: where the world's pictures were taken from, or the usual rules."""
        return CameraRules() if self.world is None else self.world.rules

    def tokens(self, prompts: Sequence[str]) -> Tensor:
        """Prompts as the generator reads them. Raises `PromptError` for what the teacher does not know."""
        with torch.no_grad():
            return self.teacher.tokens(prompts).float()

    def criticism(self, prompts: Sequence[str], distillation: Distillation | None) -> Criticism:
        """Score distillation, or with None the distance to true pictures."""
        if distillation is not None:
            return ScoreDistillation(self.teacher, prompts, distillation)
        if (world := self.world) is None:
            raise ConfigurationError("without a world there are no true pictures to learn from: give a distillation")
        return DirectLoss(prompts, functools.partial(true_pictures, world), type(world).__name__)

    def scores(self, name: str, generator: MeshGenerator, prompts: Sequence[str], looking: Looking) -> dict[str, float]:
        """What the judge says of prompts' meshes; nothing without one, or without prompts."""
        if self.judge is None or self.world is None or not prompts:
            return {}
        found = judged(generator, self.tokens(prompts), prompts, self.judge, self.world.prompts, looking)
        return dict(scores(name, found))

    def distances(self, name: str, generator: MeshGenerator, prompts: Sequence[str]) -> dict[str, float]:
        """How close prompts' meshes are to their true shapes; nothing without a world, or without prompts."""
        if self.world is None or not prompts:
            return {}
        return dict(distances(name, compared(generator, self.tokens(prompts), prompts, self.world)))


def true_pictures(world: World, prompts: list[str], cameras: Cameras) -> Tensor:
    """What a world says prompts look like, one picture for each prompt and camera; it renders on the CPU."""
    pictures, _ = world.render(tuple(prompts), cameras.to("cpu"), world.size)
    return pictures


@dataclasses.dataclass(frozen=True)
class Outcome:
    """A trained generator, what it cost, and what it is worth."""

    generator: MeshGenerator
    result: TrainingResult
    account: Account
    scores: Mapping[str, float]


def train_generator(
    studio: Studio,
    prompts: PromptSet,
    config: GeneratorConfig,
    settings: MeshTraining,
    distillation: Distillation | None,
    looking: Looking,
    directory: Path,
    *,
    name: str = "amortised",
    start: MeshGenerator | None = None,
    **options: Any,
) -> Outcome:
    """Train a generator on the seen prompts of a set and judge it on both halves; `options` go to the trainer.

    It begins from drawn weights, or as a copy of `start`, of whatever shape that has. Raises `ConfigurationError` for
    free planes and several prompts, which have no text to tell them apart.
    """
    seen = prompts.seen
    if config.kind == "free" and len(seen) > 1:
        raise ConfigurationError(f"free planes hold one prompt, got {len(seen)}: choose kind='triplane' or 'hypernet'")
    tokens = studio.tokens(seen)
    seed = named_seed(settings.seed, "generator")
    generator = (
        MeshGenerator.seeded(config, tokens.shape[1], tokens.shape[2], seed) if start is None else deepcopy(start)
    )
    generator.to(tokens.device)
    watched = [seen[number] for number in some(seen, looking.watched, "watched")]
    objective = TextToMesh(
        generator,
        tokens,
        studio.criticism(seen, distillation),
        settings,
        cameras=studio.cameras,
        watch=lambda module: studio.scores("seen", module, watched, looking),
    )
    found = studio.scores("untrained", generator.eval(), watched, looking)
    result = train(objective, prompt_rows(seen), settings.training(), directory, **options)
    generator.eval()
    on_gpu = tokens.device.type == "cuda"
    watching = objective.watching_seconds
    cost = account(name, len(seen), result, watching=watching, quality="seen/r_probability", on_gpu=on_gpu)
    for half, most in (("seen", looking.seen), ("unseen", looking.unseen)):
        every = getattr(prompts, half)
        few, many = ([every[number] for number in some(every, count, half)] for count in (looking.compared, most))
        found |= studio.scores(half, generator, many, looking) | studio.distances(half, generator, few)
    return Outcome(generator, result, cost, found)
