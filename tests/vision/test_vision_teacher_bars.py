"""World, judge and teacher at the size of the recipe: what they cost and reach."""

from __future__ import annotations

from pathlib import Path

import pytest

from glasshouse.store.execution import execute
from glasshouse.store.store import Store
from glasshouse.vision.mesh.judge import JudgeSettings
from glasshouse.vision.mesh.judge_steps import judge_teacher, train_world_judge
from glasshouse.vision.mesh.metrics import retrieval
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
    held = place.load().held_out(16, seed=7)
    said = reader.load().probabilities(held.rgb, place.prompts)
    shifted = retrieval(said, (held.prompt + 1) % len(place.prompts))
    assert shifted.r_probability <= 3 * shifted.chance
