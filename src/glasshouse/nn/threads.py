"""How many cores one arithmetic operation is spread over."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import nn

SMALL = 100_000_000
"""Weights up to which a model counts as small."""


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Run every operation on one core inside the block, and give the former number back after it.

    A small model's operations take microseconds. Spread over cores they gain little, and on a machine whose cores are
    taken each of them waits milliseconds for the other core: a twentyfold loss. Side-by-side work belongs a level
    higher, in micro-batches or documents. It also makes the numbers independent of the number of cores.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextlib.contextmanager
def threads_for(model: nn.Module) -> Iterator[None]:
    """One thread for a small model, for a larger one as many as torch has."""
    size = sum(tensor.numel() for tensor in (*model.parameters(), *model.buffers()))
    with one_thread() if size <= SMALL else contextlib.nullcontext():
        yield
