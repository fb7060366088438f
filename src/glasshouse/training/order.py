"""The order of data as pure functions: step -> rows and row -> steps, without an index file.

`KeyedOrder` permutes [0, n) with a Feistel network over Z_a x Z_b, a*b >= n (Black & Rogaway, "Ciphers with arbitrary
finite domains", CT-RSA 2002, the FE1 form: modular addition, alternating moduli), walking the cycle until the value
falls inside [0, n). With a = ceil(sqrt n) and b = ceil(n / a) fewer than a values lie outside, so the walk is almost
never needed. It is a shuffle, not a cipher; both directions cost O(1) per row.

`OlmoOrder` is the shuffle of OLMo (arXiv 2402.00838): PCG64(seed + epoch) over a uint32 range. It is identical to
OLMo's inside an epoch. Deviation for both: the stream is continuous, so a batch may straddle two epochs and nothing is
dropped, where OLMo drops the rows of an epoch that do not fill a batch.

Positions count rows since the start of the run. Rank r of W takes every W-th position of a step's range, as OLMo does,
so the order depends neither on the number of workers nor on how far they read ahead.
"""

from __future__ import annotations

import bisect
import hashlib
import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from glasshouse.store.configuration import named_seed

Rows = NDArray[np.int64]
ROUNDS = 8
FEW = 4


class Permutation(Protocol):
    """A shuffle of [0, rows) for every epoch, in both directions."""

    @property
    def rows(self) -> int: ...

    @property
    def key(self) -> str:
        """Names the shuffle completely, together with the number of rows."""

    def row_at(self, epoch: int, offsets: Rows) -> Rows:
        """Rows at these places of an epoch."""

    def offset_of(self, epoch: int, rows: Rows) -> Rows:
        """Places of these rows in an epoch."""


