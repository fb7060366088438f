"""Checkpoints in safetensors that are whole or not there, and a run's identity that resuming is held to.

A checkpoint is a directory `step-00001000` with `learns.safetensors`, `carries.safetensors`, `optimizer.safetensors`
and `state.json`. It is written under another name, synced and renamed; `state.json` holds the hash of every file, and
one that does not match is never picked. Nothing here can execute code when it is read.
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
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from glasshouse.store.files import synchronise
from glasshouse.training.configuration import FREE_TO_CHANGE

_log = logging.getLogger(__name__)
_SEPARATOR = "|"


class CheckpointError(RuntimeError):
    """A checkpoint could not be written or does not fit the modules."""


class ResumeRefusedError(RuntimeError):
    """The run in this directory was made with other data, another seed, configuration or teacher."""


@dataclass(frozen=True)
class Checkpoint:
    """A complete checkpoint on disk; `state` is its `state.json`."""

    path: Path
    state: Mapping[str, Any]

    @property
    def step(self) -> int:
        return int(self.state["step"])


def weights_hash(*modules: nn.Module) -> str:
    """sha256 (hex) over the names, types, shapes and bytes of every tensor of the modules' state."""
    digest = hashlib.sha256()
    for index, module in enumerate(modules):
        for name, tensor in sorted(_tensors(module).items()):
            digest.update(f"{index}.{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
            digest.update(_bytes(tensor))
    return digest.hexdigest()


def _bytes(tensor: Tensor) -> memoryview:
    return tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data


def _tensors(module: nn.Module) -> dict[str, Tensor]:
    state = module.state_dict()
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
    seen: set[tuple[int, torch.Size]] = set()
    kept = {}
    for name, tensor in named:
        place = (tensor.data_ptr(), tensor.shape)
        if tensor.numel() and place in seen:
            continue
        seen.add(place)
        kept[name] = tensor.detach().contiguous()
    return kept


def _fill(modules: Mapping[str, nn.Module], stored: Mapping[str, Tensor], origin: Path) -> None:
    wanted = _distinct(_named(modules))
    if wanted.keys() != stored.keys():
        missing, extra = sorted(wanted.keys() - stored.keys()), sorted(stored.keys() - wanted.keys())
        raise CheckpointError(f"{origin} does not fit the modules: missing {missing[:5]}, unexpected {extra[:5]}")
    live = dict(_named(modules))
    with torch.no_grad():
        for name, tensor in stored.items():
            if tensor.shape != live[name].shape or tensor.dtype != live[name].dtype:
                raise CheckpointError(
                    f"{name} in {origin} is {tensor.dtype} {tuple(tensor.shape)}, "
                    f"the module has {live[name].dtype} {tuple(live[name].shape)}"
                )
            live[name].copy_(tensor)


def _optimizer_tensors(
    optimizers: Iterable[torch.optim.Optimizer], parameters: Mapping[str, nn.Parameter]
) -> dict[str, Tensor]:
    names = {id(parameter): name for name, parameter in parameters.items()}
    return {
        f"{names[id(parameter)]}{_SEPARATOR}{key}": value.detach().contiguous()
        for optimizer in optimizers
        for parameter, state in optimizer.state.items()
        for key, value in state.items()
    }


def _fill_optimizers(
    optimizers: Iterable[torch.optim.Optimizer], parameters: Mapping[str, nn.Parameter], stored: Mapping[str, Tensor]
) -> None:
    owners = {id(p): optimizer for optimizer in optimizers for g in optimizer.param_groups for p in g["params"]}
    for optimizer in owners.values():
        optimizer.state.clear()
    for full, tensor in stored.items():
        name, _, key = full.rpartition(_SEPARATOR)
        if name not in parameters:
            raise CheckpointError(f"the optimiser state of {name} belongs to no parameter that learns")
        parameter = parameters[name]
        owners[id(parameter)].state[parameter][key] = tensor.to(parameter.device)


def save_checkpoint(
    directory: Path,
    *,
    state: Mapping[str, Any],
    learns: Mapping[str, nn.Module],
    carries: Mapping[str, nn.Module],
    optimizers: Iterable[torch.optim.Optimizer],
    parameters: Mapping[str, nn.Parameter],
    keep: int,
) -> Checkpoint:
    """Write the checkpoint of `state["step"]` into `directory` and remove all but the last `keep`.

    Raises `CheckpointError` when it cannot be written (full disk); earlier checkpoints are then untouched.
    """
    step = int(state["step"])
    final = directory / f"step-{step:08d}"
    temporary = directory / f".writing-{final.name}-{os.getpid()}"
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        save_file(_distinct(_named(learns)), temporary / "learns.safetensors")
        save_file(_distinct(_named(carries)), temporary / "carries.safetensors")
        save_file(_optimizer_tensors(optimizers, parameters), temporary / "optimizer.safetensors")
        files = {path.name: _file_hash(path) for path in sorted(temporary.iterdir())}
        complete = {**state, "files": files}
        (temporary / "state.json").write_text(json.dumps(complete, indent=1, sort_keys=True) + "\n")
        for path in temporary.iterdir():
            synchronise(path)
        synchronise(temporary)
        if final.exists():
            shutil.rmtree(final)
        temporary.rename(final)
        synchronise(directory)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(temporary, ignore_errors=True)
        previous = latest_checkpoint(directory)
        kept = f"the checkpoint of step {previous.step} is intact" if previous else "there is no earlier checkpoint"
        raise CheckpointError(
            f"the checkpoint of step {step} could not be written to {directory}: {error}; {kept}. "
            "Free some space or permissions, then start the run again: it resumes from there"
        ) from error
    _remove_old(directory, keep)
    return Checkpoint(final, complete)


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


def load_checkpoint(
    checkpoint: Checkpoint,
    *,
    learns: Mapping[str, nn.Module],
    carries: Mapping[str, nn.Module],
    optimizers: Iterable[torch.optim.Optimizer] = (),
    parameters: Mapping[str, nn.Parameter] | None = None,
) -> None:
    """Copy a checkpoint into live modules and, when given, optimisers. Raises `CheckpointError` if they differ."""
    for name, modules in (("learns", learns), ("carries", carries)):
        path = checkpoint.path / f"{name}.safetensors"
        _fill(modules, load_file(path), path)
    if parameters is not None:
        _fill_optimizers(list(optimizers), parameters, load_file(checkpoint.path / "optimizer.safetensors"))


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
