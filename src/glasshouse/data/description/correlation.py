"""How much the filters agree: Pearson's correlation of their verdicts (Dolma, arXiv 2402.00159, section 5.4).

Dolma reports Gopher against de-duplication at -0.19 to -0.36 and everything else near 0: filters that catch different
documents. Each verdict is 0 or 1; weighted by bytes, a document counts as often as it has bytes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt


class Patterns:
    """Which filters fire together: documents grouped by the set of filters that fire on them.

    There are few such sets (hundreds, for dozens of filters), so after grouping every correlation is cheap and exact.

    Args:
        verdicts: for every filter, whether it fires on each document.
    """

    def __init__(self, verdicts: Sequence[npt.NDArray[np.bool_]]) -> None:
        self.filters = len(verdicts)
        bits = np.packbits(np.stack(verdicts), axis=0).T if verdicts else np.zeros((0, 0), np.uint8)
        words = np.zeros((len(bits), max(1, -(-self.filters // 64)) * 8), np.uint8)
        words[:, : bits.shape[1]] = bits
        keys = words.view(np.uint64)
        if keys.shape[1] == 1:
            distinct, self.pattern = np.unique(keys[:, 0], return_inverse=True)
        else:
            distinct, self.pattern = np.unique(keys, axis=0, return_inverse=True)
        unpacked = np.unpackbits(distinct.reshape(len(distinct), keys.shape[1]).view(np.uint8), axis=1)
        self.fires = unpacked[:, : self.filters].astype(np.float64)

    def correlations(self, weights: npt.NDArray[np.float64] | None = None) -> npt.NDArray[np.float64]:
        """Pearson's correlation `[filters, filters]`; NaN where a filter never or always fires.

        Args:
            weights: of the documents, such as their bytes; all equal by default.
        """
        sizes = np.bincount(self.pattern.reshape(-1), weights, len(self.fires)).astype(np.float64)
        total = float(sizes.sum())
        # Without a matrix library, whose threads would cost more than the sums.
        both = np.einsum("pi,pj->ij", self.fires * sizes[:, None], self.fires, optimize=False)
        count = np.diag(both)
        # Sums of whole numbers are exact, so a filter that never or always fires has a variance of exactly zero.
        variance = count * (total - count)
        covariance = both * total - np.outer(count, count)
        with np.errstate(divide="ignore", invalid="ignore"):
            found = covariance / np.sqrt(np.outer(variance, variance))
        found[variance <= 0, :] = np.nan
        found[:, variance <= 0] = np.nan
        return np.asarray(np.clip(found, -1.0, 1.0))


def correlations(
    verdicts: Sequence[npt.NDArray[np.bool_]], weights: npt.NDArray[np.float64] | None = None
) -> npt.NDArray[np.float64]:
    """Pearson's correlation `[filters, filters]` of verdicts `[documents]`, as `Patterns` computes it."""
    return Patterns(verdicts).correlations(weights)
