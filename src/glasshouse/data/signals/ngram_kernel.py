"""Gopher's repetition of word n-grams (arXiv 2112.11446, table A1), exact by 64-bit hashes.

Importing this imports numba; import it inside functions.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from glasshouse.data.signals.kernels import GRAM, compiled, count_keys, mixed

TOP_2, DUPLICATE_5 = 0, 3
"""Places in the row: most common 2-, 3-, 4-gram, then duplicate 5- to 10-grams."""


@compiled
def ngrams(words: int, hashes: Any, lengths: Any, table: Any, counts: Any, slots: Any, row: Any) -> None:
    """Most common 2..4-grams and duplicate 5..10-grams, into the nine places of `row`.

    An n-gram can only repeat where its first n-1 words repeat, so positions that stopped repeating are dropped.
    """
    until = np.zeros(words + 1, np.int64)
    for i in range(words):
        until[i + 1] = until[i] + lengths[i]
    positions = np.arange(words)
    keys = hashes[:words].copy()
    active = words
    for order in range(2, 11):
        grams = words - order + 1
        if grams <= 0:
            return
        size = 0
        for j in range(active):
            position = positions[j]
            if position < grams:
                positions[size] = position
                keys[size] = mixed(keys[j] * GRAM + hashes[position + order - 1])
                size += 1
        count_keys(keys, size, table, counts, slots)
        best, best_at, repeated, active = 1, 0, 0, 0
        for j in range(size):
            count = counts[slots[j]]
            position = positions[j]
            if count > best:  # strictly: on a tie the n-gram seen first wins, as in Counter.most_common
                best, best_at = count, position
            if count > 1:
                repeated += until[position + order] - until[position]
                positions[active] = position
                keys[active] = keys[j]
                active += 1
        if order <= 4:
            row[TOP_2 + order - 2] = best * (until[best_at + order] - until[best_at]) / until[words]
        else:
            total = 0
            for position in range(grams):
                total += until[position + order] - until[position]
            row[DUPLICATE_5 + order - 5] = repeated / total
