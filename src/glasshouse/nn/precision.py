"""The precision that matrix products run in."""

from __future__ import annotations

import torch
from torch import Tensor


def working_precision(x: Tensor) -> torch.dtype:
    """Autocast's precision where it is on for the device of `x`, otherwise that of `x` itself."""
    device = x.device.type
    if not x.is_meta and torch.is_autocast_enabled(device):
        return torch.get_autocast_dtype(device)
    return x.dtype
