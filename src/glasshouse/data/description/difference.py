"""What changed between two versions of a corpus: configuration, counts, and every document added, removed or changed.

Documents are the same when source and id are; they changed when the text did. Both versions are read once, as a stream;
32 bytes per document stay in memory.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from glasshouse.data.corpus import KEPT, CorpusDirectory
from glasshouse.data.description.datasheet_text import Section, Table, plain
from glasshouse.data.document import strings
from glasshouse.data.opening import open_corpus

_KEY = np.dtype("V16")
EXAMPLES = 20
NOT_READ = "not among its documents"


@dataclass(frozen=True)
class Change:
    """One number in the old and the new version; `None` where that version does not have it."""

    name: str
    old: Any
    new: Any


@dataclass(frozen=True)
class DocumentChange:
    """A document that differs: what became of it in the version that does not keep it ("" where both do)."""

    id: str
    source: str
    why: str = ""


@dataclass(frozen=True)
class Difference:
    """Two versions side by side.

    Attributes:
        configuration: settings that differ, by their path.
        counts: totals; `stages`, `rules` by name; `sources` kept documents by source.
        added, removed, changed, same: kept documents of the new version only, of the old only, with other text, equal.
        fates: for removed documents the new version's verdict, for added ones the old version's -> documents.
        examples: "added", "removed", "changed" -> the first of them in the order of their corpus.
    """

    old: str
    new: str
    configuration: list[Change]
    counts: list[Change]
    stages: list[Change]
    rules: list[Change]
    sources: list[Change]
    added: int
    removed: int
    changed: int
    same: int
    fates: dict[str, dict[str, int]] = field(default_factory=dict)
    examples: dict[str, list[DocumentChange]] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


@dataclass(frozen=True)
class _Kept:
    """The kept documents of one version: `keys` and `texts` `[documents]`, 128 bits each, in order."""

    keys: npt.NDArray[np.void]
    texts: npt.NDArray[np.void]


def difference(old: str | Path | CorpusDirectory, new: str | Path | CorpusDirectory) -> Difference:
    """What changed from one version of a corpus to the next. Raises `NotACorpusError` when one of them is none."""
    before, after = open_corpus(old), open_corpus(new)
    left, right = _kept(before), _kept(after)
    _, in_left, in_right = np.intersect1d(left.keys, right.keys, assume_unique=True, return_indices=True)
    other = left.texts[in_left] != right.texts[in_right]
    gone, came = _others(len(left.keys), in_left), _others(len(right.keys), in_right)
    altered = np.sort(in_right[other])
    verdicts_new, verdicts_old = _fates(after, left.keys[gone]), _fates(before, right.keys[came])
    examples = {
        "added": _named(after, came[:EXAMPLES], verdicts_old),
        "removed": _named(before, gone[:EXAMPLES], verdicts_new),
        "changed": _named(after, altered[:EXAMPLES], []),
    }
    a, b = before.summary, after.summary
    return Difference(
        old=str(before.path),
        new=str(after.path),
        configuration=_changes(_flat(a.get("curation", {})), _flat(b.get("curation", {}))),
        counts=_changes(_totals(a), _totals(b), everything=True),
        stages=_changes(_documents(a, "stages"), _documents(b, "stages")),
        rules=_changes(_documents(a, "rules"), _documents(b, "rules")),
        sources=_changes(_sources(a), _sources(b)),
        added=len(came),
        removed=len(gone),
        changed=len(altered),
        same=int(len(in_left) - np.count_nonzero(other)),
        fates={"added": _counted(verdicts_old), "removed": _counted(verdicts_new)},
        examples=examples,
    )


def difference_sections(found: Difference) -> list[Section]:
    """The difference as the sections of a page."""
    columns = ["", "old", "new", "change"]
    documents = [
        ["added", found.added],
        ["removed", found.removed],
        ["changed", found.changed],
        ["the same", found.same],
    ]
    tables = [Table("", ["documents", "count"], documents)]
    for name, title in (("added", "What the old version said of added documents"),
                        ("removed", "What the new version says of removed documents")):  # fmt: skip
        if found.fates.get(name):
            tables.append(Table(title, ["verdict", "documents"], list(found.fates[name].items())))
    for name, shown in found.examples.items():
        if shown:
            rows = [[one.id, one.source, one.why] for one in shown]
            tables.append(Table(f"{name.capitalize()}, for example", ["id", "source", "verdict there"], rows))
    settings = [[change.name, _text(change.old), _text(change.new)] for change in found.configuration]
    return [
        Section("Versions", [Table("", ["", ""], [["old", found.old], ["new", found.new]])]),
        Section("Configuration", [Table("", columns[:3], settings, "" if settings else "No setting differs.")]),
        Section("Counts", [Table("", columns, _rows(found.counts))]),
        Section("Documents removed, by stage", [_table(found.stages)]),
        Section("Documents removed, by rule", [_table(found.rules)]),
        Section("Documents kept, by source", [_table(found.sources)]),
        Section("Documents", [*tables]),
    ]


def difference_markdown(found: Difference) -> str:
    """The difference as Markdown."""
    from glasshouse.data.description.datasheet_text import markdown

    head = plain(f"from {Path(found.old).name} to {Path(found.new).name}")
    return markdown("", difference_sections(found)).replace("# Datasheet: \n", f"# What changed {head}\n", 1)


def _table(changes: list[Change]) -> Table:
    return Table("", ["", "old", "new", "change"], _rows(changes), "" if changes else "Nothing differs.")


def _rows(changes: list[Change]) -> list[list[str | int | float | None]]:
    return [[c.name, c.old, c.new, f"{(c.new or 0) - (c.old or 0):+,}"] for c in changes]


def _kept(corpus: CorpusDirectory) -> _Kept:
    keys, texts = bytearray(), bytearray()
    for file in corpus.document_files:
        with pq.ParquetFile(file) as table:
            for batch in table.iter_batches(batch_size=512, columns=["id", "source", "text"]):
                keys += _digests(batch)
                for text in strings(batch, "text"):
                    texts += hashlib.blake2b(text.encode(), digest_size=16).digest()
    return _Kept(np.frombuffer(bytes(keys), _KEY), np.frombuffer(bytes(texts), _KEY))


def _digests(batch: pa.RecordBatch) -> bytes:
    named = zip(strings(batch, "id"), strings(batch, "source"), strict=True)
    return b"".join(hashlib.blake2b(f"{source}\0{name}".encode(), digest_size=16).digest() for name, source in named)


def _fates(corpus: CorpusDirectory, keys: npt.NDArray[np.void]) -> list[str]:
    """The verdict of another version about documents, by their keys."""
    if not len(keys):
        return []
    found = np.full(len(keys), NOT_READ, dtype=object)
    order = np.argsort(keys)
    ranked = keys[order]
    for file in corpus.signal_files:
        with pq.ParquetFile(file) as table:
            for batch in table.iter_batches(columns=["id", "source", "verdict"]):
                here = np.frombuffer(_digests(batch), _KEY)
                _, mine, theirs = np.intersect1d(ranked, here, return_indices=True)
                found[order[mine]] = np.array(batch.column("verdict").to_pylist(), dtype=object)[theirs]
    return [str(verdict) for verdict in found]


def _named(corpus: CorpusDirectory, rows: npt.NDArray[np.int64], why: list[str]) -> list[DocumentChange]:
    """Some kept documents by row, with what was said of them."""
    found: list[DocumentChange] = []
    start = 0
    for file in corpus.document_files:
        count = pq.read_metadata(file).num_rows
        here = rows[(rows >= start) & (rows < start + count)] - start
        if len(here):
            table = pq.read_table(file, columns=["id", "source"]).take(pa.array(here, pa.int64()))
            for row in table.to_pylist():
                found.append(DocumentChange(row["id"], row["source"], why[len(found)] if why else ""))
        start += count
    return found


def _others(size: int, shared: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    alone = np.ones(size, bool)
    alone[shared] = False
    return np.flatnonzero(alone)


def _counted(verdicts: list[str]) -> dict[str, int]:
    return dict(sorted(Counter(verdicts).items(), key=lambda item: (-item[1], item[0])))


def _totals(summary: Mapping[str, Any]) -> dict[str, int]:
    found = {"records": summary.get("input", 0), "quarantined": summary.get("quarantined", 0)}
    for name in ("documents", "kept", "removed"):
        for unit in ("documents", "bytes"):
            found[f"{name}: {unit}" if name != "documents" else f"{unit} in"] = summary.get(name, {}).get(unit, 0)
    return found | {"spans masked": sum(summary.get("masked_spans", {}).values())}


def _documents(summary: Mapping[str, Any], part: str) -> dict[str, int]:
    return {name: tally["documents"] for name, tally in summary.get(part, {}).items()}


def _sources(summary: Mapping[str, Any]) -> dict[str, int]:
    return {name: tallies.get(KEPT, {}).get("documents", 0) for name, tallies in summary.get("sources", {}).items()}


def _changes(old: Mapping[str, Any], new: Mapping[str, Any], everything: bool = False) -> list[Change]:
    names = sorted({*old, *new}) if not everything else list(dict.fromkeys([*old, *new]))
    changes = (Change(name, old.get(name), new.get(name)) for name in names)
    return [
        change
        for change in changes
        if everything or change.old != change.new or (change.name in old) != (change.name in new)
    ]


def _flat(value: Any, path: str = "") -> dict[str, Any]:
    """A configuration as path -> value; rules go by what they test, so that one more does not shift the others."""
    if isinstance(value, dict):
        parts = {name: item for name, item in value.items() if name not in ("__type__", "reason", "citation")}
        if {"signal", "operator", "threshold"} <= set(parts):
            return {path: parts["threshold"]}
        return {
            k: v for name, item in parts.items() for k, v in _flat(item, f"{path}.{name}" if path else name).items()
        }
    if isinstance(value, list):
        return _flat_list(value, path)
    return {path: value}


def _flat_list(values: list[Any], path: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    seen: Counter[str] = Counter()
    for number, item in enumerate(values):
        label = str(number)
        if isinstance(item, dict):
            label = (
                f"{item['signal']} {item['operator']}"
                if "signal" in item and "operator" in item
                else str(item.get("name", number))
            )
        seen[label] += 1
        label = label if seen[label] == 1 else f"{label} ({seen[label]})"
        found |= _flat(item, f"{path}[{label}]")
    return found


def _text(value: Any) -> str | None:
    return None if value is None else str(value)
