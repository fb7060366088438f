"""Why one document is in a corpus, or is not: its signals against every threshold, masks, duplicates, and its verdict.

A document that never became one is looked for in the quarantine.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from glasshouse.data.corpus import KEPT, CorpusDirectory
from glasshouse.data.curation.configuration import RESERVED
from glasshouse.data.curation.rules import OPERATORS, Rule
from glasshouse.data.description.whatif_rules import UnknownCurationError, rules_of
from glasshouse.data.opening import open_corpus

QUARANTINED = "quarantined"
_MASK = re.compile(r"\|\|\|([A-Z][A-Z_]*)\|\|\|")
_NEAR = 5
_COMPARED = 20_000


class UnknownDocumentError(ValueError):
    """A corpus has never seen a document of that id."""


class AmbiguousDocumentError(ValueError):
    """Several sources have a document of that id."""


@dataclass(frozen=True)
class RuleCheck:
    """One rule on one document: whether it fired, and the value it looked at."""

    rule: str
    signal: str
    value: float | None
    threshold: float
    fired: bool
    reason: str
    citation: str


@dataclass(frozen=True)
class SignalValue:
    """One signal of one document, with what it means."""

    name: str
    value: Any
    unit: str
    doc: str
    citation: str


@dataclass(frozen=True)
class Removal:
    """One reason of the removal, as the corpus recorded it."""

    stage: str
    rule: str
    value: float | None
    threshold: float | None
    duplicate_of: str | None
    duplicate_of_source: str | None


@dataclass(frozen=True)
class Link:
    """A document in a chain of duplicates: `stage` removed it, or it is kept and lies at `place`."""

    id: str
    source: str
    verdict: str
    place: str


@dataclass(frozen=True)
class Explanation:
    """Everything a corpus knows about one document.

    Attributes:
        verdict: "kept", the stage that removed it, or "quarantined".
        place: file of the corpus and row, for a kept document.
        origin: file and bytes of the uncompressed file it came from; `None` for what became no document.
        location: where that file is, when it is still there.
        signals, rules: every signal, and every rule of the document's source.
        masked: kind of personal information -> spans masked in the kept text.
        removals: the recorded reasons.
        duplicates: from the document it duplicates to the one that is kept.
        excerpt: beginning of the text, masked.
        quarantine: the records of the quarantine that name this id.
    """

    id: str
    source: str
    verdict: str
    place: str = ""
    origin: dict[str, Any] | None = None
    location: str = ""
    signals: list[SignalValue] = field(default_factory=list)
    rules: list[RuleCheck] = field(default_factory=list)
    masked_spans: int = 0
    masked: dict[str, int] = field(default_factory=dict)
    removals: list[Removal] = field(default_factory=list)
    duplicates: list[Link] = field(default_factory=list)
    excerpt: str = ""
    quarantine: list[dict[str, Any]] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def explain(corpus: str | Path | CorpusDirectory, identifier: str, source: str | None = None) -> Explanation:
    """Why a document is kept or not.

    Args:
        corpus: the directory of a corpus, or a reader of it.
        identifier: the document's id.
        source: its source, where several sources have that id.

    Raises:
        UnknownDocumentError: neither a document nor a quarantined record has that id; with ids that are near.
        AmbiguousDocumentError: naming the sources to choose from.
        NotACorpusError: there is no corpus.
    """
    home = open_corpus(corpus)
    found = [(file, row, of) for file, row, of in _places(home, identifier) if source in (None, of)]
    records = [record for record in home.quarantined if _names(record, identifier, source)]
    if len({of for _, _, of in found}) > 1:
        names = ", ".join(sorted({of for _, _, of in found}))
        raise AmbiguousDocumentError(f"several sources have a document {identifier!r}: choose one of {names}")
    if not found:
        if not records:
            raise UnknownDocumentError(_unknown(home, identifier, source))
        return Explanation(identifier, source or "", QUARANTINED, quarantine=records)
    file, row, of = found[0]
    schema, values = _row(file, row)
    document = _document(home, identifier, of) if values["verdict"] == KEPT else None
    reasons = _removals(home, identifier, of)
    removals = [Removal(**{name: reason[name] for name in Removal.__dataclass_fields__}) for reason in reasons]
    text = document[1]["text"] if document else next((reason["excerpt"] for reason in reasons), "")
    return Explanation(
        id=identifier,
        source=of,
        verdict=values["verdict"],
        place=document[0] if document else "",
        origin=values["origin"],
        location=home.located(values["origin"]["file"]) if values["origin"] else "",
        signals=_signals(schema, values),
        rules=_rules(home, of, values),
        masked_spans=values.get("masked_spans") or 0,
        masked=_masks(text) if document else {},
        removals=removals,
        duplicates=_chain(home, removals),
        excerpt=text[:400],
        quarantine=records,
    )


def _places(home: CorpusDirectory, identifier: str) -> Iterator[tuple[Path, int, str]]:
    """Where documents of an id are among the signals: file, row, source."""
    for file in home.signal_files:
        table = pq.read_table(file, columns=["id", "source"])
        for row in _rows_of(table, identifier):
            yield file, row, str(table.column("source")[row].as_py())


def _rows_of(table: pa.Table, identifier: str) -> list[int]:
    """The rows that have this id."""
    equal = pc.equal(table.column("id"), pa.scalar(identifier, pa.string()))
    return [int(row) for row in np.flatnonzero(equal.to_numpy())]


def _row(file: Path, row: int) -> tuple[pa.Schema, dict[str, Any]]:
    with pq.ParquetFile(file) as table:
        for group in range(table.num_row_groups):
            size = table.metadata.row_group(group).num_rows
            if row < size:
                return table.schema_arrow, dict(table.read_row_group(group).slice(row, 1).to_pylist()[0])
            row -= size
    raise IndexError(f"{file} has no row {row}")


def _document(home: CorpusDirectory, identifier: str, source: str) -> tuple[str, dict[str, Any]] | None:
    """A kept document, and the file and row where it lies."""
    for file in home.document_files:
        names = pq.read_table(file, columns=["id", "source"])
        for row in _rows_of(names, identifier):
            if names.column("source")[row].as_py() == source:
                return f"{file.name} row {row}", _row(file, row)[1]
    return None


def _removals(home: CorpusDirectory, identifier: str, source: str) -> list[dict[str, Any]]:
    found = []
    for file in home.removed_files:
        found += pq.read_table(file, filters=[("id", "=", identifier), ("source", "=", source)]).to_pylist()
    return found


def _signals(schema: pa.Schema, values: dict[str, Any]) -> list[SignalValue]:
    about = {name: schema.field(name).metadata or {} for name in values if name not in RESERVED}
    return [
        SignalValue(name, values[name], *(said.get(part, b"").decode() for part in (b"unit", b"doc", b"citation")))
        for name, said in about.items()
    ]


def _rules(home: CorpusDirectory, source: str, values: dict[str, Any]) -> list[RuleCheck]:
    try:
        rules = rules_of(home).of(source).rules
    except UnknownCurationError:
        return []
    return [_check(rule, values.get(rule.signal)) for rule in rules]


def _check(rule: Rule, value: Any) -> RuleCheck:
    number = None if value is None else float(value)
    fired = bool(OPERATORS[rule.operator](float("nan") if number is None else number, rule.threshold))
    return RuleCheck(rule.name, rule.signal, number, rule.threshold, fired, rule.reason, rule.citation)


def _masks(text: str) -> dict[str, int]:
    found: dict[str, int] = {}
    for kind in _MASK.findall(text):
        found[kind] = found.get(kind, 0) + 1
    return dict(sorted(found.items()))


def _chain(home: CorpusDirectory, removals: list[Removal]) -> list[Link]:
    """From the keeper of a document to the keeper's keeper, and so on to the one that is kept."""
    links: list[Link] = []
    seen: set[tuple[str, str]] = set()
    following = _keeper([(removal.duplicate_of, removal.duplicate_of_source) for removal in removals])
    while following is not None and following not in seen:
        seen.add(following)
        name, source = following
        verdicts = [_row(file, row)[1]["verdict"] for file, row, of in _places(home, name) if of == source]
        if not verdicts:
            links.append(Link(name, source, "not in the signals", ""))
            break
        document = _document(home, name, source) if verdicts[0] == KEPT else None
        links.append(Link(name, source, verdicts[0], document[0] if document else ""))
        reasons = [] if document else _removals(home, name, source)
        following = _keeper([(reason["duplicate_of"], reason["duplicate_of_source"]) for reason in reasons])
    return links


