"""Text to mesh for a world of one's own: a folder of captioned meshes becomes a text-to-mesh model.

The meshes are rendered, a small teacher and a judge learn from the pictures, and score distillation trains a generator
on all captions (see the recipe `text_to_mesh`). The generator itself never sees the meshes.
"""

from __future__ import annotations

from glasshouse.evaluation.steps import Evaluation, Measured, conclude
from glasshouse.store.configuration import ConfigurationError
from glasshouse.store.recipe import recipe
from glasshouse.vision.mesh.baseline_steps import measure_latency
from glasshouse.vision.mesh.claims import own_world_is_recognised
from glasshouse.vision.mesh.generator import GeneratorConfig
from glasshouse.vision.mesh.judge import JudgeSettings
from glasshouse.vision.mesh.judge_steps import judge_teacher, train_world_judge
from glasshouse.vision.mesh.measuring import Looking
from glasshouse.vision.mesh.objectives import MeshTraining
from glasshouse.vision.mesh.sds import Distillation
from glasshouse.vision.mesh.steps import train_text_to_mesh
from glasshouse.vision.mesh.teacher_steps import TeacherSettings, train_teacher
from glasshouse.vision.mesh.world_steps import render_meshes
from glasshouse.vision.mesh.worlds.own import OwnWorldSettings


@recipe
def mesh_world(folder: str, effort: float = 1.0, seed: int = 0, device: str = "cpu") -> Evaluation:
    """Train a text-to-mesh model on a folder of captioned meshes.

    Args:
        folder: OBJ, GLB, PLY or STL files; the page on text to mesh says how captions are given.
        effort: longer or shorter training of everything.
        seed: of the generator.
        device: where to train: cpu, or cuda.
    """
    if not effort > 0:
        raise ConfigurationError(f"mesh_world.effort multiplies the length of training, so it is above 0, got {effort}")
    teaching, judging = TeacherSettings(), JudgeSettings()
    world = render_meshes(folder, OwnWorldSettings())
    shorter = teaching.denoising.but(steps=max(1, round(effort * teaching.denoising.steps)))
    teacher = train_teacher(world, teaching.but(denoising=shorter), device)
    judge = train_world_judge(world, judging.but(steps=max(1, round(effort * judging.steps))), device)
    training = MeshTraining(seed=seed).times(effort)
    model = train_text_to_mesh(
        teacher, judge, world, world.prompts, GeneratorConfig(), training, Distillation(), Looking(), device
    )
    parts: dict[str, Measured] = {
        "judge": judge,
        "teacher": judge_teacher(teacher, judge, world, device=device),
        "model": model,
        "latency": measure_latency(model, world.prompts),
    }
    return conclude(parts, claims=[own_world_is_recognised])
