"""The OLMo transformer: a decoder-only language model whose switches also give OLMo 1.7, OLMo 2 and Llama.

    x = x + W_o attention(rotate(clip(W_qkv norm(x))))            (norm before; after: x + norm(W_o ...))
    x = x + W_down (silu(W_gate norm(x)) * W_up norm(x))

Sources: OLMo (arXiv 2402.00838, section 2.1): no biases, LayerNorm without weight or bias, SwiGLU, rotary positions
(arXiv 2104.09864) computed in float32; OLMo 2 (arXiv 2501.00656, section 3). Initialisation "mitchell" as in OLMo's
released code: truncated normals (3 sigma) with 1/sqrt(width), and 1/sqrt(2 fan_in (layer + 1)) for the two
projections that write to the residual stream; "normal" is 0.02, cut at 3 sigma.

Deviations: queries, keys, values, gate and up are five matrices, not OLMo's two fused ones (the numbers are the
same; converters split and join them); every matrix draws from its own named seed, so that one matrix does not depend
on the order or shape of the others.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional

from glasshouse.nn.attention import attend, tiles_are_faster
from glasshouse.nn.configuration import TransformerConfig
from glasshouse.nn.fused import tiled_rotary_attention
from glasshouse.nn.precision import working_precision
from glasshouse.nn.tensor_parallel import splits
from glasshouse.store.configuration import named_seed


class Rotary(NamedTuple):
    """Cosines and sines of the rotary angles, float32, one row per position; the second half repeats the first."""

    cos: Float[Tensor, "#batch 1 seq size"]
    sin: Float[Tensor, "#batch 1 seq size"]


class TransformerOutput(NamedTuple):
    """What a forward pass gives: `hidden` is after the final norm; `layers[i]` is the stream after i blocks."""

    logits: Float[Tensor, "batch seq vocabulary"] | None
    hidden: Float[Tensor, "batch seq width"]
    layers: tuple[Float[Tensor, "batch seq width"], ...] | None


class KeyValueCache:
    """Keys and values of the tokens already seen, in two tensors allocated once."""

    def __init__(
        self,
        config: TransformerConfig,
        batch: int,
        capacity: int,
        *,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        shape = (config.layers, batch, config.groups, capacity, config.head_size)
        self.keys = torch.zeros(shape, dtype=dtype, device=device)
        self.values = torch.zeros(shape, dtype=dtype, device=device)
        self.length = 0

    @property
    def capacity(self) -> int:
        """Most tokens it can hold."""
        return self.keys.shape[3]

    def extend(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Write the new positions of one layer after `length`; returns everything that layer holds."""
        end = self.length + key.shape[2]
        if end > self.capacity:
            raise ValueError(f"the cache holds {self.capacity} tokens; position {end} does not fit: make it larger")
        self.keys[layer, :, :, self.length : end] = key
        self.values[layer, :, :, self.length : end] = value
        return self.keys[layer, :, :, :end], self.values[layer, :, :, :end]


def rotary(positions: Int[Tensor, "#batch seq"], size: int, theta: float) -> Rotary:
    """Angles position * theta^(-2i/size) [RoFormer, eq. 15], always float32 whatever the ambient precision."""
    frequencies = 1.0 / (theta ** (torch.arange(0, size, 2, dtype=torch.float, device=positions.device) / size))
    angles = positions[..., None].float() * frequencies
    angles = torch.cat((angles, angles), dim=-1)[:, None]
    return Rotary(angles.cos(), angles.sin())


def rotate(x: Float[Tensor, "batch heads seq size"], by: Rotary) -> Float[Tensor, "batch heads seq size"]:
    """Turn feature pairs (i, i + size/2) by their angle, in float32 [RoFormer, eq. 34, half-split layout]."""
    first, second = x.chunk(2, dim=-1)
    return (x * by.cos + torch.cat((-second, first), dim=-1) * by.sin).to(x.dtype)


