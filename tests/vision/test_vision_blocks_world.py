"""The blocks world: distances against brute force, pictures against ray counting, prompts and their sets."""

from __future__ import annotations

import collections

import numpy as np
import pytest
import torch
from torch import Tensor

from glasshouse.store.configuration import ConfigurationError
from glasshouse.vision.diffusion.text import PromptError, TextConfig, Vocabulary
from glasshouse.vision.mesh.cameras import orbit
from glasshouse.vision.mesh.conditioning import camera_vectors
from glasshouse.vision.mesh.prompt_sets import BOTTOMS, TOPS, prompt_set
from glasshouse.vision.mesh.prompts import view_words, with_views
from glasshouse.vision.mesh.shading import AMBIENT
from glasshouse.vision.mesh.worlds import blocks, shapes
from glasshouse.vision.mesh.worlds.blocks_world import BlocksSettings, BlocksWorld, training_cameras


def surface(name: str, count: int = 40_000) -> Tensor:
    """Points spread over a shape's surface, made from its definition and not from its distance."""
    draws = torch.rand(count, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    around, half = 2 * torch.pi * draws[:, 0], shapes.HALF
    if name == "ball":
        height = 2 * draws[:, 1] - 1
        ring = (1 - height**2).sqrt()
        return half * torch.stack([ring * around.cos(), height, ring * around.sin()], 1)
    if name == "box":
        sides = torch.tensor([shapes.BOX, half, shapes.BOX], dtype=torch.float64)
        points = (2 * draws - 1) * sides
        axis = torch.arange(count) % 3
        sign = torch.where(torch.arange(count) % 2 == 0, 1.0, -1.0).double()
        return points.scatter(1, axis[:, None], (sign * sides[axis])[:, None])
    lid = torch.arange(count) % 3
    radius = shapes.CAN if name == "can" else shapes.CONE
    height = half * (2 * draws[:, 1] - 1)
    narrowing = 1.0 if name == "can" else (half - height) / (2 * half)
    ring = torch.where(lid == 0, radius * narrowing, radius * draws[:, 2].sqrt())
    y = torch.where(lid == 0, height, torch.where((lid == 1) & (name == "can"), half, -half))
    return torch.stack([ring * around.cos(), y, ring * around.sin()], 1)


def within(name: str, points: Tensor) -> Tensor:
    """Which points are inside, by the definition of the shape."""
    half, (x, y, z) = shapes.HALF, points.T
    radius = (x**2 + z**2).sqrt()
    return {
        "ball": x**2 + y**2 + z**2 < half**2,
        "box": (x.abs() < shapes.BOX) & (y.abs() < half) & (z.abs() < shapes.BOX),
        "cone": (y > -half) & (radius < shapes.CONE * (half - y) / (2 * half)),
        "can": (y.abs() < half) & (radius < shapes.CAN),
    }[name]


@pytest.mark.parametrize("name", shapes.SHAPES)
def test_distances_are_those_to_the_nearest_point_of_the_surface(name: str) -> None:
    points = 1.4 * torch.rand(400, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64) - 0.7
    said = shapes.SHAPES[name](points)
    nearest = torch.cdist(points, surface(name)).amin(1)
    assert (said.abs() - nearest).abs().max() < 0.012  # how far apart the surface's points are
    assert bool(((said < 0) == (within(name, points))).all())


@pytest.mark.parametrize("name", shapes.SHAPES)
def test_distances_have_slope_one(name: str) -> None:
    points = torch.randn(300, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64) * 0.4
    points.requires_grad_()
    (slope,) = torch.autograd.grad(shapes.SHAPES[name](points).sum(), points)
    assert torch.allclose(slope.norm(dim=1), torch.ones(300, dtype=torch.float64), atol=1e-6)


def test_a_ball_is_seen_as_geometry_says() -> None:
    """A ball of radius r at distance d fills a cone of half-angle asin(r / d), and is brightest in its middle."""
    cameras = orbit(torch.tensor([0.0]), 0.0, 3.0, 40.0)
    maps = blocks.light(("ball", "ball"), cameras, 64, samples=4)
    half = shapes.HALF
    angle = np.arcsin(half / np.hypot(3.0, half))
    # the upper ball's outline is an ellipse close to a disc of this radius in pixels
    radius = np.tan(angle) * np.hypot(3.0, half) / 3.0 / np.tan(np.deg2rad(20)) * 32
    covered = float((1 - maps[0, 2, :32]).sum())
    assert covered == pytest.approx(np.pi * radius**2, rel=0.03)
    assert float(maps[0, 0].max()) == pytest.approx(1.0, abs=0.01)
    assert float(maps[0, 2, 0, 0]) == 1.0
    seen = maps[0, :2].sum(0)[maps[0, 2] == 0]
    assert float(seen.min()) >= AMBIENT - 1e-6


def test_the_top_is_above_and_azimuth_turns_the_object() -> None:
    cameras = orbit(torch.tensor([0.0, 45.0]), 10.0, 3.0, 40.0)
    rgb, coverage = blocks.render(["a red cone on a blue box"], cameras, 32)
    red, blue = rgb[0, 0] - rgb[0, 2], rgb[0, 2] - rgb[0, 0]
    rows = torch.arange(32.0)
    assert float((red.clamp(min=0).sum(1) * rows).sum() / red.clamp(min=0).sum()) < 15
    assert float((blue.clamp(min=0).sum(1) * rows).sum() / blue.clamp(min=0).sum()) > 17
    assert float(coverage[1].sum()) > 1.03 * float(coverage[0].sum())  # a box is wider across its corners
    assert torch.allclose(rgb[0][:, coverage[0] == 0], torch.tensor(1.0))


def test_objects_stay_inside_the_picture_and_the_cube() -> None:
    cameras = training_cameras(BlocksSettings(azimuths=4))
    for top, bottom in (("cone", "box"), ("box", "cone")):
        maps = blocks.light((top, bottom), cameras, 32, max(blocks.SCALES), samples=1)
        border = torch.cat([maps[:, 2, 0], maps[:, 2, -1], maps[:, 2, :, 0], maps[:, 2, :, -1]], 1)
        assert bool((border == 1).all())
    grid = torch.stack(torch.meshgrid(*[torch.linspace(-1, 1, 33)] * 3, indexing="ij"), -1)
    inside = grid[blocks.distance(grid, "a blue box on a red cone", max(blocks.SCALES)) < 0]
    assert float(inside.abs().max()) < 0.85


def test_colours_are_those_of_the_nearer_block() -> None:
    points = torch.tensor([[0.0, 0.3, 0.0], [0.0, -0.3, 0.0]])
    found = blocks.colour(points, "a red ball on a cyan can")
    assert torch.allclose(found, torch.tensor([blocks.RGB["red"], blocks.RGB["cyan"]]))


def test_maps_in_colours_are_pictures_of_prompts() -> None:
    settings = BlocksSettings(size=16, azimuths=2, elevations=(25.0,), scales=(1.0,), spread=0.0)
    world = BlocksWorld.built(settings)
    text = Vocabulary(TextConfig.of(world.prompts))
    data = world.pictures(text)
    assert data.rows == 16 * 2 * 36
    rows = np.array([5, 700, 1151])
    batch = data.batch(rows)
    cameras = training_cameras(settings)
    vectors = camera_vectors(cameras)
    for number, row in enumerate(rows.tolist()):
        said = data.describe(rows)[number]
        prompt = world.prompts[int(data.prompt.flatten()[row])]
        assert prompt in said
        camera = int((vectors == batch["camera"][number]).all(1).nonzero()[0, 0])
        true, _ = blocks.render([prompt], cameras[[camera]], 16)
        assert torch.allclose((batch["picture"][number] + 1) / 2, true[0], atol=2e-3)
        assert torch.equal(batch["words"][number], text.ids([prompt])[0])
    assert len({world.prompts[int(place)] for place in data.prompt.flatten()}) == 576


def test_colours_vary_by_row_and_seed_and_stay_near(tmp_path: object) -> None:
    settings = BlocksSettings(size=8, azimuths=1, elevations=(25.0,), scales=(1.0,), spread=0.05)
    world = BlocksWorld.built(settings)
    row = np.array([3])
    one, again, other = (world.pictures(None, seed).batch(row)["picture"] for seed in (0, 0, 1))
    assert torch.equal(one, again)
    assert 0 < float((one - other).abs().max()) <= 2 * 2 * 0.05
    assert world.pictures(None, 0).fingerprint != world.pictures(None, 1).fingerprint


def test_held_out_pictures_are_of_every_pair_and_other_cameras() -> None:
    world = BlocksWorld.built(BlocksSettings(size=8, azimuths=1, elevations=(25.0,), scales=(1.0, 1.1)))
    held = world.held_out(2, seed=3)
    assert held.rgb.shape == (32, 3, 8, 8)
    pairs = {blocks.Blocks.of(world.prompts[int(place)]).shapes for place in held.prompt}
    assert len(pairs) == 16
    assert not torch.equal(held.rgb, world.held_out(2, seed=4).rgb)


@pytest.mark.parametrize("prompt", ["", "a red pig on a blue box", "a red cone", "red cone on blue box"])
def test_other_prompts_are_refused(prompt: str) -> None:
    with pytest.raises(PromptError, match="COLOUR SHAPE"):
        blocks.Blocks.of(prompt)


@pytest.mark.parametrize(
    ("name", "seen", "unseen"),
    [
        ("blocks64", 56, 8),
        ("blocks576", 72, 504),
        ("pig64", 56, 8),
        ("animal2400", 300, 2100),
        ("df27", 27, 0),
        ("df415", 415, 0),
    ],
)
def test_sets_have_the_sizes_of_the_papers(name: str, seen: int, unseen: int) -> None:
    found = prompt_set(name)
    assert (len(found.seen), len(found.unseen)) == (seen, unseen)
    assert len(set(found.all)) == seen + unseen


def test_blocks_sets_are_spread_over_the_world() -> None:
    every = set(blocks.all_prompts())
    assert set(prompt_set("blocks64").all) <= every
    assert set(prompt_set("blocks576").all) == every
    said = [blocks.Blocks.of(prompt) for prompt in prompt_set("blocks576").seen]
    tops = collections.Counter((one.top_colour, one.top_shape) for one in said)
    bottoms = collections.Counter((one.bottom_colour, one.bottom_shape) for one in said)
    assert set(tops.values()) == set(bottoms.values()) == {3}
    assert len({one.shapes for one in said}) == 16
    # what is held back of the small set is only the combination: each half of it is seen
    seen = " / ".join(prompt_set("blocks64").seen)
    assert all(f"a {top} on" in seen for top in TOPS)
    assert all(f"on a {bottom}" in seen for bottom in BOTTOMS)


def test_the_galleries_are_in_each_other() -> None:
    assert set(prompt_set("df27").seen) < set(prompt_set("df415").seen)
    assert "a delicious hamburger" in prompt_set("df27").seen
    with pytest.raises(ConfigurationError, match="there are blocks64"):
        prompt_set("df28")


def test_views_are_named_as_threestudio_names_them() -> None:
    cameras = orbit(torch.tensor([0.0, 44, 90, -90, 136, 180, 224, 316, 10]), torch.tensor([0.0] * 8 + [61.0]))
    assert view_words(cameras) == ["front", "front", "side", "side", "back", "back", "back", "front", "overhead"]
    assert with_views(["a pig"], ["side"]) == ["a pig, side view"]
    with pytest.raises(ValueError, match="no view 'left'"):
        with_views(["a pig"], ["left"])


def test_camera_vectors_say_direction_and_size() -> None:
    found = camera_vectors(orbit(torch.tensor([0.0, 90.0]), 0.0, 3.0, 40.0))
    assert torch.allclose(found[0], torch.tensor([0.0, 0.0, 1.0, 3 * np.tan(np.deg2rad(20))]).float(), atol=1e-6)
    assert torch.allclose(found[1, :3], torch.tensor([1.0, 0.0, 0.0]), atol=1e-6)
