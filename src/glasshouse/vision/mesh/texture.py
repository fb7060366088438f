"""Colours as a texture: the surface is cut into charts, laid out flat, and painted by the rasteriser.

Charts and their packing are `xatlas`'s. The texture is painted at the place in space of every texel, from the colours
of the vertices or from any function of points, such as the texture head of a generator; so it can be finer than the
mesh.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor
from torch.nn import functional

from glasshouse.vision.mesh.mesh import Mesh
from glasshouse.vision.mesh.visibility import View, fragment_list

Colour = Callable[[Float[Tensor, "p 3"]], Float[Tensor, "p 3"]]
POINTS_AT_ONCE = 1 << 16


@dataclass(frozen=True)
class TexturedMesh:
    """A mesh whose vertices are doubled along the seams of its texture; `uv` in 0..1 from the picture's top left."""

    vertices: Float[Tensor, "v 3"]
    faces: Int[Tensor, "f 3"]
    normals: Float[Tensor, "v 3"]
    uv: Float[Tensor, "v 2"]
    texture: UInt8[Tensor, "h w 3"]
    about: dict[str, Any] = field(default_factory=dict)
    is_watertight: bool = True  # before the seams were cut


def bake(
    mesh: Mesh,
    size: int = 1024,
    colour: Colour | None = None,
    gutter: int = 4,
) -> TexturedMesh:
    """`mesh` with a texture of size x size texels, painted by `colour` (by the vertices' colours without one).

    Charts are bled `gutter` texels over their borders, so that bilinear lookups near a seam stay on colour.
    """
    if size < 16:
        raise ValueError(f"a texture needs at least 16 texels a side, got {size}")
    places, faces, uv = _charts(mesh, size, gutter)
    screen = uv * size
    flat = torch.cat([uv, torch.zeros_like(uv[:, :1]), torch.ones_like(uv[:, :1])], 1)
    view = View(flat, screen, faces, torch.zeros(len(faces), dtype=torch.int64), 1, size, size)
    triangle, _ = fragment_list(view)
    texel = (triangle >= 0).nonzero().flatten()
    corners = faces[triangle[texel]]
    centres = torch.stack([texel % size + 0.5, texel // size + 0.5], 1)
    weights = _barycentric(screen[corners], centres)[..., None]
    with torch.no_grad():
        if colour is None:
            values = (mesh.painted[places[corners]] * weights).sum(1)
        else:
            points = (mesh.vertices[places[corners]] * weights).sum(1)
            values = torch.cat([colour(part) for part in torch.split(points, POINTS_AT_ONCE)])
    picture = torch.zeros(size * size, 3)
    picture[texel] = values.float().clamp(0, 1).cpu()
    filled = torch.zeros(size * size)
    filled[texel] = 1
    picture = _bleed(picture.reshape(size, size, 3), filled.reshape(size, size), gutter)
    texture = picture.mul(255).round().to(torch.uint8)
    vertices, normals = mesh.vertices[places], mesh.normals[places]
    return TexturedMesh(vertices, faces, normals, uv, texture, mesh.about, mesh.is_watertight)


def _charts(mesh: Mesh, size: int, gutter: int) -> tuple[Int[Tensor, " v"], Int[Tensor, "f 3"], Float[Tensor, "v 2"]]:
    """For each new vertex the old one and its place in the texture, and the faces between the new ones."""
    try:
        import xatlas
    except ImportError:
        raise ImportError("textures need the package xatlas: pip install 'glasshouse[vision]'") from None
    atlas = xatlas.Atlas()
    atlas.add_mesh(mesh.vertices.numpy(), mesh.faces.numpy().astype(np.uint32), mesh.normals.numpy())
    options = xatlas.PackOptions()
    options.padding, options.resolution, options.bilinear = gutter, size, True
    atlas.generate(pack_options=options)
    places, faces, uv = atlas[0]
    return (
        torch.from_numpy(places.astype(np.int64)),
        torch.from_numpy(faces.astype(np.int64)),
        torch.from_numpy(uv.astype(np.float32)),
    )


def _barycentric(corners: Float[Tensor, "p 3 2"], points: Float[Tensor, "p 2"]) -> Float[Tensor, "p 3"]:
    x, y = (corners - points[:, None]).unbind(-1)
    area = x.roll(-1, 1) * y.roll(-2, 1) - x.roll(-2, 1) * y.roll(-1, 1)
    return area / area.sum(1, keepdim=True)


def _bleed(picture: Float[Tensor, "h w 3"], filled: Float[Tensor, "h w"], steps: int) -> Float[Tensor, "h w 3"]:
    """Empty texels next to filled ones take their mean, `steps` times; what stays empty takes the mean of all."""
    colour, known = (picture * filled[..., None]).permute(2, 0, 1)[None], filled[None, None]
    for _ in range(steps):
        near = functional.avg_pool2d(known, 3, 1, 1)
        spread = functional.avg_pool2d(colour, 3, 1, 1) / near.clamp(min=1e-6)
        colour = torch.where(known > 0, colour, spread * (near > 0))
        known = (near > 0).float()
    mean = colour.sum((2, 3), keepdim=True) / known.sum().clamp(min=1)
    return torch.where(known > 0, colour, mean)[0].permute(1, 2, 0)


def sample_texture(texture: UInt8[Tensor, "h w 3"], uv: Float[Tensor, "p 2"]) -> Float[Tensor, "p 3"]:
    """Bilinear lookup, as viewers do it."""
    picture = texture.float().permute(2, 0, 1)[None] / 255
    grid = (uv * 2 - 1)[None, None]
    found = functional.grid_sample(picture, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return found[0, :, 0].T


def png_bytes(picture: UInt8[Tensor, "h w 3"]) -> bytes:
    """A picture as a PNG file."""
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(picture.numpy()).save(stream, format="PNG")
    return stream.getvalue()
