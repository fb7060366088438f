"""The state of an interaction between two epochs, in one safetensors file that is replaced as a whole."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from glasshouse.alignment.replay import ReplayBuffer
from glasshouse.data.writing import disk_errors_named


class SavedInteractionError(ValueError):
    """What was saved belongs to another run, or cannot be read."""


class Stateful(Protocol):
    """What is saved beside the buffer."""

    @property
    def state(self) -> Mapping[str, Tensor]: ...

    def restore(self, state: Mapping[str, Tensor]) -> None: ...


class Saved:
    """The file of one run; `identity` says which run it is."""

    def __init__(self, path: Path, identity: Mapping[str, Any]) -> None:
        self.path, self.identity = path, json.dumps(identity, sort_keys=True)

    @property
    def exists(self) -> bool:
        """Whether there is something to go on from."""
        return self.path.exists()

    def save(self, agent: Stateful, buffer: ReplayBuffer, rates: list[float]) -> None:
        """Replace what was saved; a kill in between leaves the old or the new file."""
        tensors = {f"agent.{name}": tensor for name, tensor in agent.state.items()}
        tensors |= {f"buffer.{name}": tensor for name, tensor in buffer.state_dict().items()}
        tensors["win_rate"] = torch.tensor(rates, dtype=torch.float64)
        written = self.path.with_name(f".writing-{self.path.name}-{os.getpid()}")
        with disk_errors_named(self.path):
            save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, written, {"run": self.identity})
            written.rename(self.path)

    def load(self, agent: Stateful, buffer: ReplayBuffer) -> list[float]:
        """Put agent and buffer back; returns the win rates so far. Raises `SavedInteractionError`."""
        try:
            with safe_open(self.path, framework="pt") as file:
                kept = (file.metadata() or {}).get("run")
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
        except SafetensorError as error:
            raise SavedInteractionError(f"{self.path} cannot be read ({error}); remove it to start anew") from None
        if kept != self.identity:
            raise SavedInteractionError(
                f"{self.path} belongs to another run: {kept}, and not {self.identity}. Use another directory"
            )
        agent.restore(_part(tensors, "agent."))
        buffer.load_state_dict(_part(tensors, "buffer."))
        rates: list[float] = tensors["win_rate"].tolist()
        return rates


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
