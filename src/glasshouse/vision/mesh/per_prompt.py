"""The baseline that amortisation replaces: every prompt optimised alone, from the same ellipsoid, by the same critic."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from glasshouse.vision.mesh.amortised import Outcome, Studio, train_generator
from glasshouse.vision.mesh.generator import GeneratorConfig
from glasshouse.vision.mesh.measuring import Looking
from glasshouse.vision.mesh.objectives import MeshTraining
from glasshouse.vision.mesh.prompt_sets import PromptSet
from glasshouse.vision.mesh.sds import Distillation
from glasshouse.vision.mesh.two_stage import MeshStage, Stages, VolumeStage

ALONE = MeshTraining(
    stages=Stages(volume=VolumeStage(updates=40), mesh=MeshStage(updates=60), views=8),
    prompts=1,
    warmup=5,
    measure_every=5,
)
"""800 pictures of one prompt, eight views an update."""


def train_one_by_one(
    studio: Studio,
    prompts: Sequence[str],
    config: GeneratorConfig,
    settings: MeshTraining,
    distillation: Distillation | None,
    looking: Looking,
    directory: Path,
    *,
    advance: Callable[[], None] = lambda: None,
) -> list[Outcome]:
    """A generator for every prompt; a prompt that is finished in `directory` is not trained again."""
    outcomes = []
    for number, prompt in enumerate(prompts):
        alone = PromptSet(f"prompt {number}", (prompt,), ())
        home = directory / str(number)
        outcomes.append(
            train_generator(studio, alone, config, settings, distillation, looking, home, name=f"alone: {prompt}")
        )
        advance()
    return outcomes
