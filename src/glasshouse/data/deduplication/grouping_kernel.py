"""The compiled loops of the global step: first occurrences in a hash table, and union-find.

Importing this imports numba; import it inside functions.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from glasshouse.data.signals.kernels import compiled, mixed


@compiled
def first_equal(low: Any, high: Any, slots: Any, first: Any) -> None:
    """`first[i]` becomes the smallest row with the same 128-bit key (`low`, `high`).

    Args:
        slots: int64, a power of two of at least twice as many places as rows, all -1.
    """
    mask = np.uint64(len(slots) - 1)
    for row in range(len(low)):
        slot = np.int64(mixed(low[row]) & mask)
        first[row] = row
        while slots[slot] >= 0:
            other = slots[slot]
            if low[other] == low[row] and high[other] == high[row]:
                first[row] = other
                break
            slot = np.int64((np.uint64(slot) + np.uint64(1)) & mask)
        if first[row] == row:
            slots[slot] = row


@compiled
def seen_before(keys: Any, table: Any, seen: Any) -> None:
    """`seen[i]` becomes whether an earlier key is equal to key `i`.

    Args:
        table: uint64, a power of two of at least twice as many places as keys, all 0.
    """
    mask = np.uint64(len(table) - 1)
    zero = False  # 0 marks an empty place, so the key 0 is remembered on its own
    for row in range(len(keys)):
        key = keys[row]
        if key == np.uint64(0):
            seen[row] = zero
            zero = True
            continue
        slot = np.int64(mixed(key) & mask)
        while table[slot] != np.uint64(0) and table[slot] != key:
            slot = np.int64((np.uint64(slot) + np.uint64(1)) & mask)
        seen[row] = table[slot] == key
        table[slot] = key


@compiled
def _root(parents: Any, row: int) -> int:
    while parents[row] != row:
        parents[row] = parents[parents[row]]
        row = parents[row]
    return row


@compiled
def join(parents: Any, rows: Any, others: Any) -> None:
    """Puts `rows[i]` and `others[i]` into one group. A root is always the smallest row of its group."""
    for i in range(len(rows)):
        one, other = _root(parents, rows[i]), _root(parents, others[i])
        if one < other:
            parents[other] = one
        else:
            parents[one] = other


@compiled
def flatten(parents: Any) -> None:
    """Every row's parent becomes the root of its group."""
    for row in range(len(parents)):
        # Parents are smaller than their children, so they are flat already.
        parents[row] = parents[parents[row]]
