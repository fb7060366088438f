"""A document with its mentions and clusters, and what links between mentions merge into."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import NamedTuple


class Mention(NamedTuple):
    """Tokens `start` (included) to `end` (not included) of a document."""

    start: int
    end: int


Cluster = frozenset[Mention]
Clusters = tuple[Cluster, ...]


@dataclasses.dataclass(frozen=True)
class Document:
    """Tokens, and the clusters of mentions that refer to the same thing.

    Attributes:
        sentences: number of the first token of each sentence; may be empty where a source does not tell.
        speakers: who says each token, where a source tells.
    """

    id: str
    tokens: tuple[str, ...]
    clusters: Clusters
    sentences: tuple[int, ...] = ()
    speakers: tuple[str, ...] = ()

    @cached_property
    def mentions(self) -> tuple[Mention, ...]:
        """All mentions, by where they start and, of those that start together, the longest first."""
        return tuple(sorted((m for c in self.clusters for m in c), key=lambda m: (m.start, -m.end)))

    @cached_property
    def cluster_of(self) -> Mapping[Mention, int]:
        """The number of the cluster of every mention."""
        return {mention: number for number, cluster in enumerate(self.clusters) for mention in cluster}

    def text(self, mention: Mention) -> str:
        """The tokens of a mention."""
        return " ".join(self.tokens[mention.start : mention.end])


def merge_links(mentions: Sequence[Mention], links: Iterable[tuple[Mention, Mention]]) -> Clusters:
    """The clusters that links between mentions make: the equivalence classes of their transitive closure.

    A mention with no link is a cluster of its own. Clusters are in the order of their first mentions.
    """
    parent = {mention: mention for mention in mentions}

    def root(mention: Mention) -> Mention:
        while parent[mention] != mention:
            parent[mention] = parent[parent[mention]]
            mention = parent[mention]
        return mention

    for one, other in links:
        parent[root(one)] = root(other)
    groups: dict[Mention, list[Mention]] = {}
    for mention in mentions:
        groups.setdefault(root(mention), []).append(mention)
    return tuple(frozenset(group) for group in groups.values())
