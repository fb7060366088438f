"""Products of blocks in float8 on GPUs that have it, through torchao (github.com/pytorch/ao); weights stay in fp32.

Each product is scaled by the largest value of each tensor, anew every time ("tensorwise, dynamic"): inputs and weights
as e4m3, slopes as e5m2 [Micikevicius et al., arXiv 2209.05433]. Only matrices inside the blocks that the objective
names are taken, and of these only those whose sides are multiples of 16, as the hardware wants them; embedding, head,
norms and the loss keep their precision. "emulated" rounds the same way in ordinary arithmetic, on any device: slow, for
seeing what float8 does to a run before renting the GPU.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import nn

from glasshouse.store.configuration import ConfigurationError
from glasshouse.training.parallel import ParallelPlan

SIDES = 16
CAPABILITY = (8, 9)
"""CUDA compute capability from which there are float8 products (Ada, Hopper)."""


def use_float8(
    blocks: Sequence[nn.Module], choice: bool | Literal["emulated"], device: torch.device, plan: ParallelPlan
) -> Callable[[], None]:
    """Replace the matrices of `blocks` in place, sharing their weights; what is returned puts the plain ones back.

    Names of parameters do not change, so checkpoints do not either. Raises `ConfigurationError` when torchao is
    missing, the device has no float8, there is no matrix to replace, or matrices are split over processes.
    """
    if plan.layout.tensor > 1:
        raise ConfigurationError("Training.float8 is not for matrices that are split: use shard in place of tensor")
    if choice is True and (device.type != "cuda" or torch.cuda.get_device_capability(device) < CAPABILITY):
        raise ConfigurationError(
            f"Training.float8: {_named(device)} has no float8 products (NVIDIA from compute capability "
            f"{CAPABILITY[0]}.{CAPABILITY[1]} on has them); leave it out, or try it with float8='emulated'"
        )
    try:
        from torchao.float8 import Float8LinearConfig
        from torchao.float8.float8_linear import Float8Linear
    except ImportError as error:
        raise ConfigurationError("Training.float8 needs torchao: pip install 'glasshouse[float8]'") from error
    settings = Float8LinearConfig(emulate=choice == "emulated")
    places = [
        (owner, name, matrix)
        for block in blocks
        for owner in block.modules()
        for name, matrix in owner.named_children()
        if type(matrix) is nn.Linear and matrix.in_features % SIDES == 0 and matrix.out_features % SIDES == 0
    ]
    if not places:
        raise ConfigurationError(
            f"Training.float8: the objective names no block with a matrix whose sides are multiples of {SIDES}"
        )
    made = [Float8Linear.from_float(matrix, settings) for _, _, matrix in places]
    for (owner, name, _), narrow in zip(places, made, strict=True):
        setattr(owner, name, narrow)

    def put_back() -> None:
        for (owner, name, matrix), narrow in zip(places, made, strict=True):
            matrix.weight, matrix.bias = narrow.weight, narrow.bias  # sharding may have replaced them
            setattr(owner, name, matrix)

    return put_back


def _named(device: torch.device) -> Any:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"the device {device.type!r}"
