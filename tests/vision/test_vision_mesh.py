"""Topology, volume and normals of meshes against trimesh; overlap and distances against closed forms."""

import math

import numpy as np
import pytest
import torch
import trimesh

from glasshouse.vision.mesh.mesh import Mesh, MeshError
from glasshouse.vision.mesh.similarity import (
    cell_centres,
    intersection_over_union,
    occupancy,
    sample_surface,
    surface_distances,
)
from glasshouse.vision.mesh.simplify import simplify


def of(made, **more):
    return Mesh(torch.tensor(np.array(made.vertices)), torch.tensor(np.array(made.faces)), **more)


SHAPES = {
    "box": trimesh.creation.box([1.2, 0.8, 0.5]),
    "ball": trimesh.creation.icosphere(subdivisions=3, radius=0.7),
    "torus": trimesh.creation.torus(0.6, 0.2),
    "cone": trimesh.creation.cone(0.5, 1.1),
}


@pytest.mark.parametrize("name", SHAPES)
def test_topology_volume_and_area_equal_trimesh_s(name):
    theirs = SHAPES[name]
    ours = of(theirs)
    assert ours.is_watertight == theirs.is_watertight is True
    assert ours.euler_number == theirs.euler_number
    assert ours.volume == pytest.approx(theirs.volume, rel=1e-5)
    assert ours.area == pytest.approx(theirs.area, rel=1e-5)


def test_open_and_inconsistent_meshes_are_not_watertight():
    box = of(SHAPES["box"])
    assert not box.but(faces=box.faces[1:]).is_watertight
    turned = box.faces.clone()
    turned[0] = turned[0].flip(0)
    assert not box.but(faces=turned).is_watertight


def test_normals_of_a_ball_point_away_from_its_centre_and_lone_vertices_have_one():
    ball = of(SHAPES["ball"])
    away = torch.nn.functional.normalize(ball.vertices, dim=-1)
    assert (ball.normals * away).sum(-1).min() > 0.999
    lone = ball.but(vertices=torch.cat([ball.vertices, torch.zeros(1, 3)]), colours=None)
    torch.testing.assert_close(lone.normals.norm(dim=-1), torch.ones(len(lone.vertices)))


def test_normalising_centres_and_scales():
    moved = of(SHAPES["box"].copy().apply_translation([3, 4, 5])).normalised(0.8)
    assert moved.vertices.amax(0)[0].item() == pytest.approx(0.8)
    torch.testing.assert_close(moved.vertices.amax(0) + moved.vertices.amin(0), torch.zeros(3), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"faces": torch.zeros(0, 3)}, "has no faces"),
        ({"faces": torch.tensor([[0, 1, 99]])}, "point at vertices 0 to 99 of 3"),
        ({"vertices": torch.full((3, 3), math.nan)}, "3 of 3 vertices are NaN"),
        ({"vertices": torch.zeros(3, 2)}, r"takes vertices \(v, 3\)"),
        ({"about": {"loss": math.nan}}, "must be JSON"),
        ({"colours": torch.zeros(2, 3)}, r"colours must be \(3, 3\)"),
    ],
)
def test_bad_meshes_are_refused(changes, message):
    good = {"vertices": torch.eye(3), "faces": torch.tensor([[0, 1, 2]])}
    with pytest.raises(MeshError, match=message):
        Mesh(**(good | changes))


def test_a_mesh_in_one_point_cannot_be_normalised():
    with pytest.raises(MeshError, match="no size"):
        Mesh(torch.ones(3, 3), torch.tensor([[0, 1, 2]])).normalised()


def test_occupancy_of_a_box_equals_its_definition():
    box = of(trimesh.creation.box([1.21, 0.83, 0.57]))
    expected = (cell_centres(32).abs() < torch.tensor([1.21, 0.83, 0.57]) / 2).all(-1)
    assert torch.equal(occupancy(box, 32), expected)
    # Lines through the cells' centres now run exactly within the box's faces and edges.
    aligned = occupancy(of(trimesh.creation.box([1.0, 1.0, 1.0])), 33)
    inner = (cell_centres(33).abs() < 0.499).all(-1)
    assert bool(aligned[inner].all())


def test_occupancy_equals_generalised_winding_numbers():
    """Van Oosterom and Strackee's solid angles, summed over all faces, at every tenth point."""
    torus = of(trimesh.creation.torus(0.55, 0.25, major_sections=24, minor_sections=12))
    points = cell_centres(20).reshape(-1, 3)[::10].double()
    a, b, c = (torus.vertices[torus.faces[:, corner]].double() - points[:, None] for corner in range(3))
    la, lb, lc = (part.norm(dim=-1) for part in (a, b, c))
    volume = (a * torch.linalg.cross(b, c)).sum(-1)
    below = la * lb * lc + (a * b).sum(-1) * lc + (b * c).sum(-1) * la + (c * a).sum(-1) * lb
    winding = 2 * torch.atan2(volume, below).sum(1) / (4 * math.pi)
    assert torch.equal(occupancy(torus, 20).reshape(-1)[::10], winding > 0.5)


def test_overlap_of_shifted_boxes_is_a_third():
    box, moved = trimesh.creation.box([1, 1, 1]), trimesh.creation.box([1, 1, 1]).apply_translation([0.5, 0, 0])
    both = occupancy(of(box), 60, 1.5), occupancy(of(moved), 60, 1.5)
    assert intersection_over_union(*both) == pytest.approx(1 / 3, abs=0.03)
    assert intersection_over_union(both[0], both[0]) == 1
    with pytest.raises(ValueError, match="same points"):
        intersection_over_union(both[0], both[1][:3])


def test_an_open_sheet_has_no_inside():
    with pytest.raises(MeshError, match="encloses nothing"):
        occupancy(Mesh(torch.eye(3) * 0.5, torch.tensor([[0, 1, 2]])), 16)


def test_distances_between_concentric_balls_are_their_radii_s_difference():
    outer, inner = (of(trimesh.creation.icosphere(subdivisions=4, radius=radius)) for radius in (0.8, 0.6))
    chamfer, hausdorff = surface_distances(outer, inner, 20_000)
    assert chamfer == pytest.approx(0.2, rel=0.01)
    assert hausdorff == pytest.approx(0.2, rel=0.03)
    assert surface_distances(outer, inner) == surface_distances(outer, inner)


def test_points_on_a_surface_are_spread_by_area():
    box = of(trimesh.creation.box([2.0, 1.0, 0.5]))
    points = sample_surface(box, 40_000, torch.Generator().manual_seed(0))
    distance = (points.abs() - torch.tensor([1.0, 0.5, 0.25])).abs()
    assert distance.min(1).values.max() < 1e-6
    shares = torch.bincount(distance.argmin(1), minlength=3) / len(points)
    torch.testing.assert_close(shares, torch.tensor([1.0, 2.0, 4.0]) / 7, atol=0.005, rtol=0)


def test_simplification_keeps_the_shape_and_refuses_nonsense():
    ball = of(trimesh.creation.icosphere(subdivisions=4, radius=0.8))
    small = simplify(ball.but(colours=(ball.vertices + 1) / 2), keep=0.1)
    assert len(small.faces) <= 0.11 * len(ball.faces)
    assert small.is_watertight
    assert small.volume == pytest.approx(ball.volume, rel=0.02)
    assert (small.painted - (small.vertices + 1) / 2).abs().max() < 0.05
    assert simplify(ball, 10**6) is ball
    for wrong in ({}, {"faces": 100, "keep": 0.5}, {"keep": 0.0}, {"faces": 3}):
        with pytest.raises(MeshError):
            simplify(ball, **wrong)
