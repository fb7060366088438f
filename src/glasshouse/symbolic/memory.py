"""Memories of texts: the last few, and those nearest in meaning. Both are written as JSON."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from glasshouse.symbolic.measures import MEASURES, measured
from glasshouse.symbolic.sym import Sym

if TYPE_CHECKING:
    from glasshouse.symbolic.runtime import Runtime


class Memory(Protocol):
    """What texts are put into and got back from."""

    def remember(self, text: str) -> None:
        """Keep a text."""
        ...

    def recall(self, query: str = "") -> list[str]:
        """The texts that matter now; `query` says for what."""
        ...


class SlidingWindow:
    """The last entries, oldest first.

    Args:
        length: how many at most.
        characters: how long they may be together; the oldest go first. An entry longer than that is still recalled
            when it is the last one, cut at its start.
    """

    def __init__(self, length: int = 10, characters: int | None = None, entries: Iterable[str] = ()) -> None:
        if length < 1 or (characters is not None and characters < 1):
            raise ValueError(f"SlidingWindow takes a length and characters of at least 1, got {length}, {characters}")
        self.length, self.characters = length, characters
        self.entries = list(entries)

    def remember(self, text: str) -> None:
        """Keep a text; what falls out of the window is dropped."""
        self.entries = [*self.entries, text][-self.length :]

    def recall(self, query: str = "") -> list[str]:
        """The window; the query does not matter."""
        if self.characters is None:
            return list(self.entries)
        kept: list[str] = []
        room = self.characters
        for entry in reversed(self.entries):
            if len(entry) > room:
                break
            kept.append(entry)
            room -= len(entry)
        if not kept and self.entries:
            kept = [self.entries[-1][-self.characters :]]
        return kept[::-1]

    def to_json(self) -> dict[str, Any]:
        """The memory as JSON data, which the constructor takes."""
        return {"length": self.length, "characters": self.characters, "entries": self.entries}


class Found(NamedTuple):
    """A remembered text and how near it is."""

    text: str
    nearness: float


class VectorMemory:
    """Texts by meaning: those come back whose embeddings are nearest to the query's.

    Args:
        runtime: asks an engine of kind `embed`; each text is embedded once.
        top: how many come back.
        measure: a similarity of `measures.MEASURES`, larger for nearer.
    """

    def __init__(self, runtime: Runtime, top: int = 3, measure: str = "cosine", entries: Iterable[str] = ()) -> None:
        if top < 1 or measure not in MEASURES:
            raise ValueError(
                f"VectorMemory takes top >= 1 and a measure of {', '.join(MEASURES)}, got {top}, {measure!r}"
            )
        self.top, self.measure = top, measure
        self.entries = list(entries)
        self._runtime = runtime

    def remember(self, text: str) -> None:
        """Keep a text; one that is there already is kept once."""
        if text not in self.entries:
            self.entries.append(text)

    def recall(self, query: str = "") -> list[str]:
        """The nearest texts, nearest first."""
        return [one.text for one in self.nearest(query)]

    def nearest(self, query: str) -> list[Found]:
        """The nearest texts with their nearness; of equally near ones the older first."""
        if not self.entries:
            return []
        wanted, *vectors = self._runtime.run([Sym(text).sem.embed() for text in (query, *self.entries)]).value
        found = [
            Found(text, measured(wanted, vector, self.measure))
            for text, vector in zip(self.entries, vectors, strict=True)
        ]
        return sorted(found, key=lambda one: -one.nearness)[: self.top]

    def to_json(self) -> dict[str, Any]:
        """The memory as JSON data; the vectors are made again from the texts."""
        return {"top": self.top, "measure": self.measure, "entries": self.entries}
