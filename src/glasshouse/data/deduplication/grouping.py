"""The global step: which keys are equal, over hash partitions, and the groups that equal keys join.

Keys are divided by their top bits, every part is looked at on its own (on any worker), and what comes back are row
numbers, so the result depends neither on the number of parts nor on the workers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from glasshouse.data.deduplication.keys import NO_KEY, Column, Keys
from glasshouse.data.executor import Executor, Threads

Rows = npt.NDArray[np.int64]

PART_KEYS = 1 << 22
"""Keys of a part, about, when the number of parts is not given: a hash table of 64 MiB."""

Task = tuple[Column, Column]


def whole_keys(keys: Keys | npt.NDArray[np.uint64]) -> Keys:
    """`keys`, also from one plain array `[rows, width]`."""
    return Keys([keys]) if isinstance(keys, np.ndarray) else keys


def first_rows(columns: Sequence[Column], executor: Executor | None = None, partitions: int | None = None) -> Rows:
    """For every row the smallest row with the same key; a row whose key is `NO_KEY` everywhere is its own.

    Args:
        columns: one or two columns of the keys; the first one's top bits divide the rows.
        executor: where the parts are looked at; the caller's thread by default.
        partitions: number of parts, a power of two; by default as many as keep a part near `PART_KEYS`.
    """
    keepers = np.arange(len(columns[0]), dtype=np.int64)
    for rows, first in equal_rows([columns], executor, partitions):
        keepers[rows] = first
    return keepers


def groups(keys: Keys, executor: Executor | None = None, partitions: int | None = None) -> Rows:
    """For every row the smallest row of its group: rows that share a key in some column are in one group."""
    from glasshouse.data.deduplication import grouping_kernel as kernel

    parents = np.arange(len(keys), dtype=np.int64)
    columns = ([keys.column(number)] for number in range(keys.width))
    for rows, first in equal_rows(columns, executor, partitions):
        kernel.join(parents, rows, first)
    kernel.flatten(parents)
    return parents


def equal_rows(
    keys: Iterable[Sequence[Column]], executor: Executor | None, partitions: int | None
) -> Iterator[tuple[Rows, Rows]]:
    """Pairs of (row, first row with the same key) of all rows that are not the first, part by part of every key."""
    places: list[Rows] = []  # rows of the parts under way, oldest first

    def tasks() -> Iterator[Task]:
        for columns in keys:
            for rows in parts(columns, partitions):
                places.append(rows)
                yield columns[0][rows], columns[-1][rows]

    for later, first in (executor or Threads()).map(_equal_in_part, tasks()):
        rows = places.pop(0)
        yield rows[later], rows[first]


def parts(columns: Sequence[Column], partitions: int | None) -> Iterator[Rows]:
    """Rows of every part, in rising order; rows without a key are in none."""
    without = np.logical_and.reduce([column == NO_KEY for column in columns])
    count = partition_count(len(without), partitions)
    if count == 1:
        yield np.flatnonzero(~without)
        return
    which = columns[0] >> np.uint64(65 - count.bit_length())
    for part in range(count):
        yield np.flatnonzero((which == np.uint64(part)) & ~without)


def partition_count(keys: int, partitions: int | None) -> int:
    """Number of parts: a power of two. Raises `ValueError` when `partitions` is none."""
    if partitions is None:
        return 1 << max(0, (keys - 1) // PART_KEYS).bit_length()
    if partitions < 1 or partitions & (partitions - 1):
        raise ValueError(f"partitions must be a power of two (1, 2, 4, …), got {partitions}")
    return partitions


def room(keys: int) -> int:
    """Places of a hash table that is at most half full."""
    return 1 << max(4, (2 * keys - 1).bit_length())


def _equal_in_part(task: Task) -> tuple[Rows, Rows]:
    from glasshouse.data.deduplication import grouping_kernel as kernel

    low, high = task
    first = np.empty(len(low), np.int64)
    kernel.first_equal(low, high, np.full(room(len(low)), -1, np.int64), first)
    later = np.flatnonzero(first != np.arange(len(first)))
    return later, first[later]
