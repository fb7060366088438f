"""What the trainer asks of data: rows by number, their names, and a fingerprint."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from glasshouse.training.objective import Batch
from glasshouse.training.shards import tensors_hash


class DataError(ValueError):
    """The data cannot be trained on: empty, inconsistent, or out of the model's range."""


@runtime_checkable
class TrainingData(Protocol):
    """Rows that can be fetched by number, in any order and from a background thread."""

    @property
    def rows(self) -> int:
        """How many rows there are."""

    @property
    def fingerprint(self) -> str:
        """Changes whenever the content does."""

    def batch(self, indices: NDArray[np.int64]) -> Batch:
        """The rows, collated, in host memory."""

    def describe(self, indices: NDArray[np.int64]) -> Sequence[str]:
        """Names of the documents these rows come from, for error messages and provenance."""


@dataclasses.dataclass(frozen=True)
class TensorRows:
    """Tensors in memory whose first dimension is the row."""

    tensors: Mapping[str, Tensor]
    names: Sequence[str] | None = None

    def __post_init__(self) -> None:
        lengths = {name: len(tensor) for name, tensor in self.tensors.items()}
        if len(set(lengths.values())) != 1 or not next(iter(lengths.values())):
            raise DataError(f"the tensors need one common, non-zero number of rows, got {lengths}")
        if self.names is not None and len(self.names) != self.rows:
            raise DataError(f"{len(self.names)} names were given for {self.rows} rows")

    @property
    def rows(self) -> int:
        return len(next(iter(self.tensors.values())))

    @property
    def fingerprint(self) -> str:
        return tensors_hash(sorted(self.tensors.items()))

    def batch(self, indices: NDArray[np.int64]) -> dict[str, Tensor]:
        chosen = torch.from_numpy(indices)
        return {name: tensor[chosen] for name, tensor in self.tensors.items()}

    def describe(self, indices: NDArray[np.int64]) -> list[str]:
        return [self.names[row] if self.names is not None else f"row {row}" for row in indices.tolist()]


def move(batch: Batch, device: torch.device) -> Batch:
    """The batch with its tensors on `device`; copies from pinned memory do not wait."""
    return _each(batch, lambda tensor: tensor.to(device, non_blocking=True))


def pin(batch: Batch) -> Batch:
    """The batch in page-locked memory, so that copies to a GPU overlap with computation."""
    return _each(batch, lambda tensor: tensor.pin_memory())


def _each(batch: Batch, change: Any) -> Batch:
    if isinstance(batch, Tensor):
        return change(batch)
    if isinstance(batch, Mapping):
        return {name: _each(item, change) for name, item in batch.items()}
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):
        return type(batch)(*(_each(item, change) for item in batch))
    if isinstance(batch, tuple | list):
        return type(batch)(_each(item, change) for item in batch)
    if dataclasses.is_dataclass(batch) and not isinstance(batch, type):
        changed = {f.name: _each(getattr(batch, f.name), change) for f in dataclasses.fields(batch) if f.init}
        return dataclasses.replace(batch, **changed)
    return batch
