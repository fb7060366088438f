"""Bloom filters (Bloom 1970): which keys were seen before, in a few bits per key, with a known rate of errors.

Sized by theory: for n keys and a false-positive rate e, m = -n ln e / (ln 2)^2 bits and k = (m / n) ln 2 hashes, as a
whole number. (Dolma doubles its filter from 1 MiB until it is large enough, up to twice what is needed, and draws its
seeds at random, so that no two runs make the same errors.) Here the seed is named and keys are added in the order of
(shard, row, place): the same input gives the same bits and the same errors.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from glasshouse.data.deduplication.keys import Column
from glasshouse.store.configuration import Config, named_seed


class BloomOverfullError(ValueError):
    """More keys than a filter was sized for: it would call far too many of them repeated."""


class BloomReadOnlyError(ValueError):
    """A key was to be added to a filter that was opened for looking up."""


class BloomFilter:
    """A set of 64-bit keys that never forgets one and sometimes takes a new one for known.

    Args:
        expected: different keys that it is sized for.
        false_positive_rate: wanted rate once `expected` keys are in, in (0, 1).
        seed: names the hashes.
    """

    def __init__(self, expected: int, false_positive_rate: float, seed: int = 0) -> None:
        if expected < 1 or not 0 < false_positive_rate < 1:
            raise ValueError(
                f"a Bloom filter needs expected >= 1 and 0 < false_positive_rate < 1, got {expected} and "
                f"{false_positive_rate}"
            )
        self.expected, self.false_positive_rate, self.seed = expected, false_positive_rate, seed
        self.bits, self.hashes = size_of(expected, false_positive_rate)
        self.words = np.zeros(self.bits // 64, np.uint64)
        self.inserted = 0
        self.read_only = False

    def add(self, keys: Column) -> npt.NDArray[np.bool_]:
        """Adds keys in order; returns for each whether it seemed to be in already.

        Raises:
            BloomReadOnlyError: the filter was opened for looking up.
            BloomOverfullError: by now the rate of errors is more than twice what was wanted.
        """
        from glasshouse.data.deduplication import bloom_kernel as kernel

        if self.read_only:
            raise BloomReadOnlyError("this Bloom filter was opened for looking up: load it with read_only=False to add")
        found = np.empty(len(keys), np.bool_)
        self.inserted += kernel.add(self.words, np.uint64(self.bits), self.hashes, self._hash_seed, keys, found)
        rate = rate_after(self.inserted, self.bits, self.hashes)
        if rate > 2 * self.false_positive_rate:
            raise BloomOverfullError(
                f"{self.inserted} different keys are in a Bloom filter sized for {self.expected}: its rate of errors "
                f"is {rate:.3g} in place of {self.false_positive_rate:.3g}; set expected to the number of keys"
            )
        return found

    def contains(self, keys: Column) -> npt.NDArray[np.bool_]:
        """For every key whether it seems to be in."""
        from glasshouse.data.deduplication import bloom_kernel as kernel

        found = np.empty(len(keys), np.bool_)
        kernel.contains(self.words, np.uint64(self.bits), self.hashes, self._hash_seed, keys, found)
        return found

    @property
    def _hash_seed(self) -> np.uint64:
        return np.uint64(named_seed(self.seed, "bloom filter") & 0xFFFFFFFFFFFFFFFF)


def size_of(expected: int, false_positive_rate: float) -> tuple[int, int]:
    """Bits (a multiple of 64) and hashes for `expected` keys at a rate of false positives."""
    bits = -expected * math.log(false_positive_rate) / math.log(2) ** 2
    return 64 * max(1, math.ceil(bits / 64)), max(1, round(bits / expected * math.log(2)))


def rate_after(inserted: int, bits: int, hashes: int) -> float:
    """Rate of false positives with `inserted` keys in: (1 - e^(-k i / m))^k."""
    return float((-math.expm1(-hashes * inserted / bits)) ** hashes)


def expected_false_positives(keys: int, bits: int, hashes: int) -> float:
    """How many of `keys` different keys, added one after the other, are taken for known: the sum of `rate_after`."""
    rates = (-np.expm1(-hashes * np.arange(keys) / bits)) ** hashes
    return float(rates.sum())


class Bloom(Config):
    """Compare pieces through a Bloom filter: about 1.44 log2(1 / rate) bits per different key, not 16 to 32 bytes.

    Attributes:
        expected: different keys to make room for.
        false_positive_rate: wanted rate once they are in.
        seed: names the hashes, and with them which new pieces are wrongly taken for repeated.
    """

    kind: Literal["bloom"] = "bloom"
    expected: int = Field(ge=1)
    false_positive_rate: float = Field(default=1e-6, gt=0, lt=1)
    seed: int = 0

    def repeated(self, keys: Sequence[Column]) -> npt.NDArray[np.bool_]:
        """For all keys one after the other: whether the same key seemed to occur before."""
        found = BloomFilter(self.expected, self.false_positive_rate, self.seed)
        return _joined([found.add(part) for part in keys])


class BloomLookup(Config):
    """Compare pieces with those in a filter that was saved; nothing is added (Dolma's `read_only`).

    Attributes:
        file: a file that `bloom_file.save` wrote.
    """

    kind: Literal["lookup"] = "lookup"
    file: Path

    def repeated(self, keys: Sequence[Column]) -> npt.NDArray[np.bool_]:
        """For all keys one after the other: whether it seems to be in the filter. Raises `BloomFileError`."""
        from glasshouse.data.deduplication.bloom_file import load

        known = load(self.file)
        return _joined([known.contains(part) for part in keys])


def _joined(parts: list[npt.NDArray[np.bool_]]) -> npt.NDArray[np.bool_]:
    return np.concatenate(parts) if parts else np.zeros(0, np.bool_)
