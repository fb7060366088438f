"""Next-token cross-entropy, always in float32, with the z-loss and a form that never holds all logits.

    loss = sum_i w_i (logsumexp(z_i) - z_i[target_i]) + m sum_i w_i logsumexp(z_i)^2           z = hidden W^T

The z-loss (m) keeps logits from drifting [PaLM, arXiv 2204.02311, section 5; OLMo 2, arXiv 2501.00656, section 3.2].
`linear_cross_entropy` computes a chunk of rows at a time, with its gradients in the same pass, as in cut
cross-entropy (arXiv 2411.09009) and Liger (arXiv 2410.10989) but in plain PyTorch: memory for logits is
chunk x vocabulary instead of rows x vocabulary, and the products with W run once.

Deviation from OLMo's trainer: sums are over tokens that have a target; theirs divides by every position, which
reports a loss low by (T-1)/T. PyTorch's own `linear_cross_entropy` is not used: in bfloat16 on a CPU it returns
a bfloat16 loss, and with options set a wrong one.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from glasshouse.nn.precision import working_precision

IGNORE = -100
CHUNK = 1024  # rows of logits held at once on a CPU
HELD = 2**28  # most logits held at once on an accelerator, where longer products are faster
TILE = 64  # rows worked on at once on a CPU, so that they stay in its cache


class TokenLoss(NamedTuple):
    """Sums over the counted tokens, in nats: `total` (with gradient) = `cross_entropy` + z-loss term."""

    total: Float[Tensor, ""]
    cross_entropy: Float[Tensor, ""]
    squared_log_partition: Float[Tensor, ""]
    counted: Int[Tensor, ""]
    tokens: Float[Tensor, "*batch"]
    """Cross-entropy of every token without gradient, zero where ignored; shaped as the targets."""

    @property
    def mean(self) -> Float[Tensor, ""]:
        """`total` per counted token; zero (with a graph) when no token counts."""
        return self.total / self.counted.clamp(min=1)


def token_losses(
    logits: Float[Tensor, "*batch vocabulary"], targets: Int[Tensor, "*batch"], *, ignore_index: int = IGNORE
) -> Float[Tensor, "*batch"]:
    """Differentiable cross-entropy of every token in float32, zero where ignored. Minus this is the log-probability."""
    _check_targets(targets, logits.shape[-1], ignore_index)
    with torch.autocast(logits.device.type, enabled=False):
        flat = functional.cross_entropy(
            logits.float().flatten(0, -2), targets.flatten(), ignore_index=ignore_index, reduction="none"
        )
    return flat.view(targets.shape)


def cross_entropy(
    logits: Float[Tensor, "*batch vocabulary"],
    targets: Int[Tensor, "*batch"],
    *,
    ignore_index: int = IGNORE,
    z_loss: float = 0.0,
) -> TokenLoss:
    """The loss from logits already computed; see `linear_cross_entropy` for the form that saves memory."""
    losses = token_losses(logits, targets, ignore_index=ignore_index)
    counted = targets != ignore_index
    total = losses.sum()
    with torch.set_grad_enabled(torch.is_grad_enabled() and z_loss > 0):
        squared = logits.float().logsumexp(-1).square().mul(counted).sum()
    plain = total.detach()
    if z_loss:
        total = total + z_loss * squared
    return TokenLoss(total, plain, squared.detach(), counted.sum(), losses.detach())


def linear_cross_entropy(
    hidden: Float[Tensor, "*batch width"],
    weight: Float[Tensor, "vocabulary width"],
    targets: Int[Tensor, "*batch"],
    *,
    ignore_index: int = IGNORE,
    z_loss: float = 0.0,
    chunk: int | None = None,
) -> TokenLoss:
    """The loss of `hidden @ weight.T` without ever holding more than `chunk` rows of logits.

    Under autocast the products run in its precision; everything after them is float32. Gradients are made in the
    forward pass, so the result can be differentiated once, not twice. `chunk` defaults to what suits the device (see
    `rows_at_once`). Raises `ValueError` for targets outside the vocabulary.
    """
    _check_targets(targets, weight.shape[0], ignore_index)
    chunk = rows_at_once(weight.shape[0], hidden.device) if chunk is None else chunk
    if chunk < 1:
        raise ValueError(f"chunk got {chunk}: it should be at least 1 row")
    device = hidden.device.type
    precision = working_precision(hidden)
    learning = torch.is_grad_enabled()
    rows, flat = hidden.flatten(0, -2), targets.flatten()
    with torch.autocast(device, enabled=False):
        total, plain, squared = _LinearCrossEntropy.apply(  # type: ignore[no-untyped-call]
            rows, weight, flat, ignore_index, z_loss, chunk, precision, learning
        )
    return TokenLoss(total, plain.sum(), squared, (flat != ignore_index).sum(), plain.view(targets.shape))


def rows_at_once(vocabulary: int, device: torch.device) -> int:
    """Rows of logits that `linear_cross_entropy` holds: 1,024 on a CPU, elsewhere a power of two by the vocabulary."""
    return CHUNK if device.type == "cpu" else max(CHUNK, 1 << (HELD // vocabulary).bit_length() - 1)


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        targets: Tensor,
        ignore_index: int,
        z_loss: float,
        chunk: int,
        precision: torch.dtype,
        learning: bool,
    ) -> tuple[Tensor, Tensor, Tensor]:
        narrow = weight.to(precision)
        losses = torch.zeros(len(hidden), device=hidden.device)
        log_partition = torch.zeros_like(losses)
        learn_hidden, learn_weight = (learning and ctx.needs_input_grad[i] for i in (0, 1))
        hidden_gradient = torch.empty_like(hidden) if learn_hidden else None
        weight_gradient = torch.zeros_like(weight, dtype=torch.float32) if learn_weight else None
        for start in range(0, len(hidden), chunk):
            piece = slice(start, start + chunk)
            rows = hidden[piece].to(precision)
            logits = rows @ narrow.T
            to_slope = _fused_slope() if len(logits) == chunk and _is_worth_fusing(logits) else _to_slope
            losses[piece], log_partition[piece] = to_slope(logits, targets[piece], ignore_index, z_loss)
            if hidden_gradient is not None:
                hidden_gradient[piece] = logits @ narrow
            if weight_gradient is not None:
                weight_gradient += logits.T @ rows
        squared = log_partition.square().sum()
        total = losses.sum()
        if z_loss:
            total = total + z_loss * squared
        ctx.save_for_backward(hidden_gradient, weight_gradient)
        ctx.weight_precision = weight.dtype
        ctx.mark_non_differentiable(losses, squared)
        return total, losses, squared

    @staticmethod
    def backward(ctx: Any, slope: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        hidden_gradient, weight_gradient = ctx.saved_tensors
        if hidden_gradient is not None:
            hidden_gradient = hidden_gradient * slope.to(hidden_gradient.dtype)
        if weight_gradient is not None:
            weight_gradient = (weight_gradient * slope).to(ctx.weight_precision)
        return (hidden_gradient, weight_gradient, *[None] * 6)


def _to_slope(logits: Tensor, targets: Tensor, ignore_index: int, z_loss: float) -> tuple[Tensor, Tensor]:
    """Losses and log-partitions of the rows in float32; `logits` is overwritten with the loss's slope by itself."""
    losses, log_partitions = [], []
    tile = TILE if logits.device.type == "cpu" else max(1, len(logits))
    for part, target in zip(torch.split(logits, tile), torch.split(targets, tile), strict=True):
        counted = (target != ignore_index)[:, None]
        index = target[:, None].where(counted, 0)
        # The largest probability is exp(highest - z): it gives z exactly, and softmax is one fused pass, while
        # exp and logsumexp by themselves are several times slower on a CPU.
        wide = part.softmax(1, dtype=torch.float32)
        z = (part.amax(1, keepdim=True) - wide.amax(1, keepdim=True).log()).mul_(counted)
        picked = part.gather(1, index)
        losses.append((z - picked).mul_(counted))
        log_partitions.append(z)
        wide.mul_(counted * (1 + 2 * z_loss * z))
        wide.scatter_add_(1, index, -counted.to(wide.dtype))
        part.copy_(wide)
    return torch.cat(losses)[:, 0], torch.cat(log_partitions)[:, 0]


@cache
def _fused_slope() -> Callable[..., tuple[Tensor, Tensor]]:
    """`_to_slope` in one compiled pass; without Triton there is nothing to compile it with, and it stays as it is."""
    return torch.compile(_to_slope, dynamic=False) if find_spec("triton") else _to_slope


def _is_worth_fusing(logits: Tensor) -> bool:
    """Whether one compiled pass pays: on an NVIDIA GPU, for a large vocabulary."""
    return logits.device.type == "cuda" and not torch.compiler.is_compiling() and logits.numel() > HELD // 4


def _check_targets(targets: Tensor, vocabulary: int, ignore_index: int) -> None:
    # Reading two numbers back would make an accelerator wait; there the gather kernel asserts by itself.
    if targets.device.type != "cpu" or torch.compiler.is_compiling() or not targets.numel():
        return
    wrong = (targets != ignore_index) & ((targets < 0) | (targets >= vocabulary))
    if wrong.any():
        first = targets[wrong][0].item()
        raise ValueError(
            f"target {first} is outside the vocabulary of {vocabulary} ({int(wrong.sum())} such targets); "
            f"tokens to leave out are marked {ignore_index}"
        )
