"""A folder of meshes with captions, as somebody brings it: read, checked, scaled to one size, bad files put aside.

Captions come from `captions.json` ({"name of file": "caption"}), from `captions.jsonl` (lines of {"file", "caption"}),
or without either from the names of the files: `red_cone_on_a_box-02.glb` says "red cone on a box". Files are GLB, glTF,
OBJ, PLY, STL and OFF, y up as glTF has it. Colours are those of vertices, faces, materials or textures.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field

from glasshouse.data.quarantine import Quarantine
from glasshouse.store.configuration import Config
from glasshouse.store.files import StoreError, hash_file, inside
from glasshouse.vision.mesh.imported_mesh import import_mesh
from glasshouse.vision.mesh.mesh import Mesh, MeshError

SUFFIXES = (".glb", ".gltf", ".obj", ".ply", ".stl", ".off")
CAPTION_FILES = ("captions.json", "captions.jsonl")
LONGEST_CAPTION = 300  # characters


class MeshFolder(Config):
    """How files become meshes of one size.

    Attributes:
        path: the folder; sub-folders are looked into.
        half_width: no coordinate of a mesh is larger.
        radius: no vertex is farther from the middle; so it is seen whole from all around.
        most_faces: a mesh with more is put aside (simplify it first).
        most_bytes: a larger file is put aside unread.
    """

    path: str
    half_width: float = Field(0.8, gt=0, le=1)
    radius: float = Field(0.9, gt=0)
    most_faces: int = Field(200_000, ge=1)
    most_bytes: int = Field(64_000_000, ge=1)


@dataclass(frozen=True)
class CaptionedMesh:
    """A mesh of the folder: the name of its file, and what it shows."""

    name: str
    caption: str
    mesh: Mesh


def folder_fingerprint(folder: MeshFolder) -> list[list[str | int]]:
    """Name, size and sha256 of every file below the folder: textures and captions matter too."""
    root = _root(folder)
    found = sorted(path for path in root.rglob("*") if path.is_file())
    return [[path.relative_to(root).as_posix(), path.stat().st_size, hash_file(path)] for path in found]


def read_meshes(folder: MeshFolder, quarantine: Quarantine) -> list[CaptionedMesh]:
    """All meshes of the folder in the order of their names.

    Raises `MeshError` when there is no such folder, when its captions cannot be read, or when no mesh is left.
    """
    root = _root(folder)
    captions = _read_captions(root, quarantine)
    found = []
    for path in sorted(path for path in root.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file()):
        name = path.relative_to(root).as_posix()
        quarantine.saw()
        caption = caption_of_name(path.stem) if captions is None else captions.pop(name, "")
        if not caption:
            quarantine.add("no caption", "neither the captions nor the file's name say what it shows", file=name)
            continue
        try:
            mesh = _read(path, folder)
        except MeshError as error:
            quarantine.add(_reason(error), str(error), file=name)
            continue
        quarantine.keep()
        found.append(CaptionedMesh(name, caption, mesh.but(about={"file": name, "prompt": caption})))
    for name in captions or ():
        quarantine.saw()
        quarantine.add("no file", "the captions name a mesh that is not in the folder", file=name)
    if not found:
        reasons = ", ".join(f"{count} x {reason}" for reason, count in quarantine.by_reason.items()) or "no such file"
        raise MeshError(f"no mesh could be read from {root} ({reasons}); it takes {', '.join(SUFFIXES)}")
    return found


def caption_of_name(stem: str) -> str:
    """What a file's name says: words apart, without a number at the end."""
    words = re.sub(r"[\s_\-.]+", " ", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", stem)).strip()
    return re.sub(r"((^|\s)\d+)+$", "", words).strip().lower()


class UnreadableError(MeshError):
    """A file that is no mesh, or a damaged one."""


class OversizeError(MeshError):
    """A file with more than is asked for."""


def _reason(error: MeshError) -> str:
    if isinstance(error, OversizeError):
        return "too large"
    return "not a readable mesh" if isinstance(error, UnreadableError) else "not a usable mesh"


def _read(path: Path, folder: MeshFolder) -> Mesh:
    size = path.stat().st_size
    if size > folder.most_bytes:
        raise OversizeError(f"the file has {size:,} bytes, at most {folder.most_bytes:,} are read (most_bytes)")
    try:
        mesh = import_mesh(path)
    except (MeshError, ImportError):
        raise
    except Exception as error:  # a reader of six formats meets damaged bytes with any error there is
        raise UnreadableError(f"{type(error).__name__}: {error}") from None
    if len(mesh.faces) > folder.most_faces:
        raise OversizeError(
            f"the mesh has {len(mesh.faces):,} faces, at most {folder.most_faces:,} are taken (most_faces)"
        )
    if not mesh.area > 0:
        raise MeshError("all faces have area 0")
    if mesh.is_watertight and mesh.volume < 0:
        mesh = mesh.but(faces=mesh.faces.flip(1))  # inside out
    return mesh.normalised(folder.half_width, folder.radius)


def _root(folder: MeshFolder) -> Path:
    root = Path(folder.path)
    if not root.is_dir():
        raise MeshError(f"{root} is not a folder; give one with {', '.join(SUFFIXES)} files and their captions")
    return root


def _read_captions(root: Path, quarantine: Quarantine) -> dict[str, str] | None:
    there = [root / name for name in CAPTION_FILES if (root / name).is_file()]
    if len(there) > 1:
        raise MeshError(f"{root} has both {' and '.join(CAPTION_FILES)}; keep the one that counts")
    if not there:
        return None
    captions: dict[str, str] = {}
    for line, name, caption in _entries(there[0], quarantine):
        if not isinstance(name, str) or not isinstance(caption, str) or not 0 < len(caption.strip()) <= LONGEST_CAPTION:
            message = f"a caption names a file and has 1 to {LONGEST_CAPTION} characters"
            quarantine.saw()
            quarantine.add("not a caption", message, file=there[0].name, line=line, excerpt=str((name, caption)))
            continue
        try:
            captions[inside(root, name).relative_to(root).as_posix()] = " ".join(caption.split())
        except StoreError as error:
            quarantine.saw()
            quarantine.add("not a caption", str(error), file=there[0].name, line=line)
    return captions


def _entries(path: Path, quarantine: Quarantine) -> Iterator[tuple[int | None, Any, Any]]:
    """Line, file and caption of every entry."""
    text = path.read_text(encoding="utf-8", errors="replace")
    if path.suffix == ".json":
        try:
            found = json.loads(text)
        except json.JSONDecodeError as error:
            raise MeshError(f"{path} is not JSON: {error}") from None
        if not isinstance(found, dict):
            raise MeshError(f'{path} must be one object, {{"name of file": "caption", ...}}')
        yield from ((None, name, caption) for name, caption in found.items())
        return
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
        except json.JSONDecodeError as error:
            quarantine.saw()
            quarantine.add("not JSON", str(error), file=path.name, line=number, excerpt=line)
            continue
        fields = entry if isinstance(entry, dict) else {}
        yield number, fields.get("file"), fields.get("caption")
