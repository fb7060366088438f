"""Joining the processes that `torchrun` (or another launcher with its variables) started.

A launcher gives each process `RANK`, `WORLD_SIZE`, `LOCAL_RANK`, `MASTER_ADDR` and `MASTER_PORT`. When a process dies,
`torchrun --max-restarts` starts all of them again; a run then goes on from its last checkpoint.

Restarted processes meet at the same key-value store, which still holds what the dead ones wrote: gloo would connect to
their addresses (seen with torch 2.13). Every process so announces itself with a number drawn anew; process 0 opens a
round for those it sees, and the round counts when all of them have answered it.
"""

from __future__ import annotations

import json
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch._C._distributed_c10d import PrefixStore, Store, TCPStore

from glasshouse.training.messages import Channel
from glasshouse.training.parallel import Parallelism, alone

LONGEST_STEP = timedelta(days=7)
"""How long the other processes wait for a step that one process does."""


class MissingProcessError(RuntimeError):
    """Not every process of a run has come."""


class Team:
    """The processes as the store sees them: one leads, all hear what it says."""

    def __init__(self) -> None:
        self._channel = Channel.among_all(LONGEST_STEP)

    @property
    def leads(self) -> bool:
        return self._channel.leads

    def tell(self, value: Any) -> Any:
        """The leading process's JSON value, in every process."""
        return self._channel.tell(value)

    def alone(self) -> AbstractContextManager[None]:
        """For a step that one process does: training in it is training on its own."""
        return alone()


@contextmanager
def joined(config: Parallelism | None = None) -> Iterator[Team]:
    """Join the others, on one accelerator each where there are any, and leave at the end.

    Raises `MissingProcessError` when one does not come within `Parallelism.timeout`, and `ConfigurationError` when the
    numbers of `Parallelism` do not fit the number of processes.
    """
    config = config or Parallelism.given()
    rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    config.layout(world)
    backend = "gloo"
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", rank)) % torch.cuda.device_count())
        backend = "cpu:gloo,cuda:nccl"
    limit = timedelta(seconds=config.timeout)
    try:
        place = _meeting_place(rank, limit)
        store = PrefixStore(_meet(place, rank, world, config.timeout), place)
        dist.init_process_group(backend, store=store, rank=rank, world_size=world, timeout=limit)
    except (RuntimeError, ValueError) as error:
        address = f"{os.environ.get('MASTER_ADDR', '?')}:{os.environ.get('MASTER_PORT', '?')}"
        raise MissingProcessError(
            f"process {rank} of {world} waited {config.timeout:.0f} s at {address}: {str(error).splitlines()[0]}. "
            "See that every machine has started its processes and can reach that address, then start again"
        ) from error
    yield Team()
    dist.destroy_process_group()  # not after an error: the others may never come to it


def _meeting_place(rank: int, limit: timedelta) -> Store:
    """The launcher's key-value store; without `torchrun`, process 0 makes one."""
    makes = rank == 0 and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True"
    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    return TCPStore(address, port, is_master=makes, timeout=limit, wait_for_workers=False)


def _meet(store: Store, rank: int, world: int, seconds: float) -> str:
    """The name of a round in which exactly the processes that live now take part."""
    mine, deadline = secrets.token_hex(8), time.monotonic() + seconds
    store.set(f"here/{rank}", mine)
    opened: list[str] = []
    name = ""
    while time.monotonic() < deadline:
        if rank == 0:
            here = [_read(store, f"here/{other}") for other in range(world)]
            if "" not in here and here != opened:
                opened, name = here, secrets.token_hex(8)
                store.set("round", json.dumps({"name": name, "here": here}))
            if name and all(_read(store, f"there/{name}/{other}") for other in range(1, world)):
                store.set(f"begins/{name}", "yes")
                return name
        elif (told := _read(store, "round")) and json.loads(told)["here"][rank] == mine:
            name = str(json.loads(told)["name"])
            store.set(f"there/{name}/{rank}", "yes")
            if _read(store, f"begins/{name}"):
                return name
        time.sleep(0.02)
    missing = [str(other) for other in range(1, world) if not _read(store, f"there/{name}/{other}")]
    raise RuntimeError(f"process {', '.join(missing)} did not come" if rank == 0 else "process 0 did not open a round")


def _read(store: Store, key: str) -> str:
    return bytes(store.get(key)).decode() if store.check([key]) else ""
