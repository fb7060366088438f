"""Files re-read by other libraries (pygltflib, trimesh, pillow, imageio), and how they look."""

import io
import json
import math
import re
import time
from pathlib import Path

import imageio.v2 as imageio
import numpy as np
import pygltflib
import pytest
import torch
import trimesh
from PIL import Image

from glasshouse.vision.mesh.batch import pack
from glasshouse.vision.mesh.cameras import orbit
from glasshouse.vision.mesh.export_glb import glb_bytes, glb_document, linear_to_srgb, read_about, srgb_to_linear
from glasshouse.vision.mesh.files import SUFFIXES, write_mesh
from glasshouse.vision.mesh.marching import marching_tetrahedra
from glasshouse.vision.mesh.mesh import Mesh, MeshError
from glasshouse.vision.mesh.raster import compose, rasterise, render
from glasshouse.vision.mesh.similarity import surface_distances
from glasshouse.vision.mesh.simplify import simplify
from glasshouse.vision.mesh.tets import tetrahedral_grid
from glasshouse.vision.mesh.texture import bake, sample_texture
from glasshouse.vision.mesh.turntable import frames, gif_bytes, write_turntable
from glasshouse.vision.mesh.viewer import viewer_page

ABOUT = {"prompt": "a red box on a blue ball", "seed": 3, "teacher": {"sha256": "ab" * 32}}


@pytest.fixture(scope="module")
def mesh():
    grid = tetrahedral_grid(32)
    points = grid.vertices
    ball = (points - torch.tensor([0, -0.35, 0])).norm(dim=-1) - 0.5
    box = ((points - torch.tensor([0, 0.45, 0])).abs() - torch.tensor([0.35, 0.3, 0.35])).amax(-1)
    vertices, faces = marching_tetrahedra(grid, torch.minimum(ball, box)[None])[0]
    waves = torch.stack([0.5 + 0.4 * torch.sin(4 * vertices[:, axis] + axis) for axis in range(3)], 1)
    return Mesh(vertices, faces, waves, ABOUT)


def accessor(document, number):
    """An accessor's numbers, by pygltflib's tables."""
    found = document.accessors[number]
    view = document.bufferViews[found.bufferView]
    kinds = {pygltflib.FLOAT: "<f4", pygltflib.UNSIGNED_SHORT: "<u2", pygltflib.UNSIGNED_INT: "<u4"}
    width = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4}[found.type]
    data = document.binary_blob()[view.byteOffset : view.byteOffset + view.byteLength]
    return np.frombuffer(data, kinds[found.componentType], found.count * width).reshape(found.count, width)


def test_a_glb_is_what_pygltflib_reads(mesh, tmp_path):
    path = tmp_path / "out.glb"
    write_mesh(mesh, path)
    document = pygltflib.GLTF2().load(str(path))
    primitive = document.meshes[0].primitives[0]
    points = accessor(document, primitive.attributes.POSITION)
    np.testing.assert_array_equal(points, mesh.vertices.numpy())
    assert document.accessors[primitive.attributes.POSITION].max == points.max(0).tolist()
    normals = accessor(document, primitive.attributes.NORMAL)
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-5)
    linear = torch.tensor(accessor(document, primitive.attributes.COLOR_0)[:, :3] / 65535.0)
    assert (linear_to_srgb(linear) - mesh.painted).abs().max() < 1 / 255
    faces = accessor(document, primitive.indices).reshape(-1, 3)
    np.testing.assert_array_equal(faces, mesh.faces.numpy())
    material = document.materials[primitive.material]
    assert material.pbrMetallicRoughness.metallicFactor == 0
    assert material.pbrMetallicRoughness.roughnessFactor == pytest.approx(0.9)
    assert material.doubleSided is False
    assert document.nodes[0].extras == ABOUT
    assert read_about(path) == ABOUT
    for view in document.bufferViews:
        assert view.byteOffset % 4 == 0


def test_a_glb_is_closed_for_trimesh(mesh):
    scene = trimesh.load(io.BytesIO(glb_bytes(mesh)), file_type="glb", process=False)
    (read,) = scene.geometry.values()
    assert read.is_watertight
    assert read.volume == pytest.approx(mesh.volume, rel=1e-5)


def test_the_colour_curves_are_inverse_and_meet_the_standard_s_values():
    shown = torch.linspace(0, 1, 256)[:, None].expand(-1, 3)
    torch.testing.assert_close(linear_to_srgb(srgb_to_linear(shown)), shown, atol=1e-5, rtol=0)
    assert srgb_to_linear(torch.tensor([[0.5, 0.0, 1.0]]))[0].tolist() == pytest.approx([0.214041, 0, 1], abs=1e-6)


