"""From features of a point to signed distance, colour and vertex offset (AToM, arXiv 2402.00867).

A point's features, its coordinates and their sines and cosines over octaves go through a perceptron to three heads:

    sdf     distance to an ellipsoid + learnt        (negative inside)
    colour  sigmoid(learnt), RGB in [0, 1]
    offset  tanh(learnt), a share of how far a grid point may move

The heads of distance and offset begin at zero, so that every untrained prompt is the same ellipsoid; DreamFusion's
descendants begin at a sphere for the same reason. The paper has three perceptrons (`separate=True`), the small model
one with three heads.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from glasshouse.store.configuration import Config

HEADS = {"sdf": 1, "colour": 3, "offset": 3}


class Decoder(Config):
    """Sizes of the decoder.

    Attributes:
        width: of its hidden layers.
        hidden: how many there are.
        octaves: of sines and cosines of the coordinates.
        separate: a perceptron for each head.
        radii: half axes of the ellipsoid that an untrained prompt is.
    """

    width: int = Field(64, ge=1)
    hidden: int = Field(2, ge=1)
    octaves: int = Field(4, ge=0)
    separate: bool = False
    radii: tuple[float, float, float] = (0.45, 0.65, 0.45)

    @classmethod
    def large(cls) -> Decoder:
        """For a GPU."""
        return cls(width=128, separate=True)


class PointDecoder(nn.Module):
    """The heads behind any network of features."""

    def __init__(self, decoder: Decoder, features: int) -> None:
        super().__init__()
        self.decoder = decoder
        inputs = features + 3 * (1 + 2 * decoder.octaves)
        widths = [inputs, *[decoder.width] * decoder.hidden]
        groups = [(name,) for name in HEADS] if decoder.separate else [tuple(HEADS)]
        self.trunks = nn.ModuleDict({"-".join(group): perceptron(widths) for group in groups})
        self.heads = nn.ModuleDict({name: nn.Linear(decoder.width, outputs) for name, outputs in HEADS.items()})
        for name in ("sdf", "offset"):
            for parameter in self.heads[name].parameters():
                nn.init.zeros_(parameter)

    def forward(
        self, features: Float[Tensor, "prompts points features"], points: Float[Tensor, "prompts points 3"], *heads: str
    ) -> tuple[Tensor, ...]:
        """The heads asked for, in that order: `sdf` [prompts, points], `colour` and `offset` [prompts, points, 3]."""
        inputs = torch.cat([features, points, octaves(points, self.decoder.octaves)], dim=-1)
        hidden: dict[str, Tensor] = {}
        found = []
        for name in heads:
            group = next(group for group in self.trunks if name in group.split("-"))
            if group not in hidden:
                hidden[group] = self.trunks[group](inputs)
            raw = self.heads[name](hidden[group])
            if name == "sdf":
                found.append(raw.squeeze(-1) + ellipsoid(points, self.decoder.radii))
            else:
                found.append(torch.sigmoid(raw) if name == "colour" else torch.tanh(raw))
        return tuple(found)


def perceptron(widths: list[int]) -> nn.Sequential:
    """Linear layers with SiLU after each."""
    layers: list[nn.Module] = []
    for inner, outer in pairwise(widths):
        layers += [nn.Linear(inner, outer), nn.SiLU()]
    return nn.Sequential(*layers)


def octaves(points: Float[Tensor, "*batch 3"], count: int) -> Float[Tensor, "*batch codes"]:
    """sin(2^k pi x) and cos(2^k pi x) for k < count, coordinate by coordinate."""
    frequencies = math.pi * 2.0 ** torch.arange(count, device=points.device, dtype=points.dtype)
    angles = (points.unsqueeze(-1) * frequencies).flatten(-2)
    return torch.cat([angles.sin(), angles.cos()], dim=-1)


def ellipsoid(points: Float[Tensor, "*batch 3"], radii: tuple[float, float, float]) -> Float[Tensor, "*batch"]:
    """Distance to an ellipsoid to first order: k (k - 1) / |p / r^2| with k = |p / r|; exact for a sphere.

    Source: Inigo Quilez, "ellipsoid - distance estimation". In the middle, where it is 0 / 0, minus the least radius.
    """
    half = torch.tensor(radii, device=points.device, dtype=points.dtype)
    k = (points / half).norm(dim=-1)
    slope = (points / half**2).norm(dim=-1)
    return torch.where(slope > 1e-6, k * (k - 1) / slope.clamp(min=1e-6), -min(radii))
