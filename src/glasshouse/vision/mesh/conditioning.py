"""How a denoiser is told where the camera is."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from glasshouse.vision.mesh.cameras import Cameras

CAMERA_WIDTH = 4


def camera_vectors(cameras: Cameras) -> Float[Tensor, "n 4"]:
    """The direction to the camera, and half the height it sees at the origin: distance times tan(fov / 2)."""
    distance = cameras.position.norm(dim=-1, keepdim=True)
    half = torch.tan(torch.deg2rad(cameras.field_of_view) / 2)[:, None]
    return torch.cat([functional.normalize(cameras.position, dim=-1), distance * half], 1)


__all__ = ["CAMERA_WIDTH", "camera_vectors"]
