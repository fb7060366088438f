"""The books of curation: what came in, what stayed, what each stage and rule removed, with examples."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Self

EXAMPLES = 3


@dataclass
class Tally:
    """Documents and bytes of UTF-8 text before masking."""

    documents: int = 0
    bytes: int = 0

    def count(self, size: int) -> None:
        self.documents += 1
        self.bytes += size

    def add(self, other: Tally) -> None:
        self.documents += other.documents
        self.bytes += other.bytes


@dataclass
class CurationSummary:
    """What curation did; `summary.json` holds the same. `input == kept.documents + removed.documents + quarantined`.

    Attributes:
        input: records looked at, those in quarantine included.
        documents, kept, removed: documents that were judged, stayed and went.
        stages, rules: what each stage (a document counts once) and each rule (under each it fails) removed.
        sources: source -> "input", "kept" and every stage -> tally.
        masked_spans, masked_documents: personal information masked in what is kept.
        cut_spans, cut_bytes: repeated pieces cut out of kept documents, by method.
        skipped: what was passed over as no document by rule (folders of a code tree, redirects of a wiki).
        noted: what was done to records that were kept (an encoding other than UTF-8).
        examples: rule -> a few documents it removed.
        curation, inputs: the configuration, and the files that were read.
    """

    input: int = 0
    quarantined: int = 0
    documents: Tally = field(default_factory=Tally)
    kept: Tally = field(default_factory=Tally)
    removed: Tally = field(default_factory=Tally)
    stages: dict[str, Tally] = field(default_factory=dict)
    rules: dict[str, Tally] = field(default_factory=dict)
    sources: dict[str, dict[str, Tally]] = field(default_factory=dict)
    masked_spans: dict[str, int] = field(default_factory=dict)
    masked_documents: int = 0
    cut_spans: dict[str, int] = field(default_factory=dict)
    cut_bytes: dict[str, int] = field(default_factory=dict)
    quarantine_reasons: dict[str, int] = field(default_factory=dict)
    skipped: dict[str, int] = field(default_factory=dict)
    noted: dict[str, int] = field(default_factory=dict)
    examples: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    curation: dict[str, Any] = field(default_factory=dict)
    inputs: list[dict[str, Any]] = field(default_factory=list)

    def came_in(self, source: str, size: int) -> None:
        """Counts a document that is judged."""
        self.documents.count(size)
        self._of(source, "input").count(size)

    def stayed(self, source: str, size: int) -> None:
        """Counts a document that is kept."""
        self.kept.count(size)
        self._of(source, "kept").count(size)

    def went(self, source: str, size: int, stage: str) -> None:
        """Counts a document that is removed, once."""
        self.removed.count(size)
        self.stages.setdefault(stage, Tally()).count(size)
        self._of(source, stage).count(size)

    def failed(self, size: int, row: dict[str, Any]) -> None:
        """Counts a reason of a removal (a row of `removed-*.parquet`) and keeps the first as examples."""
        self.rules.setdefault(row["rule"], Tally()).count(size)
        shown = self.examples.setdefault(row["rule"], [])
        if len(shown) < EXAMPLES:
            shown.append({name: row[name] for name in ("id", "source", "value", "excerpt", "duplicate_of")})

    def merge(self, other: CurationSummary) -> None:
        """Adds the books of another shard; call in the order of the shards."""
        self.quarantined += other.quarantined
        for mine, theirs in ((self.documents, other.documents), (self.kept, other.kept), (self.removed, other.removed)):
            mine.add(theirs)
        for name, tally in other.stages.items():
            self.stages.setdefault(name, Tally()).add(tally)
        for name, tally in other.rules.items():
            self.rules.setdefault(name, Tally()).add(tally)
        for source, tallies in other.sources.items():
            for name, tally in tallies.items():
                self._of(source, name).add(tally)
        self.masked_documents += other.masked_documents
        for into, more in (
            (self.masked_spans, other.masked_spans),
            (self.cut_spans, other.cut_spans),
            (self.cut_bytes, other.cut_bytes),
            (self.quarantine_reasons, other.quarantine_reasons),
            (self.skipped, other.skipped),
            (self.noted, other.noted),
        ):
            for name, number in more.items():
                into[name] = into.get(name, 0) + number
        for rule, examples in other.examples.items():
            shown = self.examples.setdefault(rule, [])
            shown += examples[: EXAMPLES - len(shown)]

    def close(self) -> Self:
        """Sorts the books and checks that they balance."""
        self.input = self.documents.documents + self.quarantined
        sorted_ones = ("stages", "rules", "masked_spans", "cut_spans", "cut_bytes", "quarantine_reasons", "skipped")
        for name in (*sorted_ones, "noted", "examples"):
            setattr(self, name, dict(sorted(getattr(self, name).items())))
        self.sources = {source: self.sources[source] for source in sorted(self.sources)}
        if self.input != self.kept.documents + self.removed.documents + self.quarantined:
            raise AssertionError(f"the counts of curation do not add up: {self}")
        return self

    def _of(self, source: str, name: str) -> Tally:
        return self.sources.setdefault(source, {}).setdefault(name, Tally())


def summary_from(values: dict[str, Any]) -> CurationSummary:
    """A summary from the JSON values `dataclasses.asdict` made of it."""
    summary = CurationSummary(**values)
    for name in ("documents", "kept", "removed"):
        setattr(summary, name, Tally(**values[name]))
    summary.stages, summary.rules = _tallies(values["stages"]), _tallies(values["rules"])
    summary.sources = {source: _tallies(tallies) for source, tallies in values["sources"].items()}
    return summary


def merged(parts: Iterable[CurationSummary]) -> CurationSummary:
    """The books of all shards together."""
    whole = CurationSummary()
    for part in parts:
        whole.merge(part)
    return whole


def _tallies(values: dict[str, dict[str, int]]) -> dict[str, Tally]:
    return {name: Tally(**tally) for name, tally in values.items()}
