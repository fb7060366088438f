"""A transformer over the visible places of a grid, and one that fills in the rest (He et al., arXiv 2111.06377).

Both the masked auto-encoder of patches and the prior over codes are made of these. Only visible places are encoded:
the rows of a batch are gathered to the largest number of visible places among them, and attention leaves out what is
padding. Positions are fixed sines and cosines of the row and the column, never zeros.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional

from glasshouse.store.configuration import Config
from glasshouse.vision.completion.model import Embedding


class GridTransformer(Config):
    """Sizes of encoder and decoder.

    Attributes:
        width: of both; a multiple of 4 and of `heads`.
        layers: blocks of the encoder.
        decoder_layers: blocks of the decoder.
        expansion: hidden width of the feed-forward part over `width`.
    """

    width: int = Field(64, ge=4)
    heads: int = Field(4, ge=1)
    layers: int = Field(4, ge=1)
    decoder_layers: int = Field(2, ge=1)
    expansion: int = Field(4, ge=1)

    @model_validator(mode="after")
    def _divisible(self) -> GridTransformer:
        if self.width % self.heads or self.width % 4:
            raise ValueError(f"width {self.width} must be a multiple of 4 and of heads ({self.heads})")
        return self


def grid_positions(rows: int, columns: int, width: int) -> Float[Tensor, "places width"]:
    """Sines and cosines of the row in the first half of the width, of the column in the second."""
    frequencies = 1.0 / 10_000 ** (torch.arange(width // 4) / (width // 4))

    def along(length: int) -> Tensor:
        angles = torch.arange(length)[:, None] * frequencies
        return torch.cat([angles.sin(), angles.cos()], 1)

    down = along(rows)[:, None].expand(rows, columns, width // 2)
    across = along(columns)[None].expand(rows, columns, width // 2)
    return torch.cat([down, across], 2).flatten(0, 1)


class Block(nn.Module):
    """Pre-norm self-attention and feed-forward."""

    def __init__(self, sizes: GridTransformer) -> None:
        super().__init__()
        width = sizes.width
        self.heads = sizes.heads
        self.attention_norm, self.norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.project, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, sizes.expansion * width), nn.Linear(sizes.expansion * width, width)

    def forward(
        self, x: Float[Tensor, "images places width"], valid: Bool[Tensor, "images places"] | None
    ) -> Float[Tensor, "images places width"]:
        images, places, width = x.shape
        parts = self.project(self.attention_norm(x)).view(images, places, 3, self.heads, width // self.heads)
        query, key, value = parts.transpose(1, 3).unbind(2)
        mask = None if valid is None else valid[:, None, None]
        mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        x = x + self.out(mixed.transpose(1, 2).reshape(images, places, width))
        out: Tensor = x + self.down(functional.gelu(self.up(self.norm(x))))
        return out


class VisibleEncoder(nn.Module):
    """Embeds what stands at the visible places of a grid; `embed` makes vectors of what stands there."""

    positions: Tensor

    def __init__(self, embed: nn.Module, grid: tuple[int, int], sizes: GridTransformer) -> None:
        super().__init__()
        self.embed = embed
        self.blocks = nn.ModuleList(Block(sizes) for _ in range(sizes.layers))
        self.norm = nn.LayerNorm(sizes.width)
        self.register_buffer("positions", grid_positions(*grid, sizes.width), persistent=False)

    def forward(self, content: Tensor, hidden: Bool[Tensor, "images places"]) -> Embedding:
        """`content` is `[images, places, ...]`; what stands at hidden places is not looked at."""
        counts = (~hidden).sum(1)
        most = int(counts.max()) if len(counts) else 0
        places = hidden.to(torch.uint8).argsort(dim=1, stable=True)[:, :most]
        valid = None if (counts == most).all() else torch.arange(most, device=hidden.device) < counts[:, None]
        chosen = content.gather(
            1, places.view(*places.shape, *[1] * (content.ndim - 2)).expand(-1, -1, *content.shape[2:])
        )
        x = self.embed(chosen) + self.positions[places]
        for block in self.blocks:
            x = block(x, valid)
        return Embedding((self.norm(x),), places, valid)


class FillingDecoder(nn.Module):
    """From the embedding of visible places to an answer at every place."""

    positions: Tensor

    def __init__(self, outputs: int, grid: tuple[int, int], sizes: GridTransformer) -> None:
        super().__init__()
        self.enter = nn.Linear(sizes.width, sizes.width)
        self.missing = nn.Parameter(torch.empty(sizes.width).normal_(std=0.02))
        self.blocks = nn.ModuleList(Block(sizes) for _ in range(sizes.decoder_layers))
        self.norm, self.head = nn.LayerNorm(sizes.width), nn.Linear(sizes.width, outputs)
        self.register_buffer("positions", grid_positions(*grid, sizes.width), persistent=False)

    def forward(self, embedding: Embedding) -> Float[Tensor, "images places outputs"]:
        (values,), places, valid = embedding.layers, embedding.places, embedding.valid
        assert places is not None  # noqa: S101 (a VisibleEncoder always says which)
        seen = self.enter(values)
        missing = self.missing.to(seen.dtype)
        if valid is not None:
            seen = torch.where(valid[..., None], seen, missing)
        x = missing.expand(len(seen), len(self.positions), -1).scatter(1, places[..., None].expand_as(seen), seen)
        x = x + self.positions
        for block in self.blocks:
            x = block(x, None)
        out: Tensor = self.head(self.norm(x))
        return out
