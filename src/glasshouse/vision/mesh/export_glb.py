"""glTF 2.0 binary files (GLB) that look right in viewers, written and read back without other packages.

What viewers need and exporters forget: normals (or the mesh looks faceted), a material (the format's default is metal,
which is dark), and linear vertex colours (COLOR_0 is not sRGB). Specification: Khronos glTF 2.0, sections 3.7 and 4.4.
"""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

import glasshouse
from glasshouse.vision.mesh.mesh import Mesh, MeshError
from glasshouse.vision.mesh.texture import TexturedMesh, png_bytes

MAGIC, JSON_CHUNK, BINARY_CHUNK = 0x46546C67, 0x4E4F534A, 0x004E4942
FLOAT, USHORT, UINT = 5126, 5123, 5125
VERTICES, INDICES = 34962, 34963  # buffer targets


def srgb_to_linear(colours: Float[Tensor, "*n 3"]) -> Float[Tensor, "*n 3"]:
    """The sRGB transfer function (IEC 61966-2-1), from what screens show to light."""
    return torch.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055).clamp(min=0) ** 2.4)


def linear_to_srgb(colours: Float[Tensor, "*n 3"]) -> Float[Tensor, "*n 3"]:
    """The inverse of `srgb_to_linear`."""
    return torch.where(colours <= 0.0031308, colours * 12.92, 1.055 * colours.clamp(min=1e-9) ** (1 / 2.4) - 0.055)


class _Buffer:
    """The binary chunk as it grows, with the views and accessors into it."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.views: list[dict[str, Any]] = []
        self.accessors: list[dict[str, Any]] = []

    def view(self, content: bytes, **more: Any) -> int:
        self.views.append({"buffer": 0, "byteOffset": len(self.data), "byteLength": len(content), **more})
        self.data += content + b"\0" * (-len(content) % 4)
        return len(self.views) - 1

    def accessor(self, values: np.ndarray[Any, Any], kind: str, component: int, target: int, **more: Any) -> int:
        view = self.view(values.tobytes(), target=target)
        count = len(values) if kind != "SCALAR" else values.size
        self.accessors.append({"bufferView": view, "componentType": component, "count": count, "type": kind, **more})
        return len(self.accessors) - 1


def glb_bytes(mesh: Mesh | TexturedMesh) -> bytes:
    """A GLB file: positions, normals, and linear colours or a texture; `about` in the `extras` of its node."""
    buffer = _Buffer()
    points = mesh.vertices.numpy().astype("<f4")
    bounds = {"min": points.min(0).tolist(), "max": points.max(0).tolist()}
    attributes = {
        "POSITION": buffer.accessor(points, "VEC3", FLOAT, VERTICES, **bounds),
        "NORMAL": buffer.accessor(mesh.normals.numpy().astype("<f4"), "VEC3", FLOAT, VERTICES),
    }
    surface: dict[str, Any] = {"metallicFactor": 0.0, "roughnessFactor": 0.9}
    document: dict[str, Any] = {}
    if isinstance(mesh, TexturedMesh):
        # glTF puts the origin of a texture at its top left, with v downwards.
        attributes["TEXCOORD_0"] = buffer.accessor(mesh.uv.numpy().astype("<f4"), "VEC2", FLOAT, VERTICES)
        image = buffer.view(png_bytes(mesh.texture))
        document["images"] = [{"bufferView": image, "mimeType": "image/png"}]
        document["samplers"] = [{"magFilter": 9729, "minFilter": 9987, "wrapS": 33071, "wrapT": 33071}]
        document["textures"] = [{"source": 0, "sampler": 0}]
        surface["baseColorTexture"] = {"index": 0}
    else:
        linear = srgb_to_linear(mesh.painted)
        colours = torch.cat([linear, torch.ones_like(linear[:, :1])], 1).mul(65535).round().numpy().astype("<u2")
        attributes["COLOR_0"] = buffer.accessor(colours, "VEC4", USHORT, VERTICES, normalized=True)
    small = len(points) < 65535
    indices = mesh.faces.numpy().astype("<u2" if small else "<u4").reshape(-1)
    faces = buffer.accessor(indices, "SCALAR", USHORT if small else UINT, INDICES)
    node: dict[str, Any] = {"mesh": 0, "name": str(mesh.about.get("prompt", "mesh"))}
    if mesh.about:
        node["extras"] = mesh.about
    document |= {
        "asset": {"version": "2.0", "generator": f"Glasshouse {glasshouse.__version__}"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [node],
        "meshes": [{"primitives": [{"attributes": attributes, "indices": faces, "material": 0}]}],
        "materials": [{"pbrMetallicRoughness": surface, "doubleSided": not mesh.is_watertight}],
        "accessors": buffer.accessors,
        "bufferViews": buffer.views,
        "buffers": [{"byteLength": len(buffer.data)}],
    }
    return _chunks(document, bytes(buffer.data))


def _chunks(document: dict[str, Any], data: bytes) -> bytes:
    text = json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    total = 12 + 8 + len(text) + 8 + len(data)
    head = struct.pack("<III", MAGIC, 2, total) + struct.pack("<II", len(text), JSON_CHUNK)
    return head + text + struct.pack("<II", len(data), BINARY_CHUNK) + data


def glb_document(content: bytes) -> dict[str, Any]:
    """The JSON part of a GLB file. Raises `MeshError` when it is none, or is cut off."""
    if len(content) < 20 or struct.unpack_from("<I", content)[0] != MAGIC:
        raise MeshError(f"{len(content)} bytes that do not begin like a GLB file")
    _, _, total, length, kind = struct.unpack_from("<IIIII", content)
    if total > len(content) or kind != JSON_CHUNK or 20 + length > total:
        raise MeshError(f"a GLB file of {total} bytes is cut off or damaged: there are {len(content)}")
    document = json.loads(content[20 : 20 + length])
    if not isinstance(document, dict):
        raise MeshError("the JSON part of the GLB file is not an object")
    return document


def read_about(path: str | Path) -> dict[str, Any]:
    """The provenance that `glb_bytes` put into a file; empty when there is none."""
    nodes = glb_document(Path(path).read_bytes()).get("nodes") or [{}]
    about = nodes[0].get("extras", {})
    return about if isinstance(about, dict) else {}
