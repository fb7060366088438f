"""Near duplicates by MinHash (Broder 1997) with locality-sensitive hashing.

14 bands of 8 rows over word 5-grams by default, the published settings of FineWeb (arXiv 2406.17557, E.1): two
documents of Jaccard similarity s meet in some band with probability 1 - (1 - s^8)^14. Groups are the connected
components of meeting documents (union-find); the keeper of a group is its smallest (shard, row).

Deviation from the usual storage: a document's keys are one 64-bit hash per band (112 bytes) in place of its signature
(448 bytes). Two different bands get the same hash with probability 2^-64.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field

from glasshouse.data.deduplication.grouping import Rows, groups, whole_keys
from glasshouse.data.deduplication.keys import Keys
from glasshouse.data.document import text_buffers
from glasshouse.data.executor import Executor
from glasshouse.store.configuration import Config, named_seed


class MinHash(Config):
    """Near duplicates: `bands * rows` permutations over word `shingle`-grams, lower-cased (ASCII).

    Words are runs without Unicode white space. A document without words is nobody's duplicate.
    """

    name: Literal["minhash"] = "minhash"
    bands: int = Field(default=14, ge=1, le=256)
    rows: int = Field(default=8, ge=1, le=64)
    shingle: int = Field(default=5, ge=1, le=32)
    seed: int = 0

    @property
    def width(self) -> int:
        return self.bands

    def signature(self, batch: pa.RecordBatch) -> npt.NDArray[np.uint32]:
        """`[rows, permutations]`: the share of equal values of two documents estimates their Jaccard similarity."""
        return self._signatures(batch)[0]

    def sign(self, batch: pa.RecordBatch) -> npt.NDArray[np.uint64]:
        """`[rows, bands]`: one hash per band of the signature."""
        from glasshouse.data.deduplication import minhash_kernel as kernel

        values, worded = self._signatures(batch)
        keys = np.empty((batch.num_rows, self.bands), np.uint64)
        kernel.band_keys(values, worded, self.rows, keys)
        return keys

    def keepers(
        self, keys: Keys | npt.NDArray[np.uint64], executor: Executor | None = None, partitions: int | None = None
    ) -> Rows:
        """For every row the smallest row of its group; `partitions` (a power of two) changes only memory."""
        return groups(whole_keys(keys), executor, partitions)

    def _signatures(self, batch: pa.RecordBatch) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.bool_]]:
        from glasshouse.data.deduplication import minhash_kernel as kernel
        from glasshouse.data.signals.kernels import character_classes

        offsets, data = text_buffers(batch)
        random = np.random.Generator(np.random.PCG64(named_seed(self.seed, "minhash permutations")))
        numbers = random.integers(0, 2**32, (2, self.bands * self.rows), dtype=np.uint32)
        values = np.empty((batch.num_rows, self.bands * self.rows), np.uint32)
        worded = np.empty(batch.num_rows, np.bool_)
        multipliers = numbers[0] | np.uint32(1)
        kernel.signatures(offsets, data, character_classes(), self.shingle, multipliers, numbers[1], values, worded)
        return values, worded


def minhash(bands: int = 14, rows: int = 8, shingle: int = 5, seed: int = 0) -> MinHash:
    """Remove near duplicates of earlier documents, from a similarity of about `(1 / bands) ** (1 / rows)` on."""
    return MinHash(bands=bands, rows=rows, shingle=shingle, seed=seed)
