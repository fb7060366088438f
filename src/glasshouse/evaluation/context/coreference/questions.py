"""Questions about mentions, and what answers to them are worth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from glasshouse.evaluation.context.coreference.documents import Clusters, Document, Mention
from glasshouse.evaluation.context.coreference.metrics import METRICS, Counts, document_counts, f1_scores, total
from glasshouse.evaluation.records import Metric, Record


class Asked(NamedTuple):
    """A mention with the mentions that may be chosen; the option after the last of them is "no antecedent"."""

    document: Document
    mention: Mention
    options: tuple[Mention, ...]

    @property
    def gold(self) -> int:
        """The right option that is nearest; "no antecedent" where there is none."""
        return min(self.right, key=lambda n: abs(self.options[n].start - self.mention.start), default=len(self.options))

    @property
    def right(self) -> frozenset[int]:
        """All options of the same cluster."""
        of = self.document.cluster_of
        return frozenset(n for n, option in enumerate(self.options) if of[option] == of[self.mention])


def scored_clusters(
    record: Record, document: Document, clusters: Clusters, questions: Sequence[Asked], given: Sequence[int | None]
) -> Record:
    """A record with its clusters, and what counts of it: parts of the metrics, and options that were chosen rightly."""
    counts = document_counts(document.clusters, clusters)
    scores = {f"{name}/{part}": value for name, found in counts.items() for part, value in found._asdict().items()}
    right = sum(
        option in asked.right or (option == len(asked.options) and not asked.right)
        for asked, option in zip(questions, given, strict=True)
    )
    scores |= {"right": float(right), "invalid": float(given.count(None)), "questions": float(len(questions))}
    return record.but(response=plain(clusters), scores=scores)


def plain(clusters: Clusters) -> list[list[list[int]]]:
    """Clusters as JSON data."""
    return [[list(mention) for mention in sorted(cluster)] for cluster in clusters]


def corpus_metric(name: str) -> Metric:
    """A metric of CoNLL-2012 over the records of documents."""

    def score(records: Sequence[Record]) -> float:
        counts = total(
            {metric: Counts(**{p: r.scores[f"{metric}/{p}"] for p in Counts._fields}) for metric in METRICS}
            for r in records
        )
        return f1_scores(counts)[name]

    return Metric(score)


def share_of(count: str, best: float | None = 1.0) -> Metric:
    """What share of all questions was answered so."""

    def share(records: Sequence[Record]) -> float:
        return sum(r.scores[count] for r in records) / max(1.0, sum(r.scores["questions"] for r in records))

    return Metric(share, best)
