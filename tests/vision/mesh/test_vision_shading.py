"""The lamp at the camera, against closed forms on a ball."""

from __future__ import annotations

import math

import pytest
import torch

from glasshouse.vision.mesh.batch import pack
from glasshouse.vision.mesh.cameras import orbit
from glasshouse.vision.mesh.marching import marching_tetrahedra
from glasshouse.vision.mesh.neus import render_volume
from glasshouse.vision.mesh.shading import AMBIENT, shade, shaded_pictures, vertex_normals
from glasshouse.vision.mesh.tets import tetrahedral_grid


def ball(radius: float = 0.6):
    grid = tetrahedral_grid(24)
    return marching_tetrahedra(grid, grid.vertices.norm(dim=-1)[None] - radius)


def test_shade_is_ambient_from_behind_and_whole_from_ahead() -> None:
    assert shade(torch.tensor([-1.0, 0.0, 0.5, 1.0])).tolist() == pytest.approx([AMBIENT, AMBIENT, 0.75, 1.0])


def test_normals_of_a_ball_point_outwards() -> None:
    meshes = ball()
    cosine = (vertex_normals(meshes) * torch.nn.functional.normalize(meshes.vertices, dim=-1)).sum(-1)
    assert float(cosine.min()) > 0.97


def test_a_ball_is_lit_as_its_closed_form_says() -> None:
    meshes, cameras, size = ball(), orbit(torch.tensor([30.0]), 20.0, 4.0, 40.0), 96
    colours = torch.tensor([0.8, 0.4, 0.2]).expand(len(meshes.vertices), 3)
    pictures, coverage = shaded_pictures(meshes, colours, cameras, size)
    origins, directions = cameras.rays(size)
    along = -(origins * directions).sum(-1)
    gap = 0.36 - (origins + along[..., None] * directions).square().sum(-1)
    hit = gap > 0.02
    place = origins + (along - gap.clamp(min=0).sqrt())[..., None] * directions
    cosine = -(place * directions).sum(-1) / 0.6
    expected = torch.tensor([0.8, 0.4, 0.2])[None, :, None, None] * shade(cosine)[:, None]
    error = (pictures - expected).abs().amax(1)[hit]
    assert float(error.mean()) < 0.01
    assert torch.equal(pictures[0, :, 0, 0], torch.ones(3))
    assert float(coverage.sum() / size**2) == pytest.approx(float((gap > 0).float().mean()), rel=0.02)


def test_every_mesh_has_its_own_cameras_and_normals_can_be_given() -> None:
    one = ball()
    both = pack([one.vertices, one.vertices * 0.5], [one.faces, one.faces])
    colours = torch.ones(len(both.vertices), 3)
    cameras = orbit(torch.tensor([0.0, 90.0, 0.0, 90.0]), 0.0, 4.0)
    _, coverage = shaded_pictures(both, colours, cameras, 32)
    area = coverage.mean((1, 2))
    assert float(area[0] / area[2]) == pytest.approx(4 * (16 - 0.09) / (16 - 0.36) * 1.0, rel=0.05)
    toward = torch.tensor([0.0, 0.0, 1.0]).expand_as(both.vertices)
    flat, _ = shaded_pictures(both, colours, cameras, 33, background=0.0, normals=toward)
    assert float(flat[0, 0, 16, 16]) == pytest.approx(1.0, abs=1e-3)
    assert float(flat[1, 0, 16, 16]) == pytest.approx(AMBIENT + (1 - AMBIENT) * math.cos(math.pi / 2), abs=1e-3)


def test_a_volume_is_lit_like_a_mesh() -> None:
    def field(points: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return points.norm(dim=-1) - 0.6, torch.ones_like(points)

    cameras = orbit(torch.tensor([0.0]), 0.0, 4.0, 40.0)
    volume = render_volume(field, cameras, 24, samples=192, sharpness=300.0, background=1.0, ambient=AMBIENT)
    meshes = ball()
    mesh, coverage = shaded_pictures(meshes, torch.ones(len(meshes.vertices), 3), cameras, 24)
    inner = coverage[0] > 0.99
    inner = inner & inner.roll(1, 0) & inner.roll(-1, 0) & inner.roll(1, 1) & inner.roll(-1, 1)
    error = (volume.image[0, ..., 0] - mesh[0, 0]).abs()[inner]
    assert int(inner.sum()) > 30
    assert float(error.mean()) < 0.01
