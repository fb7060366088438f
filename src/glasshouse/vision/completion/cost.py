"""What training costs in floating-point operations: the same on every machine, unlike seconds."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from glasshouse.training.objective import Objective, Step

SAMPLES = 8
"""Batches that are counted; masks of several kinds cost differently."""


def training_flops(objective: Objective, batch: Mapping[str, Tensor], steps: int, seed: int = 0) -> float:
    """FLOPs of matrix products and convolutions, forward and backward, of `steps` updates on such batches.

    A mean over some draws of masks and noise. The optimiser's own work is not counted. Gradients are thrown away.
    """
    device = next(iter(batch.values())).device
    generator, total = torch.Generator(device).manual_seed(seed), 0
    for number in range(1, SAMPLES + 1):
        # Fused attention of CPUs is not counted by PyTorch, plain products are.
        with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            objective.loss(batch, Step(number, SAMPLES, seed, generator)).value.backward()  # type: ignore[no-untyped-call]
        total += counter.get_total_flops()
    for module in objective.learns.values():
        module.zero_grad(set_to_none=True)
    return total / SAMPLES * steps
