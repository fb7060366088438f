"""The baseline: a hyper-network from text to the weights of a point network (ATT3D, arXiv 2306.07349).

    tokens -> weights W [prompts, features, grid features];   features(x) = silu(W grid(x) + b)

`grid` is a dense multi-resolution grid of learnt features, the same for every prompt; only W and b come from the text,
through two layers with spectral norm. AToM (arXiv 2402.00867) replaces this by its triplanes and keeps the rest, so the
decoder behind it is the same here.

Deviations: published grids have 5 levels from 16 to 64 (threestudio's history, att3d-if.yaml); our small one has 5 from
4 to 16, which is as fine as the small triplanes. A learnt scale follows each spectral norm, which by itself would keep
W below norm 1.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrizations

from glasshouse.store.configuration import Config
from glasshouse.vision.mesh.triplane import check_tokens


class HyperNetwork(Config):
    """Sizes of the hyper-network.

    Attributes:
        sides: points of a grid level's side.
        channels: features of a grid level.
        hidden: width between text and weights.
        features: what the decoder gets of a point.
    """

    sides: tuple[int, ...] = Field((4, 6, 8, 11, 16), min_length=1)
    channels: int = Field(4, ge=1)
    hidden: int = Field(64, ge=1)
    features: int = Field(48, ge=1)

    @classmethod
    def large(cls) -> HyperNetwork:
        """As published: five levels from 16 to 64."""
        return cls(sides=(16, 23, 32, 45, 64), hidden=256, features=96)


class HyperNet(nn.Module):
    """Tokens of one length to the weights of a layer over a shared grid; same interface as `TextToTriplane`."""

    def __init__(self, sizes: HyperNetwork, length: int, text_width: int) -> None:
        super().__init__()
        self.sizes, self.length, self.text_width = sizes, length, text_width
        self.grids = nn.ParameterList(
            nn.Parameter(0.1 * torch.randn(1, sizes.channels, side, side, side)) for side in sizes.sides
        )
        self.inputs = sizes.channels * len(sizes.sides)
        self.first = parametrizations.spectral_norm(nn.Linear(length * text_width, sizes.hidden))
        self.second = parametrizations.spectral_norm(nn.Linear(sizes.hidden, sizes.features * (self.inputs + 1)))
        self.scales = nn.Parameter(torch.tensor([4.0, 16.0]))

    @property
    def width(self) -> int:
        """Features of a point."""
        return self.sizes.features

    def forward(self, tokens: Float[Tensor, "prompts length text"]) -> Float[Tensor, "prompts features inputs"]:
        check_tokens(tokens, self.length, self.text_width)
        hidden = functional.silu(self.scales[0] * self.first(tokens.flatten(1)))
        weights: Tensor = self.scales[1] * self.second(hidden)
        return weights.reshape(len(tokens), self.sizes.features, self.inputs + 1)

    def features(self, weights: Tensor, points: Float[Tensor, "prompts points 3"]) -> Float[Tensor, "prompts points f"]:
        """What `forward` gave, applied to the grid's features at points in [-1, 1]^3."""
        places = points.reshape(1, 1, 1, -1, 3)
        read = [
            functional.grid_sample(grid, places, align_corners=True, padding_mode="border").reshape(len(grid[0]), -1)
            for grid in self.grids
        ]
        inputs = torch.cat(read).T.reshape(*points.shape[:2], -1)
        mixed = torch.baddbmm(weights[:, None, :, -1], inputs, weights[..., :-1].transpose(1, 2))
        return functional.silu(mixed)
