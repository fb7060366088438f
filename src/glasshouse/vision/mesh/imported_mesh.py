"""Meshes from files of other programs, with their colours at the vertices (package `trimesh`).

A scene's parts are put together in place. Faces with colours of their own get vertices of their own, so that colours
stay sharp; vertices in one place whose colours hardly differ are joined, so that a surface that was cut for its texture
is closed again.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from glasshouse.vision.mesh.export_glb import linear_to_srgb
from glasshouse.vision.mesh.mesh import Mesh, MeshError

GREY = 0.7
ALIKE = 0.1  # colours that differ by less, in every channel, are joined to their mean


def import_mesh(path: str | Path) -> Mesh:
    """The mesh of a GLB, glTF, OBJ, PLY, STL or OFF file. Files that it refers to are read only from its own folder.

    Raises `MeshError` for a file without faces; whatever `trimesh` raises for a damaged one.
    """
    try:
        import trimesh
    except ImportError:
        raise ImportError("reading meshes needs the package trimesh: pip install 'glasshouse[vision]'") from None
    path = Path(path)
    scene = trimesh.load_scene(str(path), process=False)
    vertices, faces, colours, start = [], [], [], 0
    for node in scene.graph.nodes_geometry:
        transform, name = scene.graph[node]
        part = scene.geometry[name]
        if not isinstance(part, trimesh.Trimesh) or not len(part.faces):
            continue
        corners, triangles, painted = _part(part, torch.from_numpy(np.array(transform, dtype=np.float64)))
        vertices.append(corners)
        colours.append(painted)
        faces.append(triangles + start)
        start += len(corners)
    if not vertices:
        raise MeshError(f"{path.name} holds no faces: a mesh is made of triangles, points and lines are not enough")
    return _joined(torch.cat(vertices), torch.cat(faces), torch.cat(colours))


def _part(part: Any, transform: Float[Tensor, "4 4"]) -> tuple[Tensor, Tensor, Tensor]:
    points = torch.from_numpy(np.array(part.vertices, dtype=np.float64))
    vertices = (points @ transform[:3, :3].T + transform[:3, 3]).float()
    faces = torch.from_numpy(np.array(part.faces, dtype=np.int64))
    if torch.linalg.det(transform[:3, :3]) < 0:
        faces = faces.flip(1)  # a mirror turns the surface inside out
    if part.visual.kind == "face":
        colours = _unit(np.asarray(part.visual.face_colors))[:, None].expand(-1, 3, 3).reshape(-1, 3)
        return vertices[faces].reshape(-1, 3), torch.arange(len(colours)).reshape(-1, 3), colours
    return vertices, faces, _colours(part, len(vertices))


def _colours(part: Any, count: int) -> Float[Tensor, "v 3"]:
    visual = part.visual
    if visual.kind == "vertex":
        return _unit(np.asarray(visual.vertex_colors))
    if visual.kind == "texture":
        stored = visual.vertex_attributes.get("color") if hasattr(visual, "vertex_attributes") else None
        if stored is not None:
            return linear_to_srgb(_unit(np.asarray(stored)))  # COLOR_0 of glTF
        material = visual.material
        factor = getattr(material, "baseColorFactor", None)
        if factor is not None and getattr(material, "baseColorTexture", None) is None:
            return linear_to_srgb(_unit(np.asarray(factor)[None])).expand(count, 3)
        if visual.uv is not None:
            return _unit(np.asarray(visual.to_color().vertex_colors)).expand(count, 3)
        if getattr(material, "diffuse", None) is not None:
            return _unit(np.asarray(material.diffuse)[None]).expand(count, 3)
    return torch.full((count, 3), GREY)


def _unit(colours: NDArray[Any]) -> Float[Tensor, "n 3"]:
    """Colours in 0..1 without transparency, from integers of any width or floats."""
    scale = np.iinfo(colours.dtype).max if colours.dtype.kind in "ui" else 1.0
    return torch.from_numpy(np.array(colours[..., :3], dtype=np.float32) / scale)


def _joined(vertices: Tensor, faces: Tensor, colours: Tensor) -> Mesh:
    mesh = Mesh(vertices, faces, colours)
    place, count = _same(mesh.vertices)
    index = place[:, None].expand(-1, 3)
    low = torch.ones(count, 3).scatter_reduce(0, index, mesh.painted, "amin")
    high = torch.zeros(count, 3).scatter_reduce(0, index, mesh.painted, "amax")
    alike = (high - low).amax(1) < ALIKE
    keys = torch.where(alike[place, None], -1.0, mesh.painted)
    group, count = _same(torch.cat([mesh.vertices, keys], dim=1))
    amounts = torch.bincount(group, minlength=count)[:, None]
    means = [torch.zeros(count, 3).index_add(0, group, part) / amounts for part in (mesh.vertices, mesh.painted)]
    joined = group[mesh.faces]
    apart = (joined != joined.roll(1, 1)).all(1)
    return Mesh(means[0], joined[apart], means[1])


def _same(rows: Float[Tensor, "n c"]) -> tuple[Int[Tensor, " n"], int]:
    """For every row the number of its value, and how many values there are."""
    values, place = np.unique(rows.numpy(), axis=0, return_inverse=True)
    return torch.from_numpy(place.reshape(-1)), len(values)
