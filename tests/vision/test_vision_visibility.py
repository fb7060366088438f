"""Other ways to find what is visible agree with the plain one, where their packages are installed."""

import pytest
import torch

from glasshouse.vision.mesh import visibility
from glasshouse.vision.mesh.batch import pack
from glasshouse.vision.mesh.cameras import CameraRules, sample_cameras
from glasshouse.vision.mesh.marching import marching_tetrahedra
from glasshouse.vision.mesh.raster import rasterise, render
from glasshouse.vision.mesh.tets import tetrahedral_grid
from glasshouse.vision.mesh.visibility import backend, depth_of, fragment_list


def scene():
    grid = tetrahedral_grid(16)
    x, y, z = grid.vertices.unbind(-1)
    torus = ((x.square() + z.square()).sqrt() - 0.6).square().add(y.square()).sqrt() - 0.22
    batch = marching_tetrahedra(grid, torch.stack([torus, grid.vertices.norm(dim=-1) - 0.7]))
    rules = CameraRules(distance=(3.5, 4), field_of_view=(35, 45))
    return batch, sample_cameras(6, torch.Generator().manual_seed(0), rules)


def test_parts_drawn_one_after_another_give_the_same_picture(monkeypatch):
    batch, cameras = scene()
    whole = rasterise(batch, cameras, 40)
    monkeypatch.setattr(visibility, "CHUNK", 97)
    parts = rasterise(batch, cameras, 40)
    assert torch.equal(whole.triangle, parts.triangle)
    assert torch.equal(whole.depth, parts.depth)


def test_depth_from_triangles_equals_depth_from_fragments():
    batch, cameras = scene()
    found = rasterise(batch, cameras, 40)
    torch.testing.assert_close(depth_of(found.view, found.triangle), found.depth, atol=1e-4, rtol=0)


def test_equal_depths_are_decided_by_number():
    square = torch.tensor([[-0.5, -0.5, 0.0], [0.5, -0.5, 0.0], [0.0, 0.5, 0.0]])
    faces = torch.tensor([[0, 1, 2], [0, 1, 2], [0, 1, 2]])
    found = rasterise(pack([square], [faces]), scene()[1][[0]], 16)
    assert set(found.triangle.tolist()) == {-1, 0}


@pytest.mark.parametrize(("name", "package"), [("warp", "warp"), ("nvdiffrast", "nvdiffrast")])
def test_another_backend_draws_the_same(name, package):
    pytest.importorskip(package)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "nvdiffrast" and device == "cpu":
        pytest.skip("nvdiffrast needs CUDA")
    batch, cameras = scene()
    batch = pack([batch[0][0].to(device), batch[1][0].to(device)], [batch[0][1].to(device), batch[1][1].to(device)])
    cameras = cameras.to(device)
    plain = render(batch, batch.vertices, cameras, 64)
    other = render(batch, batch.vertices, cameras, 64, visibility=backend(name))
    assert (plain.fragments.triangle == other.fragments.triangle).float().mean() > 0.999
    assert (plain.image - other.image).abs().mean() < 1e-3


def test_backends_are_chosen_by_name():
    assert backend("torch") is fragment_list
    with pytest.raises(ValueError, match="not by 'opengl'"):
        backend("opengl")


@pytest.mark.parametrize("name", ["warp", "nvdiffrast"])
def test_a_missing_package_is_named(name):
    try:
        __import__(name)
    except ImportError:
        with pytest.raises(ImportError, match=name):
            backend(name)
    else:
        pytest.skip(f"{name} is installed")
