"""The recipes of text to mesh as graphs, and what they refuse; their steps run in the vision room's tests."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from glasshouse.recipes.mesh_world import mesh_world
from glasshouse.recipes.text_to_mesh import text_to_mesh
from glasshouse.store.configuration import ConfigurationError
from glasshouse.store.recipe import run_recipe
from glasshouse.store.step import Node, as_node, order
from glasshouse.store.store import Store
from glasshouse.vision.mesh.files import write_mesh
from glasshouse.vision.mesh.mesh import Mesh


def steps(node: object) -> list[str]:
    return [step._definition.name for step in order(as_node(node))]


def trainings(node: object) -> list[Node]:
    return [step for step in order(as_node(node)) if step._definition.name == "train_text_to_mesh"]


def test_text_to_mesh_trains_one_teacher_and_two_generators_a_set_and_seed() -> None:
    once = text_to_mesh.function()
    assert steps(once).count("train_teacher") == 1
    assert len(trainings(once)) == 3
    assert len(trainings(text_to_mesh.function(seeds=2))) == 6
    assert len(trainings(text_to_mesh.function(seeds=2, ablations=True))) == 11
    images = [node._arguments["training"].images for node in trainings(once)]
    assert sorted(images) == [4800, 7200, 7200]


def test_a_teacher_from_a_folder_needs_no_world() -> None:
    found = text_to_mesh.function(teacher="models/some", prompts="pig64")
    assert steps(found) == ["folder_teacher", "train_text_to_mesh", "conclude"]
    assert len(trainings(found)[0]._arguments["prompts"].unseen) == 8


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"seeds": 0}, "at least 1 seed"),
        ({"scale": "huge"}, "small or large"),
        ({"teacher": "x", "prompts": "y"}, "pig64"),
    ],
)
def test_text_to_mesh_refuses_what_it_cannot_do(given: dict[str, object], told: str) -> None:
    with pytest.raises(ConfigurationError, match=told):
        text_to_mesh.function(**given)


def test_a_world_of_no_effort_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="effort"):
        mesh_world.function(folder="meshes", effort=0)


@pytest.mark.slow
def test_a_folder_of_meshes_becomes_a_model(tmp_path: Path) -> None:
    folder = tmp_path / "meshes"
    folder.mkdir()
    corners = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
    faces = torch.tensor([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]])
    for colour, rgb in (("red", (0.9, 0.1, 0.1)), ("blue", (0.1, 0.1, 0.9))):
        mesh = Mesh(corners, faces, torch.tensor([rgb]).expand(4, 3))
        write_mesh(mesh, folder / f"{colour}_wedge.ply")
    evaluation = run_recipe(mesh_world, Store(str(tmp_path / "store")), folder=str(folder), effort=0.004)
    assert evaluation.values["latency/watertight"] == 1
    assert evaluation.claims[0]["status"] in ("holds", "does not hold")
