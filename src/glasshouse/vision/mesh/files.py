"""Meshes as files, by the suffix of the name: GLB, OBJ with MTL and PNG, PLY, STL, turntables and a viewer."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import torch

from glasshouse.data.writing import disk_errors_named
from glasshouse.vision.mesh.export_glb import glb_bytes
from glasshouse.vision.mesh.mesh import Mesh, MeshError, face_normals
from glasshouse.vision.mesh.simplify import simplify
from glasshouse.vision.mesh.texture import Colour, TexturedMesh, bake, png_bytes
from glasshouse.vision.mesh.turntable import SUFFIXES as TURNTABLES
from glasshouse.vision.mesh.turntable import write_turntable
from glasshouse.vision.mesh.viewer import write_viewer

SUFFIXES = (".glb", ".obj", ".ply", ".stl", ".gif", ".mp4", ".png", ".html")
TEXTURED = (".glb", ".obj")


def write_mesh(
    mesh: Mesh,
    path: str | Path,
    *,
    faces: int | None = None,
    texture: int | None = None,
    colour: Colour | None = None,
) -> list[Path]:
    """Writes `mesh` in the format that the suffix names, and returns the files written.

    `faces` simplifies it first. `texture` bakes a picture of that many texels a side, painted by `colour` where given
    (GLB and OBJ; OBJ has no other standard way to carry colours and takes 1024 when None). GIF, MP4 and PNG are
    turntables, HTML is a viewer. Raises `MeshError` for another suffix or a missing folder.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise MeshError(f"{path.name}: the name must end in one of {', '.join(SUFFIXES)}, got {suffix or 'no suffix'}")
    if not path.parent.is_dir():
        raise MeshError(f"the folder {path.parent} does not exist; make it first")
    if texture is not None and suffix not in TEXTURED:
        raise MeshError(f"{path.name}: {suffix} holds no texture; write .glb or .obj, or leave the texture out")
    if faces is not None:
        mesh = simplify(mesh, faces)
    with disk_errors_named(path):
        return _write(mesh, path, suffix, texture, colour)


def _write(mesh: Mesh, path: Path, suffix: str, texture: int | None, colour: Colour | None) -> list[Path]:
    if suffix == ".obj":
        return write_obj(bake(mesh, texture or 1024, colour), path)
    if suffix in TURNTABLES:
        return [write_turntable(mesh, path)]
    if suffix == ".html":
        return [write_viewer([(str(mesh.about.get("prompt", path.stem)), mesh)], path, path.stem)]
    if suffix == ".glb":
        path.write_bytes(glb_bytes(mesh if texture is None else bake(mesh, texture, colour)))
    else:
        path.write_bytes(ply_bytes(mesh) if suffix == ".ply" else stl_bytes(mesh))
    return [path]


def write_obj(mesh: TexturedMesh, path: Path) -> list[Path]:
    """A Wavefront OBJ file, its material file and its texture, side by side."""
    plain = path.with_name("_".join(path.stem.split()) + path.suffix)  # the format has no names with spaces
    material, picture = plain.with_suffix(".mtl"), plain.with_suffix(".png")
    lines = [f"# {line}" for line in _about(mesh)]
    lines += [f"mtllib {material.name}", "o mesh"]
    lines += [f"v {x:.6f} {y:.6f} {z:.6f}" for x, y, z in mesh.vertices.tolist()]
    lines += [f"vt {u:.6f} {1 - v:.6f}" for u, v in mesh.uv.tolist()]  # OBJ counts v from the bottom
    lines += [f"vn {x:.4f} {y:.4f} {z:.4f}" for x, y, z in mesh.normals.tolist()]
    lines += ["usemtl surface"]
    lines += [f"f {a}/{a}/{a} {b}/{b}/{b} {c}/{c}/{c}" for a, b, c in (mesh.faces + 1).tolist()]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    material.write_text(f"newmtl surface\nKd 1 1 1\nKs 0 0 0\nillum 1\nmap_Kd {picture.name}\n", encoding="utf-8")
    picture.write_bytes(png_bytes(mesh.texture))
    return [path, material, picture]


def ply_bytes(mesh: Mesh) -> bytes:
    """A binary little-endian PLY file with normals and sRGB colours; `about` as comments."""
    rows = np.zeros(len(mesh.vertices), dtype=[("at", "<f4", 3), ("normal", "<f4", 3), ("colour", "u1", 3)])
    rows["at"], rows["normal"] = mesh.vertices.numpy(), mesh.normals.numpy()
    rows["colour"] = mesh.painted.mul(255).round().to(torch.uint8).numpy()
    faces = np.zeros(len(mesh.faces), dtype=[("corners", "u1"), ("at", "<i4", 3)])
    faces["corners"], faces["at"] = 3, mesh.faces.numpy()
    comments = [f"comment {line}" for line in _about(mesh)]
    header = ["ply", "format binary_little_endian 1.0", *comments, f"element vertex {len(rows)}"]
    header += [f"property float {name}" for name in ("x", "y", "z", "nx", "ny", "nz")]
    header += [f"property uchar {name}" for name in ("red", "green", "blue")]
    header += [f"element face {len(faces)}", "property list uchar int vertex_indices", "end_header"]
    return ("\n".join(header) + "\n").encode("ascii", "replace") + rows.tobytes() + faces.tobytes()


def _about(mesh: Mesh | TexturedMesh) -> list[str]:
    """What a mesh says about itself, a line each."""
    return [" ".join(f"{key}: {value}".split()) for key, value in mesh.about.items()]


def stl_bytes(mesh: Mesh) -> bytes:
    """A binary STL file: the shape alone, for printing."""
    rows = np.zeros(len(mesh.faces), dtype=[("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])
    rows["normal"] = torch.nn.functional.normalize(face_normals(mesh.vertices, mesh.faces), dim=-1).numpy()
    rows["corners"] = mesh.vertices[mesh.faces].numpy()
    return b"Glasshouse".ljust(80, b" ") + struct.pack("<I", len(rows)) + rows.tobytes()
