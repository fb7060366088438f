"""The parts of a UNet: a residual block that a vector scales and shifts, attention to tokens, and positions."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

GROUPS = 8


class Residual(nn.Module):
    """Two 3x3 convolutions; the second's input is scaled and shifted by the conditioning vector."""

    def __init__(self, before: int, after: int, condition: int) -> None:
        super().__init__()
        self.norm_in, self.conv_in = nn.GroupNorm(GROUPS, before), nn.Conv2d(before, after, 3, padding=1)
        self.norm_out, self.conv_out = nn.GroupNorm(GROUPS, after), nn.Conv2d(after, after, 3, padding=1)
        self.modulation = nn.Linear(condition, 2 * after)
        self.skip = nn.Conv2d(before, after, 1) if before != after else nn.Identity()
        nn.init.zeros_(self.conv_out.weight)

    def forward(
        self, x: Float[Tensor, "n before h w"], condition: Float[Tensor, "n condition"]
    ) -> Float[Tensor, "n after h w"]:
        scale, shift = self.modulation(condition)[:, :, None, None].chunk(2, 1)
        h = self.conv_in(functional.silu(self.norm_in(x)))
        h = self.norm_out(h) * (1 + scale) + shift
        out: Tensor = self.conv_out(functional.silu(h)) + self.skip(x)
        return out


class CrossAttention(nn.Module):
    """Every pixel looks at the tokens."""

    def __init__(self, width: int, token_width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.GroupNorm(GROUPS, width)
        self.query, self.key_value = nn.Linear(width, width), nn.Linear(token_width, 2 * width)
        self.out = nn.Linear(width, width)
        nn.init.zeros_(self.out.weight)

    def forward(
        self, x: Float[Tensor, "n width h w"], tokens: Float[Tensor, "n l token_width"]
    ) -> Float[Tensor, "n width h w"]:
        n, width, height, across = x.shape
        pixels = self.norm(x).permute(0, 2, 3, 1).reshape(n, height * across, width)
        query = self._split(self.query(pixels))
        key, value = (self._split(part) for part in self.key_value(tokens).chunk(2, -1))
        seen = functional.scaled_dot_product_attention(query, key, value).transpose(1, 2).reshape(n, -1, width)
        out: Tensor = self.out(seen).reshape(n, height, across, width).permute(0, 3, 1, 2)
        return x + out

    def _split(self, x: Tensor) -> Tensor:
        return x.reshape(len(x), x.shape[1], self.heads, -1).transpose(1, 2)


def sinusoids(t: Int[Tensor, " n"], width: int) -> Float[Tensor, "n width"]:
    """Times as sines and cosines of `width / 2` frequencies (Vaswani et al., arXiv 1706.03762)."""
    half = width // 2
    rates = torch.exp(-math.log(10_000) * torch.arange(half, device=t.device) / half)
    angles = t.float()[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], 1)


def places(x: Float[Tensor, "n channels h w"]) -> Float[Tensor, "n 2 h w"]:
    """Height and width of every pixel in [-1, 1]."""
    rows = torch.linspace(-1, 1, x.shape[2], device=x.device, dtype=x.dtype)
    columns = torch.linspace(-1, 1, x.shape[3], device=x.device, dtype=x.dtype)
    grid = torch.stack(torch.meshgrid(rows, columns, indexing="ij"))
    return grid.expand(len(x), -1, -1, -1)


__all__ = ["GROUPS", "CrossAttention", "Residual", "places", "sinusoids"]
