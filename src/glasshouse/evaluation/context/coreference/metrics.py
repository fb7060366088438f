"""MUC, B-cubed and CEAF: how well clusters of mentions agree with the gold ones.

With key clusters K and response clusters R, in the forms of the CoNLL-2012 reference scorer (Pradhan et al. 2014):

    MUC      recall  sum_K (|K| - parts of K in R) / sum_K (|K| - 1)                    [Vilain et al. 1995]
    B3       recall  sum_K sum_R |K & R|^2 / |K|  /  mentions of the key                [Bagga & Baldwin 1998]
    CEAF-m   best one-to-one alignment of clusters by phi_3 = |K & R|                   [Luo 2005, eq. 9]
             recall  its value / mentions of the key
    CEAF-e   the same by phi_4 = 2 |K & R| / (|K| + |R|); recall: / clusters of the key [Luo 2005, eq. 10]

Precision is the same with key and response exchanged, F1 their harmonic mean; mentions that only one side has are their
own parts. The score of CoNLL-2012 is the mean of the F1 of MUC, B3 and CEAF-e (phi_4). Over several documents
numerators and denominators are summed, so a metric is of the corpus and not a mean of documents.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, NamedTuple

import numpy as np

Partition = Sequence[AbstractSet[Any]]
AVERAGED = ("muc", "b3", "ceaf_e")
"""What the score of CoNLL-2012 is the mean of."""


class Counts(NamedTuple):
    """Numerators and denominators of recall and precision; those of several documents add up."""

    recall: float
    recall_of: float
    precision: float
    precision_of: float

    def plus(self, other: Counts) -> Counts:
        """The counts of both."""
        return Counts(*(one + more for one, more in zip(self, other, strict=True)))

    @property
    def f1(self) -> float:
        """The harmonic mean of recall and precision, 0 where there is nothing to find."""
        recall = self.recall / self.recall_of if self.recall_of else 0.0
        precision = self.precision / self.precision_of if self.precision_of else 0.0
        return 2 * recall * precision / (recall + precision) if recall + precision else 0.0


def muc(key: Partition, response: Partition) -> Counts:
    """Links that both have, of the fewest that would connect the clusters."""
    return Counts(*_muc_half(key, response), *_muc_half(response, key))


def _muc_half(key: Partition, response: Partition) -> tuple[float, float]:
    place = _place(response)
    kept = sum(len(cluster) - len({place.get(mention, mention) for mention in cluster}) for cluster in key)
    return float(kept), float(sum(len(cluster) - 1 for cluster in key))


def b_cubed(key: Partition, response: Partition) -> Counts:
    """How much of a mention's cluster is found beside it, as a mean over mentions."""
    return Counts(*_b_cubed_half(key, response), *_b_cubed_half(response, key))


def _b_cubed_half(key: Partition, response: Partition) -> tuple[float, float]:
    place = _place(response)
    total = 0.0
    for cluster in key:
        parts = Counter(place[mention] for mention in cluster if mention in place)
        total += sum(size * size for size in parts.values()) / len(cluster)
    return total, float(sum(len(cluster) for cluster in key))


def ceaf_m(key: Partition, response: Partition) -> Counts:
    """Mentions shared by clusters that are aligned one to one."""
    best = _alignment(key, response, lambda shared, one, other: float(shared))
    return Counts(best, float(sum(map(len, key))), best, float(sum(map(len, response))))


def ceaf_e(key: Partition, response: Partition) -> Counts:
    """Similarity (phi_4) of clusters that are aligned one to one."""
    best = _alignment(key, response, lambda shared, one, other: 2 * shared / (one + other))
    return Counts(best, float(len(key)), best, float(len(response)))


def _alignment(key: Partition, response: Partition, similarity: Callable[[int, int, int], float]) -> float:
    place = _place(response)
    found = np.zeros((len(key), len(response)))
    for row, cluster in enumerate(key):
        for column, shared in Counter(place[mention] for mention in cluster if mention in place).items():
            found[row, column] = similarity(shared, len(cluster), len(response[column]))
    if not found.size:
        return 0.0
    try:
        from scipy.optimize import linear_sum_assignment
    except ImportError:
        raise ImportError("CEAF needs the package scipy: pip install 'glasshouse[eval]'") from None
    rows, columns = linear_sum_assignment(found, maximize=True)
    return float(found[rows, columns].sum())


def _place(clusters: Partition) -> dict[Any, int]:
    return {mention: number for number, cluster in enumerate(clusters) for mention in cluster}


METRICS: dict[str, Callable[[Partition, Partition], Counts]] = {
    "muc": muc,
    "b3": b_cubed,
    "ceaf_m": ceaf_m,
    "ceaf_e": ceaf_e,
}


def document_counts(key: Partition, response: Partition) -> dict[str, Counts]:
    """The counts of every metric on one document."""
    return {name: metric(key, response) for name, metric in METRICS.items()}


def total(counts: Iterable[Mapping[str, Counts]]) -> dict[str, Counts]:
    """The counts of a corpus."""
    found = dict.fromkeys(METRICS, Counts(0.0, 0.0, 0.0, 0.0))
    for document in counts:
        found = {name: one.plus(document[name]) for name, one in found.items()}
    return found


def f1_scores(counts: Mapping[str, Counts]) -> dict[str, float]:
    """F1 of every metric and `average`, the score of CoNLL-2012; between 0 and 1."""
    found = {name: one.f1 for name, one in counts.items()}
    return found | {"average": sum(found[name] for name in AVERAGED) / len(AVERAGED)}
