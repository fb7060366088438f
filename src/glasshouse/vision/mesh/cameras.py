"""Cameras around an object: orbits, projection, rays, and the sampling rules of score distillation.

World: right-handed, y up, the object in the cube [-1, 1]^3, its front towards +z (as in glTF). Azimuth 0 looks at the
front and grows towards +x; elevation 90 looks down from above. View space looks along -z, clip space is OpenGL's, row
0 of a picture is its top, and pixel centres lie at half integers.

Sampling rules: threestudio's `data/uncond.py` (elevation half uniform in angle and half uniform on the sphere, azimuth
stratified over a batch, jitters). Its scene has the object in a ball of radius about 0.5 seen from 1.5 to 2.0; ours has
the object in a cube of half-width 1, so the default distances are twice as large.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from pydantic import Field, model_validator
from torch import Tensor
from torch.nn import functional

from glasshouse.store.configuration import Config

NEAR, FAR = 0.05, 100.0


@dataclass(frozen=True)
class Cameras:
    """`n` cameras. Angles and fields of view in degrees; `view` maps world to camera, `projection` camera to clip."""

    position: Float[Tensor, "n 3"]
    view: Float[Tensor, "n 4 4"]
    projection: Float[Tensor, "n 4 4"]
    azimuth: Float[Tensor, " n"]
    elevation: Float[Tensor, " n"]
    distance: Float[Tensor, " n"]
    field_of_view: Float[Tensor, " n"]

    def __len__(self) -> int:
        return len(self.position)

    def __getitem__(self, index: slice | Tensor | list[int]) -> Cameras:
        """The cameras that a slice, a list of numbers or an index tensor picks."""
        return Cameras(*(getattr(self, name)[index] for name in self.__dataclass_fields__))

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Cameras:
        """The same cameras on another device or in another precision."""
        return Cameras(*(getattr(self, name).to(device=device, dtype=dtype) for name in self.__dataclass_fields__))

    @property
    def matrix(self) -> Float[Tensor, "n 4 4"]:
        """World to clip space."""
        return self.projection @ self.view

    def project(self, points: Float[Tensor, "n p 3"] | Float[Tensor, "1 p 3"]) -> Float[Tensor, "n p 4"]:
        """Points in clip space, for each camera its own."""
        return functional.pad(points, (0, 1), value=1.0) @ self.matrix.transpose(1, 2)

    def rays(self, height: int, width: int | None = None) -> tuple[Float[Tensor, "n h w 3"], Float[Tensor, "n h w 3"]]:
        """Origins and unit directions of the rays through the pixel centres."""
        width = width or height
        like = self.position
        rows = 1 - (torch.arange(height, dtype=like.dtype, device=like.device) + 0.5) * (2 / height)
        columns = (torch.arange(width, dtype=like.dtype, device=like.device) + 0.5) * (2 / width) - 1
        y, x = torch.meshgrid(rows, columns, indexing="ij")
        scale_x, scale_y = self.projection[:, 0, 0, None, None], self.projection[:, 1, 1, None, None]
        inside = torch.stack([x / scale_x, y / scale_y, -torch.ones_like(x).expand(len(self), -1, -1)], dim=-1)
        directions = functional.normalize(inside @ self.view[:, None, :3, :3], dim=-1)
        return self.position[:, None, None].expand_as(directions), directions


def orbit(
    azimuth: float | Float[Tensor, " n"],
    elevation: float | Float[Tensor, " n"] = 20.0,
    distance: float | Float[Tensor, " n"] = 4.0,
    field_of_view: float | Float[Tensor, " n"] = 40.0,
    *,
    centre: Float[Tensor, "#n 3"] | None = None,
    up: Float[Tensor, "#n 3"] | None = None,
    shift: Float[Tensor, "#n 3"] | None = None,
    aspect: float = 1.0,
) -> Cameras:
    """Cameras on a sphere that look at `centre` (the origin), in degrees; numbers are repeated, tensors must agree.

    `shift` is added to the position (camera jitter), `up` replaces +y. `field_of_view` is the vertical one; `aspect` is
    width / height. Raises `ValueError` for a distance or field of view that is not positive.
    """
    given = [torch.as_tensor(value) for value in (azimuth, elevation, distance, field_of_view)]
    dtype = next((value.dtype for value in given if value.ndim and value.is_floating_point()), torch.float32)
    device = next((value.device for value in given if value.ndim), torch.device("cpu"))
    columns = [value.to(device, dtype).reshape(-1) for value in given]
    count = max(len(column) for column in columns)
    a, e, d, fov = (column.expand(count) for column in columns)
    if not bool((d > 0).all()):
        raise ValueError(f"camera distances must be positive, got {d.min().item():g}")
    if not bool(((fov > 0) & (fov < 180)).all()):
        raise ValueError(f"fields of view must lie between 0 and 180 degrees, got {fov.min():g} to {fov.max():g}")
    theta, phi = torch.deg2rad(a), torch.deg2rad(e.clamp(-89.8, 89.8))  # at the pole azimuth still turns the picture
    direction = torch.stack([theta.sin() * phi.cos(), phi.sin(), theta.cos() * phi.cos()], dim=-1)
    position = d[:, None] * direction
    position = position if shift is None else position + shift.to(position)
    target = torch.zeros_like(position) if centre is None else centre.to(position).expand_as(position)
    view = look_at(position, target, None if up is None else up.to(position).expand_as(position))
    return Cameras(position, view, perspective(fov, aspect), a, e, d, fov)


def look_at(
    position: Float[Tensor, "n 3"], target: Float[Tensor, "n 3"], up: Float[Tensor, "n 3"] | None = None
) -> Float[Tensor, "n 4 4"]:
    """World-to-camera matrices. A camera that looks along `up` takes -z (from above) or +z (from below) for it."""
    backward = functional.normalize(position - target, dim=-1)
    if up is None:
        up = torch.tensor([0.0, 1.0, 0.0], dtype=position.dtype, device=position.device).expand_as(position)
    steep = (backward * up).sum(-1, keepdim=True)
    forward = torch.tensor([0.0, 0.0, -1.0], dtype=position.dtype, device=position.device) * steep.sign()
    up = torch.where(steep.abs() > 1 - 1e-6, forward.expand_as(position), up)
    right = functional.normalize(torch.linalg.cross(up, backward), dim=-1)
    rotation = torch.stack([right, torch.linalg.cross(backward, right), backward], dim=1)
    top = torch.cat([rotation, -rotation @ position[:, :, None]], dim=2)
    bottom = torch.tensor([0.0, 0.0, 0.0, 1.0], dtype=top.dtype, device=top.device).expand(len(top), 1, 4)
    return torch.cat([top, bottom], dim=1)


def perspective(field_of_view: Float[Tensor, " n"], aspect: float = 1.0) -> Float[Tensor, "n 4 4"]:
    """OpenGL projections for vertical fields of view in degrees, from `NEAR` to `FAR`."""
    focal = 1 / torch.tan(torch.deg2rad(field_of_view) / 2)
    matrix = focal.new_zeros(len(focal), 4, 4)
    matrix[:, 0, 0], matrix[:, 1, 1] = focal / aspect, focal
    matrix[:, 2, 2], matrix[:, 2, 3] = (FAR + NEAR) / (NEAR - FAR), 2 * FAR * NEAR / (NEAR - FAR)
    matrix[:, 3, 2] = -1
    return matrix


class CameraRules(Config):
    """Where training cameras may stand. Degrees and scene units; jitters are standard deviations or half-widths."""

    elevation: tuple[float, float] = (-10.0, 90.0)
    distance: tuple[float, float] = (3.0, 4.0)
    field_of_view: tuple[float, float] = (40.0, 70.0)
    position_jitter: float = Field(default=0.1, ge=0, description="half-width of a uniform shift of the camera")
    centre_jitter: float = Field(default=0.2, ge=0, description="standard deviation of the point looked at")
    up_jitter: float = Field(default=0.02, ge=0, description="standard deviation of the up direction")

    @model_validator(mode="after")
    def _ordered(self) -> CameraRules:
        for name in ("elevation", "distance", "field_of_view"):
            low, high = getattr(self, name)
            if low > high:
                raise ValueError(f"{name} runs from low to high, got ({low:g}, {high:g})")
        if self.elevation[0] < -90 or self.elevation[1] > 90:
            raise ValueError(f"elevation lies within -90 to 90 degrees, got {self.elevation}")
        return self


def sample_cameras(count: int, generator: torch.Generator, rules: CameraRules | None = None) -> Cameras:
    """`count` random cameras: an azimuth in each equal sector, elevations by a coin uniform in angle or on the sphere.

    All draws come from `generator`, on its device.
    """
    rules = rules or CameraRules()
    device = generator.device

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(*(shape or (count,)), generator=generator, device=device)

    def normal(deviation: float) -> Tensor:
        return deviation * torch.randn(count, 3, generator=generator, device=device)

    low, high = rules.elevation
    on_sphere = torch.rad2deg(torch.asin(uniform(math.sin(math.radians(low)), math.sin(math.radians(high)))))
    elevation = torch.where(uniform(0, 1) < 0.5, uniform(low, high), on_sphere)
    azimuth = (torch.arange(count, device=device) + uniform(0, 1)) * (360 / count) - 180
    jitter = rules.position_jitter
    return orbit(
        azimuth,
        elevation,
        uniform(*rules.distance),
        uniform(*rules.field_of_view),
        centre=normal(rules.centre_jitter),
        up=torch.tensor([0.0, 1.0, 0.0], device=device) + normal(rules.up_jitter),
        shift=uniform(-jitter, jitter, count, 3),
    )


def rings(azimuths: int, elevations: Sequence[float], distance: float = 4.0, field_of_view: float = 40.0) -> Cameras:
    """`azimuths` cameras at each elevation; every ring is turned by a share of the step against the one before."""
    ring = torch.arange(len(elevations)).repeat_interleave(azimuths)
    azimuth = (torch.arange(azimuths).repeat(len(elevations)) + ring / len(elevations)) * (360 / azimuths)
    return orbit(azimuth, torch.tensor(list(elevations), dtype=torch.float32)[ring], distance, field_of_view)


def turntable(count: int, elevation: float = 20.0, distance: float = 4.0, field_of_view: float = 40.0) -> Cameras:
    """`count` cameras at equal steps of azimuth around the object, the first at its front."""
    return orbit(torch.arange(count) * (360.0 / count), elevation, distance, field_of_view)
