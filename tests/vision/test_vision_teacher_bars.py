"""World, judge and teacher at the size of the recipe: what they cost and reach."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from glasshouse.store.execution import execute
from glasshouse.store.store import Store
from glasshouse.vision.mesh.cameras import orbit
from glasshouse.vision.mesh.judge import JudgeSettings
from glasshouse.vision.mesh.judge_steps import judge_teacher, train_world_judge
from glasshouse.vision.mesh.metrics import retrieval
from glasshouse.vision.mesh.prompt_sets import prompt_set
from glasshouse.vision.mesh.teacher_steps import TeacherSettings, train_teacher
from glasshouse.vision.mesh.world_steps import render_blocks
from glasshouse.vision.mesh.worlds.blocks_world import BlocksSettings


@pytest.mark.slow
def test_a_judge_reads_true_pictures_and_accepts_what_a_teacher_draws(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    world = render_blocks(BlocksSettings())
    teacher, judge = train_teacher(world, TeacherSettings()), train_world_judge(world, JudgeSettings())
    scores = execute(judge_teacher(teacher, judge, world, samples=256), store)
    reader, place, taught = (execute(node, store) for node in (judge, world, teacher))
    assert reader.values["r_at_1"] >= 0.98
    assert scores.values["guidance 4/r_at_1"] >= 0.90
    assert scores.values["guidance 4/r_at_1"] - scores.values["guidance 1/r_at_1"] >= 0.08
    assert taught.manifest["measurements"]["cpu_seconds"] <= 300
    every = prompt_set("blocks64").all
    around = orbit(torch.arange(4).repeat(len(every)) * 90.0, 25.0, 3.0)
    said = reader.load().probabilities(place.load().render(every, around, 32)[0], every)
    assert retrieval(said, torch.arange(len(every)), 4).r_at_1 >= 0.98
    rotated = retrieval(said, (torch.arange(len(every)) + 1) % len(every), 4)
    assert rotated.r_probability <= 3 * rotated.chance
