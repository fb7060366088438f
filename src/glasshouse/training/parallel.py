"""The one place where a run is spread over processes.

Today every rank holds a replica and gradients are summed; sharding with FSDP2 (`fully_shard` per block) will be applied
in `ParallelPlan.prepare`. The trainer scales each loss by weight / (weight of the whole step over all ranks), so
gradients are summed, never averaged, and ranks with different numbers of targets are weighted exactly.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn

from glasshouse.training.objective import Objective


@dataclass(frozen=True)
class ParallelPlan:
    """This process's place among `world` ranks."""

    rank: int = 0
    world: int = 1

    @classmethod
    def current(cls) -> ParallelPlan:
        """The default process group's place, or a single process."""
        if dist.is_available() and dist.is_initialized():
            return cls(dist.get_rank(), dist.get_world_size())
        return cls()

    @property
    def leads(self) -> bool:
        """Whether this rank writes records and checkpoints."""
        return self.rank == 0

    def prepare(self, objective: Objective) -> None:
        """Make all ranks start from rank 0's weights."""
        if self.world > 1:
            for module in (*objective.learns.values(), *objective.carries.values()):
                for tensor in module.state_dict().values():
                    dist.broadcast(tensor, src=0)

    def total(self, weight: float, device: torch.device) -> float:
        """Sum of a host number over the ranks."""
        if self.world == 1:
            return weight
        summed = torch.tensor(weight, dtype=torch.float64, device=device)
        dist.all_reduce(summed)
        return float(summed)

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Sum gradients over the ranks, in fp32 and in one message per data type."""
        if self.world == 1:
            return
        gradients = []
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            gradients.append(parameter.grad)
        flat = torch.cat([gradient.flatten().float() for gradient in gradients])
        dist.all_reduce(flat)
        pieces = torch.split(flat, [gradient.numel() for gradient in gradients])
        for gradient, piece in zip(gradients, pieces, strict=True):
            gradient.copy_(piece.view_as(gradient))

    def sum(self, values: Tensor) -> Tensor:
        """Sum a device tensor over the ranks."""
        if self.world > 1:
            dist.all_reduce(values)
        return values

    def wait(self) -> None:
        """Wait until every rank is here."""
        if self.world > 1:
            dist.barrier()
