"""Prompts optimised one by one: alone from the ellipsoid, or for a few updates from what a generator makes of them.

The first is the baseline that amortisation replaces. The second refines an amortised start, as Latte3D (arXiv
2403.15385) does at test time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from glasshouse.vision.mesh.amortised import Outcome, Studio, train_generator
from glasshouse.vision.mesh.generator import GeneratorConfig, MeshGenerator
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
REFINING = MeshTraining(
    stages=Stages(volume=VolumeStage(updates=0), mesh=MeshStage(updates=20)), prompts=1, warmup=2, learning_rate=1e-3
)
"""80 pictures of one prompt, on its mesh."""


def train_one_by_one(
    studio: Studio,
    prompts: Sequence[str],
    config: GeneratorConfig,
    settings: MeshTraining,
    distillation: Distillation | None,
    looking: Looking,
    directory: Path,
    *,
    start: MeshGenerator | None = None,
    advance: Callable[[], None] = lambda: None,
) -> list[Outcome]:
    """A generator for every prompt, from nothing or from a copy of `start`; what is finished is not trained again."""
    outcomes = []
    for number, prompt in enumerate(prompts):
        alone = PromptSet(f"prompt {number}", (prompt,), ())
        home = directory / str(number)
        name = f"{'alone' if start is None else 'refined'}: {prompt}"
        outcomes.append(
            train_generator(studio, alone, config, settings, distillation, looking, home, name=name, start=start)
        )
        advance()
    return outcomes
