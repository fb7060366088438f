"""A mesh seen all around: frames, and those as GIF, MP4 or one PNG."""

from __future__ import annotations

import io
import math
from pathlib import Path

import torch
from jaxtyping import UInt8
from torch import Tensor

from glasshouse.vision.mesh.cameras import Cameras, turntable
from glasshouse.vision.mesh.mesh import Mesh, MeshError
from glasshouse.vision.mesh.shading import BACKGROUND, shaded_pictures
from glasshouse.vision.mesh.texture import png_bytes

SUFFIXES = (".gif", ".mp4", ".png")


def fitting_cameras(mesh: Mesh, count: int, elevation: float = 20.0, field_of_view: float = 30.0) -> Cameras:
    """A turntable around the origin from as far away as it takes to see all of the mesh."""
    radius = float(mesh.vertices.norm(dim=-1).max())
    return turntable(count, elevation, 1.02 * radius / math.sin(math.radians(field_of_view / 2)), field_of_view)


def frames(
    mesh: Mesh, count: int = 36, size: int = 256, *, elevation: float = 20.0, background: float = BACKGROUND
) -> UInt8[Tensor, "n size size 3"]:
    """Lit pictures at equal steps around the mesh, the first from its front."""
    cameras = fitting_cameras(mesh, count, elevation)
    pictures = []
    with torch.no_grad():
        for number in range(count):  # one by one: memory for one picture, not for all
            drawn, _ = shaded_pictures(mesh.batch, mesh.painted, cameras[[number]], size, background, mesh.normals)
            pictures.append(drawn[0].permute(1, 2, 0).clamp(0, 1).mul(255).round().to(torch.uint8))
    return torch.stack(pictures)


def write_turntable(
    mesh: Mesh, path: str | Path, *, count: int = 36, size: int = 256, seconds: float = 3.0, elevation: float = 20.0
) -> Path:
    """Writes one turn as GIF or MP4, or as a PNG with the views side by side, by the suffix of the name."""
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise MeshError(f"{path.name}: a turntable is written as one of {', '.join(SUFFIXES)}")
    if count < 1 or size < 1:
        raise MeshError(f"a turntable has at least one frame of at least one pixel, got {count} of {size}")
    if suffix == ".mp4" and size % 2:
        raise MeshError(f"MP4 pictures need an even size, got {size}")
    pictures = frames(mesh, count, size, elevation=elevation)
    if suffix == ".gif":
        path.write_bytes(gif_bytes(pictures, seconds))
    elif suffix == ".png":
        columns = math.ceil(math.sqrt(count))
        path.write_bytes(png_bytes(contact_sheet(pictures, columns)))
    else:
        _write_mp4(pictures, path, seconds)
    return path


def contact_sheet(pictures: UInt8[Tensor, "n h w 3"], columns: int) -> UInt8[Tensor, "_ _ 3"]:
    """Pictures row by row in one; missing ones at the end are white."""
    rows = math.ceil(len(pictures) / columns)
    blank = torch.full((rows * columns - len(pictures), *pictures.shape[1:]), 255, dtype=torch.uint8)
    height, width = pictures.shape[1:3]
    tiles = torch.cat([pictures, blank]).reshape(rows, columns, height, width, 3)
    return tiles.permute(0, 2, 1, 3, 4).reshape(rows * height, columns * width, 3)


def gif_bytes(pictures: UInt8[Tensor, "n h w 3"], seconds: float) -> bytes:
    """An endless GIF of one turn; one palette for all frames, so that colours do not flicker."""
    from PIL import Image

    images = [Image.fromarray(picture.numpy()) for picture in pictures]
    step = max(1, len(pictures) // 8)
    palette = Image.fromarray(contact_sheet(pictures[::step], 3).numpy()).quantize(255)
    reduced = [image.quantize(palette=palette) for image in images]
    stream = io.BytesIO()
    each = max(20, round(1000 * seconds / len(images)))  # many viewers slow down below 20 ms
    reduced[0].save(stream, "GIF", save_all=True, append_images=reduced[1:], duration=each, loop=0, optimize=False)
    return stream.getvalue()


def _write_mp4(pictures: UInt8[Tensor, "n h w 3"], path: Path, seconds: float) -> None:
    try:
        import imageio.v2 as imageio
    except ImportError:
        raise ImportError("MP4 needs the package imageio: pip install 'glasshouse[vision]'") from None
    rate = max(1, round(len(pictures) / seconds))
    imageio.mimwrite(path, list(pictures.numpy()), format="FFMPEG", fps=rate, codec="libx264", macro_block_size=2)
