"""The replay buffer: the last answered pairs, the oldest forgotten first (FIFO; arXiv 2402.00396 keeps 3,200).

It is a module without parameters, so an objective that lists it in `carries` has it in the trainer's checkpoints.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn


class ReplayBuffer(nn.Module):
    """Pairs of feature rows and which of the two was preferred.

    Args:
        capacity: pairs that are remembered.
        width: features of one answer.
    """

    pairs_: Tensor
    answers_: Tensor
    added: Tensor

    def __init__(self, capacity: int, width: int) -> None:
        super().__init__()
        if capacity < 1:
            raise ValueError(f"a replay buffer needs a capacity of at least 1, got {capacity}")
        self.capacity = capacity
        self.register_buffer("pairs_", torch.zeros(capacity, 2, width))
        self.register_buffer("answers_", torch.zeros(capacity))
        self.register_buffer("added", torch.zeros((), dtype=torch.int64))

    def __len__(self) -> int:
        return min(int(self.added), self.capacity)

    def add(self, pairs: Float[Tensor, "batch 2 width"], answers: Float[Tensor, " batch"]) -> None:
        """Remember answered pairs in their order; `answers` is 1 where the first was preferred."""
        if not len(pairs) == len(answers):
            raise ValueError(f"{len(pairs)} pairs came with {len(answers)} answers")
        places = (int(self.added) + torch.arange(len(answers), device=self.added.device)) % self.capacity
        kept = slice(-self.capacity, None)  # of a batch larger than the buffer, the last ones
        self.pairs_[places[kept]] = pairs[kept].to(self.pairs_)
        self.answers_[places[kept]] = answers[kept].to(self.answers_)
        self.added += len(answers)

    def contents(self) -> tuple[Float[Tensor, "rows 2 width"], Float[Tensor, " rows"]]:
        """What is remembered, the oldest first."""
        start = int(self.added) % self.capacity if int(self.added) > self.capacity else 0
        order = (start + torch.arange(len(self), device=self.added.device)) % self.capacity
        return self.pairs_[order], self.answers_[order]

    def draw(
        self, count: int, generator: torch.Generator
    ) -> tuple[Float[Tensor, "count 2 width"], Float[Tensor, " count"]]:
        """Rows drawn uniformly with replacement; the generator lives on the buffer's device."""
        if not len(self):
            raise ValueError("the replay buffer is empty: ask queries before learning from them")
        rows = torch.randint(len(self), (count,), generator=generator, device=self.added.device)
        return self.pairs_[rows], self.answers_[rows]
