"""One HTML file that shows meshes, to open in any browser: nothing to install, nothing fetched, no other code.

The page is `viewer.html` beside this module (WebGL, about 150 lines of JavaScript of our own) with the meshes in it as
GLB files in base64; each can be saved from the page.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from glasshouse.vision.mesh.export_glb import glb_bytes
from glasshouse.vision.mesh.mesh import Mesh, MeshError


def viewer_page(meshes: Sequence[tuple[str, Mesh]], title: str = "Meshes") -> str:
    """The page for meshes with their captions; what they say about themselves is shown beside them."""
    if not meshes:
        raise MeshError("a viewer page needs at least one mesh")
    entries = [
        {
            "caption": caption,
            "about": mesh.about,
            "faces": len(mesh.faces),
            "closed": mesh.is_watertight,
            "glb": base64.b64encode(glb_bytes(mesh)).decode("ascii"),
        }
        for caption, mesh in meshes
    ]
    # Inside a script element only "<" can end the data early; captions and names are set as text, never as markup.
    data = json.dumps({"title": title, "meshes": entries}, allow_nan=False).replace("<", "\\u003c")
    page = (files("glasshouse.vision.mesh") / "viewer.html").read_text(encoding="utf-8")
    return page.replace("{{data}}", data)


def write_viewer(meshes: Sequence[tuple[str, Mesh]], path: str | Path, title: str = "Meshes") -> Path:
    """Writes `viewer_page` to `path`."""
    path = Path(path)
    path.write_text(viewer_page(meshes, title), encoding="utf-8")
    return path
