"""Folders of meshes as people have them: captions of three kinds, six formats, colours of four kinds, and bad files."""

import json
import math

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image

from glasshouse.data.quarantine import Quarantine
from glasshouse.vision.mesh.captioned_meshes import MeshFolder, caption_of_name, folder_fingerprint, read_meshes
from glasshouse.vision.mesh.creases import split_creases
from glasshouse.vision.mesh.files import write_mesh
from glasshouse.vision.mesh.imported_mesh import import_mesh
from glasshouse.vision.mesh.mesh import Mesh, MeshError


def red_box():
    made = trimesh.creation.box([1, 2, 1])
    made.visual.face_colors = [255, 0, 0, 255]
    return made


def read(folder, **more):
    quarantine = Quarantine()
    meshes = read_meshes(MeshFolder(path=str(folder), **more), quarantine)
    assert quarantine.rows_seen == quarantine.rows_kept + quarantine.rows_quarantined
    return meshes, quarantine


@pytest.mark.parametrize("suffix", ["glb", "gltf", "obj", "ply", "stl", "off"])
def test_every_format_is_read_centred_and_scaled(tmp_path, suffix):
    red_box().apply_translation([5, 1, 2]).export(tmp_path / f"red_box_01.{suffix}")
    (found,), quarantine = read(tmp_path)
    assert found.caption == "red box"
    assert quarantine.rows_quarantined == 0
    assert found.mesh.is_watertight
    largest = torch.tensor([0.5, 1.0, 0.5]) * (0.9 / math.sqrt(1.5))  # its corners are 0.9 from the middle
    torch.testing.assert_close(found.mesh.vertices.amax(0), largest, atol=1e-5, rtol=0)
    assert read(tmp_path, radius=2.0)[0][0].mesh.vertices.max().item() == pytest.approx(0.8)
    if suffix in ("glb", "obj", "ply"):
        assert (found.mesh.painted - torch.tensor([1.0, 0, 0])).abs().max() < 0.01


@pytest.mark.parametrize(
    ("stem", "caption"),
    [
        ("red_cone_on_a_box-02", "red cone on a box"),
        ("greenCone", "green cone"),
        ("a pig riding a bike", "a pig riding a bike"),
        ("chair.v2_003", "chair v2"),
        ("0017", ""),
    ],
)
def test_captions_from_names(stem, caption):
    assert caption_of_name(stem) == caption


def test_captions_from_json_and_what_does_not_match(tmp_path):
    (tmp_path / "more").mkdir()
    for name in ("a.ply", "b.ply", "more/c.ply"):
        red_box().export(tmp_path / name)
    given = {
        "a.ply": "  a red\n box ",
        "more/c.ply": "another",
        "gone.ply": "nothing",
        "../x.ply": "outside",
        "b.ply": 3,
    }
    (tmp_path / "captions.json").write_text(json.dumps(given))
    meshes, quarantine = read(tmp_path)
    assert [(found.name, found.caption) for found in meshes] == [("a.ply", "a red box"), ("more/c.ply", "another")]
    assert quarantine.by_reason == {"no caption": 1, "no file": 1, "not a caption": 2}
    assert meshes[0].mesh.about == {"file": "a.ply", "prompt": "a red box"}


def test_captions_from_json_lines(tmp_path):
    red_box().export(tmp_path / "a.ply")
    lines = ['{"file": "a.ply", "caption": "a box"}', "not json", "", '{"caption": "of nothing"}']
    (tmp_path / "captions.jsonl").write_text("\n".join(lines))
    (found,), quarantine = read(tmp_path)
    assert found.caption == "a box"
    assert [(record["reason"], record["line"]) for record in quarantine.records] == [
        ("not JSON", 2),
        ("not a caption", 4),
    ]
    (tmp_path / "captions.json").write_text("{}")
    with pytest.raises(MeshError, match="has both"):
        read(tmp_path)