class Norm(nn.Module):
    """LayerNorm without or with weight and bias, or RMSNorm with weight; computed in float32.

    Under autocast it gives the narrow precision, which the products that follow would otherwise each convert to.
    """

    def __init__(self, config: TransformerConfig, width: int, device: torch.device | str | None = None) -> None:
        super().__init__()
        self.kind, self.width, self.epsilon = config.norm, width, config.epsilon
        self.weight = None if self.kind == "layer_norm" else nn.Parameter(torch.ones(width, device=device))
        self.bias = nn.Parameter(torch.zeros(width, device=device)) if self.kind == "affine_layer_norm" else None

    def forward(self, x: Float[Tensor, "... width"]) -> Float[Tensor, "... width"]:
        wide = x.float()
        if self.kind == "rms_norm" and self.weight is not None:
            wide = self.weight * (wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + self.epsilon))
        else:
            wide = functional.layer_norm(wide, (self.width,), self.weight, self.bias, self.epsilon)
        return wide.to(working_precision(x))


class Attention(nn.Module):
    """Causal self-attention with rotary positions."""

    def __init__(self, config: TransformerConfig, layer: int, device: torch.device | str | None = None) -> None:
        super().__init__()
        self.config, self.layer = config, layer
        width, narrow = config.width, config.groups * config.head_size
        self.query = nn.Linear(width, width, bias=False, device=device)
        self.key = nn.Linear(width, narrow, bias=False, device=device)
        self.value = nn.Linear(width, narrow, bias=False, device=device)
        self.output = nn.Linear(width, width, bias=False, device=device)
        self.query_norm = Norm(config, width, device) if config.query_key_norm else None
        self.key_norm = Norm(config, narrow, device) if config.query_key_norm else None

    def forward(
        self,
        x: Float[Tensor, "batch seq width"],
        positions: Rotary,
        mask: Bool[Tensor, "#batch 1 seq key"] | None = None,
        cache: KeyValueCache | None = None,
    ) -> Float[Tensor, "batch seq width"]:
        query, key, value = self.query(x), self.key(x), self.value(x)
        if self.query_norm is not None and self.key_norm is not None:
            query, key = self.query_norm(query), self.key_norm(key)
        if (bound := self.config.clip_qkv) is not None:
            query, key, value = (part.clamp(-bound, bound) for part in (query, key, value))
        query, key, value = (
            part.view(*x.shape[:2], -1, self.config.head_size).transpose(1, 2) for part in (query, key, value)
        )
        if cache is None and tiles_are_faster(query, key, positions.cos, mask):
            mixed = tiled_rotary_attention(query, key, value, *positions, mask)
        else:
            query, key = rotate(query, positions), rotate(key, positions)
            if cache is not None:
                key, value = cache.extend(self.layer, key, value)
            mixed = attend(query, key, value, mask)
        out: Tensor = self.output(mixed.transpose(1, 2).flatten(2))
        return out


class FeedForward(nn.Module):
    """SwiGLU: down(silu(gate(x)) * up(x))  [Shazeer, arXiv 2002.05202, eq. 6]."""

    def __init__(self, config: TransformerConfig, device: torch.device | str | None = None) -> None:
        super().__init__()
        self.gate = nn.Linear(config.width, config.feed_forward, bias=False, device=device)
        self.up = nn.Linear(config.width, config.feed_forward, bias=False, device=device)
        self.down = nn.Linear(config.feed_forward, config.width, bias=False, device=device)

    def forward(self, x: Float[Tensor, "batch seq width"]) -> Float[Tensor, "batch seq width"]:
        y: Tensor = self.down(functional.silu(self.gate(x)) * self.up(x))
        return y


class Block(nn.Module):
    """One layer: attention, then feed-forward, each added to the residual stream."""

    def __init__(self, config: TransformerConfig, layer: int, device: torch.device | str | None = None) -> None:
        super().__init__()
        self.norm_first = config.norm_placement == "before"
        self.attention_norm = Norm(config, config.width, device)
        self.attention = Attention(config, layer, device)
        self.feed_forward_norm = Norm(config, config.width, device)
        self.feed_forward = FeedForward(config, device)

    def forward(
        self,
        x: Float[Tensor, "batch seq width"],
        positions: Rotary,
        mask: Bool[Tensor, "#batch 1 seq key"] | None = None,
        cache: KeyValueCache | None = None,
    ) -> Float[Tensor, "batch seq width"]:
        if self.norm_first:
            x = x + self.attention(self.attention_norm(x), positions, mask, cache)
            x = x + self.feed_forward(self.feed_forward_norm(x))
        else:
            x = x + self.attention_norm(self.attention(x, positions, mask, cache))
            x = x + self.feed_forward_norm(self.feed_forward(x))
        return x


