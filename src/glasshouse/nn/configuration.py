"""The switches of the decoder-only transformer, and the published families and sizes as values of them.

Sources: OLMo (arXiv 2402.00838, section 2 and table 1), its released configurations (1B, 7B, 1.7-7B, the 20M "tiny"),
OLMo 2 (arXiv 2501.00656), Llama (arXiv 2302.13971, table 2) and Llama 3 (arXiv 2407.21783, table 3).

Deviations: the paper's table gives the 7B width as 4086; 4096 is what was trained. The feed-forward width of the
65B was not published; the family's rule (8/3 of the width, rounded up to a multiple of 128) gives 21 888.
"""

from __future__ import annotations

import math
from typing import Any, Literal

from pydantic import Field, model_validator

from glasshouse.store.configuration import Config, ConfigurationError

Norm = Literal["layer_norm", "affine_layer_norm", "rms_norm"]


class TransformerConfig(Config):
    """Shape and switches of one decoder-only transformer. Widths are in features, context in tokens."""

    vocabulary: int = Field(ge=1, description="rows of the embedding; at least the tokenizer's number of tokens")
    width: int = Field(ge=2, description="features of the residual stream")
    layers: int = Field(ge=1)
    heads: int = Field(ge=1, description="query heads; the head size is width / heads")
    key_value_heads: int | None = Field(
        default=None, ge=1, description="fewer than heads: grouped queries; None: as heads"
    )
    feed_forward: int = Field(ge=1, description="width of the gated hidden layer")
    context: int = Field(default=2048, ge=1, description="longest sequence, in tokens")
    norm: Norm = Field(default="layer_norm", description="layer_norm is OLMo's, without weight or bias")
    norm_placement: Literal["before", "after"] = Field(
        default="before", description="x + f(norm(x)), or x + norm(f(x))"
    )
    query_key_norm: bool = Field(default=False, description="normalise queries and keys over the whole projection")
    clip_qkv: float | None = Field(default=None, gt=0, description="clamp queries, keys and values to +- this value")
    rope_theta: float = Field(default=10_000.0, gt=0)
    tied: bool = Field(default=False, description="the embedding is also the output head")
    epsilon: float = Field(default=1e-5, gt=0, description="added to the variance in every norm")
    initialization: Literal["mitchell", "normal"] = "mitchell"

    @model_validator(mode="after")
    def _fits_together(self) -> TransformerConfig:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is not a multiple of heads {self.heads}")
        if self.head_size % 2:
            raise ValueError(
                f"the head size width / heads = {self.head_size} is odd; rotary positions turn pairs of features"
            )
        if self.heads % self.groups:
            raise ValueError(f"heads {self.heads} is not a multiple of key_value_heads {self.groups}")
        if self.query_key_norm and self.norm == "layer_norm":
            raise ValueError("query_key_norm needs a norm with weights: rms_norm or affine_layer_norm")
        return self

    @property
    def head_size(self) -> int:
        """Features of one head."""
        return self.width // self.heads

    @property
    def parameters(self) -> int:
        """Number of weights of a model of this configuration, a tied embedding counted once."""
        norm = {"layer_norm": 0, "rms_norm": 1, "affine_layer_norm": 2}[self.norm]
        narrow = self.groups * self.head_size
        attention = 2 * self.width * (self.width + narrow)
        normed = 2 * self.width + (self.width + narrow if self.query_key_norm else 0)
        layer = attention + 3 * self.width * self.feed_forward + norm * normed
        return self.vocabulary * self.width * (1 if self.tied else 2) + self.layers * layer + norm * self.width

    @property
    def groups(self) -> int:
        """Number of key/value heads."""
        return self.key_value_heads or self.heads


def feed_forward_width(width: int, multiple: int = 128) -> int:
    """The family's rule for the gated hidden layer: 8/3 of the width, rounded up to a multiple (OLMo, section 2)."""
    return math.ceil(8 * width / 3 / multiple) * multiple


