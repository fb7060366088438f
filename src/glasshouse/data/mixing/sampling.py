"""How often a document comes: fixed by its id, the seed and the stream, never by where or when it is read.

For a share of the result the documents are taken in the order of their hashes until the wanted amount is nearest. A
fraction by hash alone would miss it: a few documents hold much of the bytes of most corpora.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from glasshouse.data.document import document_hashes

Hashes = npt.NDArray[np.uint64]
_TOP = 2.0**64
# A repeat this near a whole number is one: shares of sums are not exact in floating point.
_EXACT = 1e-9


class Sampling(NamedTuple):
    """Every document `whole` times, and once more where its hash is less than `below`."""

    whole: int = 1
    below: int = 0

    @property
    def repeat(self) -> float:
        """How often a document comes on average, all being equal."""
        return self.whole + self.below / _TOP

    def copies(self, hashes: Hashes) -> list[int]:
        """How often each document comes."""
        more = hashes < np.uint64(self.below)
        return [self.whole + int(one) for one in more.tolist()]


def hashes_of(identifiers: list[str], seed: int, stream: str) -> Hashes:
    """The hashes the documents of a stream are chosen by."""
    return document_hashes(identifiers, seed, f"mix {stream}")


def sampling_of_repeat(repeat: float) -> Sampling:
    """The sampling of a number of copies: 2.5 takes all twice and half of them once more."""
    whole = math.floor(repeat)
    return Sampling(whole, min(int((repeat - whole) * _TOP), 2**64 - 1))


def sampling_of_amounts(hashes: Hashes, amounts: npt.NDArray[np.float64], wanted: float) -> Sampling:
    """The sampling whose amount is nearest to `wanted`, e.g. in bytes.

    Args:
        hashes, amounts: of all documents of the stream; the amounts have a positive sum.
    """
    total = float(amounts.sum())
    whole = math.floor(wanted / total + _EXACT)
    rest = max(wanted - whole * total, 0.0)
    order = np.argsort(hashes, kind="stable")
    reached = np.concatenate([[0.0], np.cumsum(amounts[order])])
    count = int(np.argmin(np.abs(reached - rest)))
    if count == len(order):
        return Sampling(whole + 1, 0)
    return Sampling(whole, int(hashes[order[count]]) if count else 0)