class Transformer(nn.Module):
    """A language model: embedding, blocks, final norm, head.

    Weights are float32 and drawn from `seed`; on the meta device nothing is drawn (call `initialize` later).
    """

    def __init__(self, config: TransformerConfig, *, seed: int = 0, device: torch.device | str | None = None) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocabulary, config.width, device="meta")
        self.blocks = nn.ModuleList(Block(config, layer, "meta") for layer in range(config.layers))
        self.final_norm = Norm(config, config.width, "meta")
        self.head = None if config.tied else nn.Linear(config.width, config.vocabulary, bias=False, device="meta")
        device = torch.device(device) if device is not None else torch.get_default_device()
        if device.type != "meta":
            self.to_empty(device=device)
            self.initialize(seed)

    @property
    def head_weight(self) -> Float[Tensor, "vocabulary width"]:
        """The output matrix: the embedding itself when tied."""
        return self.embedding.weight if self.head is None else self.head.weight

    def forward(
        self,
        tokens: Int[Tensor, "batch seq"],
        *,
        cache: KeyValueCache | None = None,
        mask: Bool[Tensor, "#batch 1 seq key"] | None = None,
        positions: Int[Tensor, "#batch seq"] | None = None,
        logits: bool = True,
        hidden_states: bool = False,
    ) -> TransformerOutput:
        """Run the model on token ids.

        `logits=False` stops before the head (for a chunked loss on `hidden` and `head_weight`); `hidden_states=True`
        also returns the stream before the first and after every block. `mask` replaces the causal mask; `positions`
        count from the start of the cache when not given. Raises `ValueError` when the sequence exceeds the context.
        """
        seen = 0 if cache is None else cache.length
        length = tokens.shape[1]
        if seen + length > self.config.context:
            raise ValueError(
                f"{seen + length} tokens exceed the model's context of {self.config.context}: shorten the input"
            )
        if positions is None:
            positions = torch.arange(seen, seen + length, device=tokens.device)[None]
        if mask is None and seen and length > 1:
            mask = torch.ones(length, seen + length, dtype=torch.bool, device=tokens.device).tril(seen)[None, None]
        angles = rotary(positions, self.config.head_size, self.config.rope_theta)
        x = self.embedding(tokens)
        layers = [x]
        for block in self.blocks:
            x = block(x, angles, mask, cache)
            if hidden_states:
                layers.append(x)
        if cache is not None:
            cache.length = seen + length
        x = self.final_norm(x)
        scores = functional.linear(x, self.head_weight) if logits else None
        return TransformerOutput(scores, x, tuple(layers) if hidden_states else None)

    def split_over(self, ways: int) -> dict[str, str]:
        """How each matrix is split over `ways` processes (see `tensor_parallel`)."""
        return splits(self.config, ways)

    @torch.no_grad()
    def initialize(self, seed: int) -> None:
        """Draw every weight anew; the numbers depend on the seed and the weight's name, not on the device."""
        for name, parameter in self.named_parameters():
            parameter.copy_(self.draw(name, parameter.shape, seed))

    def draw(self, name: str, shape: torch.Size, seed: int) -> Tensor:
        """The initial value of one weight, float32 in host memory."""
        if len(shape) == 1:
            return torch.full(shape, 0.0 if name.endswith("bias") else 1.0)
        sigma = self._sigma(name)
        generator = torch.Generator().manual_seed(named_seed(seed, "initialization", name))
        return nn.init.trunc_normal_(torch.empty(shape), std=sigma, a=-3 * sigma, b=3 * sigma, generator=generator)

    def _sigma(self, name: str) -> float:
        if self.config.initialization == "normal":
            return 0.02
        parts = name.split(".")
        if parts[-2] in ("output", "down"):
            fan_in = self.config.width if parts[-2] == "output" else self.config.feed_forward
            return 1 / math.sqrt(2 * fan_in * (int(parts[1]) + 1))
        return 1 / math.sqrt(self.config.width)
