"""Training a mesh generator on many prompts at once: the objective of AToM (arXiv 2402.00867) and of its baselines.

Every update takes some prompts, draws cameras around each, renders what the generator makes of them (stage 1: a volume,
stage 2: a mesh) and hands the pictures to a critic: score distillation, or the distance to true pictures. With one
prompt it is per-prompt optimisation; with no updates in stage 1 it is one-stage training.

Which prompts come at an update is the trainer's order of data, and cameras, noise levels and noise come from the
update's generator, so both are functions of seed and update alone. With `choosing`, prompts are drawn by what the
critic said of them before (`glasshouse.vision.mesh.active`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from glasshouse.store.configuration import Config, ConfigurationError
from glasshouse.training.configuration import Training
from glasshouse.training.data import TensorRows
from glasshouse.training.objective import Loss, Step
from glasshouse.training.shards import tensors_hash
from glasshouse.vision.mesh.active import Choosing, PromptChoice
from glasshouse.vision.mesh.cameras import CameraRules
from glasshouse.vision.mesh.critic import Criticism
from glasshouse.vision.mesh.generator import MeshGenerator
from glasshouse.vision.mesh.tets import tetrahedral_grid
from glasshouse.vision.mesh.two_stage import Rendered, Stages, draw_views, mesh_pictures, volume_pictures

Watch = Callable[[MeshGenerator], Mapping[str, float]]
"""What is measured of a generator while it trains."""


class MeshTraining(Config):
    """How a generator is trained.

    Attributes:
        stages: both stages and the views of a prompt.
        prompts: prompts of an update.
        choosing: which prompts come next is chosen by what the critic said of them; None: all equally often.
        learning_rate: of AdamW after `warmup` updates; it falls to `final_fraction` in the last `decay` of the run.
        measure_every: updates between two measurements; 0 for none.
    """

    stages: Stages = Stages()
    prompts: int = Field(4, ge=1)
    choosing: Choosing | None = None
    learning_rate: float = Field(3e-3, gt=0)
    warmup: int = Field(20, ge=0)
    decay: float = Field(0.3, gt=0, le=1)
    final_fraction: float = Field(0.1, ge=0, le=1)
    measure_every: int = Field(0, ge=0)
    seed: int = Field(0, ge=0)

    @classmethod
    def large(cls) -> MeshTraining:
        """For a GPU (AToM-L)."""
        return cls(stages=Stages.large(), prompts=16, learning_rate=1e-3, warmup=50)

    def times(self, factor: float) -> MeshTraining:
        """The same with both stages longer or shorter."""
        volume, mesh = (
            stage.but(updates=max(1, round(stage.updates * factor)) if stage.updates else 0)
            for stage in (self.stages.volume, self.stages.mesh)
        )
        longer = self.stages.but(volume=volume, mesh=mesh)
        found: MeshTraining = self.but(stages=longer)
        return found

    def in_one_stage(self) -> MeshTraining:
        """The same number of updates, all on meshes."""
        stages = self.stages
        one = stages.but(volume=stages.volume.but(updates=0), mesh=stages.mesh.but(updates=stages.updates))
        found: MeshTraining = self.but(stages=one)
        return found

    @property
    def images(self) -> int:
        """Pictures that a critic sees in the whole run."""
        return self.stages.updates * self.prompts * self.stages.views

    def training(self) -> Training:
        """For the shared trainer."""
        updates = self.stages.updates
        return Training.small(
            steps=updates,
            batch_size=self.prompts,
            seed=self.seed,
            learning_rate=self.learning_rate,
            betas=(0.9, 0.99),
            schedule="wsd",
            decay_fraction=self.decay,
            final_fraction=self.final_fraction,
            warmup=min(self.warmup, updates // 4) if updates // 4 >= 1 else 0,
            clip_norm=1.0,
            prefetch=0,
            validate_every=self.measure_every or None,
            checkpoint_every=100,
        )


def prompt_rows(prompts: Sequence[str]) -> TensorRows:
    """Prompts as data of the trainer: a row each, named by its text."""
    if not prompts:
        raise ConfigurationError("no prompts were given: name at least one")
    return TensorRows({"prompt": torch.arange(len(prompts))}, tuple(prompts))


class TextToMesh:
    """Prompts to meshes under a critic; see the module."""

    unit = "images"

    def __init__(
        self,
        generator: MeshGenerator,
        tokens: Float[Tensor, "prompts length text"],
        criticism: Criticism,
        settings: MeshTraining,
        *,
        cameras: CameraRules,
        background: float = 1.0,
        watch: Watch | None = None,
    ) -> None:
        self.generator, self.tokens, self.criticism, self.settings = generator, tokens, criticism, settings
        self.cameras, self.background, self.watch = cameras, background, watch
        self.learns: Mapping[str, nn.Module] = {"generator": generator}
        self.choice = None if settings.choosing is None else PromptChoice(len(tokens), settings.choosing)
        self.carries: Mapping[str, nn.Module] = {} if self.choice is None else {"choice": self.choice.to(tokens.device)}
        self._observed: tuple[Tensor, Tensor] | None = None
        self.frozen = criticism.frozen
        self.configuration: dict[str, Any] = {
            "stages": settings.stages,
            "cameras": cameras,
            "background": background,
            "choosing": settings.choosing,
            "criticism": criticism.configuration,
            "tokens": tensors_hash([("tokens", tokens)]),
        }
        self.grid = tetrahedral_grid(settings.stages.mesh.resolution).to(tokens.device)
        self.watching_seconds = 0.0
        """CPU seconds spent on measuring, which a ledger takes off a run's costs."""

    def weight(self, batch: Mapping[str, Tensor]) -> float:
        """Pictures."""
        return float(len(batch["prompt"]) * self.settings.stages.views)

    def loss(self, batch: Mapping[str, Tensor], step: Step) -> Loss:
        """Criticism of pictures from random views, and what keeps shapes well-behaved."""
        numbers, views = batch["prompt"], self.settings.stages.views
        if step.total != self.settings.stages.updates:
            raise ConfigurationError(
                f"the stages have {self.settings.stages.updates} updates and the run {step.total}: "
                "train with MeshTraining.training()"
            )
        if self.choice is not None:
            numbers = self.choice.draw(len(numbers), step.generator)
        cameras = draw_views(len(numbers), views, step.generator, self.cameras)
        rendered = self.rendered(numbers, cameras, step)
        said = self.criticism(rendered.pictures, numbers.repeat_interleave(views), cameras, step)
        self._observed = numbers, said.moved.reshape(-1, views).mean(1)
        penalties = {name: value.detach() for name, value in rendered.penalties.items()}
        return Loss(said.loss + sum(rendered.penalties.values()), {**said.metrics, **penalties})

    def after_step(self, step: Step) -> None:
        """What was seen goes into the choice of the next prompts."""
        if self.choice is not None and self._observed is not None:
            self.choice.observe(*self._observed)

    def rendered(self, numbers: Tensor, cameras: Any, step: Step) -> Rendered:
        """Pictures of prompts, in the way of the update's stage."""
        shapes, stages = self.generator.shapes(self.tokens[numbers]), self.settings.stages
        if stages.stage_of(step.number) == "mesh":
            return mesh_pictures(shapes, cameras, stages.mesh, self.grid, self.background)
        sharpness = stages.sharpness_at(step.number)
        return volume_pictures(shapes, cameras, stages.volume, sharpness, self.background, step.generator)

    def validate(self) -> dict[str, float]:
        """What `watch` measures."""
        if self.watch is None:
            return {}
        begin = time.process_time()
        found = dict(self.watch(self.generator))
        self.watching_seconds += time.process_time() - begin
        return found
