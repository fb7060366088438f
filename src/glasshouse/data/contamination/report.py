"""What a decontamination found, per evaluation set, as JSON and as a page to read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from glasshouse.data.contamination.index import EvaluationIndex
from glasshouse.data.contamination.paragraphs import ParagraphIndex
from glasshouse.data.writing import disk_errors_named
from glasshouse.store.configuration import Config

if TYPE_CHECKING:
    from glasshouse.data.contamination.decontaminate import ShardResult

EXAMPLES = 5


class Example(Config):
    """An item and the document that holds most of it."""

    item: str
    document: str
    source: str
    overlap: float
    item_ngrams: float
    document_ngrams: float
    excerpt: str


class SetReport(Config):
    """One evaluation set.

    Attributes:
        items: all items; `searched` by n-grams, `short` as a whole, `too_short` not at all.
        contaminated: searched items with an overlap of the threshold or more in some document; `touched`: with less.
        short_found: short items found.
        pairs: contaminated (document, item) pairs.
    """

    name: str
    items: int
    searched: int
    short: int
    too_short: int
    contaminated: int
    touched: int
    short_found: int
    pairs: int
    examples: tuple[Example, ...]


class Report(Config):
    """`contamination.json`. `seen == kept + removed`; nothing is kept or removed when only a report was asked for."""

    settings: dict[str, Any]
    matching: dict[str, Any]
    searched_for: str
    seen: int
    kept: int
    removed: int
    cut: int
    quarantined: int
    text_bytes: int
    sets: tuple[SetReport, ...]


def report_of(
    index: EvaluationIndex | ParagraphIndex, settings: dict[str, Any], results: Sequence[ShardResult]
) -> Report:
    """Adds up the results of all files."""
    best: dict[tuple[str, str], dict[str, Any]] = {}
    for result in results:
        entries = ((one, item, entry) for one, found in result.items.items() for item, entry in found.items())
        for one, item, entry in entries:
            known = best.setdefault((one, item), {"overlap": -1.0, "documents": 0})
            documents = known["documents"] + entry["documents"]
            if entry["overlap"] > known["overlap"]:
                known |= entry
            known["documents"] = documents
    total = {
        name: sum(getattr(result, name) for result in results)
        for name in ("seen", "kept", "removed", "cut", "text_bytes", "quarantined")
    }
    sets = tuple(_set_report(index, number, best) for number in range(len(index.sets)))
    return Report(
        settings=settings,
        matching=index.matching.model_dump(),
        searched_for=index.searched_for,
        sets=sets,
        **total,
    )


def _set_report(
    index: EvaluationIndex | ParagraphIndex, number: int, best: dict[tuple[str, str], dict[str, Any]]
) -> SetReport:
    name, mine = index.sets[number], index.item_set == number
    found = {item: entry for (owner, item), entry in best.items() if owner == name}
    full = [entry for entry in found.values() if not entry["short"]]
    ordered = sorted(found.items(), key=lambda pair: (-pair[1]["overlap"], pair[0]))
    shown = [(item, entry) for item, entry in ordered if entry["contaminated"]][:EXAMPLES]
    names = ("source", "overlap", "item_ngrams", "document_ngrams", "excerpt")
    too_short, short = mine & (index.item_words == 0), mine & index.item_short
    return SetReport(
        name=name,
        items=int(mine.sum()),
        searched=int(mine.sum() - short.sum() - too_short.sum()),
        short=int(short.sum()),
        too_short=int(too_short.sum()),
        contaminated=sum(entry["contaminated"] for entry in full),
        touched=sum(not entry["contaminated"] for entry in full),
        short_found=sum(entry["short"] for entry in found.values()),
        pairs=sum(entry["documents"] for entry in found.values()),
        examples=tuple(
            Example(item=item, document=entry["id"], **{key: entry[key] for key in names}) for item, entry in shown
        ),
    )


def write_report(report: Report, directory: Path) -> None:
    """Writes `contamination.json` and `contamination.md`."""
    content = {
        "contamination.json": orjson.dumps(report.model_dump(), option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS),
        "contamination.md": as_markdown(report).encode(),
    }
    for name, written in content.items():
        with disk_errors_named(directory / name):
            (directory / name).write_bytes(written)


def as_markdown(report: Report) -> str:
    """The report as a page."""
    settings = report.settings
    lines = [
        "# Contamination",
        "",
        f"{report.seen:,} documents ({report.text_bytes / 1e6:,.1f} MB) were searched for {report.searched_for} "
        f"of evaluation items; an item counts from an overlap of {settings['threshold']:g}. "
        f"Action: {settings['action']} ({report.removed:,} documents removed, {report.cut:,} cut, "
        f"{report.quarantined:,} records quarantined).",
        "",
        "| set | items | searched | contaminated | touched | short found / short | too short | pairs |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
        *(
            f"| {one.name} | {one.items:,} | {one.searched:,} | {one.contaminated:,} | {one.touched:,} | "
            f"{one.short_found:,} / {one.short:,} | {one.too_short:,} | {one.pairs:,} |"
            for one in report.sets
        ),
    ]
    for one in report.sets:
        if one.examples:
            lines += [
                "",
                f"## {one.name}",
                "",
                "| item | document | source | overlap | text |",
                "|---|---|---|---:|---|",
            ]
            lines += [
                f"| {_cell(e.item)} | {_cell(e.document)} | {_cell(e.source)} | {e.overlap:.2f} | {_cell(e.excerpt)} |"
                for e in one.examples
            ]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return " ".join(text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").split())
