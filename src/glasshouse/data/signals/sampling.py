"""A number for every document that is fixed by its id, to sample by.

Dolma's `random_number_v1` is seeded by process number, so that a second run samples other documents; this one is the
same in every run, on every machine, in any order.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pyarrow as pa

from glasshouse.data.document import document_hashes, strings
from glasshouse.data.signals.signal import Signal, measure
from glasshouse.store.configuration import Config


class Random(Config):
    """One signal, `random`, uniform in [0, 1)."""

    name: Literal["random"] = "random"
    seed: int = 0

    @property
    def signals(self) -> tuple[Signal, ...]:
        doc = "a number in [0, 1) fixed by the document's id (and the seed)"
        return (measure("random", "score", doc, "Dolma random_number_v1"),)

    def compute(self, batch: pa.RecordBatch) -> list[pa.Array[Any]]:
        hashes = document_hashes(strings(batch, "id"), self.seed, "random signal")
        return [pa.array((hashes >> np.uint64(11)).astype(np.float64) * 2.0**-53)]
