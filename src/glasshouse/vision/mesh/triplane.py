"""Text to three feature planes, and reading features off them (AToM, arXiv 2402.00867, the network T).

    tokens [prompts, length, width] -> planes [prompts, 3, channels, side, side] -> features at points

The planes lie side by side in one picture (the roll-out), so that convolutions carry information from plane to plane;
this is what the paper calls 3D-aware and what the hyper-network of ATT3D lacks. ConvNeXt blocks (arXiv 2201.03545):
depthwise convolution, layer norm, a perceptron per pixel, a layer scale. Features of the planes xy, xz and yz are read
bilinearly and laid beside each other.

Deviations: sizes and order of the blocks are not public; ours are small (`Planes()`, 1.1 million parameters) and large
(`Planes.large()`). The tokens enter through one linear layer over all of them (`entry="flattened"`) or, where a text is
long, through their mean and attention at every level (`entry="attended"`).
"""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from glasshouse.store.configuration import Config

PLANES = ((0, 1), (0, 2), (1, 2))
"""The coordinates of a point that each plane is read at."""


class Planes(Config):
    """Sizes of the text-to-triplane network.

    Attributes:
        width: channels inside.
        channels: features of a plane.
        side: pixels of the coarsest level's side; every further level doubles it.
        levels: how many levels.
        blocks: ConvNeXt blocks of a level.
        kernel: side of their depthwise convolution.
        expansion: hidden over outer width of their perceptron.
        entry: how tokens enter, see above.
        heads: of attention, with `attended`.
    """

    width: int = Field(48, ge=1)
    channels: int = Field(16, ge=1)
    side: int = Field(4, ge=1)
    levels: int = Field(3, ge=1)
    blocks: int = Field(1, ge=1)
    kernel: int = Field(5, ge=1)
    expansion: int = Field(3, ge=1)
    entry: Literal["flattened", "attended"] = "flattened"
    heads: int = Field(8, ge=1)

    @classmethod
    def large(cls) -> Planes:
        """For a GPU: planes of 64 x 64 with 32 features."""
        return cls(width=256, channels=32, side=8, levels=4, blocks=2, kernel=7, entry="attended")


