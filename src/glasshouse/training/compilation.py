"""When and what to compile.

Blocks are compiled one by one: the same steady speed as the whole model at about half the compilation. On a CPU that
costs about 25 CPU-seconds and gains about a quarter of the step, which pays after 200k-300k tokens of a 17M-parameter
model; expressed in model FLOPs (6 N per token) that is 3e13, which then also holds for other sizes.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from typing import Literal

import torch
from torch import nn

WORTHWHILE_FLOPS = {"cpu": 3e13, "cuda": 1e16}
"""Model FLOPs from which `compile="auto"` compiles; measured on a CPU; on a GPU about a minute's work."""


def compile_blocks(
    blocks: Sequence[nn.Module], choice: bool | Literal["auto"], *, device: torch.device, run_flops: float
) -> bool:
    """Compile the blocks in place if asked to, or if `"auto"` finds it worthwhile. Returns whether they are.

    Parameter names do not change. `"auto"` leaves them alone when there are no blocks, the run is short, the device is
    of another kind, or a CPU has no C++ compiler.
    """
    if choice is True and not blocks:
        raise ValueError("compile=True, but the objective names no blocks to compile; give it a `blocks()` method")
    if choice == "auto":
        able = device.type != "cpu" or any(shutil.which(name) for name in ("g++", "clang++", "c++"))
        choice = bool(blocks) and able and run_flops >= WORTHWHILE_FLOPS.get(device.type, float("inf"))
    if choice:
        for block in blocks:
            if getattr(block, "_compiled_call_impl", None) is None:
                block.compile()
    return bool(choice)


def training_flops(parameters: int, units: float) -> float:
    """6 N per unit (Kaplan et al., arXiv 2001.08361): the estimate where an objective gives none."""
    return 6.0 * parameters * units