_OLMO: dict[str, dict[str, Any]] = {
    "1B": {"layers": 16, "width": 2048, "heads": 16, "feed_forward": 8192, "tied": True},
    "7B": {"layers": 32, "width": 4096, "heads": 32, "feed_forward": 11_008},
    "65B": {"layers": 80, "width": 8192, "heads": 64, "feed_forward": feed_forward_width(8192)},
    "20M": {
        "layers": 8,
        "width": 256,
        "heads": 8,
        "feed_forward": 1024,
        "context": 4096,
        "norm": "rms_norm",
        "initialization": "normal",
    },
}
_OLMO_2: dict[str, dict[str, Any]] = {
    "1B": {"layers": 16, "width": 2048, "heads": 16, "feed_forward": 8192},
    "7B": {"layers": 32, "width": 4096, "heads": 32, "feed_forward": 11_008},
    "13B": {"layers": 40, "width": 5120, "heads": 40, "feed_forward": 13_824},
    "32B": {"layers": 64, "width": 5120, "heads": 40, "key_value_heads": 8, "feed_forward": 27_648},
}
_LLAMA: dict[str, dict[str, Any]] = {
    "7B": {"layers": 32, "width": 4096, "heads": 32, "feed_forward": 11_008},
    "13B": {"layers": 40, "width": 5120, "heads": 40, "feed_forward": 13_824},
    "65B": {"layers": 80, "width": 8192, "heads": 64, "feed_forward": 22_016},
}
_LLAMA_3: dict[str, dict[str, Any]] = {
    "8B": {"layers": 32, "width": 4096, "heads": 32, "key_value_heads": 8, "feed_forward": 14_336},
    "70B": {"layers": 80, "width": 8192, "heads": 64, "key_value_heads": 8, "feed_forward": 28_672},
}
_OLMO_2_SWITCHES: dict[str, Any] = {
    "vocabulary": 100_352,
    "context": 4096,
    "norm": "rms_norm",
    "norm_placement": "after",
    "query_key_norm": True,
    "rope_theta": 500_000.0,
    "epsilon": 1e-6,
    "initialization": "normal",
}


def olmo(size: str | None = None, *, depth: int | None = None) -> TransformerConfig:
    """OLMo in a published size ("1B", "7B", "65B", "20M"), or `depth` layers with everything else derived from it.

    The depth dial is for small machines: width 32 per layer, one 32-feature head per layer, the family's
    feed-forward rule, tied embedding, 256 tokens of context and 4096 words; set the vocabulary of your tokenizer
    with `.but(vocabulary=...)`. Raises `ConfigurationError` for an unknown size or when not exactly one is given.
    """
    if (size is None) == (depth is None):
        raise ConfigurationError(f"olmo takes either a size or depth=..., got size={size!r} and depth={depth!r}")
    if depth is not None:
        if depth < 1:
            raise ConfigurationError(f"olmo: depth got {depth!r}: it should be at least 1")
        width = 32 * depth
        return TransformerConfig(
            vocabulary=4096,
            width=width,
            layers=depth,
            heads=depth,
            feed_forward=feed_forward_width(width),
            context=256,
            tied=True,
        )
    return TransformerConfig(**{"vocabulary": 50_304} | _size("olmo", _OLMO, size))


def olmo_1_7() -> TransformerConfig:
    """OLMo 1.7-7B (April 2024): queries, keys and values clamped to +-8 and twice the context."""
    config: TransformerConfig = olmo("7B").but(clip_qkv=8.0, context=4096)
    return config


def olmo_2(size: str = "7B") -> TransformerConfig:
    """OLMo 2: RMSNorm after attention and feed-forward, normalised queries and keys, theta 500 000."""
    return TransformerConfig(**_OLMO_2_SWITCHES | _size("olmo_2", _OLMO_2, size))


def llama(size: str = "7B") -> TransformerConfig:
    """Llama: RMSNorm with weight before attention and feed-forward."""
    switches: dict[str, Any] = {"vocabulary": 32_000, "norm": "rms_norm", "epsilon": 1e-6, "initialization": "normal"}
    return TransformerConfig(**switches | _size("llama", _LLAMA, size))


def llama_3(size: str = "8B") -> TransformerConfig:
    """Llama 3: Llama with grouped queries (8 key/value heads), a larger vocabulary and theta 500 000."""
    switches: dict[str, Any] = {
        "vocabulary": 128_256,
        "context": 8192,
        "norm": "rms_norm",
        "rope_theta": 500_000.0,
        "initialization": "normal",
    }
    return TransformerConfig(**switches | _size("llama_3", _LLAMA_3, size))


def _size(family: str, sizes: dict[str, dict[str, Any]], size: str | None) -> dict[str, Any]:
    if size not in sizes:
        raise ConfigurationError(f"{family} has no size {size!r}; it comes in {', '.join(sizes)}")
    return sizes[size]
