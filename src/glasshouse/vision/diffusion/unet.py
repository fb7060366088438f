"""A small UNet for denoising, conditioned on text tokens, a camera and a picture, each of them optional.

    conditioning: time (and camera, and tokens) -> one vector, which scales and shifts every block
    encoder:      stem -> residual blocks per level -> middle; gives the features of the middle and of every level
    decoder:      takes these features and gives the prediction

The three are submodules of their own, so that one of them can be frozen, matched or tuned alone. Pixels are folded into
channels (`patch`) before the first convolution: at a fixed cost, a small picture is better served by more channels than
by full resolution. The stem sees where a pixel is, because small receptive fields cannot tell top from bottom.
Activations are channels-last; weights are stored as usual, because the fused optimiser pairs weights and moments by
memory order, which a checkpoint does not keep.
"""

from __future__ import annotations

import dataclasses

import torch
from jaxtyping import Float, Int
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional

from glasshouse.store.configuration import Config
from glasshouse.vision.diffusion.blocks import CrossAttention, Residual, places, sinusoids


class UNetConfig(Config):
    """Sizes of a UNet.

    Attributes:
        channels: of the picture and of the prediction.
        image_channels: of a picture that is given (for completion: the kept pixels and the mask); 0 for none.
        patch: side of the squares of pixels that are folded into channels.
        widths: channels of every level; each level has half the side of the one before.
        depth: residual blocks per level.
        attention: levels (0 is the finest) that look at the text tokens.
        heads: of attention.
        token_width: of text tokens; 0 for none.
        token_length: for texts of a fixed number of tokens: every block is told all of them, each in its place; with 0
            every block is told their mean.
        camera_width: of the camera's vector; 0 for none.
    """

    channels: int = Field(3, ge=1)
    image_channels: int = Field(0, ge=0)
    patch: int = Field(2, ge=1)
    widths: tuple[int, ...] = (64, 96)
    depth: int = Field(1, ge=1)
    attention: tuple[int, ...] = (1,)
    heads: int = Field(4, ge=1)
    token_width: int = Field(0, ge=0)
    token_length: int = Field(0, ge=0)
    camera_width: int = Field(0, ge=0)

    @model_validator(mode="after")
    def _fits(self) -> UNetConfig:
        if not self.widths or any(width < 8 or width % 8 for width in self.widths):
            raise ValueError(f"widths must be multiples of 8, one for each level, got {self.widths}")
        if any(level not in range(len(self.widths)) for level in self.attention):
            raise ValueError(f"attention names levels below {len(self.widths)}, got {self.attention}")
        if any(self.widths[level] % self.heads for level in self.attention):
            raise ValueError(f"the widths of levels with attention must be divisible by heads={self.heads}")
        return self

    @property
    def multiple(self) -> int:
        """Sides of pictures are multiples of this."""
        return int(self.patch * 2 ** (len(self.widths) - 1))


@dataclasses.dataclass(frozen=True)
class Features:
    """What the encoder makes of a noisy picture: the middle, and one map per block of every level, finest first."""

    middle: Float[Tensor, "n width h w"]
    skips: tuple[Float[Tensor, "n width h w"], ...]


class Conditioning(nn.Module):
    """Time, camera and tokens as one vector."""

    def __init__(self, config: UNetConfig, width: int) -> None:
        super().__init__()
        self.frequencies = config.widths[0]
        self.time = nn.Sequential(nn.Linear(self.frequencies, width), nn.SiLU(), nn.Linear(width, width))
        self.camera = nn.Sequential(nn.Linear(config.camera_width, width), nn.SiLU(), nn.Linear(width, width)) \
            if config.camera_width else None  # fmt: skip
        self.length = config.token_length
        told = config.token_width * max(1, config.token_length)
        self.tokens = nn.Linear(told, width) if config.token_width else None

    def forward(self, t: Int[Tensor, " n"], tokens: Tensor | None, camera: Tensor | None) -> Float[Tensor, "n width"]:
        found: Tensor = self.time(sinusoids(t, self.frequencies).to(next(self.parameters()).dtype))
        if self.camera is not None:
            if camera is None:
                raise ValueError("this UNet is conditioned on a camera: give `camera`")
            found = found + self.camera(camera)
        if self.tokens is not None:
            if tokens is None:
                raise ValueError("this UNet is conditioned on text: give `tokens`")
            if self.length and tokens.shape[1] != self.length:
                raise ValueError(f"this UNet reads texts of {self.length} tokens, got {tokens.shape[1]}")
            found = found + self.tokens(tokens.flatten(1) if self.length else tokens.mean(1))
        return functional.silu(found)


