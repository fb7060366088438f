"""What a method hands to the trainer: the modules that learn and the loss of one batch.

An objective is anything with the members of `Objective`; nothing is inherited unless it is convenient. What a method
may add is found by name and may be absent:

- `after_step(step)`: runs after the optimiser, e.g. to move an EMA copy in `carries`;
- `validate() -> Mapping[str, float]`: runs without gradients, with the learning modules in evaluation mode;
- `blocks() -> Iterable[nn.Module]`: the repeated submodules worth compiling, sharding and recomputing one by one;
- `configuration`: anything `glasshouse.store.configuration.canonical` can write, part of a checkpoint's identity;
- `unit`: what `weight` counts (`"tokens"`, default `"examples"`), the name used by the meters;
- `concurrent`: true if micro-batches may be computed side by side: the loss draws no random numbers, changes no state;
- `flops_per_example`: model FLOPs of one forward and backward pass over one row of data.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn

Batch = Any
"""A tensor, or a mapping, tuple, list or dataclass of batches; leaves that are not tensors are passed through."""


@dataclass(frozen=True)
class Step:
    """Where the run is. `number` counts updates from 1; `generator` lives on the training device.

    The generator (and torch's own global ones) are seeded anew from `(seed, "step", number)` before every step, so a
    draw depends on nothing that happened before and no generator state is ever saved.
    """

    number: int
    total: int
    seed: int
    generator: torch.Generator

    @property
    def progress(self) -> float:
        """Fraction of the run done once this step is, in (0, 1]."""
        return self.number / self.total


@dataclass(frozen=True)
class Loss:
    """`value` is the mean over the batch's weight; `metrics` are scalars averaged with the same weight.

    Keep metrics as detached tensors: the trainer reads them from the device only when a record is due.
    """

    value: Float[Tensor, ""]
    metrics: Mapping[str, Tensor | float] = field(default_factory=dict)


@runtime_checkable
class Objective(Protocol):
    """The training-time face of a method (see the module's docstring for the optional members)."""

    @property
    def learns(self) -> Mapping[str, nn.Module]:
        """Trained and checkpointed. Parameters with `requires_grad` false are kept as they are."""

    @property
    def carries(self) -> Mapping[str, nn.Module]:
        """Not trained but changing (EMA copies); checkpointed."""

    @property
    def frozen(self) -> Mapping[str, nn.Module]:
        """Never changes; not checkpointed, but its hash belongs to the checkpoint's identity."""

    def weight(self, batch: Batch) -> float:
        """What the loss is a mean over (target tokens, pairs, pixels), from the batch in host memory."""

    def loss(self, batch: Batch, step: Step) -> Loss:
        """The loss of one (micro) batch on the training device."""


def trainable(objective: Objective) -> dict[str, nn.Parameter]:
    """Parameters that learn, by `component.parameter` name; a shared parameter appears once, under its first name."""
    found: dict[str, nn.Parameter] = {}
    seen: set[int] = set()
    for component, module in objective.learns.items():
        for name, parameter in module.named_parameters():
            if parameter.requires_grad and id(parameter) not in seen:
                seen.add(id(parameter))
                found[f"{component}.{name}"] = parameter
    return found


def unit(objective: Objective) -> str:
    """What the objective's weight counts."""
    return str(getattr(objective, "unit", "examples"))


def after_step(objective: Objective, step: Step) -> None:
    """Run the objective's `after_step`, if it has one."""
    hook = getattr(objective, "after_step", None)
    if hook is not None:
        with torch.no_grad():
            hook(step)


def blocks(objective: Objective) -> list[nn.Module]:
    """The repeated submodules that the objective names."""
    named: Iterable[nn.Module] = getattr(objective, "blocks", tuple)()
    return list(named)
