"""NeuS rendering against the analytic silhouette of a ball, a direct product, and finite differences."""

import math

import pytest
import torch

from glasshouse.vision.mesh.cameras import orbit
from glasshouse.vision.mesh.marching import marching_tetrahedra
from glasshouse.vision.mesh.neus import (
    eikonal,
    enter_and_leave,
    exact_gradient,
    neus_weights,
    render_volume,
    spatial_gradient,
)
from glasshouse.vision.mesh.shading import shaded_pictures
from glasshouse.vision.mesh.tets import tetrahedral_grid


def test_weights_equal_the_paper_s_product():
    sdf = torch.randn(5, 9, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 0.3
    ours = neus_weights(sdf, 10.0)
    for ray in range(5):
        passed = 1.0
        for section in range(8):
            here, there = (1 / (1 + math.exp(-10 * sdf[ray, section + step])) for step in (0, 1))
            alpha = max(0.0, (here - there) / here)
            assert ours[ray, section].item() == pytest.approx(alpha * passed, abs=1e-8)
            passed *= 1 - alpha
    assert bool((ours.sum(-1) <= 1 + 1e-6).all())


def test_weights_stay_finite_far_inside_and_outside():
    sdf = torch.tensor([[50.0, 10.0, -10.0, -50.0]], requires_grad=True)
    weights = neus_weights(sdf, 200.0)
    weights.square().sum().backward()
    assert torch.isfinite(weights).all()
    assert weights.sum().item() == pytest.approx(1, abs=1e-5)
    assert torch.isfinite(sdf.grad).all()


def test_opacity_of_a_ball_equals_its_silhouette():
    def ball(points):
        return points.norm(dim=-1) - 0.6, torch.full_like(points, 0.5)

    drawn = render_volume(ball, orbit(torch.tensor([0.0, 130.0]), 25.0, 4.0, 30.0), 64, samples=96, sharpness=200.0)
    radius = 0.6 / math.sqrt(16 - 0.36) / math.tan(math.radians(15))  # in half-widths of the picture
    for view in range(2):
        assert drawn.coverage[view].mean().item() == pytest.approx(math.pi * radius**2 / 4, rel=0.01)
    assert drawn.image[:, 32, 32].tolist() == pytest.approx([pytest.approx([0.5] * 3, abs=1e-3)] * 2)


def test_a_lit_volume_looks_like_the_lit_mesh():
    """The lamp is at the camera, so the centre of a ball is fully lit and its brightness falls with the cosine."""

    def ball(points):
        return points.norm(dim=-1) - 0.6, torch.ones_like(points)

    cameras = orbit(20.0, 10.0, 4.0, 30.0)
    lit = render_volume(ball, cameras, 48, samples=128, sharpness=400.0, ambient=0.5).image
    grid = tetrahedral_grid(40)
    surface = marching_tetrahedra(grid, (grid.vertices.norm(dim=-1) - 0.6)[None])
    white = torch.ones_like(surface.vertices)
    picture, coverage = shaded_pictures(surface, white, cameras, 48, background=0.0)
    within = coverage[0] > 0.999
    difference = (lit[0, ..., 0] - picture[0, 0])[within].abs()
    assert difference.mean() < 0.01
    assert lit[0, 24, 24, 0].item() == pytest.approx(1, abs=0.01)


def test_several_shapes_are_seen_by_their_own_cameras_and_jitter_is_seeded():
    def balls(points):
        radii = torch.tensor([0.3, 0.8])[:, None]
        return points.norm(dim=-1) - radii, points.new_ones(*points.shape[:2], 1)

    def draw(seed):
        generator = torch.Generator().manual_seed(seed)
        return render_volume(balls, orbit(torch.arange(4.0)), 16, shapes=2, samples=12, generator=generator).coverage

    means = draw(0).mean((1, 2, 3))
    assert means[:2].max() < 0.5 * means[2:].min()
    assert torch.equal(draw(1), draw(1))
    assert not torch.equal(draw(1), draw(2))


def test_gradients_of_distances_equal_finite_differences():
    def bumpy(points):
        return (points * torch.tensor([1.0, 2.0, 0.5], dtype=points.dtype)).sin().sum(-1)

    points = torch.rand(2, 7, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    exact, central = exact_gradient(bumpy, points), spatial_gradient(bumpy, points, 1e-4)
    torch.testing.assert_close(exact, central, atol=1e-7, rtol=0)
    closed = (
        torch.tensor([1.0, 2.0, 0.5], dtype=torch.float64)
        * (points * torch.tensor([1.0, 2.0, 0.5], dtype=torch.float64)).cos()
    )
    torch.testing.assert_close(exact, closed)
    assert eikonal(exact).item() == pytest.approx((closed.norm(dim=-1) - 1).square().mean().item())
    unit = exact_gradient(lambda p: p.norm(dim=-1), points)
    assert eikonal(unit) < 1e-10


def test_rays_that_miss_the_cube_have_no_length():
    origins = torch.tensor([[0.0, 0, 4], [0, 3, 4], [0, 0, 0]])
    directions = torch.tensor([[0.0, 0, -1]]).expand(3, 3)
    near, far = enter_and_leave(origins, directions, 1.0)
    torch.testing.assert_close(near[0], torch.tensor(3.0))
    torch.testing.assert_close(far[0], torch.tensor(5.0))
    assert near[1] == far[1]
    assert (near[2].item(), far[2].item()) == (0, 1)


def test_bad_numbers_are_refused():
    with pytest.raises(ValueError, match="3 cameras for 2 shapes"):
        render_volume(lambda p: (p[..., 0], p), orbit(torch.zeros(3)), 8, shapes=2)
    with pytest.raises(ValueError, match="at least 1"):
        render_volume(lambda p: (p[..., 0], p), orbit(0.0), 8, samples=0)