class ConvNeXtBlock(nn.Module):
    """x + scale * mlp(norm(depthwise(x))), per pixel of a picture."""

    def __init__(self, width: int, kernel: int, expansion: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(width, width, kernel, padding=kernel // 2, groups=width)
        self.norm = nn.LayerNorm(width)
        self.inner = nn.Linear(width, expansion * width)
        self.outer = nn.Linear(expansion * width, width)
        self.scale = nn.Parameter(torch.full((width,), 0.1))

    def forward(self, x: Float[Tensor, "batch width height across"]) -> Float[Tensor, "batch width height across"]:
        inside = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
        inside = self.scale * self.outer(functional.gelu(self.inner(inside)))
        found: Tensor = x + inside.permute(0, 3, 1, 2)
        return found


class Attention(nn.Module):
    """Pixels of all planes look at the tokens."""

    def __init__(self, width: int, text_width: int, heads: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.attend = nn.MultiheadAttention(width, heads, kdim=text_width, vdim=text_width, batch_first=True)

    def forward(self, x: Tensor, tokens: Float[Tensor, "batch length text"]) -> Tensor:
        pixels = x.flatten(2).transpose(1, 2)
        seen, _ = self.attend(self.norm(pixels), tokens, tokens, need_weights=False)
        found: Tensor = x + seen.transpose(1, 2).reshape(x.shape)
        return found


class Level(nn.Module):
    """The blocks of one resolution."""

    def __init__(self, planes: Planes, text_width: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            ConvNeXtBlock(planes.width, planes.kernel, planes.expansion) for _ in range(planes.blocks)
        )
        attended = planes.entry == "attended"
        self.attention = Attention(planes.width, text_width, planes.heads) if attended else None

    def forward(self, x: Tensor, tokens: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        return x if self.attention is None else self.attention(x, tokens)


class TextToTriplane(nn.Module):
    """Tokens of one length to three planes; `features` is the interface that all feature networks share."""

    def __init__(self, planes: Planes, length: int, text_width: int) -> None:
        super().__init__()
        self.planes, self.length, self.text_width = planes, length, text_width
        entering = text_width * (length if planes.entry == "flattened" else 1)
        self.entry = nn.Linear(entering, 3 * planes.width * planes.side**2)
        self.levels = nn.ModuleList(Level(planes, text_width) for _ in range(planes.levels))
        self.exit = nn.Conv2d(planes.width, planes.channels, 1)

    @property
    def width(self) -> int:
        """Features of a point."""
        return 3 * self.planes.channels

    def forward(
        self, tokens: Float[Tensor, "prompts length text"]
    ) -> Float[Tensor, "prompts planes channels side side"]:
        check_tokens(tokens, self.length, self.text_width)
        side = self.planes.side
        seed = self.entry(tokens.flatten(1) if self.planes.entry == "flattened" else tokens.mean(1))
        x = seed.reshape(len(tokens), self.planes.width, side, 3 * side)
        for number, level in enumerate(self.levels):
            if number:
                x = doubled(x)
            x = level(x, tokens)
        return torch.stack(self.exit(x).chunk(3, dim=-1), dim=1)

    def features(self, planes: Tensor, points: Float[Tensor, "prompts points 3"]) -> Float[Tensor, "prompts points f"]:
        """What `forward` gave, read at points in [-1, 1]^3."""
        return sample_planes(planes, points)


def doubled(rolled: Float[Tensor, "batch width height across"]) -> Tensor:
    """Twice the side, each plane by itself: no pixel is blended with its neighbour on another plane."""
    planes = torch.cat(rolled.chunk(3, dim=-1))
    larger = functional.interpolate(planes, scale_factor=2, mode="bilinear", align_corners=False)
    return torch.cat(larger.chunk(3), dim=-1)


def sample_planes(
    planes: Float[Tensor, "prompts planes channels side side"], points: Float[Tensor, "prompts points 3"]
) -> Float[Tensor, "prompts points features"]:
    """Bilinear features of three planes at points in [-1, 1]^3, plane after plane; the edge continues outside."""
    prompts, _, channels = planes.shape[:3]
    places = torch.stack([points[..., pair] for pair in PLANES], dim=1)
    found = functional.grid_sample(
        planes.flatten(0, 1), places.flatten(0, 1).unsqueeze(2), align_corners=True, padding_mode="border"
    )
    return found.reshape(prompts, 3 * channels, points.shape[1]).transpose(1, 2)


def check_tokens(tokens: Tensor, length: int, width: int) -> None:
    """Raise `ValueError` for tokens of another shape than the network was built for."""
    if tokens.ndim != 3 or tokens.shape[1:] != (length, width):
        raise ValueError(
            f"the generator takes text of {length} tokens x {width} numbers, got {tuple(tokens.shape)}: "
            "encode prompts with the text encoder it was trained with"
        )


class FreeTriplane(nn.Module):
    """Three planes of free numbers: one prompt without a text network, the plain per-prompt baseline."""

    def __init__(self, planes: Planes, length: int, text_width: int) -> None:
        super().__init__()
        side = planes.side * 2 ** (planes.levels - 1)
        self.channels, self.length, self.text_width = planes.channels, length, text_width
        self.values = nn.Parameter(0.1 * torch.randn(3, planes.channels, side, side))

    @property
    def width(self) -> int:
        """Features of a point."""
        return 3 * self.channels

    def forward(self, tokens: Float[Tensor, "prompts length text"]) -> Tensor:
        check_tokens(tokens, self.length, self.text_width)
        return self.values.expand(len(tokens), *self.values.shape)

    def features(self, planes: Tensor, points: Float[Tensor, "prompts points 3"]) -> Float[Tensor, "prompts points f"]:
        """Read at points in [-1, 1]^3."""
        return sample_planes(planes, points)
