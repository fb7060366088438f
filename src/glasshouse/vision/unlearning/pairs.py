"""Training data of unlearning: as many images to forget as to retain in every batch."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from glasshouse.training.data import DataError
from glasshouse.training.shards import tensors_hash


@dataclasses.dataclass(frozen=True)
class PairedImages:
    """Rows of one image to retain and one to forget; the smaller set comes round as often as it takes.

    Attributes:
        images: all images; `retain` and `forget` are places among them.
    """

    images: Float[Tensor, "images channels height width"]
    retain: Int[Tensor, " retained"]
    forget: Int[Tensor, " forgotten"]

    def __post_init__(self) -> None:
        if not len(self.retain) or not len(self.forget):
            raise DataError(
                f"{len(self.retain)} images to retain and {len(self.forget)} to forget: both need one or more"
            )

    @property
    def rows(self) -> int:
        return max(len(self.retain), len(self.forget))

    @property
    def fingerprint(self) -> str:
        parts = {"retain": self.images[self.retain], "forget": self.images[self.forget]}
        return tensors_hash(sorted(parts.items()))

    def batch(self, indices: NDArray[np.int64]) -> dict[str, Any]:
        rows = torch.from_numpy(indices)
        return {name: self.images[places[rows % len(places)]] for name, places in self._sets()}

    def describe(self, indices: NDArray[np.int64]) -> list[str]:
        return [" and ".join(f"{name} {int(p[row % len(p)])}" for name, p in self._sets()) for row in indices.tolist()]

    def _sets(self) -> tuple[tuple[str, Tensor], ...]:
        return ("retain", self.retain), ("forget", self.forget)
