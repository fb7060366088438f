"""Marching tetrahedra against closed forms of balls and tori, trimesh's topology, and finite differences."""

import math

import numpy as np
import pytest
import torch
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st

from glasshouse.vision.mesh.marching import NoSurfaceError, marching_tetrahedra, sign_regularizer, with_surface
from glasshouse.vision.mesh.tets import CORNERS, kuhn_tetrahedra, marching_table, tetrahedral_grid


def as_trimesh(batch, index=0):
    vertices, faces = batch[index]
    return trimesh.Trimesh(vertices.detach().numpy(), faces.numpy(), process=False)


def ball(grid, radius=0.7):
    return (grid.vertices.norm(dim=-1) - radius)[None]


def test_the_six_tetrahedra_fill_a_cube_and_the_table_has_the_textbook_counts():
    corners = CORNERS[kuhn_tetrahedra()].astype(float)
    volumes = np.linalg.det(corners[:, 1:] - corners[:, :1]) / 6
    np.testing.assert_allclose(volumes, 1 / 6)
    counts = marching_table()[1]
    assert [counts[case] for case in range(16)] == [
        {0: 0, 1: 1, 2: 2, 3: 1, 4: 0}[case.bit_count()] for case in range(16)
    ]


def test_a_ball_is_closed_and_has_its_volume():
    mesh = as_trimesh(marching_tetrahedra(tetrahedral_grid(32), ball(tetrahedral_grid(32))))
    assert mesh.is_watertight
    assert mesh.is_winding_consistent
    assert mesh.euler_number == 2
    assert mesh.volume == pytest.approx(4 / 3 * math.pi * 0.343, rel=5e-3)  # positive: faces look outwards


def test_a_torus_and_two_balls_in_one_batch():
    grid = tetrahedral_grid(24)
    x, y, z = grid.vertices.unbind(-1)
    torus = ((x.square() + z.square()).sqrt() - 0.6).square().add(y.square()).sqrt() - 0.22
    balls = torch.minimum((grid.vertices - 0.45).norm(dim=-1), (grid.vertices + 0.45).norm(dim=-1)) - 0.35
    batch = marching_tetrahedra(grid, torch.stack([torus, balls]))
    ring, pair = as_trimesh(batch, 0), as_trimesh(batch, 1)
    assert (ring.euler_number, pair.euler_number) == (0, 4)
    assert ring.is_watertight
    assert pair.is_watertight
    assert ring.volume == pytest.approx(2 * math.pi**2 * 0.6 * 0.22**2, rel=0.04)
    assert len(batch.mesh_of_face()) == sum(batch.face_counts)


def test_gradients_equal_finite_differences():
    grid = tetrahedral_grid(4).to(dtype=torch.float64)
    random = torch.Generator().manual_seed(0)
    sdf = ball(grid).repeat(2, 1) + 0.05 * torch.randn(2, 125, generator=random, dtype=torch.float64)
    offset = 0.02 * torch.randn(2, 125, 3, generator=random, dtype=torch.float64)

    def extract(sdf, offset):
        return marching_tetrahedra(grid, sdf, offset).vertices

    assert torch.autograd.gradcheck(extract, (sdf.requires_grad_(), offset.requires_grad_()))


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**31), waves=st.integers(1, 8), level=st.floats(-1.0, 1.0), offset=st.floats(0, 0.45))
def test_random_smooth_distances_give_closed_surfaces(seed, waves, level, offset):
    grid = tetrahedral_grid(10)
    random = torch.Generator().manual_seed(seed)
    directions = torch.randn(waves, 3, generator=random) * 3
    phases = torch.rand(waves, generator=random) * 6.28
    sdf = with_surface(grid, (torch.sin(grid.vertices @ directions.T + phases).mean(1) + level)[None])
    moved = (torch.rand(1, len(grid.vertices), 3, generator=random) * 2 - 1) * offset * grid.cell
    batch = marching_tetrahedra(grid, sdf, moved)
    mesh = as_trimesh(batch)
    assert mesh.is_watertight
    assert mesh.is_winding_consistent
    assert torch.isfinite(batch.vertices).all()
    assert set(range(len(batch.vertices))) == set(batch.faces.flatten().tolist())  # no vertex without a face


def test_without_the_boundary_rule_a_shape_that_touches_the_box_is_open():
    grid = tetrahedral_grid(12)
    assert not as_trimesh(marching_tetrahedra(grid, ball(grid, 1.2), closed=False)).is_watertight
    assert as_trimesh(marching_tetrahedra(grid, ball(grid, 1.2))).is_watertight


def test_uniform_signs_are_named_and_can_be_mended():
    grid = tetrahedral_grid(8)
    empty, full = torch.full((1, 729), 0.3), torch.full((1, 729), -0.3)
    with pytest.raises(NoSurfaceError, match="shape 1 is outside everywhere"):
        marching_tetrahedra(grid, torch.cat([ball(grid), empty]))
    with pytest.raises(NoSurfaceError, match="shape 0 is inside everywhere"):
        marching_tetrahedra(grid, full, closed=False)
    box = as_trimesh(marching_tetrahedra(grid, full))
    assert box.is_watertight
    assert box.volume == pytest.approx(8, rel=0.05)
    assert as_trimesh(marching_tetrahedra(grid, with_surface(grid, empty))).is_watertight
    assert torch.equal(with_surface(grid, ball(grid)), ball(grid))


def test_zeros_on_grid_vertices_keep_the_surface_closed():
    grid = tetrahedral_grid(8)
    sdf = grid.vertices.abs().amax(-1)[None] - 0.5  # a box whose faces lie on grid vertices
    mesh = as_trimesh(marching_tetrahedra(grid, sdf))
    assert mesh.is_watertight
    assert 0.8 < mesh.volume < 1  # edges across the tetrahedra's diagonals are cut


def test_the_sign_regularizer_counts_crossed_edges_by_brute_force():
    grid = tetrahedral_grid(3)
    sdf = torch.randn(2, 64, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    steps = (grid.vertices * 1.5 + 1.5).round().long()
    place = {tuple(step.tolist()): number for number, step in enumerate(steps)}
    for shape in range(2):
        terms = []
        for corner, a in place.items():
            for step in CORNERS[1:]:
                b = place.get(tuple(int(value) for value in np.array(corner) + step))
                if b is None or (sdf[shape, a] < 0) == (sdf[shape, b] < 0):
                    continue
                for one, other in ((sdf[shape, a], sdf[shape, b]), (sdf[shape, b], sdf[shape, a])):
                    probability = 1 / (1 + math.exp(-one))
                    terms.append(-math.log(probability if other > 0 else 1 - probability))
        assert sign_regularizer(grid, sdf)[shape].item() == pytest.approx(2 * sum(terms) / len(terms))
    assert sign_regularizer(grid, sdf.abs()).tolist() == [0, 0]


def test_bad_input_is_refused():
    grid = tetrahedral_grid(4)
    with pytest.raises(ValueError, match="at least 2"):
        tetrahedral_grid(1)
    with pytest.raises(ValueError, match="takes distances of shape"):
        marching_tetrahedra(grid, torch.zeros(1, 8))
    with pytest.raises(ValueError, match=r"shapes \[0\] hold NaN"):
        marching_tetrahedra(grid, torch.full((1, 125), math.nan))
    with pytest.raises(ValueError, match="offsets must have the shape"):
        marching_tetrahedra(grid, ball(grid), torch.zeros(1, 125))
