"""Small messages between processes: JSON as bytes over a gloo group of their own.

PyTorch's object collectives send pickle; nothing here does. A group of its own keeps messages from a background thread
apart from those of the training loop, and off an accelerator's streams.
"""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


class Channel:
    """Messages among all processes, or of one with itself: every message is then its own answer."""

    def __init__(self) -> None:
        """Of one process, whether there are others or not."""
        self.rank, self.world = 0, 1
        self._group: dist.ProcessGroup | None = None

    @classmethod
    def among_all(cls, timeout: timedelta) -> Channel:
        """With several processes, a call that all of them make. `timeout` is how long an answer may take."""
        channel = cls()
        if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
            channel.rank, channel.world = dist.get_rank(), dist.get_world_size()
            channel._group = dist.new_group(backend="gloo", timeout=timeout)
        return channel

    @property
    def leads(self) -> bool:
        """Whether this process is the one whose word counts."""
        return self.rank == 0

    def tell(self, value: Any) -> Any:
        """The leading process's JSON value, in every process."""
        if self._group is None:
            return value
        message = _bytes(value) if self.leads else torch.empty(0, dtype=torch.uint8)
        size = torch.tensor([len(message)])
        dist.broadcast(size, src=0, group=self._group)
        if not self.leads:
            message = torch.empty(int(size), dtype=torch.uint8)
        dist.broadcast(message, src=0, group=self._group)
        return _value(message)

    def gather(self, value: Any) -> list[Any]:
        """Every process's JSON value, by rank, in every process."""
        if self._group is None:
            return [value]
        message = _bytes(value)
        sizes = [torch.empty(1, dtype=torch.long) for _ in range(self.world)]
        dist.all_gather(sizes, torch.tensor([len(message)]), group=self._group)
        padded = torch.zeros(max(int(size) for size in sizes), dtype=torch.uint8)
        padded[: len(message)] = message
        found = [torch.empty_like(padded) for _ in range(self.world)]
        dist.all_gather(found, padded, group=self._group)
        return [_value(item[: int(size)]) for item, size in zip(found, sizes, strict=True)]

    def sum(self, values: list[float]) -> list[float]:
        """Sums of host numbers over the processes, in double precision."""
        if self._group is None:
            return values
        summed = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(summed, group=self._group)
        return [float(value) for value in summed]


def _bytes(value: Any) -> Tensor:
    return torch.frombuffer(bytearray(json.dumps(value).encode()), dtype=torch.uint8)


def _value(message: Tensor) -> Any:
    return json.loads(message.numpy().tobytes())
