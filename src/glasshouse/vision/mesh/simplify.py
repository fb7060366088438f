"""Fewer faces for the same shape, by edge collapses under the quadric error metric (package `fast-simplification`)."""

from __future__ import annotations

import torch

from glasshouse.vision.mesh.mesh import Mesh, MeshError
from glasshouse.vision.mesh.similarity import nearest


def simplify(mesh: Mesh, faces: int | None = None, *, keep: float | None = None) -> Mesh:
    """`mesh` with about `faces` faces, or with the share `keep` of its own; each new vertex takes the nearest's colour.

    Raises `MeshError` when not exactly one of the two is given, or when nothing would be left.
    """
    if (faces is None) == (keep is None):
        raise MeshError("say either how many faces to leave or which share of them to keep")
    if keep is not None and not 0 < keep <= 1:
        raise MeshError(f"the share of faces to keep lies in 0..1, got {keep:g}")
    wanted = faces if faces is not None else max(4, round(len(mesh.faces) * (keep or 1)))
    if wanted < 4:
        raise MeshError(f"a closed surface has at least 4 faces, got {wanted}")
    if wanted >= len(mesh.faces):
        return mesh
    try:
        import fast_simplification
    except ImportError:
        raise ImportError(
            "simplification needs the package fast-simplification: pip install 'glasshouse[vision]'"
        ) from None
    points, triangles = fast_simplification.simplify(
        mesh.vertices.numpy(), mesh.faces.to(torch.int32).numpy(), target_count=wanted
    )
    vertices = torch.from_numpy(points).float()
    _, closest = nearest(vertices, mesh.vertices)
    return mesh.but(vertices=vertices, faces=torch.from_numpy(triangles).long(), colours=mesh.painted[closest])
