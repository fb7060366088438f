"""Checkpoints in safetensors that are whole or not there, and a run's identity that resuming is held to.

A checkpoint is a directory `step-00001000` with `learns.safetensors`, `carries.safetensors`, `optimizer.safetensors`
and `state.json`. Several processes write a file each instead, `learns-00001-of-00004.safetensors`, with the parts they
own (see `shards`); any number of processes can read either. A checkpoint is written under another name, synced and
renamed when every process is done; `state.json` holds the hash of every file, and one that does not match is never
picked. Nothing here can execute code when it is read.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from glasshouse.store.files import synchronise
from glasshouse.training.configuration import FREE_TO_CHANGE
from glasshouse.training.messages import Channel
from glasshouse.training.shards import CheckpointError, Part, StoredTensors, owned, part_of, tensors_hash, write_parts

__all__ = ["Checkpoint", "CheckpointError", "ResumeRefusedError"]

_log = logging.getLogger(__name__)
_SEPARATOR = "|"


class ResumeRefusedError(RuntimeError):
    """The run in this directory was made with other data, another seed, configuration or teacher."""


@dataclass(frozen=True)
class Checkpoint:
    """A complete checkpoint on disk; `state` is its `state.json`."""

    path: Path
    state: Mapping[str, Any]

    @classmethod
    def at(cls, path: Path) -> Checkpoint:
        """The checkpoint in a directory, its files not checked. Raises `OSError` or `ValueError` when there is none."""
        return cls(path, json.loads((path / "state.json").read_text()))

    @property
    def step(self) -> int:
        return int(self.state["step"])

    def tensors(self, kind: Literal["learns", "carries", "optimizer"]) -> StoredTensors:
        """What it holds of one kind, by `component.parameter` name, read when asked for."""
        names = sorted(name for name in self.state["files"] if name.partition(".")[0].partition("-")[0] == kind)
        return StoredTensors(self.path / name for name in names)


def weights_hash(*modules: nn.Module) -> str:
    """sha256 (hex) over the names, types, shapes and bytes of every tensor of the modules' state.

    The same for a module that is spread over processes, where it is a call of all of them.
    """
    states = ((index, sorted(_tensors(module).items())) for index, module in enumerate(modules))
    return tensors_hash((f"{index}.{name}", tensor) for index, state in states for name, tensor in state)


def _tensors(module: nn.Module) -> dict[str, Tensor]:
    state = module.state_dict(keep_vars=True)
    for name, value in state.items():
        if not isinstance(value, Tensor):
            raise CheckpointError(f"{name} of {type(module).__name__} is a {type(value).__name__}, not a tensor")
    return state


def _named(modules: Mapping[str, nn.Module]) -> Iterator[tuple[str, Tensor]]:
    for component, module in modules.items():
        for name, tensor in _tensors(module).items():
            yield f"{component}.{name}", tensor


def _distinct(named: Iterable[tuple[str, Tensor]]) -> dict[str, Tensor]:
    """One name per tensor: tied weights are written once, as safetensors wants it."""
    seen: set[Any] = set()
    kept = {}
    for name, tensor in named:
        # Of a spread tensor this process may hold nothing, which has no place in memory.
        place = id(tensor) if isinstance(tensor, DTensor) else (tensor.data_ptr(), tensor.shape)
        if tensor.numel() and place in seen:
            continue
        seen.add(place)
        kept[name] = tensor
    return kept


@torch.no_grad()
def _fill(modules: Mapping[str, nn.Module], stored: StoredTensors, origin: str) -> None:
    live = _distinct(_named(modules))
    if live.keys() != stored.keys():
        missing, extra = sorted(live.keys() - stored.keys()), sorted(stored.keys() - live.keys())
        raise CheckpointError(f"{origin} does not fit the modules: missing {missing[:5]}, unexpected {extra[:5]}")
    for name, tensor in live.items():
        if tensor.shape != stored.shape(name) or tensor.dtype != stored.dtype(name):
            raise CheckpointError(
                f"{name} in {origin} is {stored.dtype(name)} {tuple(stored.shape(name))}, "
                f"the module has {tensor.dtype} {tuple(tensor.shape)}"
            )
        _read_part(tensor, stored, name)


def _read_part(tensor: Tensor, stored: StoredTensors, name: str) -> None:
    offsets, values = part_of(tensor)
    if values.numel():
        values.copy_(stored.read(name, offsets, values.shape))


def optimizer_tensors(
    optimizers: Iterable[torch.optim.Optimizer], parameters: Mapping[str, nn.Parameter], separator: str = _SEPARATOR
) -> dict[str, Tensor]:
    """The optimisers' state by the name of the parameter and its own."""
    names = {id(parameter): name for name, parameter in parameters.items()}
    return {
        f"{names[id(parameter)]}{separator}{key}": value
        for optimizer in optimizers
        for parameter, state in optimizer.state.items()
        for key, value in state.items()
    }


