"""The rasteriser against ray-triangle intersection in numpy, and its gradients against supersampled differences."""

import numpy as np
import pytest
import torch

from glasshouse.vision.mesh.batch import pack
from glasshouse.vision.mesh.cameras import CameraRules, orbit, sample_cameras
from glasshouse.vision.mesh.marching import marching_tetrahedra
from glasshouse.vision.mesh.raster import rasterise, render
from glasshouse.vision.mesh.tets import tetrahedral_grid

TRIANGLE = torch.tensor([[-0.9, -0.7, 0.1], [0.8, -0.6, 0.3], [0.1, 0.9, -0.4]])
FACE = torch.tensor([[0, 1, 2]])


def ball(radius, resolution=12, centre=(0.0, 0.0, 0.0)):
    grid = tetrahedral_grid(resolution)
    distance = (grid.vertices - torch.tensor(centre)).norm(dim=-1) - radius
    return marching_tetrahedra(grid, distance[None])


def first_hits(vertices, faces, origins, directions):
    """Möller and Trumbore: for each ray the nearest face (-1: none) and how far it is."""
    a, b, c = (vertices[faces[:, corner]] for corner in range(3))
    first, second = b - a, c - a
    across = np.cross(directions[:, None], second[None])
    determinant = (across * first).sum(-1)
    towards = origins[:, None] - a[None]
    u = (towards * across).sum(-1) / determinant
    other = np.cross(towards, first[None])
    v = (directions[:, None] * other).sum(-1) / determinant
    distance = (second[None] * other).sum(-1) / determinant
    distance = np.where((u >= 0) & (v >= 0) & (u + v <= 1) & (distance > 0), distance, np.inf)
    nearest = distance.argmin(1)
    far = distance[np.arange(len(nearest)), nearest]
    return np.where(np.isfinite(far), nearest, -1), far


