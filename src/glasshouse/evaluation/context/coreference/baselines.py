"""Clusters made without reading: what a coreference score has to be above.

On gold mentions some of these are strong. A score that is below that of equal strings says that a model understood
less than a comparison of letters does.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable

from glasshouse.evaluation.context.coreference.documents import Clusters, Document, Mention


def exact_string(document: Document) -> Clusters:
    """Mentions of the same words, in any case, are the same."""
    return _grouped(document, lambda mention: document.text(mention).lower())


def same_last_word(document: Document) -> Clusters:
    """Mentions that end in the same word are the same."""
    return _grouped(document, lambda mention: document.tokens[mention.end - 1].lower())


def one_cluster(document: Document) -> Clusters:
    """All mentions are the same."""
    return _grouped(document, lambda mention: "")


def singletons(document: Document) -> Clusters:
    """No two mentions are the same."""
    return _grouped(document, lambda mention: mention)


def _grouped(document: Document, key: Callable[[Mention], Hashable]) -> Clusters:
    groups: dict[Hashable, set[Mention]] = {}
    for mention in document.mentions:
        groups.setdefault(key(mention), set()).add(mention)
    return tuple(frozenset(group) for group in groups.values())


BASELINES: dict[str, Callable[[Document], Clusters]] = {
    "exact string": exact_string,
    "same last word": same_last_word,
    "one cluster": one_cluster,
    "singletons": singletons,
}
