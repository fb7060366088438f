"""Worlds, teachers and judges as steps: what they leave behind, at a tiny size."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from glasshouse.store.execution import execute
from glasshouse.store.store import Store
from glasshouse.vision.diffusion.denoising import DenoisingSettings
from glasshouse.vision.diffusion.files import save_diffusion
from glasshouse.vision.diffusion.text import PromptError
from glasshouse.vision.mesh.judge import Judge, JudgeError, JudgeSettings, load_judge, save_judge
from glasshouse.vision.mesh.judge_steps import TeacherScores, TrainedJudge, judge_teacher, train_world_judge
from glasshouse.vision.mesh.teacher import OwnTeacher, TeacherError
from glasshouse.vision.mesh.teacher_steps import (
    TeacherSettings,
    TrainedTeacher,
    folder_teacher,
    open_teacher,
    train_teacher,
)
from glasshouse.vision.mesh.world_steps import WorldPictures, around, render_blocks, render_meshes
from glasshouse.vision.mesh.worlds.blocks_world import BlocksSettings
from glasshouse.vision.mesh.worlds.own import OwnWorldSettings

WORLD = BlocksSettings(size=16, azimuths=2, elevations=(25.0,), scales=(1.0,))
TEACHER = TeacherSettings(
    widths=(8, 16), attention=(1,), text_width=16, denoising=DenoisingSettings(steps=3, batch_size=8)
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[WorldPictures, TrainedTeacher, TrainedJudge, TeacherScores]:
    store = Store(tmp_path_factory.mktemp("store"))
    world = render_blocks(WORLD)
    teacher = train_teacher(world, TEACHER)
    judge = train_world_judge(world, JudgeSettings(steps=3, batch_size=8))
    scores = judge_teacher(teacher, judge, world, samples=10, steps=2)
    execute(scores, store)
    return tuple(execute(node, store) for node in (world, teacher, judge, scores))


def test_a_world_is_read_as_it_was_rendered(made: tuple) -> None:
    world = made[0].load()
    assert len(made[0].prompts) == 576
    assert world.pictures(None).rows == 16 * 2 * 36
    assert world.size == 16
    titles = [panel.title for panel in made[0].panels()]
    assert titles == ["World", "True pictures"]
    assert made[0].panels()[1].pictures[0][0] == world.prompts[0]


def test_a_teacher_reads_the_worlds_prompts_and_cameras(made: tuple) -> None:
    teacher = made[1].load()
    assert isinstance(teacher, OwnTeacher)
    assert teacher.camera_conditioned
    assert teacher.image_size == 16
    assert teacher.tokens(["a red cone on a blue box"]).shape == (1, 7, 16)
    assert made[1].training["pictures"] == 24
    assert [panel.title for panel in made[1].panels()] == ["Diffusion model", "Loss"]


def test_a_judge_says_how_well_it_reads(made: tuple) -> None:
    judge = made[2].load()
    assert isinstance(judge, Judge)
    assert set(made[2].values) == {"r_at_1", "r_probability", "chance"}
    assert made[2].values["chance"] == pytest.approx(1 / 576)
    said = judge.probabilities(torch.rand(2, 3, 16, 16), made[0].prompts)
    assert torch.allclose(said.sum(1), torch.ones(2), atol=1e-5)
    assert made[2].panels()


def test_samples_are_scored_at_every_strength(made: tuple) -> None:
    values = made[3].values
    assert set(values) == {f"guidance {s}/{w}" for s in (1, 4) for w in ("r_at_1", "r_probability")}
    assert all(0 <= value <= 1 for value in values.values())
    shown = made[3].panels()[1].pictures
    assert [caption for caption, _ in shown] == ["guidance 1", "guidance 4"]


def test_damaged_judges_are_refused(made: tuple, tmp_path: Path) -> None:
    with pytest.raises(JudgeError, match="holds no judge"):
        load_judge(tmp_path)
    (tmp_path / "judge.json").write_bytes((made[2].path / "judge.json").read_bytes())
    broken = made[2].load()
    with torch.no_grad():
        broken.words.bias.fill_(torch.nan)
    save_judge(broken, tmp_path)
    with pytest.raises(JudgeError, match=r"not finite, in words\.bias"):
        load_judge(tmp_path)
    (tmp_path / "judge.safetensors").write_bytes(b"nothing")
    with pytest.raises(JudgeError, match="holds no judge"):
        load_judge(tmp_path)


def test_a_teacher_from_a_folder_is_found_again_unless_it_changed(made: tuple, tmp_path: Path) -> None:
    home, store = tmp_path / "teacher", Store(tmp_path / "store")
    save_diffusion(made[1].model(), home)
    found = execute(folder_teacher(str(home)), store)
    assert found.load().fingerprint == made[1].load().fingerprint
    again = execute(folder_teacher(str(home)), store)
    assert again.id == found.id
    other = made[1].model()
    with torch.no_grad():
        next(other.parameters()).add_(1)
    save_diffusion(other, home)
    with pytest.raises(TeacherError, match="have changed"):
        found.load()
    assert execute(folder_teacher(str(home)), store).id != found.id
    with pytest.raises(TeacherError, match="none are fetched"):
        open_teacher(tmp_path / "nowhere")


def test_a_folder_of_captioned_meshes_is_a_world_like_any_other(tmp_path: Path) -> None:
    trimesh = pytest.importorskip("trimesh")
    folder, store = tmp_path / "meshes", Store(tmp_path / "store")
    folder.mkdir()
    shapes = {"green_ball": (trimesh.creation.icosphere(2), [30, 200, 30, 255]),
              "red_box": (trimesh.creation.box([1, 2, 1]), [220, 30, 30, 255])}  # fmt: skip
    for name, (mesh, colour) in shapes.items():
        mesh.visual.vertex_colors = colour
        mesh.export(folder / f"{name}.ply")
    (folder / "broken_thing.obj").write_text("nothing")
    world = render_meshes(str(folder), OwnWorldSettings(size=16, azimuths=3, elevations=(20.0,)))
    teacher = train_teacher(world, TEACHER)
    judge = train_world_judge(world, JudgeSettings(steps=60, batch_size=16))
    scores = execute(judge_teacher(teacher, judge, world, samples=4, steps=2), store)
    assert len(scores.values) == 4
    found = execute(world, store)
    assert found.prompts == ("green ball", "red box")
    assert found.manifest["measurements"]["quarantined"] == 1
    assert execute(judge, store).values["r_at_1"] > 0.9
    with pytest.raises(PromptError, match="it knows ball, box, green, red"):
        execute(teacher, store).load().tokens(["blue ball"])
    (folder / "broken_thing.obj").unlink()
    assert execute(world, store).id != found.id
    assert around(found.load(), found.prompts, 2)[1][0] == "red box"
