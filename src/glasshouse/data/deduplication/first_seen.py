"""Which of many keys occurred before: exactly, with a hash table of 16 to 32 bytes per key."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from glasshouse.data.deduplication.grouping import partition_count, room
from glasshouse.data.deduplication.keys import Column
from glasshouse.data.executor import Executor, Threads


def seen_before(
    keys: Sequence[Column], executor: Executor | None = None, partitions: int | None = None
) -> npt.NDArray[np.bool_]:
    """For the keys of all shards one after the other: whether the same key is at an earlier place.

    Args:
        keys: 64-bit hashes, shard by shard.
        executor: where the parts are looked at; the caller's thread by default.
        partitions: number of parts by the top bits, a power of two; the result does not depend on it.
    """
    whole = np.concatenate(keys) if len(keys) else np.zeros(0, np.uint64)
    seen = np.zeros(len(whole), np.bool_)
    count = partition_count(len(whole), partitions)
    if count == 1:
        return _seen_in_part(whole)
    which = whole >> np.uint64(65 - count.bit_length())
    places: list[npt.NDArray[np.int64]] = []

    def tasks() -> Iterator[Column]:
        for part in range(count):
            places.append(np.flatnonzero(which == np.uint64(part)))
            yield whole[places[-1]]

    for found in (executor or Threads()).map(_seen_in_part, tasks()):
        seen[places.pop(0)] = found
    return seen


def _seen_in_part(keys: Column) -> npt.NDArray[np.bool_]:
    from glasshouse.data.deduplication import grouping_kernel as kernel

    seen = np.zeros(len(keys), np.bool_)
    kernel.seen_before(keys, np.zeros(room(len(keys)), np.uint64), seen)
    return seen
