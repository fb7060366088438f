"""A datasheet for a corpus, generated from the run that made it.

Sections as in Gebru et al. (arXiv 1803.09010) and in Dolma's own datasheet: motivation, composition, collection,
preprocessing (every rule, its threshold and what it removed), uses, distribution, maintenance, legal and ethics.
Numbers come from the corpus; what only a person can say comes from `Answers` or is marked as not stated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from glasshouse.data.corpus import CorpusDirectory
from glasshouse.data.description.croissant import croissant
from glasshouse.data.description.datasheet_answers import QUESTIONS, Answers
from glasshouse.data.description.datasheet_facts import (
    DocumentFacts,
    FileFact,
    document_facts,
    file_facts,
    label_shares,
    manifest_of,
    merkle_root,
    token_counts,
)
from glasshouse.data.description.datasheet_text import Block, Paragraph, Section, Table, html, markdown
from glasshouse.data.description.whatif import WhatIf, what_if
from glasshouse.data.description.whatif_rules import UnknownCurationError
from glasshouse.data.description.whatif_table import SignalTable
from glasshouse.data.opening import open_corpus
from glasshouse.data.writing import disk_errors_named
from glasshouse.store.configuration import canonical_json, fingerprint

Cell = str | int | float | None
TITLES = {"legal": "Legal and ethical considerations", "preprocessing": "Preprocessing, cleaning and labelling"}
MOST_ROWS = 100


@dataclass(frozen=True)
class Datasheet:
    """A datasheet: its sections, and the same dataset as Croissant metadata."""

    title: str
    sections: list[Section]
    metadata: dict[str, Any]
    files: list[FileFact]
    merkle_root: str

    @property
    def markdown(self) -> str:
        return markdown(self.title, self.sections)

    @property
    def html(self) -> str:
        return html(self.title, self.sections)


def datasheet(
    corpus: str | Path | CorpusDirectory,
    answers: Answers | None = None,
    *,
    shards: Sequence[str | Path] = (),
    contamination: Any = None,
) -> Datasheet:
    """The datasheet of a corpus; the same corpus and answers give the same text.

    Args:
        corpus: the directory of a corpus, or a reader of it.
        answers: what only a person can say.
        shards: directories of token shards made from it, for tokens per source.
        contamination: a report about evaluation data in it: an object, or a list of objects (one row each).

    Raises:
        NotACorpusError: there is no corpus.
        DamagedCorpusError: its files contradict each other.
    """
    home = open_corpus(corpus)
    said = answers or Answers()
    files, facts, tokens = file_facts(home), document_facts(home), token_counts(shards)
    table = SignalTable(home)
    try:
        effect = what_if(table, samples=0)
    except UnknownCurationError:
        effect = None
    root = merkle_root(files)
    manifest = manifest_of(home)
    title = said.name or str(manifest.get("name") or home.path.resolve().name)
    blocks: dict[str, list[Block]] = {
        "motivation": [],
        "composition": _composition(home, table, tokens),
        "collection": _collection(home, facts),
        "preprocessing": _preprocessing(home, effect),
        "uses": [_contamination(contamination)],
        "distribution": _distribution(facts, files, root),
        "maintenance": _reproduction(home, manifest, root),
        "legal": _legal(home),
    }
    sections = [_head(title, said)]
    sections += [
        Section(TITLES.get(name, name.capitalize()), _asked(name, said) + made) for name, made in blocks.items()
    ]
    return Datasheet(title, sections, croissant(home, title, said, files), files, root)


def write_datasheet(sheet: Datasheet, directory: str | Path) -> list[Path]:
    """Writes `datasheet.md`, `datasheet.html` and `croissant.json`. Raises `DiskFullError` naming the file."""
    import orjson

    home = Path(directory)
    home.mkdir(parents=True, exist_ok=True)
    metadata = orjson.dumps(sheet.metadata, option=orjson.OPT_INDENT_2) + b"\n"
    contents = {
        "datasheet.md": sheet.markdown.encode(errors="replace"),
        "datasheet.html": sheet.html.encode(errors="replace"),
        "croissant.json": metadata,
    }
    return [write_whole(home / name, content) for name, content in contents.items()]


def write_whole(path: Path, content: bytes) -> Path:
    """Writes a file under another name first, so that what exists is whole."""
    partial = path.with_name(f"{path.name}.partial")
    with disk_errors_named(path):
        partial.write_bytes(content)
        partial.replace(path)
    return path


def _head(title: str, said: Answers) -> Section:
    rows: list[Sequence[Cell]] = [
        ["name", title], ["version", said.version], ["description", said.description], ["licence", said.license],
        ["address", said.url], ["creators", ", ".join(said.creators) or None], ["published", said.date_published],
        ["cite as", said.citation],
    ]  # fmt: skip
    return Section("Overview", [Table("", ["", ""], [[name, value or None] for name, value in rows])])


def _asked(section: str, said: Answers) -> list[Block]:
    return [Paragraph(question, said.to(section, name)) for name, question in QUESTIONS.get(section, {}).items()]


def _composition(home: CorpusDirectory, table: SignalTable, tokens: Mapping[str, int]) -> list[Block]:
    made = home.summary
    kept = table.by_source(table.kept)
    rows: list[Sequence[Cell]] = []
    for source, amount in zip(table.sources, kept, strict=True):
        came, stayed = (made.get("sources", {}).get(source, {}).get(name, {}) for name in ("input", "kept"))
        before, after = came.get("documents", 0), stayed.get("documents", 0)
        row = [source, before, after, _share(after, before), stayed.get("bytes", 0), amount.words]
        rows.append([*row, *([tokens.get(source, 0)] if tokens else [])])
    columns = ["source", "documents in", "documents kept", "% kept", "bytes kept", "words kept"]
    total: list[Cell] = ["all", *(sum(int(row[at] or 0) for row in rows) for at in (1, 2))]
    words = None if table.words is None else sum(int(row[5] or 0) for row in rows)
    total += [_share(int(total[2] or 0), int(total[1] or 0)), sum(int(row[4] or 0) for row in rows), words]
    if tokens:
        columns, total = [*columns, "tokens"], [*total, sum(tokens.values())]
    note = "Bytes (UTF-8) and words (runs without white space) are counted before masking and before pieces were cut."
    blocks: list[Block] = [Table("Documents by source", columns, [*rows, total], note)]
    for name, shares in label_shares(home).items():
        blocks.append(_label_table(name, shares))
    return blocks


def _label_table(name: str, shares: list[tuple[str, int, int]]) -> Table:
    before, after = sum(row[1] for row in shares), sum(row[2] for row in shares)
    rows = [(value, i, _share(i, before), k, _share(k, after)) for value, i, k in shares[:MOST_ROWS]]
    left = f"{len(shares) - MOST_ROWS} rarer values are not shown." if len(shares) > MOST_ROWS else ""
    return Table(f"Documents by {name}", [name, "documents in", "% in", "documents kept", "% kept"], rows, left)


def _collection(home: CorpusDirectory, facts: DocumentFacts) -> list[Block]:
    inputs = home.summary.get("inputs", [])
    columns = ["file", "bytes", *(["sha256"] if any("sha256" in entry for entry in inputs) else [])]
    rows = [[entry.get(name) for name in columns] for entry in inputs]
    dates = [[name, first, last, count] for name, (first, last, count) in sorted(facts.dates.items())]
    odd = ", ".join(f"{count:,} of {name}" for name, count in sorted(facts.unreadable_dates.items()))
    undated = f"As they are written. Not ISO dates, and left out: {odd}." if odd else "As they are written."
    reasons = sorted(home.summary.get("quarantine_reasons", {}).items())
    blocks: list[Block] = [
        Table(
            "Files that were read",
            columns,
            rows,
            "" if rows else "The run did not list its inputs.",
        )
    ]
    if dates or odd:
        blocks.append(
            Table("Dates in the kept documents", ["field", "earliest", "latest", "documents with one"], dates, undated)
        )
    note = "Records that could not become documents, kept aside with the reason." if reasons else "None."
    blocks.append(Table("Quarantine", ["reason", "records"], reasons, note))
    return blocks


def _preprocessing(home: CorpusDirectory, effect: WhatIf | None) -> list[Block]:
    made = home.summary
    documents, size = (made.get("documents", {}).get(name, 0) for name in ("documents", "bytes"))
    stages = [
        [name, t["documents"], _share(t["documents"], documents), t["bytes"], _share(t["bytes"], size)]
        for name, t in [*_stages(made), ("kept", made.get("kept", {"documents": 0, "bytes": 0}))]
    ]
    columns = ["stage", "documents", "% of documents", "bytes", "% of bytes"]
    blocks: list[Block] = [
        Table("What each stage removed", columns, stages, "A document counts once, where it was removed.")
    ]
    if effect is not None:
        written = _written_rules(made.get("curation", {}))
        rows = [
            [r.rule, r.reason, r.judged, r.removed.documents, _share(r.removed.documents, documents),
             _share(r.removed.bytes or 0, size), r.alone.documents, r.remark]
            for r in effect.rules
        ]  # fmt: skip
        columns = [
            *("rule", "why", "documents judged", "removed", "% of documents", "% of bytes", "by it alone", "remark"),
        ]
        sources = dict.fromkeys(str(rule["citation"]) for rule in written if rule.get("citation"))
        note = "A document is removed where a rule of its source holds; it may fail several, so shares add up to more."
        note += f" Sources: {'; '.join(sources)}." if sources else ""
        blocks.append(Table("Rules", columns, rows, note))
    masked = [[kind, count] for kind, count in made.get("masked_spans", {}).items()]
    note = f"In {made.get('masked_documents', 0):,} documents." if masked else "None."
    blocks.append(Table("Personal information masked", ["kind", "spans"], masked, note))
    if cut := made.get("cut_spans"):
        rows = [[name, spans, made.get("cut_bytes", {}).get(name, 0)] for name, spans in cut.items()]
        blocks.append(Table("Repeated pieces cut out", ["method", "pieces", "bytes"], rows))
    methods = made.get("curation", {}).get("deduplicate", [])
    rows = [[str(m.get("name", m.get("__type__"))), canonical_json(_settings(m))] for m in methods]
    blocks.append(Table("De-duplication", ["method", "settings"], rows, "" if rows else "None, or not recorded."))
    return blocks


def _settings(method: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in method.items() if name not in ("__type__", "name")}


def _stages(made: Mapping[str, Any]) -> list[tuple[str, dict[str, int]]]:
    """The stages that removed something, in the order in which documents meet them."""
    methods = (made.get("curation") or {}).get("deduplicate", [])
    order = ["rules", "pii", *(str(method.get("name", "")) for method in methods)]
    return sorted(made.get("stages", {}).items(), key=lambda s: order.index(s[0]) if s[0] in order else len(order))


def _written_rules(curation: Mapping[str, Any]) -> list[dict[str, Any]]:
    keep = curation.get("keep") or {}
    sets = [keep["default"], *keep["by_source"].values()] if "default" in keep else [keep]
    return [rule for part in sets for rule in part.get("rules", [])]


def _contamination(report: Any) -> Block:
    title = "Evaluation data in the corpus"
    if report is None:
        return Table(title, [], [], "Not checked: no report of contamination was given.")
    found = report if isinstance(report, list) else None
    if found is None and isinstance(report, dict):
        found = next((v for v in report.values() if isinstance(v, list) and v and isinstance(v[0], dict)), None) or [
            report
        ]
    rows = [row for row in found or [] if isinstance(row, dict)]
    plain = (str, int, float, bool, type(None))
    names = dict.fromkeys(name for row in rows for name, value in row.items() if isinstance(value, plain))
    columns = sorted(names, key=lambda name: name != "name")  # the set's name first, the counts in their order
    cells = [[row.get(name) if isinstance(row.get(name), plain) else None for name in columns] for row in rows]
    return Table(title, columns, cells, "" if cells else "A report was given, and there is nothing in it to show.")


def _distribution(facts: DocumentFacts, files: Sequence[FileFact], root: str) -> list[Block]:
    licences = [
        [source, name, count]
        for source, counts in facts.licences.items()
        for name, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:MOST_ROWS]
    ]
    note = "As the documents' own metadata name them; nobody has checked them."
    return [
        Table("Licences named by the documents", ["source", "licence", "documents"], licences, note),
        Table(
            "Files", ["file", "documents", "bytes", "sha256"], [list(file) for file in files], f"Merkle root: {root}"
        ),
    ]


def _reproduction(home: CorpusDirectory, manifest: Mapping[str, Any], root: str) -> list[Block]:
    curation = home.summary.get("curation") or {}
    code = manifest.get("code", {})
    rows: list[Sequence[Cell]] = [
        ["artifact", manifest.get("id")],
        ["made by", manifest.get("step")],
        ["code", f"{code.get('version')}, commit {code.get('commit') or 'unknown'}" if code else None],
        ["finished", manifest.get("resources", {}).get("finished")],
        ["configuration (sha256)", fingerprint(curation) if curation else None],
        ["Merkle root of the documents", root],
    ]
    note = "The same configuration (`curation` in summary.json) on the same input files gives the same bytes and root."
    return [Table("How to make it again", ["", ""], rows, note)]


def _legal(home: CorpusDirectory) -> list[Block]:
    made = home.summary
    pii = made.get("stages", {}).get("pii", {}).get("documents", 0)
    masked = sum(made.get("masked_spans", {}).values())
    text = (
        f"{masked:,} spans of personal information were masked and {pii:,} documents with too many of them removed. "
        "Patterns find e-mail addresses, telephone numbers and IP addresses only; other personal information remains."
        if (made.get("curation") or {}).get("mask")
        else "Personal information was neither masked nor removed by this run."
    )
    return [Paragraph("What was done about personal information?", text)]


def _share(part: int, whole: int) -> float | None:
    return round(100 * part / whole, 3) if whole else None
