"""The global gradient norm and clipping by it, for parameters that are whole, sharded, split or all of them."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor


def global_norm(parameters: Iterable[nn.Parameter]) -> Tensor:
    """The L2 norm of all gradients as one vector; with sharded gradients a call of all processes."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    families: dict[object, list[Tensor]] = {}
    for gradient in gradients:
        family = (gradient.device_mesh, gradient.placements) if isinstance(gradient, DTensor) else None
        families.setdefault(family, []).append(gradient)
    norms = [nn.utils.get_total_norm(members, foreach=True) for members in families.values()]
    whole = [norm.full_tensor() if isinstance(norm, DTensor) else norm for norm in norms]
    return whole[0] if len(whole) == 1 else nn.utils.get_total_norm(whole, foreach=True)


@torch.no_grad()
def clip_by(parameters: Iterable[nn.Parameter], limit: float, norm: Tensor) -> None:
    """Scale all gradients by min(1, limit / (norm + 1e-6)); nothing waits for an accelerator."""
    held = [parameter for parameter in parameters if parameter.grad is not None]
    nn.utils.clip_grads_with_norm_([p for p in held if not isinstance(p.grad, DTensor)], limit, norm, foreach=True)
    if spread := [p.grad.to_local() for p in held if isinstance(p.grad, DTensor)]:
        factor = torch.clamp(limit / (norm + 1e-6), max=1.0)
        for gradient in spread:
            gradient.mul_(factor)
