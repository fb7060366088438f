"""De-duplication: exact, and near duplicates by MinHash (Broder 1997) with locality-sensitive hashing.

Both work in two parts: a pure signature per document (one record batch in, one array out, in any order on any worker),
and one global step on arrays of signatures that names for every document its keeper: the member of its group with the
smallest (shard, row), so the result does not depend on the number of workers or their timing.

MinHash uses 14 bands of 8 rows over word 5-grams by default, the published settings of FineWeb (arXiv 2406.17557, E.1):
two documents of Jaccard similarity s meet in some band with probability 1 - (1 - s^8)^14. Groups are the connected
components of meeting documents (union-find).
"""

from __future__ import annotations

import hashlib
from typing import Any, Literal, Protocol, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field

from glasshouse.data.document import text_buffers
from glasshouse.store.configuration import Config, named_seed

Keepers = npt.NDArray[np.int64]


class Deduplicator(Protocol):
    """A way to find duplicates: `name` for reports, `sign` per batch, `keepers` over all documents."""

    @property
    def name(self) -> str: ...

    def sign(self, batch: pa.RecordBatch) -> npt.NDArray[Any]:
        """Signatures `[rows, width]` of a batch (pure)."""

    def keepers(self, signatures: npt.NDArray[Any]) -> Keepers:
        """For every row of `signatures` the smallest row of its group (itself when it is unique or the first)."""


class Exact(Config):
    """Documents with equal text, by 128 bits of BLAKE2b: for a billion documents a chance collision has p < 2e-21."""

    name: Literal["exact"] = "exact"

    @property
    def width(self) -> int:
        return 2

    def sign(self, batch: pa.RecordBatch) -> npt.NDArray[np.uint64]:
        offsets, data = text_buffers(batch)
        view = memoryview(cast(Any, data))
        digests = b"".join(
            hashlib.blake2b(view[start:end], digest_size=16).digest()
            for start, end in zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True)
        )
        return np.frombuffer(digests, "<u8").reshape(-1, 2).astype(np.uint64)

    def keepers(self, keys: Any, executor: Any = None) -> Keepers:
        signatures = keys if isinstance(keys, np.ndarray) else np.stack([keys.column(0), keys.column(1)], axis=1)
        return _first_of_equal(signatures)


class MinHash(Config):
    """Near duplicates: `bands * rows` permutations over word `shingle`-grams, lower-cased (ASCII)."""

    name: Literal["minhash"] = "minhash"
    bands: int = Field(default=14, ge=1, le=256)
    rows: int = Field(default=8, ge=1, le=64)
    shingle: int = Field(default=5, ge=1, le=32)
    seed: int = 0

    @property
    def width(self) -> int:
        return self.bands * self.rows // 2

    def sign(self, batch: pa.RecordBatch) -> npt.NDArray[Any]:
        from glasshouse.data.signals import kernels

        offsets, data = text_buffers(batch)
        multipliers, addends = self._permutations()
        signatures = np.empty((batch.num_rows, self.bands * self.rows), np.uint32)
        kernels.minhash_signatures(
            offsets, data, kernels.character_classes(), self.shingle, multipliers, addends, signatures
        )
        return signatures

    def keepers(self, keys: Any, executor: Any = None) -> Keepers:
        signatures = keys if isinstance(keys, np.ndarray) else np.stack(
            [keys.column(n) for n in range(keys.width)], axis=1).view(np.uint32)
        count = len(signatures)
        parents = np.arange(count, dtype=np.int64)
        # A document without a word keeps the largest value everywhere; two of those have nothing in common.
        worded = np.flatnonzero((signatures != np.uint32(0xFFFFFFFF)).any(axis=1)) if count else np.arange(0)
        for band in range(self.bands):
            part = np.ascontiguousarray(signatures[worded, band * self.rows : (band + 1) * self.rows])
            first = _first_of_equal(part)
            for row in np.flatnonzero(first != np.arange(len(first))):
                _join(parents, int(worded[row]), int(worded[first[row]]))
        return np.array([_root(parents, row) for row in range(count)], dtype=np.int64)

    def _permutations(self) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64]]:
        random = np.random.Generator(np.random.PCG64(named_seed(self.seed, "minhash permutations")))
        numbers = random.integers(0, 2**64, (2, self.bands * self.rows), dtype=np.uint64)
        return numbers[0] | np.uint64(1), numbers[1]


def method(name: str) -> Any:
    """A method with its default settings, by name."""
    return {"exact": exact, "minhash": minhash}[name]()


def exact() -> Exact:
    """Remove documents whose text is equal to an earlier one's, byte for byte."""
    return Exact()


def minhash(bands: int = 14, rows: int = 8, shingle: int = 5, seed: int = 0) -> MinHash:
    """Remove near duplicates of earlier documents, from a similarity of about `(1 / bands) ** (1 / rows)` on."""
    return MinHash(bands=bands, rows=rows, shingle=shingle, seed=seed)


def _first_of_equal(rows: npt.NDArray[Any]) -> Keepers:
    """For every row the index of the first equal row."""
    if not len(rows):
        return np.zeros(0, np.int64)
    whole = np.ascontiguousarray(rows).view(np.dtype((np.void, rows.dtype.itemsize * rows.shape[1]))).reshape(-1)
    _, first, inverse = np.unique(whole, return_index=True, return_inverse=True)
    return first[inverse.reshape(-1)].astype(np.int64)


def _root(parents: Keepers, row: int) -> int:
    while parents[row] != row:
        parents[row] = parents[parents[row]]
        row = int(parents[row])
    return row


def _join(parents: Keepers, one: int, other: int) -> None:
    """The smaller root becomes the parent, so a root is always the smallest member of its group."""
    one, other = _root(parents, one), _root(parents, other)
    parents[max(one, other)] = min(one, other)
