"""Text to mesh, amortised over many prompts, from nothing: our own teacher, judge and world (AToM, arXiv 2402.00867).

The paper's teacher is a text-to-image model trained on the web. Here it is a small one trained on pictures of a world of
coloured blocks that we render; it knows pictures only, no shapes. Score distillation from it trains one generator on
many prompts at once. A judge that learnt from pictures drawn in other ways says which prompt it sees in the meshes.
"""

from __future__ import annotations

from glasshouse.evaluation.steps import Evaluation, Measured, conclude
from glasshouse.vision.mesh.claims import CLAIMS
from glasshouse.store.configuration import ConfigurationError
from glasshouse.store.recipe import recipe
from glasshouse.vision.mesh.generator import GeneratorConfig
from glasshouse.vision.mesh.measuring import Looking
from glasshouse.vision.mesh.objectives import MeshTraining
from glasshouse.vision.mesh.prompt_sets import prompt_set
from glasshouse.vision.mesh.sds import Distillation
from glasshouse.vision.mesh.steps import TrainedTextToMesh, measure_latency, settle, train_single_prompts, train_text_to_mesh
from glasshouse.vision.mesh.two_stage import MeshStage, Stages, VolumeStage

SMALL_SET = MeshTraining(measure_every=20)
"""4,800 pictures: 120 updates on volumes and 180 on meshes, of 4 prompts from 4 views."""
LARGE_SET = MeshTraining(stages=Stages(volume=VolumeStage(updates=180), mesh=MeshStage(updates=270)))
"""7,200 pictures."""
ONE_STAGE = MeshTraining(stages=Stages(volume=VolumeStage(updates=0), mesh=MeshStage(updates=300)))
ALONE = 3
"""Prompts that are optimised one by one."""
TRIPLANE, HYPERNET = GeneratorConfig(), GeneratorConfig(kind="hypernet")
CRITIC, LOOKING = Distillation(), Looking()


@recipe
def text_to_mesh(seeds: int = 1, ablations: bool = False, teacher: str = "", prompts: str = "", scale: str = "small") -> Evaluation:
    """Train a text-to-mesh model from nothing, and see what amortising over prompts is worth.

    Args:
        seeds: generators of every kind.
        ablations: train in one stage and from true pictures as well.
        teacher: folder of a DeepFloyd IF or Stable Diffusion model to learn from instead; needs --prompts.
        prompts: with --teacher, a set of prompts: pig64, animal2400, df27 or df415.
        scale: small, for two cores; large, for a GPU.
    """
    raise NotImplementedError
