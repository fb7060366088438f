"""Dual extraction against closed forms, trimesh's topology, marching tetrahedra, and finite differences."""

import math

import numpy as np
import pytest
import torch
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st

from glasshouse.vision.mesh.dual import dual_surface, patch_table
from glasshouse.vision.mesh.marching import NoSurfaceError, marching_tetrahedra
from glasshouse.vision.mesh.tets import tetrahedral_grid


def as_trimesh(batch, index=0):
    vertices, faces = batch[index]
    return trimesh.Trimesh(vertices.detach().numpy(), faces.numpy(), process=False)


def shapes(grid):
    x, y, z = grid.vertices.unbind(-1)
    ball = grid.vertices.norm(dim=-1) - 0.7
    torus = ((x.square() + z.square()).sqrt() - 0.6).square().add(y.square()).sqrt() - 0.22
    return torch.stack([ball, torus])


def test_the_table_has_the_textbook_s_patches():
    patches, twice = patch_table()
    counts = patches.max(1) + 1
    assert counts[0] == counts[255] == 0
    assert counts[1] == counts[3] == counts[15] == 1
    assert counts[0b01101001] == 4  # every other corner: four patches
    # The complement has the same crossings, and the rule around the other side swaps the two.
    others = patch_table(False)[0]
    for case in range(256):
        groups = {tuple(np.flatnonzero(patches[case] == patch)) for patch in range(counts[case])}
        swapped = {tuple(np.flatnonzero(others[255 - case] == patch)) for patch in range(counts[case])}
        assert groups == swapped
    assert twice.sum(1).max() == 1  # what is mended is mended in one face only


def test_a_ball_and_a_torus_have_their_topology_and_volume():
    grid = tetrahedral_grid(32)
    batch = dual_surface(grid, shapes(grid))
    ball, torus = as_trimesh(batch, 0), as_trimesh(batch, 1)
    assert ball.is_watertight
    assert torus.is_watertight
    assert ball.is_winding_consistent
    assert (ball.euler_number, torus.euler_number) == (2, 0)
    assert ball.volume == pytest.approx(4 / 3 * math.pi * 0.343, rel=0.01)
    assert torus.volume == pytest.approx(2 * math.pi**2 * 0.6 * 0.22**2, rel=0.04)


def test_there_are_a_third_of_the_triangles_and_no_slivers():
    grid = tetrahedral_grid(32)
    dual, tetrahedral = (
        as_trimesh(dual_surface(grid, shapes(grid))),
        as_trimesh(marching_tetrahedra(grid, shapes(grid))),
    )
    assert len(dual.faces) < 0.36 * len(tetrahedral.faces)
    smallest = [np.percentile(np.degrees(mesh.face_angles.min(1)), 5) for mesh in (dual, tetrahedral)]
    assert smallest[0] > 20 > 5 > smallest[1]


def test_normals_keep_a_box_sharp():
    grid = tetrahedral_grid(20)
    sdf = (grid.vertices.abs() - torch.tensor([0.61, 0.47, 0.33])).amax(-1)[None]

    def outwards(points, shape):
        assert shape.eq(0).all()
        distance = points.abs() - torch.tensor([0.61, 0.47, 0.33])
        return torch.nn.functional.one_hot(distance.argmax(-1), 3) * points.sign()

    exact = 8 * 0.61 * 0.47 * 0.33
    round_box, sharp = as_trimesh(dual_surface(grid, sdf)), as_trimesh(dual_surface(grid, sdf, normals=outwards))
    assert sharp.is_watertight
    assert abs(sharp.volume - exact) < 0.4 * abs(round_box.volume - exact)
    missed = [np.linalg.norm(mesh.vertices - [0.61, 0.47, 0.33], axis=1).min() for mesh in (sharp, round_box)]
    assert missed[0] < 0.4 * missed[1]


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**31), smooth=st.booleans())
def test_any_distances_give_closed_surfaces(seed, smooth):
    grid = tetrahedral_grid(7)
    random = torch.Generator().manual_seed(seed)
    sdf = torch.randn(1, len(grid.vertices), generator=random)  # noise has every ambiguous face there is
    if smooth:
        sdf = torch.sin(grid.vertices @ torch.randn(3, 6, generator=random) * 3).mean(1)[None]
    if not bool(((sdf < 0) & ~grid.boundary).any()):
        return
    mesh = as_trimesh(dual_surface(grid, sdf))
    assert mesh.is_watertight
    assert mesh.is_winding_consistent
    assert np.isfinite(mesh.vertices).all()


def test_dual_gradients_equal_finite_differences():
    grid = tetrahedral_grid(4).to(dtype=torch.float64)
    random = torch.Generator().manual_seed(0)
    sdf = shapes(grid)[:1] + 0.05 * torch.randn(1, 125, generator=random, dtype=torch.float64)
    offset = 0.02 * torch.randn(1, 125, 3, generator=random, dtype=torch.float64)

    def extract(sdf, offset):
        return dual_surface(grid, sdf, offset).vertices

    assert torch.autograd.gradcheck(extract, (sdf.requires_grad_(), offset.requires_grad_()))


def test_a_full_shape_is_a_box_and_an_empty_one_is_refused():
    grid = tetrahedral_grid(8)
    assert as_trimesh(dual_surface(grid, torch.full((1, 729), -0.3))).is_watertight
    with pytest.raises(NoSurfaceError, match="outside everywhere"):
        dual_surface(grid, torch.full((1, 729), 0.3))