@torch.no_grad()
def _fill_optimizers(
    optimizers: Iterable[torch.optim.Optimizer], parameters: Mapping[str, nn.Parameter], stored: StoredTensors
) -> None:
    owners = {id(p): optimizer for optimizer in optimizers for g in optimizer.param_groups for p in g["params"]}
    for optimizer in owners.values():
        optimizer.state.clear()
    for full in stored:
        name, _, key = full.rpartition(_SEPARATOR)
        if name not in parameters:
            raise CheckpointError(f"the optimiser state of {name} belongs to no parameter that learns")
        parameter = parameters[name]
        if isinstance(parameter, DTensor) and stored.shape(full) == parameter.shape:
            value: Tensor = torch.zeros_like(parameter, dtype=stored.dtype(full), requires_grad=False)
            _read_part(value, stored, full)
        else:
            value = stored[full].to(parameter.device)
            if value.shape == parameter.shape:  # the fused optimiser pairs weights and moments by memory order
                value = torch.empty_like(parameter, dtype=value.dtype, requires_grad=False).copy_(value)
        owners[id(parameter)].state[parameter][key] = value


@dataclass(frozen=True)
class Snapshot:
    """What this process writes of a checkpoint: the parts it owns, in host memory, by kind of file."""

    state: Mapping[str, Any]
    parts: Mapping[str, Mapping[str, Part]]


def take_snapshot(
    *,
    state: Mapping[str, Any],
    learns: Mapping[str, nn.Module],
    carries: Mapping[str, nn.Module],
    optimizers: Iterable[torch.optim.Optimizer],
    parameters: Mapping[str, nn.Parameter],
    place: Mapping[str, int] | None = None,
    copied: bool = False,
) -> Snapshot:
    """What a checkpoint holds; `copied` when training goes on before it is written. `place` is `ParallelPlan.place`."""
    tensors = {
        "learns": _distinct(_named(learns)),
        "carries": _distinct(_named(carries)),
        "optimizer": optimizer_tensors(optimizers, parameters),
    }
    return Snapshot(
        state,
        {
            kind: {name: _in_host_memory(part_of(t), copied) for name, t in named.items() if owned(t, place or {})}
            for kind, named in tensors.items()
        },
    )


def _in_host_memory(part: Part, copied: bool) -> Part:
    values = part.values
    return Part(part.offsets, values.clone() if copied and values.device.type == "cpu" else values.cpu())


def write_snapshot(directory: Path, snapshot: Snapshot, *, keep: int, channel: Channel) -> Checkpoint:
    """Write the checkpoint of `state["step"]` into `directory` and remove all but the last `keep`.

    A call of all processes. Raises `CheckpointError` in each when one cannot write (full disk); earlier checkpoints are
    then untouched.
    """
    step = int(snapshot.state["step"])
    final = directory / f"step-{step:08d}"
    temporary = directory / str(channel.tell(f".writing-{final.name}-{os.getpid()}"))
    answers = channel.gather(_written(temporary, snapshot, channel))
    problems = [f"process {rank}: {a['problem']}" for rank, a in enumerate(answers) if a["problem"] is not None]
    problem = "; ".join(problems) if channel.world > 1 else answers[0]["problem"]
    complete = {**snapshot.state, "files": {name: found for a in answers for name, found in a["files"].items()}}
    if not problem:
        problem = channel.tell(_published(temporary, final, complete) if channel.leads else None)
    if problem:
        if channel.leads:
            shutil.rmtree(temporary, ignore_errors=True)
        previous = latest_checkpoint(directory) if channel.leads else None
        step_kept = channel.tell(previous.step if previous else None)
        kept = (
            "there is no earlier checkpoint" if step_kept is None else f"the checkpoint of step {step_kept} is intact"
        )
        raise CheckpointError(
            f"the checkpoint of step {step} could not be written to {directory}: {problem}; {kept}. "
            "Free some space or permissions, then start the run again: it resumes from there"
        )
    if channel.leads:
        _remove_old(directory, keep)
    return Checkpoint(final, complete)