def test_a_large_mesh_has_wide_indices():
    vertices, faces = marching_tetrahedra(tetrahedral_grid(72), cube_distance(tetrahedral_grid(72)))[0]
    assert len(vertices) > 65535
    document = pygltflib.GLTF2.load_from_bytes(glb_bytes(Mesh(vertices, faces)))
    assert accessor(document, document.meshes[0].primitives[0].indices).max() == len(vertices) - 1


def cube_distance(grid):
    return (grid.vertices.abs().amax(-1) - 0.93)[None]


def test_from_distance_to_glb_bytes_is_fast(mesh):
    """Extraction, normals, topology and the file at R=32: a second is allowed to all of it, network included."""
    grid = tetrahedral_grid(32)
    sdf = (grid.vertices.norm(dim=-1) - 0.7)[None]
    started = time.process_time()
    vertices, faces = marching_tetrahedra(grid, sdf)[0]
    glb_bytes(Mesh(vertices, faces, (vertices + 1) / 2))
    assert time.process_time() - started < 0.25


def test_damaged_glb_files_are_named(mesh):
    content = glb_bytes(mesh)
    with pytest.raises(MeshError, match="cut off"):
        glb_document(content[:-9])
    with pytest.raises(MeshError, match="do not begin like"):
        glb_document(b"PK" + content)


def test_a_baked_texture_looks_like_the_vertices_colours(mesh):
    """The texture is looked up at every pixel, as a viewer does, and compared with interpolated vertex colours."""
    textured = bake(mesh, 1024)
    cameras = orbit(torch.tensor([0.0, 120.0, 240.0, 60.0]), torch.tensor([10.0, 30.0, -20.0, 60.0]), 4.0, 35.0)
    with torch.no_grad():
        expected = render(mesh.batch, mesh.painted, cameras.__getitem__([0, 1, 2, 3]), 96, background=1.0).image
        batch = pack([textured.vertices], [textured.faces])
        fragments = rasterise(batch, cameras, 96)
        values = sample_texture(textured.texture, fragments.interpolate(textured.uv))
        drawn = compose(batch, fragments, values, background=1.0).image
    error = (drawn - expected).square().mean()
    assert -10 * math.log10(error) >= 30
    assert not torch.allclose(drawn, expected)


def test_a_texture_can_be_painted_finer_than_the_mesh():
    made = trimesh.creation.box([1.0, 1.0, 1.0])  # 8 vertices, but stripes
    box = Mesh(torch.tensor(np.array(made.vertices)), torch.tensor(np.array(made.faces)))

    def stripes(points):
        return (torch.sin(30 * points[:, :1]) > 0).float().expand(-1, 3)

    textured = bake(box, 256, stripes)
    batch = pack([textured.vertices], [textured.faces])
    fragments = rasterise(batch, orbit(20.0, 20.0, 3.5, 40.0), 64)
    seen = sample_texture(textured.texture, fragments.interpolate(textured.uv))
    expected = stripes(fragments.interpolate(batch.vertices))
    assert ((seen - expected).abs() < 0.5).float().mean() > 0.97
    with pytest.raises(ValueError, match="at least 16"):
        bake(box, 8)


def test_a_textured_glb_carries_its_picture(mesh, tmp_path):
    write_mesh(mesh, tmp_path / "out.glb", texture=256)
    document = pygltflib.GLTF2().load(str(tmp_path / "out.glb"))
    view = document.bufferViews[document.images[0].bufferView]
    data = document.binary_blob()[view.byteOffset : view.byteOffset + view.byteLength]
    assert Image.open(io.BytesIO(data)).size == (256, 256)
    assert accessor(document, document.meshes[0].primitives[0].attributes.TEXCOORD_0).max() <= 1


def test_an_obj_brings_its_material_and_texture(mesh, tmp_path):
    written = write_mesh(mesh, tmp_path / "out.obj", texture=512)
    assert [path.name for path in written] == ["out.obj", "out.mtl", "out.png"]
    read = trimesh.load(tmp_path / "out.obj", process=False)
    colours = torch.tensor(np.array(read.visual.to_color().vertex_colors[:, :3])) / 255.0
    nearest = torch.cdist(torch.tensor(np.array(read.vertices)).float(), mesh.vertices).argmin(1)
    assert (colours - mesh.painted[nearest]).abs().mean() < 0.02
    assert read.area == pytest.approx(mesh.area, rel=1e-3)
    assert "a red box on a blue ball" in (tmp_path / "out.obj").read_text().splitlines()[0]


