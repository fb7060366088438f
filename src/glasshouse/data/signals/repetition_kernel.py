"""Periodic sequences of token ids. Importing this imports numba; import it inside functions."""

from __future__ import annotations

from typing import Any

from glasshouse.data.signals.kernels import compiled


@compiled
def periodic_sequences(ids: Any, least_period: Any, most_period: Any, found: Any) -> int:
    """Maximal runs in which ids repeat with a period, three times or more: rows (first, end, times).

    Equal to Dolma's `find_periodic_sequences`: a run [a, b) of places with ids[i] = ids[i - period] of length 2 periods
    or more means that [a - period, b) repeats (b - a + period) // period times.

    Args:
        found: `[room, 3]`. Returns the number of runs, which may be more than `room`.
    """
    size, count = len(ids), 0
    for period in range(least_period, min(most_period, size // 3) + 1):
        start = period
        for place in range(period, size + 1):
            if place < size and ids[place] == ids[place - period]:
                continue
            if place - start >= 2 * period:
                if count < len(found):
                    found[count, 0], found[count, 1] = start - period, place
                    found[count, 2] = (place - start + period) // period
                count += 1
            start = place + 1
    return count
