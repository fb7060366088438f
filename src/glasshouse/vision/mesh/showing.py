"""Pictures of what a text-to-mesh model makes: grids of prompts, and rows from one prompt to another."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from glasshouse.vision.mesh.cameras import orbit
from glasshouse.vision.mesh.generator import Surfaces
from glasshouse.vision.mesh.measuring import Looking
from glasshouse.vision.mesh.prompt_sets import PromptSet
from glasshouse.vision.mesh.shading import shaded_pictures
from glasshouse.vision.mesh.text_to_mesh import TextToMeshModel
from glasshouse.vision.mesh.texture import png_bytes
from glasshouse.vision.mesh.turntable import contact_sheet

SIZE, RESOLUTION, AZIMUTH = 96, 32, 30.0
FRAME = torch.tensor([0.1, 0.1, 0.1])


def shown(surfaces: Surfaces, looking: Looking, azimuth: float = AZIMUTH, size: int = SIZE) -> Float[Tensor, "n 3 h w"]:
    """One picture of every mesh."""
    cameras = orbit(torch.full((len(surfaces),), azimuth), looking.elevation, looking.distance, looking.field_of_view)
    return shaded_pictures(surfaces.meshes, surfaces.colours, cameras, size)[0].clamp(0, 1)


def framed(pictures: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n 3 h w"]:
    """With a dark frame, for prompts that were never trained on."""
    found = pictures.clone()
    for edge in (0, 1, -1, -2):
        found[:, :, edge, :] = FRAME[:, None]
        found[:, :, :, edge] = FRAME[:, None]
    return found


def grid_png(rows: Sequence[Float[Tensor, "n 3 h w"]]) -> bytes:
    """Rows of pictures as a PNG file."""
    pictures = (torch.cat(list(rows)).permute(0, 2, 3, 1) * 255).round().to(torch.uint8).cpu()
    return png_bytes(contact_sheet(pictures, len(rows[0])))


def album(model: TextToMeshModel, prompts: PromptSet, looking: Looking) -> dict[str, bytes]:
    """PNG files by name: the set as a square where it is one without its diagonal, otherwise some of either half."""
    side = len(prompts.unseen)
    if side and len(prompts.seen) == side * (side - 1):
        return {"all prompts, unseen ones framed": _square(model, prompts, looking)}
    rows = {"seen prompts": prompts.seen, "unseen prompts": prompts.unseen}
    return {name: _some(model, every, looking) for name, every in rows.items() if every}


def _square(model: TextToMeshModel, prompts: PromptSet, looking: Looking) -> bytes:
    side, seen = len(prompts.unseen), iter(prompts.seen)
    rows = []
    for row in range(side):
        line = [prompts.unseen[row] if row == column else next(seen) for column in range(side)]
        pictures = shown(model.make(line, RESOLUTION), looking)
        pictures[row : row + 1] = framed(pictures[row : row + 1])
        rows.append(pictures)
    return grid_png(rows)


def _some(model: TextToMeshModel, every: Sequence[str], looking: Looking, across: int = 8, down: int = 4) -> bytes:
    stride = max(1, len(every) // (across * down))
    chosen = list(every[::stride])[: across * down]
    across = min(across, len(chosen))
    chosen = chosen[: len(chosen) // across * across]
    lines = [chosen[start : start + across] for start in range(0, len(chosen), across)]
    return grid_png([shown(model.make(line, RESOLUTION), looking) for line in lines])