def test_names_with_spaces_and_lines_keep_obj_and_ply_whole(mesh, tmp_path):
    odd = simplify(mesh, 200).but(about={"a\nv 9 9 9": "two\nlines"})
    names = [path.name for path in write_mesh(odd, tmp_path / "red box.obj", texture=64)]
    assert names == ["red box.obj", "red_box.mtl", "red_box.png"]
    assert trimesh.load(tmp_path / "red box.obj", process=False).visual.material.image.size == (64, 64)
    write_mesh(odd, tmp_path / "red box.ply")
    assert len(trimesh.load(tmp_path / "red box.ply", process=False).faces) == len(odd.faces)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_named(mesh, tmp_path):
    (tmp_path / "out.glb").symlink_to("/dev/full")
    with pytest.raises(OSError, match=r"no space left while writing .*out.glb"):
        write_mesh(mesh, tmp_path / "out.glb")


def test_ply_and_stl_are_what_trimesh_reads(mesh, tmp_path):
    write_mesh(mesh, tmp_path / "out.ply")
    read = trimesh.load(tmp_path / "out.ply", process=False)
    assert read.is_watertight
    np.testing.assert_array_equal(np.array(read.vertices, dtype=np.float32), mesh.vertices.numpy())
    colours = np.array(read.visual.vertex_colors[:, :3])
    np.testing.assert_array_equal(colours, mesh.painted.mul(255).round().to(torch.uint8).numpy())
    grid = tetrahedral_grid(16)
    ball = Mesh(*marching_tetrahedra(grid, (grid.vertices.norm(dim=-1) - 0.71)[None])[0])
    write_mesh(ball, tmp_path / "out.stl")
    printed = trimesh.load(tmp_path / "out.stl")
    assert printed.is_watertight
    assert printed.volume == pytest.approx(ball.volume, rel=1e-4)


def test_ninety_percent_fewer_faces_stay_within_two_cells(mesh):
    small = simplify(mesh, keep=0.1)
    assert len(small.faces) <= 0.11 * len(mesh.faces)
    assert surface_distances(mesh, small, 20_000)[1] < 2 * tetrahedral_grid(32).cell


def test_a_turntable_turns_and_fits_its_frame(mesh):
    turning = frames(mesh, 8, 48)
    assert turning.shape == (8, 48, 48, 3)
    border = torch.cat([turning[:, 0].flatten(), turning[:, -1].flatten(), turning[:, :, 0].flatten()])
    assert bool((border == 255).all())
    assert len({frame.numpy().tobytes() for frame in turning}) == 8


def test_turntables_are_read_back(mesh, tmp_path):
    read = Image.open(io.BytesIO(gif_bytes(frames(mesh, 6, 32), 1.2)))
    assert (read.n_frames, read.size, read.info["loop"]) == (6, (32, 32), 0)
    assert read.info["duration"] == 200
    write_turntable(mesh, tmp_path / "out.mp4", count=6, size=32)
    movie = imageio.mimread(tmp_path / "out.mp4")
    assert len(movie) == 6
    still = torch.tensor(np.array(movie[0])).float() - frames(mesh, 6, 32)[0].float()
    assert still.abs().mean() < 12
    write_turntable(mesh, tmp_path / "out.png", count=5, size=32)
    assert Image.open(tmp_path / "out.png").size == (96, 64)
    for name, more, message in (
        ("x.avi", {}, "one of"),
        ("x.mp4", {"size": 33}, "even"),
        ("x.gif", {"count": 0}, "least"),
    ):
        with pytest.raises(MeshError, match=message):
            write_turntable(mesh, tmp_path / name, **more)


def test_the_viewer_is_one_file_that_fetches_nothing(mesh, tmp_path):
    page = viewer_page([("<b>bold</b> </script>", mesh)], title="A & B")
    assert not re.search(r"(src|href)\s*=\s*[\"']?(https?:)?//", page)
    assert "default-src 'none'" in page
    assert page.count("</script>") == 2  # nothing in the data ends its element
    text = re.search(r'id="data">(.*?)</script>', page, re.S).group(1)
    data = json.loads(text)
    assert data["meshes"][0]["caption"] == "<b>bold</b> </script>"
    assert data["meshes"][0]["closed"] is True
    assert write_mesh(mesh, tmp_path / "out.html") == [tmp_path / "out.html"]
    with pytest.raises(MeshError, match="at least one"):
        viewer_page([])


def test_bad_names_are_refused(mesh, tmp_path):
    with pytest.raises(MeshError, match=re.escape(", ".join(SUFFIXES))):
        write_mesh(mesh, tmp_path / "out.fbx")
    with pytest.raises(MeshError, match="does not exist"):
        write_mesh(mesh, tmp_path / "no" / "out.glb")
    with pytest.raises(MeshError, match="holds no texture"):
        write_mesh(mesh, tmp_path / "out.ply", texture=64)
