"""The whole of text to mesh at a tiny size: world, teacher, judge, generators, costs, latency, and the claims."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from click.testing import CliRunner

from glasshouse.cli import cli
from glasshouse.evaluation.steps import Evaluation, conclude
from glasshouse.store.execution import execute
from glasshouse.store.report import write_report
from glasshouse.store.store import Store
from glasshouse.vision.diffusion.denoising import DenoisingSettings
from glasshouse.vision.mesh.baseline_steps import measure_latency, settle, train_single_prompts
from glasshouse.vision.mesh.claims import ABLATIONS, CLAIMS
from glasshouse.vision.mesh.generator import GeneratorConfig
from glasshouse.vision.mesh.judge import JudgeSettings
from glasshouse.vision.mesh.judge_steps import judge_teacher, train_world_judge
from glasshouse.vision.mesh.measuring import Looking
from glasshouse.vision.mesh.objectives import MeshTraining
from glasshouse.vision.mesh.prompt_sets import PromptSet, prompt_set
from glasshouse.vision.mesh.sds import Distillation
from glasshouse.vision.mesh.steps import TrainedTextToMesh, train_text_to_mesh
from glasshouse.vision.mesh.teacher_steps import TeacherSettings, TrainedTeacher, folder_teacher, train_teacher
from glasshouse.vision.mesh.triplane import Planes
from glasshouse.vision.mesh.two_stage import MeshStage, Stages, VolumeStage
from glasshouse.vision.mesh.world_steps import render_blocks
from glasshouse.vision.mesh.worlds.blocks_world import BlocksSettings

STAGES = Stages(
    volume=VolumeStage(updates=2, rays=6, samples=6, eikonal_points=8),
    mesh=MeshStage(updates=2, resolution=8, size=16),
    views=2,
)
TRAINING = MeshTraining(stages=STAGES, prompts=2, warmup=1, measure_every=2)
LOOKING = Looking(views=2, size=16, resolution=8, seen=3, unseen=2, watched=2, compared=2)
WHOLE = prompt_set("blocks64")
PROMPTS = PromptSet("some", WHOLE.seen[:4], WHOLE.unseen[:2])


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, Evaluation]:
    store = Store(str(tmp_path_factory.mktemp("store")))
    world = render_blocks(BlocksSettings(size=16, azimuths=3, elevations=(25.0,), scales=(1.0,)))
    denoising = DenoisingSettings(steps=3, batch_size=4)
    teacher = train_teacher(world, TeacherSettings(widths=(16, 16), attention=(1,), denoising=denoising))
    judge = train_world_judge(world, JudgeSettings(steps=3, batch_size=4))
    seeing = (teacher, judge, world)
    settings = (TRAINING, Distillation(), LOOKING)
    generator = train_text_to_mesh(*seeing, PROMPTS, GeneratorConfig(), *settings)
    direct = train_text_to_mesh(*seeing, PROMPTS, GeneratorConfig(kind="hypernet"), TRAINING, None, LOOKING)
    alone = train_single_prompts(*seeing, PROMPTS.seen[:2], GeneratorConfig(kind="free"), *settings[1:], TRAINING)
    refined = train_single_prompts(*seeing, PROMPTS.unseen, GeneratorConfig(), *settings[1:], TRAINING, generator)
    parts = {
        "64 prompts, seed 0": generator,
        "direct": direct,
        "refined": refined,
        "judge": judge,
        "teacher": judge_teacher(teacher, judge, world, samples=4, steps=2),
        "costs": settle({"seed 0": generator}, alone, {"direct": direct}),
        "latency": measure_latency(generator, PROMPTS.all[:3], resolution=8),
    }
    return store, execute(conclude(parts, claims=[*CLAIMS, *ABLATIONS]), store)


def test_everything_that_was_asked_for_is_measured(made: tuple[Store, Evaluation]) -> None:
    values = made[1].values
    for half in ("seen", "unseen"):
        assert 0 <= values[f"64 prompts, seed 0/{half}/r_probability"] <= 1
        assert 0 <= values[f"direct/{half}/r_at_1"] <= 1
        assert 0.1 < values[f"direct/{half}/overlap"] < 1
        assert 0 < values[f"direct/{half}/chamfer"] < 0.5
    assert values["64 prompts, seed 0/untrained/r_probability"] < 0.2
    assert values["64 prompts, seed 0/images"] == 16
    assert values["latency/watertight"] == 1
    assert values["costs/CPU seconds/seed 0"] > 0
    assert values["costs/CPU seconds/direct"] > 0
    assert 0 < values["latency/prompt to GLB, CPU s"] < 5
    assert all(math.isfinite(value) for value in values.values())


def test_claims_are_decided_or_say_what_is_missing(made: tuple[Store, Evaluation]) -> None:
    decided = {item["name"]: item for item in made[1].claims}
    assert decided["meshes_are_closed"]["status"] == "holds"
    assert decided["one_generator_makes_many_meshes"]["status"] == "does not hold"
    assert decided["an_eighth_of_the_prompts_is_enough"]["status"] == "not measured"
    assert "576 prompts, seed 0/unseen/r_at_1" in decided["an_eighth_of_the_prompts_is_enough"]["measured"]
    assert decided["two_stages_are_better"]["status"] == "not measured"


def test_the_report_shows_pictures_and_costs(made: tuple[Store, Evaluation]) -> None:
    store, evaluation = made
    page = Path(write_report(store, evaluation.path.name, "text_to_mesh", "", None)).read_text(encoding="utf-8")
    assert "Cost ledger" in page
    assert "unseen prompts" in page
    assert "data:image/png" in page


def test_the_command_finds_the_model_behind_an_evaluation(made: tuple[Store, Evaluation], tmp_path: Path) -> None:
    store, evaluation = made
    out = tmp_path / "out.glb"
    asked = ["mesh", PROMPTS.unseen[0], str(out), "--model", evaluation.path.name, "--resolution", "8"]
    found = CliRunner().invoke(cli, [*asked, "--store", store.location], catch_exceptions=False)
    assert found.exit_code == 0, found.output
    assert out.read_bytes()[:4] == b"glTF"


def test_a_teacher_in_a_folder_teaches_without_a_world_or_a_judge(made: tuple[Store, Evaluation]) -> None:
    store, _ = made
    (trained,) = [item for name in store.names() if isinstance(item := store.open(name), TrainedTeacher)]
    teacher = folder_teacher(str(trained.path))
    planes = Planes(width=16, channels=4, levels=2, entry="attended", heads=4)
    settings = (GeneratorConfig(planes=planes), TRAINING, Distillation(guidance=1.0), LOOKING)
    model = execute(train_text_to_mesh(teacher, None, None, PROMPTS.seen[:2], *settings), store)
    assert model.values == {"images": 16.0}
    assert len(model.load().make([PROMPTS.seen[0]], resolution=8)) == 1


def test_a_model_says_where_it_came_from(made: tuple[Store, Evaluation]) -> None:
    store, _ = made
    generators = [store.open(name) for name in store.names()]
    kinds = [item for item in generators if isinstance(item, TrainedTextToMesh) and item.kind == "triplane"]
    model = max(kinds, key=lambda item: item.covers)
    origin = model.load().origin
    assert origin["prompts"] == "some"
    assert origin["distillation"]["guidance"] == 4.0
    assert len(origin["weights"]) >= 16
    assert model.covers == 6
