"""Muon for matrices that are spread over processes: each is gathered once for its orthogonalisation.

Newton-Schulz needs the whole matrix. Momentum stays with the parts; every process orthogonalises the gathered matrix
and takes its own part of the result. Deviation from distributed Muon (Moonlight, arXiv 2502.16982, section 2.3): the
work is done by every process and not shared out, which saves sending results back.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from glasshouse.training.shards import part_of, whole


class Muon(torch.optim.Muon):
    """`torch.optim.Muon`, also for parameters that are `DTensor`s."""

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One update; with spread matrices a call of all processes."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if isinstance(parameter.grad, DTensor):
                    self._spread(parameter, parameter.grad, group)
                    parameter.grad = None  # so that the update of whole matrices leaves it alone
        return super().step(closure)  # type: ignore[no-untyped-call]

    def _spread(self, parameter: Tensor, gradient: DTensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(gradient)
        average = state["momentum_buffer"].lerp_(gradient, 1 - group["momentum"])
        direction = gradient.lerp(average, group["momentum"]) if group["nesterov"] else average
        change = _change(whole(direction), group)
        parameter.mul_(1 - group["lr"] * group["weight_decay"])
        part = part_of(parameter)
        part.values.add_(change[part.box])


def _change(direction: Tensor, group: dict[str, Any]) -> Tensor:
    """What an update without momentum and decay adds to a whole matrix."""
    matrix = nn.Parameter(torch.zeros_like(direction))
    matrix.grad = direction
    settings = {name: group[name] for name in ("lr", "ns_coefficients", "eps", "ns_steps", "adjust_lr_fn")}
    torch.optim.Muon([matrix], weight_decay=0.0, momentum=0.0, nesterov=False, **settings).step()  # type: ignore[no-untyped-call]
    return matrix.detach()