def test_visibility_equals_ray_casting_for_several_meshes_and_views():
    cube = torch.rand(40, 3, generator=torch.Generator().manual_seed(5)) * 1.6 - 0.8
    soup = torch.arange(39)[:, None].repeat(1, 3)[:36] + torch.tensor([0, 1, 2])
    meshes = pack([ball(0.7)[0][0], cube], [ball(0.7)[0][1], soup])
    rules = CameraRules(distance=(3.5, 4), field_of_view=(35, 45))
    cameras = sample_cameras(6, torch.Generator().manual_seed(0), rules)
    fragments = rasterise(meshes, cameras, 32)
    origins, directions = cameras.rays(32)
    agree = total = 0
    for number in range(6):
        vertices, faces = meshes[number // 3]
        rays = (part[number].reshape(-1, 3).double().numpy() for part in (origins, directions))
        face, distance = first_hits(vertices.double().numpy(), faces.numpy(), *rays)
        triangle = fragments.triangle.reshape(6, -1)[number]
        start = meshes.face_counts[0] if number >= 3 else 0
        ours = torch.where(triangle >= 0, triangle // 3 - start, -1).numpy()
        agree += ((ours >= 0) == (face >= 0)).sum()
        total += len(face)
        both = (ours >= 0) & (face >= 0)
        assert (ours == face)[both].mean() > 0.995
        axis = -cameras.view[number, 2, :3]
        along = distance * (directions[number].reshape(-1, 3) @ axis).double().numpy()
        both &= ours == face
        depth = fragments.depth.reshape(6, -1)[number].numpy()
        assert np.abs(depth[both] - along[both]).max() < 1e-4
    assert agree / total >= 0.999


def test_interpolation_is_perspective_correct():
    """Interpolated positions lie on the ray of their pixel, even for a strongly foreshortened triangle."""
    slanted = torch.tensor([[-0.9, -0.5, 0.95], [0.9, -0.5, 0.95], [0.0, 0.6, -0.95]])
    batch, cameras = pack([slanted], [FACE]), orbit(10.0, 5.0, 2.0, 70.0)
    fragments = rasterise(batch, cameras, 24)
    points = fragments.interpolate(batch.vertices)
    origins, directions = (part.reshape(-1, 3)[fragments.pixel] for part in cameras.rays(24))
    away = torch.linalg.cross(points - origins, directions).norm(dim=-1)
    assert len(points) > 30
    assert away.max() < 1e-5


def test_interpolation_gradients_equal_finite_differences():
    cameras = orbit(15.0, 10.0, 3.0, 45.0).to(dtype=torch.float64)
    attributes = torch.rand(3, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def values(vertices, attributes):
        return rasterise(pack([vertices], [FACE]), cameras, 8).interpolate(attributes)

    arguments = (TRIANGLE.double().requires_grad_(), attributes.requires_grad_())
    assert torch.autograd.gradcheck(values, arguments, eps=1e-7)


def coverage(radius, size, smooth=True, moved=0.0):
    grid = tetrahedral_grid(32)
    centre = torch.stack([torch.as_tensor(moved, dtype=torch.float32), torch.tensor(0.03), torch.tensor(0.0)])
    batch = marching_tetrahedra(grid, ((grid.vertices - centre).norm(dim=-1) - radius)[None])
    assert len(batch.faces) >= 10_000
    cameras = orbit(0.0, 0.0, 4.0, 30.0)
    if smooth:
        return render(batch, batch.vertices, cameras, size).coverage[0, :, :, 0]
    return (rasterise(batch, cameras, size).triangle >= 0).float().reshape(size, size)


def test_coverage_and_its_gradient_by_radius_equal_a_supersampled_picture():
    radius = torch.tensor(0.7, requires_grad=True)
    mean = coverage(radius, 64).mean()
    mean.backward()
    with torch.no_grad():
        fine = [coverage(0.7 + step, 1024, smooth=False).mean().item() for step in (-0.01, 0.0, 0.01)]
    assert mean.item() == pytest.approx(fine[1], rel=5e-3)
    assert radius.grad.item() == pytest.approx((fine[2] - fine[0]) / 0.02, rel=0.05)


def test_gradient_by_translation_equals_a_supersampled_picture():
    def ramp(size):
        return torch.linspace(0, 1, size).square()

    moved = torch.tensor(0.0, requires_grad=True)
    (coverage(0.7, 64, moved=moved) * ramp(64)).mean().backward()
    with torch.no_grad():
        low, high = ((coverage(0.7, 1024, False, step) * ramp(1024)).mean().item() for step in (-0.01, 0.01))
    assert moved.grad.item() == pytest.approx((high - low) / 0.02, rel=0.05)


def test_hidden_outlines_leave_the_front_surface_alone():
    front = torch.tensor([[-0.9, -0.9, 0.5], [0.9, -0.9, 0.5], [0.9, 0.9, 0.5], [-0.9, 0.9, 0.5]])
    back = front * torch.tensor([0.3, 0.3, -1.0])
    faces = torch.tensor([[0, 1, 2], [0, 2, 3]])
    batch = pack([torch.cat([front, back])], [torch.cat([faces, faces + 4])])
    colours = torch.tensor([[1.0]] * 4 + [[0.0]] * 4)
    image = render(batch, colours, orbit(0.0, 0.0, 4.0, 20.0), 16).image
    assert image[0, 4:-4, 4:-4].min() > 1 - 1e-5
    turned = render(batch, colours, orbit(180.0, 0.0, 4.0, 20.0), 16).image  # from behind the small square is in front
    assert turned[0, 8, 8] == 0
    assert turned.max().item() == pytest.approx(1, abs=1e-5)


def test_an_open_square_covers_the_area_it_projects_to():
    square = torch.tensor([[-0.53, -0.41, 0.0], [0.47, -0.41, 0.0], [0.47, 0.62, 0.0], [-0.53, 0.62, 0.0]])
    batch = pack([square], [torch.tensor([[0, 1, 2], [0, 2, 3]])])
    drawn = render(batch, torch.ones(4, 3), orbit(0.0, 0.0, 4.0, 40.0), 32, background=0.25)
    half = 4 * np.tan(np.radians(20))
    assert drawn.coverage.mean().item() == pytest.approx(1.03 / (2 * half) ** 2, rel=5e-3)
    assert drawn.image[0, 0, 0, 0] == 0.25
    assert drawn.image.max() <= 1 + 1e-6


def test_bad_input_is_refused():
    batch, cameras = pack([TRIANGLE], [FACE]), orbit(0.0)
    with pytest.raises(ValueError, match="mesh 1 of 2 has no faces"):
        render(pack([TRIANGLE, TRIANGLE], [FACE, FACE[:0]]), torch.ones(6, 1), orbit(torch.zeros(2)), 8)
    with pytest.raises(ValueError, match="NaN or infinity"):
        render(pack([TRIANGLE / 0], [FACE]), torch.ones(3, 1), cameras, 8)
    with pytest.raises(ValueError, match="at least 1 x 1"):
        render(batch, torch.ones(3, 1), cameras, 0)
    with pytest.raises(ValueError, match="move the cameras away"):
        render(batch, torch.ones(3, 1), orbit(0.0, 0.0, 0.2), 8)
    with pytest.raises(ValueError, match="3 cameras for 2 meshes"):
        render(pack([TRIANGLE] * 2, [FACE] * 2), torch.ones(6, 1), orbit(torch.zeros(3)), 8)
    with pytest.raises(ValueError, match="points at 7"):
        pack([TRIANGLE], [FACE + 5])


def test_one_pixel_and_a_mesh_outside_the_picture_are_drawn():
    drawn = render(pack([TRIANGLE], [FACE]), torch.ones(3, 1), orbit(0.0), 1)
    assert drawn.image.shape == (1, 1, 1, 1)
    aside = render(pack([TRIANGLE + 3], [FACE]), torch.ones(3, 1), orbit(0.0, 0.0, 9.0, 10.0), 16)
    assert aside.coverage.sum() == 0
