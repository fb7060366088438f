"""What would be kept at every threshold of one rule: an exact step function from sorted values."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from glasshouse.data.curation.rules import Rule


class NoCurveError(ValueError):
    """A rule that tests for equality has no threshold to move."""


@dataclass(frozen=True)
class Curve:
    """Documents and bytes that are kept, as a function of one rule's threshold, all other rules as they are.

    Attributes:
        rule: the rule, with its present threshold.
        values: `[at stake]` sorted values of the documents that only this rule can remove.
        sizes: `[at stake + 1]` bytes of the first n of them (zeros where bytes were not measured).
        certain: documents and bytes kept at every threshold (other sources, missing values).
        total: documents and bytes that came in.
    """

    rule: Rule
    values: npt.NDArray[np.float64]
    sizes: npt.NDArray[np.float64]
    certain: tuple[int, int]
    total: tuple[int, int]

    def kept(self, threshold: float) -> tuple[int, int]:
        """(documents, bytes) kept at a threshold."""
        place = int(
            np.searchsorted(self.values, threshold, side="right" if self.rule.operator in (">", "<=") else "left")
        )
        if self.rule.operator in (">", ">="):
            return self.certain[0] + place, self.certain[1] + int(self.sizes[place])
        left = len(self.values) - place
        return self.certain[0] + left, self.certain[1] + int(self.sizes[-1] - self.sizes[place])

    def points(self, most: int = 200) -> list[tuple[float, float, float | None]]:
        """(threshold, share of documents kept, share of bytes kept) at up to `most` thresholds: observed values, evenly
        through the documents, and the present threshold. `None` for bytes that were not measured.
        """
        if len(self.values):
            spread = self.values[np.linspace(0, len(self.values) - 1, most).round().astype(int)]
        else:
            spread = self.values
        found = []
        for threshold in np.unique(np.append(spread, self.rule.threshold)).tolist():
            documents, size = self.kept(threshold)
            share = size / self.total[1] if self.total[1] else None
            found.append((float(threshold), documents / max(1, self.total[0]), share))
        return found


def curve(
    rule: Rule,
    values: npt.NDArray[np.float64],
    at_stake: npt.NDArray[np.bool_],
    applies: npt.NDArray[np.bool_],
    sizes: npt.NDArray[np.float64] | None,
) -> Curve:
    """The curve of one rule.

    Args:
        values: the rule's signal `[documents]`.
        at_stake: documents that everything but this rule would keep.
        applies: documents of the sources the rule is for.
        sizes: bytes of the documents, when they were measured.

    Raises `NoCurveError` for `==` and `!=`.
    """
    if rule.operator in ("==", "!="):
        raise NoCurveError(f"the rule {rule.name!r} tests for equality: there is no threshold to move")
    sizes = np.zeros(len(values)) if sizes is None else sizes
    movable = at_stake & applies & ~np.isnan(values)
    fixed = at_stake & ~movable
    rows = np.flatnonzero(movable)
    rows = rows[np.argsort(values[rows], kind="stable")]
    return Curve(
        rule=rule,
        values=values[rows],
        sizes=np.concatenate([[0.0], np.cumsum(sizes[rows])]),
        certain=(int(np.count_nonzero(fixed)), int(sizes[fixed].sum())),
        total=(len(values), int(sizes.sum())),
    )
