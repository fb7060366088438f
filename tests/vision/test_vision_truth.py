"""True shapes of worlds, and how close meshes are to them."""

from __future__ import annotations

import math

import pytest
import torch

from glasshouse.vision.diffusion.text import PromptError
from glasshouse.vision.mesh.mesh import Mesh
from glasshouse.vision.mesh.truth import closeness
from glasshouse.vision.mesh.worlds.blocks import RGB
from glasshouse.vision.mesh.worlds.blocks_world import BlocksSettings, BlocksWorld
from glasshouse.vision.mesh.worlds.shapes import BOX, CAN, CONE, HALF

WORLD = BlocksWorld(BlocksSettings(), torch.zeros(0, 3, 32, 32))
VOLUMES = {
    "ball": 4 / 3 * math.pi * HALF**3,
    "box": 8 * BOX**2 * HALF,
    "cone": math.pi * CONE**2 * 2 * HALF / 3,
    "can": math.pi * CAN**2 * 2 * HALF,
}


@pytest.mark.parametrize("pair", [("ball", "box"), ("cone", "can")])
def test_true_shapes_have_the_volumes_of_their_parts(pair: tuple[str, str]) -> None:
    top, bottom = pair
    prompt = f"a red {top} on a blue {bottom}"
    wanted = VOLUMES[top] + VOLUMES[bottom]
    mesh = WORLD.mesh(prompt)
    assert mesh.is_watertight
    assert mesh.volume == pytest.approx(wanted, rel=0.02)
    assert float(WORLD.inside(prompt, 96).sum()) * (2 / 96) ** 3 == pytest.approx(wanted, rel=0.02)
    upper = mesh.painted[mesh.vertices[:, 1] > 0.1]
    assert torch.allclose(upper, torch.tensor(RGB["red"]).expand_as(upper))


def test_the_truth_is_close_to_itself_and_a_smaller_one_by_its_volume() -> None:
    prompt = "a red ball on a blue can"
    true = WORLD.mesh(prompt)
    smaller = true.but(vertices=0.8 * true.vertices)
    found = closeness([true, smaller], [prompt, prompt], WORLD, points=500)
    assert found.overlap[0] > 0.97
    assert found.overlap[1] == pytest.approx(0.8**3, abs=0.06)  # shrunk towards where the blocks touch
    assert found.chamfer[0] < 0.06 < found.chamfer[1]
    assert found.mean_overlap == pytest.approx(sum(found.overlap) / 2)
    assert found.mean_chamfer == pytest.approx(sum(found.chamfer) / 2)


def test_a_mesh_that_encloses_nothing_overlaps_with_nothing() -> None:
    flat = Mesh(torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0]]), torch.tensor([[0, 1, 2]]))
    assert closeness([flat], ["a red ball on a blue can"], WORLD, resolution=16, points=100).overlap == (0.0,)


def test_meshes_without_prompts_are_refused() -> None:
    with pytest.raises(ValueError, match="0 meshes and 1 prompts"):
        closeness([], ["a red ball on a blue can"], WORLD)
    with pytest.raises(PromptError, match="COLOUR SHAPE"):
        WORLD.inside("a pig")