def test_bad_files_are_put_aside_with_the_reason(tmp_path):
    red_box().export(tmp_path / "good.ply")
    (tmp_path / "nonsense.glb").write_bytes(b"glTF nonsense")
    (tmp_path / "empty.obj").write_text("")
    (tmp_path / "nan.obj").write_text("v nan 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n")
    (tmp_path / "flat.obj").write_text("v 0 0 0\nv 1 0 0\nv 2 0 0\nf 1 2 3\n")
    trimesh.creation.icosphere(subdivisions=3).export(tmp_path / "fine.ply")
    (tmp_path / "huge.stl").write_bytes(b"\0" * 100_000)
    whole = (tmp_path / "good.ply").read_bytes()
    (tmp_path / "cut.ply").write_bytes(whole[: len(whole) * 2 // 3])
    meshes, quarantine = read(tmp_path, most_faces=500, most_bytes=50_000)
    assert [found.name for found in meshes] == ["good.ply"]
    reasons = {record["file"]: record["reason"] for record in quarantine.records}
    assert reasons == {
        "cut.ply": "not a readable mesh", "empty.obj": "not a usable mesh", "fine.ply": "too large",
        "flat.obj": "not a usable mesh", "huge.stl": "too large", "nan.obj": "not a usable mesh",
        "nonsense.glb": "not a readable mesh",
    }  # fmt: skip


def test_nothing_to_read_is_an_error(tmp_path):
    with pytest.raises(MeshError, match="is not a folder"):
        read(tmp_path / "none")
    with pytest.raises(MeshError, match="no such file"):
        read(tmp_path)
    (tmp_path / "x.glb").write_bytes(b"")
    with pytest.raises(MeshError, match="1 x not a readable mesh"):
        read(tmp_path)
    (tmp_path / "captions.json").write_text("[")
    with pytest.raises(MeshError, match="is not JSON"):
        read(tmp_path)


def test_our_own_files_come_back(tmp_path):
    made = trimesh.creation.icosphere(subdivisions=3, radius=0.8)
    ball = Mesh(torch.tensor(np.array(made.vertices)), torch.tensor(np.array(made.faces)))
    ball = ball.but(colours=(ball.vertices + 0.8) / 1.6)
    for name in ("x.glb", "x.ply", "x.obj"):
        write_mesh(ball, tmp_path / name)
        back = import_mesh(tmp_path / name)
        assert back.is_watertight
        assert back.volume == pytest.approx(ball.volume, rel=1e-4)
        error = (back.painted - (back.vertices + 0.8) / 1.6).abs()
        assert error.mean() < 0.01


def test_textures_and_materials_become_colours(tmp_path):
    square = "v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\n"
    (tmp_path / "m.mtl").write_text("newmtl s\nKd 1 1 1\nmap_Kd p.png\nnewmtl k\nKd 0.2 0.4 0.6\n")
    Image.fromarray(np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [255, 255, 255]]], np.uint8)).save(
        tmp_path / "p.png"
    )
    corners = "vt 0.1 0.1\nvt 0.9 0.1\nvt 0.9 0.9\nvt 0.1 0.9\n"
    (tmp_path / "a.obj").write_text(f"mtllib m.mtl\n{square}{corners}usemtl s\nf 1/1 2/2 3/3\nf 1/1 3/3 4/4\n")
    mesh = import_mesh(tmp_path / "a.obj")
    by_place = {
        tuple(place): colour for place, colour in zip(mesh.vertices.tolist(), mesh.painted.tolist(), strict=True)
    }
    assert by_place[0, 0, 0] == [0, 0, 1]  # the picture's bottom left
    assert by_place[1, 1, 0] == [0, 1, 0]
    (tmp_path / "b.obj").write_text(f"mtllib m.mtl\n{square}usemtl k\nf 1 2 3\nf 1 3 4\n")
    assert import_mesh(tmp_path / "b.obj").painted[0].tolist() == pytest.approx([0.2, 0.4, 0.6], abs=0.01)


def test_files_outside_the_folder_are_not_read(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "secret.mtl").write_text("newmtl k\nKd 0.2 0.4 0.6\n")
    (tmp_path / "in" / "a.obj").write_text("mtllib ../secret.mtl\nv 0 0 0\nv 1 0 0\nv 1 1 0\nusemtl k\nf 1 2 3\n")
    quarantine = Quarantine()
    try:
        colours = read_meshes(MeshFolder(path=str(tmp_path / "in")), quarantine)[0].mesh.painted
    except MeshError:
        assert quarantine.rows_quarantined == 1
    else:
        assert (colours - torch.tensor([0.2, 0.4, 0.6])).abs().min() > 0.02


def test_scenes_are_put_together_in_place(tmp_path):
    scene = trimesh.Scene()
    scene.add_geometry(trimesh.creation.box([1, 1, 1]), transform=trimesh.transformations.translation_matrix([0, 2, 0]))
    mirrored = np.diag([-1.0, 1, 1, 1])
    scene.add_geometry(trimesh.creation.cone(0.5, 1), transform=mirrored)
    scene.export(tmp_path / "scene.glb")
    mesh = import_mesh(tmp_path / "scene.glb")
    assert mesh.volume == pytest.approx(1 + math.pi * 0.25 / 3, rel=0.03)  # the mirrored cone still looks outwards
    assert mesh.vertices[:, 1].max().item() == pytest.approx(2.5)


def test_the_fingerprint_sees_every_file(tmp_path):
    red_box().export(tmp_path / "a.ply")
    folder = MeshFolder(path=str(tmp_path))
    before = folder_fingerprint(folder)
    (tmp_path / "captions.json").write_text('{"a.ply": "a box"}')
    assert folder_fingerprint(folder) != before


def test_creases_split_a_box_and_leave_a_ball():
    made = trimesh.creation.box([1, 1, 1])
    box = Mesh(torch.tensor(np.array(made.vertices)), torch.tensor(np.array(made.faces)))
    split, normals = split_creases(box)
    assert len(split.vertices) == 24
    torch.testing.assert_close(normals.abs().amax(1), torch.ones(24))
    assert split.volume == pytest.approx(1)
    made = trimesh.creation.icosphere(subdivisions=3)
    ball = Mesh(torch.tensor(np.array(made.vertices)), torch.tensor(np.array(made.faces)))
    whole, normals = split_creases(ball)
    assert len(whole.vertices) == len(ball.vertices)
    assert whole.is_watertight
    torch.testing.assert_close(normals, torch.nn.functional.normalize(whole.vertices, dim=-1), atol=0.02, rtol=0)
