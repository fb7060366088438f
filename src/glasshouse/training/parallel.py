"""How a run is spread over processes: replicas, shards and split matrices, and this process's place among them.

The trainer scales each loss by weight / (weight of the whole step over all ranks), so gradients are summed, never
averaged, and ranks with different numbers of targets are weighted exactly. `parallelize` changes the modules; this is
what the trainer asks while it runs. With one process nothing here does anything.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Literal, NamedTuple

import torch
import torch.distributed as dist
from pydantic import Field
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.tensor import DTensor

from glasshouse.store.configuration import Config, ConfigurationError
from glasshouse.training.messages import Channel

VARIABLE = "GLASSHOUSE_PARALLEL"
"""Environment variable with the fields of `Parallelism`, as `shard=8,activation_checkpointing=full`."""

Ways = int | Literal["rest"]


class Parallelism(Config):
    """Over how many processes what is spread, and what saves memory. None of it changes the method.

    The product of `replicate`, `shard` and `tensor` is the number of processes; `"rest"` is what the others leave.
    Alone, `replicate` keeps a copy of everything in each process, `shard` is FSDP (ZeRO stage 3), both together HSDP.
    """

    replicate: Ways = Field("rest", description="copies of the model, each on a part of every batch")
    shard: Ways = Field(1, description="processes that share a copy's weights, gradients and optimiser state")
    tensor: int = Field(1, ge=1, description="processes that split each matrix and work on the same rows")
    activation_checkpointing: Literal["none", "selective", "full"] = Field(
        "none", description="full: keep only what goes into a block; selective: attention and every other product too"
    )
    asynchronous_checkpoints: bool = Field(True, description="go on training while a copy of the state is written")
    timeout: float = Field(600.0, gt=0, description="seconds that one process waits for another")

    @classmethod
    def parse(cls, text: str) -> Parallelism:
        """From `name=value` pairs with commas between them. Raises `ConfigurationError` naming a wrong one."""
        pairs = [pair.partition("=") for pair in text.replace(" ", "").split(",") if pair]
        if wrong := [name for name, equals, _ in pairs if not equals]:
            raise ConfigurationError(f"{text!r}: {wrong[0]!r} has no value; write name=value,name=value")
        return cls(**{name: value for name, _, value in pairs})

    @classmethod
    def given(cls) -> Parallelism:
        """What `$GLASSHOUSE_PARALLEL` says."""
        return cls.parse(os.environ.get(VARIABLE, ""))

    def layout(self, processes: int) -> Layout:
        """The numbers for so many processes. Raises `ConfigurationError` naming those that do not fit."""
        ways: dict[str, Ways] = {"replicate": self.replicate, "shard": self.shard, "tensor": self.tensor}
        if self.shard == "rest" and self.replicate == "rest":
            ways["replicate"] = 1
        known = {name: way for name, way in ways.items() if isinstance(way, int)}
        product = 1
        for name, way in known.items():
            if way < 1:
                raise ConfigurationError(f"Parallelism.{name} got {way}: it should be at least 1 or 'rest'")
            product *= way
        told = " x ".join(f"{name} {way}" for name, way in known.items())
        left = processes // product
        if processes % product or (len(known) == len(ways) and left != 1):
            raise ConfigurationError(
                f"Parallelism: {told} is {product} processes, but {processes} run"
                f"{'' if len(known) == len(ways) else f', which is not a multiple of {product}'}: "
                "change these numbers or the number of processes"
            )
        return Layout(**{name: way if isinstance(way, int) else left for name, way in ways.items()})


class Layout(NamedTuple):
    """How many ways each thing is spread; the product is the number of processes."""

    replicate: int = 1
    shard: int = 1
    tensor: int = 1


@dataclass
class _Groups:
    """Process groups of one layout, made once: making them is a call of all processes."""

    world: dist.ProcessGroup
    layout: Layout
    data: dist.ProcessGroup | None
    messages: Channel
    writing: Channel
    meshes: dict[str, DeviceMesh] = field(default_factory=dict)


_groups: list[_Groups] = []
_alone: list[bool] = []


@contextmanager
def alone() -> Iterator[None]:
    """For work of one process while the others wait: `ParallelPlan.current` is that of a single process."""
    _alone.append(True)
    try:
        yield
    finally:
        _alone.pop()


@dataclass(frozen=True)
class ParallelPlan:
    """This process's place: `rank` of `world` in the order of data. Processes that split matrices share a rank."""

    rank: int = 0
    world: int = 1
    process: int = 0
    layout: Layout = field(default_factory=Layout)
    config: Parallelism = field(default_factory=Parallelism)

    @classmethod
    def current(cls, config: Parallelism | None = None) -> ParallelPlan:
        """The default process group spread as `config` or `$GLASSHOUSE_PARALLEL` says, or a single process."""
        config = config or Parallelism.given()
        spread = dist.is_available() and dist.is_initialized() and not _alone
        layout = config.layout(dist.get_world_size()) if spread else Layout()
        if layout == Layout():
            return cls(config=config)
        process = dist.get_rank()
        return cls(process // layout.tensor, layout.replicate * layout.shard, process, layout, config)

    @property
    def leads(self) -> bool:
        """Whether this process writes records and says what happens."""
        return self.process == 0

    @property
    def processes(self) -> int:
        """How many processes the run has."""
        return self.layout.replicate * self.layout.shard * self.layout.tensor

    @property
    def place(self) -> dict[str, int]:
        """Where this process stands in each direction of the layout."""
        rank, tensor = divmod(self.process, self.layout.tensor)
        replicate, shard = divmod(rank, self.layout.shard)
        return {"replicate": replicate, "shard": shard, "tensor": tensor}

    @property
    def whole(self) -> bool:
        """Whether every process holds whole parameters."""
        return self.layout.shard == self.layout.tensor == 1

    @property
    def _made(self) -> _Groups:
        world = dist.group.WORLD
        assert world is not None  # noqa: S101 (only asked for with several processes)
        for groups in _groups:
            if groups.world is world and groups.layout == self.layout:
                return groups
        timeout = timedelta(seconds=self.config.timeout)
        data = None
        if self.layout.tensor > 1:
            for place in range(self.layout.tensor):
                members = list(range(place, self.processes, self.layout.tensor))
                group = dist.new_group(members, timeout=timeout)
                data = group if self.process in members else data
        messages, writing = Channel.among_all(timeout), Channel.among_all(timeout)
        _groups.append(_Groups(world, self.layout, data, messages, writing))
        return _groups[-1]

    @property
    def messages(self) -> Channel:
        """Messages of the training loop."""
        return self._made.messages if self.processes > 1 else Channel()

    @property
    def writing(self) -> Channel:
        """Messages of the thread that writes checkpoints."""
        return self._made.writing if self.processes > 1 else Channel()

    def mesh(self, device: torch.device) -> DeviceMesh:
        """The processes as a box: replicate x shard x tensor."""
        meshes = self._made.meshes
        if device.type not in meshes:
            meshes[device.type] = init_device_mesh(device.type, self.layout, mesh_dim_names=Layout._fields)
        return meshes[device.type]

    def total(self, weight: float) -> float:
        """Sum of a host number over the ranks. Nothing waits for an accelerator."""
        # Processes that split matrices see the same rows; in double precision the division is exact for counts.
        return self.messages.sum([weight])[0] / self.layout.tensor if self.processes > 1 else weight

    def any(self, flag: bool) -> bool:
        """Whether it is so in any process."""
        return self.messages.sum([float(flag)])[0] > 0 if self.processes > 1 else flag

    def sum(self, values: Tensor) -> Tensor:
        """Sum a device tensor over the ranks."""
        if self.world > 1:
            dist.all_reduce(values, group=self._made.data)
        return values

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Sum gradients over the ranks, in fp32 and in one message; sharded parameters have summed theirs already."""
        if self.world == 1:
            return
        gradients = []
        for parameter in parameters:
            if sharded(parameter):
                continue
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            gradients.append(parameter.grad.to_local() if isinstance(parameter.grad, DTensor) else parameter.grad)
        if not gradients:
            return
        flat = torch.cat([gradient.flatten().float() for gradient in gradients])
        dist.all_reduce(flat, group=self._made.data)
        pieces = torch.split(flat, [gradient.numel() for gradient in gradients])
        for gradient, piece in zip(gradients, pieces, strict=True):
            gradient.copy_(piece.view_as(gradient))


def sharded(tensor: Tensor) -> bool:
    """Whether FSDP spreads a parameter."""
    return isinstance(tensor, DTensor) and "shard" in (tensor.device_mesh.mesh_dim_names or ())
