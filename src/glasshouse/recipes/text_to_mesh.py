"""Text to mesh, amortised over many prompts, from nothing: our own teacher, judge and world (AToM, arXiv 2402.00867).

The paper's teacher is a text-to-image model trained on the web. Here it is a small one trained on pictures of a world
of coloured blocks that we render, which has no 3D shapes in it either. Score distillation from it trains one generator
on many prompts; a judge that learnt from other pictures says which prompt it sees in the meshes.
"""

from __future__ import annotations

from glasshouse.evaluation.steps import Evaluation, Measured, conclude
from glasshouse.recipes.text_to_mesh_claims import CLAIMS
from glasshouse.store.configuration import ConfigurationError
from glasshouse.store.recipe import recipe
from glasshouse.vision.mesh.generator import GeneratorConfig
from glasshouse.vision.mesh.measuring import Looking
from glasshouse.vision.mesh.objectives import MeshTraining
from glasshouse.vision.mesh.prompt_sets import prompt_set
from glasshouse.vision.mesh.sds import Distillation
from glasshouse.vision.mesh.steps import measure_latency, settle, train_single_prompts, train_text_to_mesh
from glasshouse.vision.mesh.two_stage import MeshStage, Stages, VolumeStage

FEW = MeshTraining(measure_every=20)
"""4800 pictures: 120 updates on volumes, 180 on meshes, of 4 prompts and 4 views."""
MANY = MeshTraining(stages=Stages(volume=VolumeStage(updates=180), mesh=MeshStage(updates=270)))
"""7200 pictures, for the larger set."""
ALONE = 3
"""Prompts that are optimised one by one."""
