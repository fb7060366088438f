"""Updates that are far from the recent past: skipped, or the run is stopped.

An update is an outlier when its loss or the norm of its gradient (before clipping) lies more than `sigmas` standard
deviations from the mean of the last `window` ones, once there are max(20, window / 2) of them, itself included; that is
OLMo-core's rule (`optim/skip_step_optimizer.py`). As there, numbers of skipped updates stay in the window, so that a
lasting change of level is accepted in the end. A skipped update leaves weights and optimiser state as they were, also
the optimiser's own step count; the schedule goes on. What the forward pass changed (batch norm's averages) stays, and
the objective's `after_step` runs.

The decision is a 0/1 tensor on the device, and no step waits for it. Fused AdamW takes it as `found_inf`, PyTorch's own
way of leaving an update out. Other optimisers (Muon) take their step, and the old values are put back; that costs a
copy of their weights and state.

Deviations from OLMo-core: the window is part of a checkpoint, so a resumed run decides as an undisturbed one would; the
standard deviation is at least 1e-6 of the mean, so that equal numbers are not outliers of each other; with
`action="stop"` only numbers above the mean count, since a sudden fall is no reason to stop; a factor multiplied into an
update would let a number that is not finite through, so the update is left out instead.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from glasshouse.training.configuration import Outliers

NAMES = ("loss", "gradient norm")


class OutlierDetector:
    """Watches losses and gradient norms; without a configuration it watches nothing."""

    def __init__(self, config: Outliers | None, device: torch.device, past: Sequence[Sequence[float]] = ()) -> None:
        """`past` are the losses and the norms that a checkpoint remembered."""
        self.config = config
        self.skipped = 0
        """Updates left out so far, as far as they have been read from the device."""
        self._past = torch.tensor(past or ((), ()), dtype=torch.float32, device=device)

    @property
    def past(self) -> list[list[float]]:
        """The last losses and norms, for a checkpoint; waits for the device."""
        return [[float(value) for value in row] for row in self._past.tolist()]

    @property
    def skips(self) -> bool:
        """Whether an outlier's update is left out."""
        return self.config is not None and self.config.action == "skip"

    def judge(self, loss: Tensor, norm: Tensor) -> Tensor | None:
        """Take note of an update; 1.0 on the device for an outlier, else 0.0, or None when nothing is watched."""
        if self.config is None:
            return None
        now = torch.stack([loss.float(), norm.float()]).to(self._past.device)
        past, window = self._past, self.config.window
        self._past = torch.cat([past, now[:, None]], dim=1)[:, -window:]
        if past.shape[1] + 1 < max(20, window // 2):
            return torch.zeros((), device=past.device)
        deviation, mean = torch.std_mean(past, dim=1)
        distance = now - mean
        if self.config.action == "skip":
            distance = distance.abs()
        limit = self.config.sigmas * torch.maximum(deviation, 1e-6 * mean.abs())
        return (~(distance <= limit)).any().float()  # so that a number that is not finite is an outlier

    def problem(self, loss: float, norm: float) -> str:
        """What is said about an outlier that stops the run."""
        assert self.config is not None  # noqa: S101 (nothing is an outlier then)
        return (
            f"the loss {loss:.6g} or the gradient norm {norm:.6g} is a spike: more than {self.config.sigmas:g} "
            f"standard deviations above the mean of the last {self.config.window} updates"
        )


def step_unless(optimizers: Iterable[torch.optim.Optimizer], outlier: Tensor | None) -> None:
    """One step of every optimiser, without effect where `outlier` (a 0/1 tensor on the device) is 1."""
    for optimizer in optimizers:
        if outlier is None:
            optimizer.step()
        elif _leaves_out(optimizer):
            optimizer.found_inf = outlier  # type: ignore[attr-defined]
            optimizer.step()
            del optimizer.found_inf  # type: ignore[attr-defined]
        else:
            _step_and_put_back(optimizer, outlier)


def _leaves_out(optimizer: torch.optim.Optimizer) -> bool:
    """Whether the optimiser knows `found_inf`: fused, on ordinary tensors (not the shards of FSDP)."""
    groups = optimizer.param_groups
    plain = all(type(parameter.data) is Tensor for group in groups for parameter in group["params"])
    return plain and all(group.get("fused") for group in groups)


@torch.no_grad()
def _step_and_put_back(optimizer: torch.optim.Optimizer, outlier: Tensor) -> None:
    parameters = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
    before = [_values(optimizer, parameter) for parameter in parameters]
    optimizer.step()
    for parameter, old in zip(parameters, before, strict=True):
        for name, value in _values(optimizer, parameter, copy=False).items():
            earlier = old.get(name)
            earlier = torch.zeros_like(value) if earlier is None else earlier  # state begins as zeros
            value.copy_(torch.where(outlier.to(value.device).bool(), earlier, value))


def _values(optimizer: torch.optim.Optimizer, parameter: Tensor, *, copy: bool = True) -> dict[Any, Tensor]:
    """A parameter and its state, on this rank."""
    state: dict[Any, Any] = {"": parameter.data, **optimizer.state.get(parameter, {})}
    found = {name: getattr(v, "to_local", lambda v=v: v)() for name, v in state.items() if isinstance(v, Tensor)}
    return {name: value.clone() for name, value in found.items()} if copy else found