@dataclass(frozen=True)
class KeyedOrder:
    """An epoch-wise keyed permutation of [0, rows); the whole state is a 16-byte key derived from the seed."""

    rows: int
    seed: int

    def __post_init__(self) -> None:
        _check_rows(self.rows, 2**62)

    @cached_property
    def key(self) -> str:
        secret = hashlib.sha256(f"glasshouse order {named_seed(self.seed, 'order')}".encode()).digest()[:16]
        return "keyed:" + secret.hex()

    @cached_property
    def _sides(self) -> tuple[np.uint64, np.uint64]:
        a = math.isqrt(self.rows - 1) + 1
        return np.uint64(a), np.uint64(-(-self.rows // a))

    def row_at(self, epoch: int, offsets: Rows) -> Rows:
        return self._walk(epoch, offsets, inverse=False)

    def offset_of(self, epoch: int, rows: Rows) -> Rows:
        return self._walk(epoch, rows, inverse=True)

    def _walk(self, epoch: int, values: Rows, *, inverse: bool) -> Rows:
        values = np.atleast_1d(np.asarray(values, dtype=np.int64))
        if values.size and (values.min() < 0 or values.max() >= self.rows):
            raise IndexError(f"values must lie in [0, {self.rows}), got {values.min()} to {values.max()}")
        keys = _round_keys(self.key, epoch)
        if len(values) <= FEW:
            return np.array([self._walk_one(value, keys, inverse) for value in values.tolist()], dtype=np.int64)
        found = self._feistel(values.astype(np.uint64), keys, inverse)
        outside = np.flatnonzero(found >= self.rows)
        while outside.size:
            found[outside] = self._feistel(found[outside], keys, inverse)
            outside = outside[found[outside] >= self.rows]
        return found.astype(np.int64)

    def _walk_one(self, value: int, keys: tuple[np.uint64, ...], inverse: bool) -> int:
        """The same in Python's integers: for a few values eight rounds of NumPy calls take ten times as long."""
        a, b = map(int, self._sides)
        while True:
            left, right = value % a, value // a
            for index in reversed(range(ROUNDS)) if inverse else range(ROUNDS):
                if index % 2 == 0:
                    by = _mix_one(right ^ int(keys[index])) % a
                    left = (left - by if inverse else left + by) % a
                else:
                    by = _mix_one(left ^ int(keys[index])) % b
                    right = (right - by if inverse else right + by) % b
            value = left + a * right
            if value < self.rows:
                return value

    def _feistel(self, values: NDArray[np.uint64], keys: tuple[np.uint64, ...], inverse: bool) -> NDArray[np.uint64]:
        a, b = self._sides
        left, right = values % a, values // a
        for index in reversed(range(ROUNDS)) if inverse else range(ROUNDS):
            if index % 2 == 0:
                left = _shift(left, _mix(right ^ keys[index]) % a, a, inverse)
            else:
                right = _shift(right, _mix(left ^ keys[index]) % b, b, inverse)
        result: NDArray[np.uint64] = left + a * right
        return result


@dataclass(frozen=True)
class OlmoOrder:
    """OLMo's shuffle; keeps the last few epochs in memory (4 bytes a row, 8 for the inverse)."""

    rows: int
    seed: int = 6198

    def __post_init__(self) -> None:
        _check_rows(self.rows, 2**32)

    @property
    def key(self) -> str:
        return f"olmo:{self.seed}"

    def epoch(self, epoch: int) -> NDArray[np.uint32]:
        """All row numbers of an epoch in order, as OLMo's `global_indices.npy` has them."""
        return _olmo_epoch(self.rows, self.seed + epoch)

    def row_at(self, epoch: int, offsets: Rows) -> Rows:
        return self.epoch(epoch)[np.atleast_1d(offsets)].astype(np.int64)

    def offset_of(self, epoch: int, rows: Rows) -> Rows:
        return _olmo_inverse(self.rows, self.seed + epoch)[np.atleast_1d(rows)]


@dataclass(frozen=True)
class BatchPlan:
    """Which positions a step consumes: stages of (first step, rows per step), so that a batch size can grow."""

    stages: tuple[tuple[int, int], ...]

    def __post_init__(self) -> None:
        firsts = [first for first, _ in self.stages]
        if not firsts or firsts[0] != 1 or firsts != sorted(set(firsts)) or any(size < 1 for _, size in self.stages):
            raise ValueError(f"stages are (first step, rows) from step 1 on with rising steps, got {self.stages}")

    @classmethod
    def constant(cls, size: int) -> BatchPlan:
        return cls(((1, size),))

    @classmethod
    def recorded(cls, stages: Iterable[Iterable[int]]) -> BatchPlan:
        """As an identity holds them."""
        return cls(tuple((int(first), int(size)) for first, size in stages))

    def since(self, first: int) -> BatchPlan:
        """The same batches with update `first` as update 1 and its first row as row 0."""
        later = [(step - first + 1, size) for step, size in self.stages if step > first]
        return BatchPlan(((1, len(self.positions(first))), *later))

    @cached_property
    def _starts(self) -> list[int]:
        starts = [0]
        for (first, size), (following, _) in zip(self.stages, self.stages[1:], strict=False):
            starts.append(starts[-1] + (following - first) * size)
        return starts

    def positions(self, step: int) -> range:
        """Positions consumed by update `step` (counted from 1)."""
        if step < 1:
            raise IndexError(f"steps count from 1, got {step}")
        stage = bisect.bisect_right(self.stages, step, key=lambda item: item[0]) - 1
        first, size = self.stages[stage]
        start = self._starts[stage] + (step - first) * size
        return range(start, start + size)

    def seen(self, step: int) -> int:
        """Rows consumed once update `step` is done; 0 before the first."""
        return self.positions(step).stop if step > 0 else 0

    def step_at(self, position: int) -> int:
        """The update that consumes `position`."""
        stage = bisect.bisect_right(self._starts, position) - 1
        first, size = self.stages[stage]
        return first + (position - self._starts[stage]) // size


@dataclass(frozen=True)
class Visit:
    """One time that a row is seen: by which update, in which epoch, at which place of the step's global batch."""

    step: int
    epoch: int
    place: int

    def rank(self, world: int) -> int:
        """The rank that sees it when `world` ranks share the batch."""
        return self.place % world


@dataclass(frozen=True)
class DataOrder:
    """What the model sees at each step: a permutation per epoch and the positions per step."""

    permutation: Permutation
    plan: BatchPlan

    @property
    def identity(self) -> dict[str, Any]:
        return {
            "order": self.permutation.key,
            "rows": self.permutation.rows,
            "batches": [list(stage) for stage in self.plan.stages],
        }

    def rows_at_step(self, step: int, rank: int = 0, world: int = 1) -> Rows:
        """Rows that `rank` of `world` sees at update `step` (counted from 1), in the order of its batch."""
        if not 0 <= rank < world:
            raise IndexError(f"rank must lie in [0, {world}), got {rank}")
        span = self.plan.positions(step)
        positions = np.arange(span.start + rank, span.stop, world, dtype=np.int64)
        epochs, offsets = np.divmod(positions, self.permutation.rows)
        rows = np.empty_like(positions)
        for epoch in np.unique(epochs).tolist():
            here = epochs == epoch
            rows[here] = self.permutation.row_at(epoch, offsets[here])
        return rows

    def visits_at_step(self, step: int, rank: int = 0, world: int = 1) -> list[tuple[int, Visit]]:
        """The same with the epoch and the place of each row."""
        first, rows = self.plan.positions(step).start, self.rows_at_step(step, rank, world).tolist()
        places = (rank + index * world for index in range(len(rows)))
        return [
            (row, Visit(step, (first + p) // self.permutation.rows, p)) for row, p in zip(rows, places, strict=True)
        ]

    def visits_of_row(self, row: int, last_step: int) -> list[Visit]:
        """Every time that `row` is seen up to and including update `last_step`; one lookup per epoch."""
        end = self.plan.seen(last_step)
        visits = []
        for epoch in range(-(-end // self.permutation.rows)):
            offset = int(self.permutation.offset_of(epoch, np.array([row]))[0])
            position = epoch * self.permutation.rows + offset
            if position < end:
                step = self.plan.step_at(position)
                visits.append(Visit(step, epoch, position - self.plan.positions(step).start))
        return visits

    def steps_of_row(self, row: int, last_step: int) -> list[int]:
        """The updates up to `last_step` that see `row`, ascending (one twice if a batch holds the row twice)."""
        return [visit.step for visit in self.visits_of_row(row, last_step)]


def _check_rows(rows: int, limit: int) -> None:
    if not 1 <= rows <= limit:
        raise ValueError(f"an order needs between 1 and {limit} rows, got {rows}")


@lru_cache(maxsize=64)
def _round_keys(key: str, epoch: int) -> tuple[np.uint64, ...]:
    digest = hashlib.sha512(f"{key} epoch {epoch}".encode()).digest()
    return tuple(np.uint64(int.from_bytes(digest[8 * i : 8 * i + 8], "big")) for i in range(ROUNDS))


def _mix(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finaliser of SplitMix64 (Steele, Lea & Flood, OOPSLA 2014); arithmetic modulo 2^64."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def _mix_one(x: int) -> int:
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 & 0xFFFFFFFFFFFFFFFF
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB & 0xFFFFFFFFFFFFFFFF
    return x ^ (x >> 31)


def _shift(x: NDArray[np.uint64], by: NDArray[np.uint64], modulus: np.uint64, inverse: bool) -> NDArray[np.uint64]:
    shifted: NDArray[np.uint64] = (x + (modulus - by if inverse else by)) % modulus
    return shifted


@lru_cache(maxsize=3)
def _olmo_epoch(rows: int, seed: int) -> NDArray[np.uint32]:
    indices = np.arange(rows, dtype=np.uint32)
    np.random.Generator(np.random.PCG64(seed)).shuffle(indices)
    return indices


@lru_cache(maxsize=3)
def _olmo_inverse(rows: int, seed: int) -> NDArray[np.int64]:
    inverse = np.empty(rows, dtype=np.int64)
    inverse[_olmo_epoch(rows, seed)] = np.arange(rows, dtype=np.int64)
    return inverse
