"""The compiled loops of the Bloom filter. Importing this imports numba; import it inside functions.

A key has as many bits as the filter has hashes: the outputs of the splitmix64 generator (Steele et al. 2014) that
starts at the key and the seed. Unlike double hashing, which draws all bits from two numbers, this needs no correction
for small filters (Kirsch and Mitzenmacher 2006, section 5).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from glasshouse.data.signals.kernels import compiled, mixed

_STEP = np.uint64(0x9E3779B97F4A7C15)
_SIX, _LOW = np.uint64(6), np.uint64(63)


@compiled
def add(words: Any, bits: Any, hashes: int, seed: Any, keys: Any, found: Any) -> int:
    """Adds keys in order; `found[i]` becomes whether key `i` seemed to be in already. Returns how many did not."""
    new = 0
    for i in range(len(keys)):
        state = mixed(keys[i] ^ seed)
        known = True
        for _ in range(hashes):
            state += _STEP
            bit = mixed(state) % bits
            word, one = np.int64(bit >> _SIX), np.uint64(1) << (bit & _LOW)
            if not words[word] & one:
                known = False
                words[word] |= one
        found[i] = known
        new += not known
    return new


@compiled
def contains(words: Any, bits: Any, hashes: int, seed: Any, keys: Any, found: Any) -> None:
    """`found[i]` becomes whether key `i` seems to be in."""
    for i in range(len(keys)):
        state = mixed(keys[i] ^ seed)
        known = True
        for _ in range(hashes):
            state += _STEP
            bit = mixed(state) % bits
            if not words[np.int64(bit >> _SIX)] & (np.uint64(1) << (bit & _LOW)):
                known = False
                break
        found[i] = known