def _written(temporary: Path, snapshot: Snapshot, channel: Channel) -> dict[str, Any]:
    """Write this process's files; gives their hashes, or the problem."""
    place = f"-{channel.rank + 1:05d}-of-{channel.world:05d}" if channel.world > 1 else ""
    files: dict[str, str] = {}
    try:
        temporary.mkdir(parents=True, exist_ok=True)
        for kind, parts in snapshot.parts.items():
            if not parts and not channel.leads:
                continue
            path = temporary / f"{kind}{place}.safetensors"
            write_parts(parts, path, spread=channel.world > 1)
            files[path.name] = _file_hash(path)
            synchronise(path)
    except (OSError, SafetensorError) as error:
        return {"problem": str(error), "files": {}}
    return {"problem": None, "files": files}


def _published(temporary: Path, final: Path, complete: Mapping[str, Any]) -> str | None:
    """Make a written checkpoint one that counts; gives the problem if there is one."""
    try:
        (temporary / "state.json").write_text(json.dumps(complete, indent=1, sort_keys=True) + "\n")
        synchronise(temporary / "state.json")
        synchronise(temporary)
        if final.exists():
            shutil.rmtree(final)
        temporary.rename(final)
        synchronise(final.parent)
    except OSError as error:
        return str(error)
    return None


def latest_checkpoint(directory: Path) -> Checkpoint | None:
    """The newest complete checkpoint; a torn one is passed over with a warning that says why."""
    for path in sorted(directory.glob("step-*"), reverse=True):
        try:
            state = json.loads((path / "state.json").read_text())
            for name, expected in state["files"].items():
                if _file_hash(path / name) != expected:
                    raise ValueError(f"{name} does not have the recorded hash")
            return Checkpoint(path, {**state, "step": int(state["step"])})
        except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
            _log.warning("passing over the damaged checkpoint %s: %s", path, error)
    return None


def agreed_checkpoint(directory: Path, channel: Channel) -> Checkpoint | None:
    """The newest complete checkpoint, as process 0 finds it. Raises `CheckpointError` where it is not seen."""
    found = latest_checkpoint(directory) if channel.leads else None
    name = channel.tell(found.path.name if found else None)
    if channel.leads or name is None:
        return found
    try:
        return Checkpoint.at(directory / name)
    except OSError as error:
        raise CheckpointError(
            f"process {channel.rank} does not see the checkpoint {directory / name} that process 0 found ({error}): "
            "the run's directory must be on a file system that all processes share"
        ) from None


def load_checkpoint(
    checkpoint: Checkpoint,
    *,
    learns: Mapping[str, nn.Module],
    carries: Mapping[str, nn.Module],
    optimizers: Iterable[torch.optim.Optimizer] = (),
    parameters: Mapping[str, nn.Parameter] | None = None,
) -> None:
    """Copy a checkpoint into live modules and, when given, optimisers. Raises `CheckpointError` if they differ.

    Every process reads its own parts, however many processes wrote it.
    """
    kinds: tuple[tuple[Literal["learns", "carries"], Mapping[str, nn.Module]], ...] = (
        ("learns", learns),
        ("carries", carries),
    )
    for kind, modules in kinds:
        with checkpoint.tensors(kind) as stored:
            _fill(modules, stored, f"{checkpoint.path / kind}.safetensors")
    if parameters is not None:
        with checkpoint.tensors("optimizer") as stored:
            _fill_optimizers(list(optimizers), parameters, stored)


def refuse_changes(recorded: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raise `ResumeRefusedError` naming every part of the identity that differs."""
    changes = [change for change in _differences(recorded, now) if change.split(" ")[0] not in _FREE]
    if changes:
        raise ResumeRefusedError(
            "this run cannot be resumed because something it depends on changed: "
            + "; ".join(changes)
            + ". Restore it, or train into a new directory"
        )


_FREE = {"fingerprint", *(f"configuration.{name}" for name in FREE_TO_CHANGE)}


def _differences(old: Any, new: Any, path: str = "") -> list[str]:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        keys = sorted(old.keys() | new.keys())
        return [d for k in keys for d in _differences(old.get(k), new.get(k), f"{path}.{k}" if path else str(k))]
    return [] if old == new else [f"{path} was {old!r}, now {new!r}"]


def _file_hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _remove_old(directory: Path, keep: int) -> None:
    for path in sorted(directory.glob("step-*"), reverse=True)[keep:]:
        shutil.rmtree(path, ignore_errors=True)
    for path in directory.glob(".writing-*"):
        shutil.rmtree(path, ignore_errors=True)
