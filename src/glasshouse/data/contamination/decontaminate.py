"""Decontamination: documents that hold evaluation items are found, reported, and removed or cut.

The output directory is a corpus again (`data/corpus.py`), with `hits-*.parquet`, `contamination.json` and
`contamination.md` beside it.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field

from glasshouse.data.contamination.index import EvaluationIndex
from glasshouse.data.contamination.paragraphs import ParagraphIndex
from glasshouse.data.contamination.report import Report, report_of, write_report
from glasshouse.data.contamination.scanning import HITS, scan
from glasshouse.data.curation.judging import REMOVED
from glasshouse.data.document import DOCUMENT, strings
from glasshouse.data.executor import Executor, Threads
from glasshouse.data.quarantine import Quarantine
from glasshouse.data.sources.inputs import InputShard, plan_inputs
from glasshouse.data.writing import disk_errors_named, parquet_options
from glasshouse.store.configuration import Config

STAGE = "decontamination"
EXCERPT = 200
FOUND: pa.Schema = HITS.append(pa.field("contaminated", pa.bool_())).append(pa.field("excerpt", pa.string()))
"""Columns of `hits-*.parquet`: `scanning.HITS` (`row` counts through the input file), the verdict and the text found.
"""


class NotEmptyError(FileExistsError):
    """The output directory holds something already."""


class Decontamination(Config):
    """What happens to a document that holds evaluation items.

    Attributes:
        threshold: overlap from which an item counts as contaminated (`scanning.HITS`).
        action: remove the whole `document`, cut the `span`s, or only `report`.
        short_items: whether items found as a whole (fewer words than an n-gram) count for the action, or are reported.
        report_from: hits of less overlap are not listed.
    """

    threshold: float = Field(default=0.5, gt=0.0, le=1.0)
    action: Literal["document", "span", "report"] = "document"
    short_items: Literal["report", "act"] = "report"
    report_from: float = Field(default=0.1, ge=0.0, le=1.0)


class Judged(NamedTuple):
    """A batch after the verdict.

    Attributes:
        documents: what is kept, with contaminated spans cut.
        hits: `FOUND`.
        removed: `REMOVED`.
    """

    documents: pa.RecordBatch
    hits: pa.Table
    removed: pa.Table


def judge(
    batch: pa.RecordBatch, index: EvaluationIndex | ParagraphIndex, settings: Decontamination, first_row: int = 0
) -> Judged:
    """Scans a batch and applies the policy: a pure function.

    Args:
        first_row: the batch's first row in its file, added to `row`.
    """
    # The verdict must not depend on what is listed.
    lowest = min(settings.report_from, settings.threshold)
    found = index.scan(batch) if isinstance(index, ParagraphIndex) else scan(batch, index, lowest)
    overlap = found.column("overlap").to_numpy()
    short = np.asarray(found.column("short").to_pylist(), dtype=np.bool_)
    contaminated = overlap >= settings.threshold
    acted = contaminated & (~short | (settings.short_items == "act"))
    rows: list[dict[str, Any]] = found.to_pylist()
    texts = batch.column("text")
    excerpts = [_excerpt(str(texts[row["row"]]), row["spans"]) for row in rows]
    hits = found.append_column("contaminated", pa.array(contaminated)).append_column(
        "excerpt", pa.array(excerpts, pa.string())
    )
    hits = hits.set_column(0, "row", pa.array(found.column("row").to_numpy() + first_row, pa.int64())).cast(FOUND)
    documents, gone = batch, set[int]()
    if settings.action == "document":
        gone = {row["row"] for row, act in zip(rows, acted, strict=True) if act}
    elif settings.action == "span" and acted.any():
        documents, gone = _cut(batch, [row for row, act in zip(rows, acted, strict=True) if act])
    removed = [
        {"id": row["id"], "source": row["source"], "stage": STAGE, "rule": row["set"], "value": row["overlap"],
         "threshold": settings.threshold, "duplicate_of": None, "excerpt": excerpt}
        for row, excerpt, act in zip(rows, excerpts, acted, strict=True) if act and row["row"] in gone
    ]  # fmt: skip
    kept = pa.array([row for row in range(batch.num_rows) if row not in gone], pa.int64())
    return Judged(documents.take(kept) if gone else documents, hits, pa.Table.from_pylist(removed, REMOVED))


def decontaminate(
    inputs: Sequence[str | Path],
    index: EvaluationIndex | ParagraphIndex,
    directory: str | Path,
    settings: Decontamination | None = None,
    *,
    executor: Executor | None = None,
) -> Report:
    """Scans files of documents or curated corpora, and writes what is left with a report.

    The files are the same for any number of workers. A directory that an interrupted run left is replaced.

    Args:
        inputs: files, directories, patterns, or directories of curated corpora.
        directory: new or empty.

    Raises:
        NotEmptyError: `directory` holds something already.
        FileNotFoundError: an input that does not exist.
        DiskFullError: naming the file.
    """
    settings = settings or Decontamination()
    home = Path(directory)
    if home.is_dir() and any(home.iterdir()):
        raise NotEmptyError(f"{home} is not empty: write into a new directory")
    partial = home.with_name(home.name + ".partial")
    if partial.exists():
        shutil.rmtree(partial)
    shards = plan_inputs(inputs)
    partial.mkdir(parents=True)
    work = _Work(index, settings, str(partial))
    done = list((executor or Threads()).map(work, list(enumerate(shards))))
    _write_quarantine(partial / "quarantine.jsonl", done)
    report = report_of(index, settings.model_dump(), done)
    write_report(report, partial)
    if home.exists():
        home.rmdir()
    partial.replace(home)
    return report


@dataclass
class ShardResult:
    """What one input file gave: counts, and per item the highest overlap, documents and an example."""

    seen: int = 0
    kept: int = 0
    removed: int = 0
    cut: int = 0
    text_bytes: int = 0
    records: list[dict[str, Any]] = field(default_factory=list)
    items: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class _Work:
    """Scans one input file: what runs on the workers."""

    index: EvaluationIndex | ParagraphIndex
    settings: Decontamination
    directory: str

    def __call__(self, numbered: tuple[int, InputShard]) -> ShardResult:
        number, shard = numbered
        home, result = Path(self.directory), ShardResult()
        quarantine = Quarantine()
        writes = {"hits": FOUND, "removed": REMOVED}
        if self.settings.action != "report":
            writes["documents"] = DOCUMENT
        files = {name: home / f"{name}-{number:05d}.parquet" for name in writes}
        writers = {
            name: pq.ParquetWriter(path, writes[name], **parquet_options(writes[name])) for name, path in files.items()
        }
        try:
            for judged in self._judged(shard, quarantine, result):
                for name, writer in writers.items():
                    rows = getattr(judged, name)
                    if rows.num_rows:
                        with disk_errors_named(files[name]):
                            writer.write_table(pa.Table.from_batches([rows]) if name == "documents" else rows)
        finally:
            for name, writer in writers.items():
                with disk_errors_named(files[name]):
                    writer.close()
        result.records = quarantine.records
        return result

    def _judged(self, shard: InputShard, quarantine: Quarantine, result: ShardResult) -> Iterator[Judged]:
        for batch in shard.batches(quarantine):
            judged = judge(batch, self.index, self.settings, result.seen)
            result.seen += batch.num_rows
            result.kept += judged.documents.num_rows
            result.removed += batch.num_rows - judged.documents.num_rows
            result.text_bytes += sum(len(text.encode()) for text in strings(batch, "text"))
            if self.settings.action == "span":
                before = dict(zip(strings(batch, "id"), strings(batch, "text"), strict=True))
                after = zip(strings(judged.documents, "id"), strings(judged.documents, "text"), strict=True)
                result.cut += sum(before[identifier] != text for identifier, text in after)
            _tally(result, judged.hits)
            yield judged


def _tally(result: ShardResult, hits: pa.Table) -> None:
    for row in hits.to_pylist():
        entry = result.items.setdefault(
            (row["set"], row["item"]), {"overlap": -1.0, "documents": 0, "short": row["short"]}
        )
        entry["documents"] += row["contaminated"]
        if row["overlap"] > entry["overlap"]:
            names = ("overlap", "item_ngrams", "document_ngrams", "id", "source", "excerpt", "contaminated")
            entry |= {name: row[name] for name in names}


def _cut(batch: pa.RecordBatch, rows: list[dict[str, Any]]) -> tuple[pa.RecordBatch, set[int]]:
    """The batch without the spans of these hits, and the rows of which nothing is left."""
    texts, gone = strings(batch, "text"), set()
    spans: dict[int, list[tuple[int, int]]] = {}
    for row in rows:
        spans.setdefault(row["row"], []).extend((span["start"], span["end"]) for span in row["spans"])
    for row_number, found in spans.items():
        text, kept, at = texts[row_number], [], 0
        for start, end in sorted(found):
            kept.append(text[at : max(start, at)])
            at = max(at, end)
        texts[row_number] = "".join([*kept, text[at:]])
        if not texts[row_number].strip():
            gone.add(row_number)
    place = batch.schema.get_field_index("text")
    return batch.set_column(place, batch.schema.field(place), pa.array(texts, pa.large_string())), gone


def _excerpt(text: str, spans: list[dict[str, Any]]) -> str:
    return text[spans[0]["start"] : spans[0]["end"]][:EXCERPT] if spans else ""


def _write_quarantine(path: Path, results: Sequence[ShardResult]) -> None:
    with disk_errors_named(path):
        path.write_bytes(b"".join(orjson.dumps(record) + b"\n" for result in results for record in result.records))