def _keeper(named: list[tuple[str | None, str | None]]) -> tuple[str, str] | None:
    return next(((name, source or "") for name, source in named if name is not None), None)


def _names(record: dict[str, Any], identifier: str, source: str | None) -> bool:
    """Whether a record of the quarantine is about this id: its message or its text quotes the id."""
    said, excerpt = str(record.get("message", "")), str(record.get("excerpt", ""))
    if record.get("reason") == "duplicate_id" and source is not None and f"source {source!r}" not in said:
        return False
    quoted = re.compile(rf"""["'\s]id["']?\s*[:=]?\s*["']?{re.escape(identifier)}["',}}\s]""")
    place = f"{record.get('file')}:{record.get('line')}"
    return bool(quoted.search(f" {said} ") or quoted.search(f" {excerpt} ")) or identifier == place


def _unknown(home: CorpusDirectory, identifier: str, source: str | None) -> str:
    ids = [str(name) for name in home.signals(["id"]).column("id").to_pylist()]
    if source is not None and identifier in set(ids):
        sources = sorted({of for _, _, of in _places(home, identifier)})
        return f"source {source!r} has no document {identifier!r}, but {', '.join(sources)} has"
    part = identifier.casefold()
    near = [name for name in ids if part and part in name.casefold()][:_NEAR]
    if not near:
        # Comparing letter by letter is slow: only ids that begin or end alike, or a bounded number of them.
        alike = [name for name in ids if name[:4] == identifier[:4] or name[-4:] == identifier[-4:]] or ids
        near = difflib.get_close_matches(identifier, alike[:_COMPARED], n=_NEAR, cutoff=0.5)
    hint = f"near it: {', '.join(map(repr, near))}" if near else f"for example {ids[0]!r}" if ids else "it saw none"
    return f"{home.path} has never seen a document {identifier!r}; {hint}"