class Encoder(nn.Module):
    """From the noisy picture (and one that is given) to features."""

    def __init__(self, config: UNetConfig, width: int) -> None:
        super().__init__()
        self.patch = config.patch
        channels = (config.channels + config.image_channels) * config.patch**2
        self.stem = nn.Conv2d(channels + 2, config.widths[0], 3, padding=1)
        self.blocks, self.attention, self.down = nn.ModuleList(), nn.ModuleDict(), nn.ModuleList()
        before = config.widths[0]
        for level, own in enumerate(config.widths):
            for number in range(config.depth):
                self.blocks.append(Residual(before if number == 0 else own, own, width))
            if level in config.attention and config.token_width:
                self.attention[str(level)] = CrossAttention(own, config.token_width, config.heads)
            if level + 1 < len(config.widths):
                self.down.append(nn.Conv2d(own, own, 3, stride=2, padding=1))
            before = own
        self.middle = Residual(before, before, width)
        self.depth = config.depth

    def forward(
        self, x: Float[Tensor, "n channels h w"], condition: Float[Tensor, "n width"], tokens: Tensor | None
    ) -> Features:
        folded = functional.pixel_unshuffle(x, self.patch) if self.patch > 1 else x
        h = self.stem(torch.cat([folded, places(folded)], 1).contiguous(memory_format=torch.channels_last))
        skips = []
        for level in range(len(self.down) + 1):
            for number in range(self.depth):
                h = self.blocks[level * self.depth + number](h, condition)
                if number == self.depth - 1 and str(level) in self.attention:
                    h = self.attention[str(level)](h, tokens)
                skips.append(h)
            if level < len(self.down):
                h = self.down[level](h)
        return Features(self.middle(h, condition), tuple(skips))


class Decoder(nn.Module):
    """From features to the prediction."""

    def __init__(self, config: UNetConfig, width: int) -> None:
        super().__init__()
        self.patch, self.depth = config.patch, config.depth
        self.blocks, self.attention = nn.ModuleList(), nn.ModuleDict()
        before = config.widths[-1]
        for level in reversed(range(len(config.widths))):
            own = config.widths[level]
            for number in range(config.depth):
                self.blocks.append(Residual((before if number == 0 else own) + own, own, width))
            if level in config.attention and config.token_width:
                self.attention[str(level)] = CrossAttention(own, config.token_width, config.heads)
            before = own
        self.levels = len(config.widths)
        self.norm = nn.GroupNorm(8, config.widths[0])
        self.out = nn.Conv2d(config.widths[0], config.channels * config.patch**2, 3, padding=1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)  # type: ignore[arg-type]

    def forward(
        self, features: Features, condition: Float[Tensor, "n width"], tokens: Tensor | None
    ) -> Float[Tensor, "n channels h w"]:
        h, skips = features.middle, list(features.skips)
        for place, level in enumerate(reversed(range(self.levels))):
            for number in range(self.depth):
                skip = skips.pop()
                if h.shape[-1] != skip.shape[-1]:
                    h = functional.interpolate(h, scale_factor=2.0, mode="nearest")
                h = self.blocks[place * self.depth + number](torch.cat([h, skip], 1), condition)
            if str(level) in self.attention:
                h = self.attention[str(level)](h, tokens)
        out: Tensor = self.out(functional.silu(self.norm(h)))
        return functional.pixel_shuffle(out, self.patch) if self.patch > 1 else out


class UNet(nn.Module):
    """The network of a diffusion model. A batch may be of any size; sides are multiples of `config.multiple`."""

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        self.config = config
        width = 2 * config.widths[0]
        self.conditioning = Conditioning(config, width)
        self.encoder = Encoder(config, width)
        self.decoder = Decoder(config, width)

    def encode(
        self,
        x: Float[Tensor, "n channels h w"],
        t: Int[Tensor, " n"],
        tokens: Float[Tensor, "n l d"] | None = None,
        camera: Float[Tensor, "n k"] | None = None,
        image: Float[Tensor, "n image_channels h w"] | None = None,
    ) -> tuple[Features, Float[Tensor, "n width"]]:
        """Features of a noisy picture, and the vector that the decoder is conditioned on."""
        self._check(x, image)
        condition = self.conditioning(t, tokens, camera)
        whole = x if image is None else torch.cat([x, image], 1)
        return self.encoder(whole, condition, tokens), condition

    def forward(
        self,
        x: Float[Tensor, "n channels h w"],
        t: Int[Tensor, " n"],
        tokens: Float[Tensor, "n l d"] | None = None,
        camera: Float[Tensor, "n k"] | None = None,
        image: Float[Tensor, "n image_channels h w"] | None = None,
    ) -> Float[Tensor, "n channels h w"]:
        """The prediction (eps, x_0 or v, as it was trained) for x_t; `t` counts from 0."""
        features, condition = self.encode(x, t, tokens, camera, image)
        out: Tensor = self.decoder(features, condition, tokens)
        return out

    def _check(self, x: Tensor, image: Tensor | None) -> None:
        config = self.config
        if (
            x.dim() != 4
            or x.shape[1] != config.channels
            or x.shape[2] % config.multiple
            or x.shape[3] % config.multiple
        ):
            raise ValueError(
                f"this UNet takes pictures [n, {config.channels}, h, w] with sides that are multiples of "
                f"{config.multiple}, got {list(x.shape)}"
            )
        given = 0 if image is None else image.shape[1]
        if given != config.image_channels:
            raise ValueError(f"this UNet takes {config.image_channels} channels of a given picture, got {given}")


__all__ = ["Features", "UNet", "UNetConfig"]
