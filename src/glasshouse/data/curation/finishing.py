"""The last pass of curation: the decisions about one shard become its documents, signals, removals and books."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from glasshouse.data.curation.configuration import KEPT, Curation
from glasshouse.data.curation.deciding import STAYS, Decision, stream
from glasshouse.data.curation.judging import EXCERPT, REASONS, REMOVED
from glasshouse.data.curation.summary import CurationSummary
from glasshouse.data.document import DOCUMENT, strings
from glasshouse.data.quarantine import Quarantine
from glasshouse.data.writing import disk_errors_named, parquet_options

SHARD_BYTES = 256 << 20


@dataclass(frozen=True)
class Finish:
    """What a worker needs to finish a shard: what the first pass wrote, and what was decided."""

    judged: Path
    receipt: dict[str, Any]
    decision: Decision
    curation: Curation
    shard_bytes: int = SHARD_BYTES


@dataclass
class _Places:
    """How far the shard has been read, in survivors, and for every method on pieces in pieces."""

    row: int = 0
    survivor: int = 0
    pieces: list[int] = field(default_factory=list)


def finish(task: Finish, folder: Path) -> dict[str, Any]:
    """Writes `documents-000.parquet` …, `signals.parquet`, `removed.parquet` and `quarantine.jsonl` of one shard.

    Returns the books as JSON values, and how many files of documents there are.
    """
    summary = CurationSummary()
    if task.receipt["cut"]["spans"]:
        summary.cut_spans, summary.cut_bytes = (
            {"cut": task.receipt["cut"]["spans"]},
            {"cut": task.receipt["cut"]["bytes"]},
        )
    counts = [_counts(task, number) for number in range(len(task.curation.deduplicate))]
    places = _Places(pieces=[0] * len(task.curation.piece_methods))
    with ExitStack() as stack:
        documents = _Documents(folder, task.shard_bytes, stack)
        signals = _Table(folder / "signals.parquet", task.curation.table_schema, stack)
        removed = _Table(folder / "removed.parquet", REMOVED, stack)
        quarantine = stack.enter_context(Quarantine(folder / "quarantine.jsonl"))
        for rows, measured, reasons, survivors in _side_by_side(task.judged):
            _finish_batch(task, rows, measured, reasons, survivors, places, counts, summary,
                          (documents, signals, removed, quarantine))  # fmt: skip
    summary.quarantined = quarantine.rows_quarantined
    summary.quarantine_reasons = dict(quarantine.by_reason)
    return {"summary": asdict(summary), "files": documents.number}


def _finish_batch(
    task: Finish,
    rows: pa.RecordBatch,
    measured: pa.RecordBatch,
    reasons: pa.RecordBatch,
    survivors: pa.RecordBatch,
    places: _Places,
    counts: list[npt.NDArray[np.int64] | None],
    summary: CurationSummary,
    outputs: tuple[_Documents, _Table, _Table, Quarantine],
) -> None:
    documents, signals, removed, quarantine = outputs
    verdicts = strings(rows, "verdict")
    staying = np.flatnonzero([verdict == KEPT for verdict in verdicts])
    repeated = _repeated(task.decision.repeated_ids, places.row, len(verdicts))
    window = slice(places.survivor, places.survivor + len(staying))
    stages, keepers = task.decision.stage[window], task.decision.keeper[window]
    alive = (stages == STAYS) & ~repeated[staying]
    texts, emptied = _cut(task, survivors, places, counts, alive, summary)
    more = _later_removals(task, rows, survivors, staying, stages, keepers, repeated, emptied)
    for one in more:
        verdicts[one["row"]] = one["stage"]
    explained = [row for row in reasons.to_pylist() if not repeated[row["row"]]] + more
    explained.sort(key=lambda row: cast(int, row["row"]))
    for row in np.flatnonzero(repeated).tolist():
        _put_aside(rows, row, quarantine)
    _count(rows, verdicts, repeated, explained, summary)
    where = [rows.column(name) for name in ("id", "source", "origin")]
    masked = pa.array([len(kinds.split()) for kinds in strings(rows, "masked")], pa.int32())
    columns = [*where, *measured.columns, masked, pa.array(verdicts, pa.string())]
    signals.write(pa.RecordBatch.from_arrays(columns, schema=task.curation.table_schema).filter(pa.array(~repeated)))
    if explained:
        removed.write(pa.RecordBatch.from_pylist(explained, schema=REASONS).select(REMOVED.names))
    documents.write(texts)
    places.row += len(verdicts)
    places.survivor += len(staying)


def _later_removals(
    task: Finish,
    rows: pa.RecordBatch,
    survivors: pa.RecordBatch,
    staying: npt.NDArray[np.int64],
    stages: npt.NDArray[np.int16],
    keepers: npt.NDArray[np.int64],
    repeated: npt.NDArray[np.bool_],
    emptied: dict[int, str],
) -> list[dict[str, Any]]:
    """Why survivors of the first pass go after all: an earlier duplicate, or nothing left after cutting."""
    found = []
    for place, row in enumerate(staying.tolist()):
        if repeated[row] or (stages[place] == STAYS and place not in emptied):
            continue
        keeper: tuple[str | None, str | None] = (None, None)
        if stages[place] == STAYS:
            stage, rule = emptied[place], f"nothing left after {emptied[place]}"
        else:
            stage = task.curation.document_methods[stages[place]].name
            rule, keeper = f"{stage} duplicate", task.decision.keepers[keepers[place]]
        found.append({
            "row": row, "id": rows.column("id")[row].as_py(), "source": rows.column("source")[row].as_py(),
            "stage": stage, "rule": rule, "value": None, "threshold": None, "duplicate_of": keeper[0],
            "duplicate_of_source": keeper[1],
            "excerpt": cast(str, survivors.column("text")[place].as_py())[:EXCERPT],
        })  # fmt: skip
    return found


def _cut(
    task: Finish,
    survivors: pa.RecordBatch,
    places: _Places,
    counts: list[npt.NDArray[np.int64] | None],
    alive: npt.NDArray[np.bool_],
    summary: CurationSummary,
) -> tuple[pa.RecordBatch, dict[int, str]]:
    """The documents that stay, without their repeated pieces, and those of which nothing was left (by method)."""
    spans: list[list[tuple[int, int]]] = [[] for _ in range(survivors.num_rows)]
    texts = strings(survivors, "text") if task.curation.piece_methods else []
    left, emptied = list(texts), {}
    for number, method in enumerate(task.curation.piece_methods):
        for row, repeated in enumerate(method.spans(survivors, _flags(task, number, survivors, places, counts))):
            if not repeated or not alive[row]:
                continue
            spans[row] += [(start, end) for start, end, _ in repeated]
            shorter = without(texts[row], spans[row])
            lost = len(left[row].encode()) - len(shorter.encode())
            summary.cut_spans[method.name] = summary.cut_spans.get(method.name, 0) + len(repeated)
            summary.cut_bytes[method.name] = summary.cut_bytes.get(method.name, 0) + lost
            if left[row].strip() and not shorter.strip():
                emptied[row] = method.name
            left[row] = shorter
    if not any(spans):
        return survivors.filter(pa.array(alive)), {}
    stays = alive.copy()
    stays[list(emptied)] = False
    shortened = pa.array(left, pa.large_string())
    changed = survivors.set_column(DOCUMENT.get_field_index("text"), DOCUMENT.field("text"), shortened)
    return changed.filter(pa.array(stays)), emptied


def _flags(
    task: Finish,
    number: int,
    survivors: pa.RecordBatch,
    places: _Places,
    counts: list[npt.NDArray[np.int64] | None],
) -> npt.NDArray[np.bool_]:
    """Which pieces of these survivors occurred before, for one method."""
    column = counts[len(task.curation.document_methods) + number]
    if column is None:
        return np.zeros(0, bool)
    at = places.pieces[number]
    size = int(column[places.survivor : places.survivor + survivors.num_rows].sum())
    places.pieces[number] = at + size
    return task.decision.repeated_pieces[number][at : at + size]


def without(text: str, spans: list[tuple[int, int]]) -> str:
    """`text` without the characters of any span; spans may overlap."""
    parts, at = [], 0
    for start, end in sorted(spans):
        parts.append(text[at : max(at, start)])
        at = max(at, end)
    return "".join([*parts, text[at:]])


def _count(
    rows: pa.RecordBatch,
    verdicts: list[str],
    repeated: npt.NDArray[np.bool_],
    explained: list[dict[str, Any]],
    summary: CurationSummary,
) -> None:
    sources, sizes, kinds = strings(rows, "source"), rows.column("size").to_numpy().tolist(), strings(rows, "masked")
    for row, verdict in enumerate(verdicts):
        if repeated[row]:
            continue
        summary.came_in(sources[row], sizes[row])
        if verdict == KEPT:
            summary.stayed(sources[row], sizes[row])
            for kind in kinds[row].split():
                summary.masked_spans[kind] = summary.masked_spans.get(kind, 0) + 1
            summary.masked_documents += bool(kinds[row])
        else:
            summary.went(sources[row], sizes[row], verdict)
    for reason in explained:
        summary.failed(sizes[reason["row"]], reason)


def _put_aside(rows: pa.RecordBatch, row: int, quarantine: Quarantine) -> None:
    identifier, source = rows.column("id")[row].as_py(), rows.column("source")[row].as_py()
    origin = cast("dict[str, Any]", rows.column("origin")[row].as_py())
    message = f"id {identifier!r} was already read for source {source!r} in an earlier shard"
    quarantine.saw()
    quarantine.add("duplicate_id", message, file=origin["file"], offset=origin["start"])


def _repeated(rows: npt.NDArray[np.int64], start: int, size: int) -> npt.NDArray[np.bool_]:
    flags = np.zeros(size, bool)
    here = rows[(rows >= start) & (rows < start + size)]
    flags[here - start] = True
    return flags


def _counts(task: Finish, number: int) -> npt.NDArray[np.int64] | None:
    path = task.judged / f"counts-{number}.i64"
    return np.fromfile(path, np.int64) if path.exists() else None


def _side_by_side(folder: Path) -> Iterator[tuple[pa.RecordBatch, ...]]:
    names = ("rows", "signals", "removed", "survivors")
    return zip(*(stream(folder / f"{name}.arrow") for name in names), strict=True)


class _Table:
    """A Parquet file, one row group per batch."""

    def __init__(self, path: Path, schema: pa.Schema, stack: ExitStack) -> None:
        self.path = path
        with disk_errors_named(path):
            self.file = path.open("wb")
            self.writer = pq.ParquetWriter(self.file, schema, **parquet_options(schema))
        stack.callback(self.close)

    def write(self, batch: pa.RecordBatch) -> None:
        if batch.num_rows:
            with disk_errors_named(self.path):
                self.writer.write_batch(batch)

    def close(self) -> None:
        with disk_errors_named(self.path):
            try:
                self.writer.close()
            finally:
                self.file.close()


class _Documents:
    """Files of kept documents, a new one when the last has `shard_bytes`."""

    def __init__(self, folder: Path, shard_bytes: int, stack: ExitStack) -> None:
        self.folder, self.shard_bytes, self.stack = folder, shard_bytes, stack
        self.number = self.held = 0
        self.table: _Table | None = None
        self.inner = stack.enter_context(ExitStack())

    def write(self, batch: pa.RecordBatch) -> None:
        if not batch.num_rows:
            return
        if self.table is None:
            self.table = _Table(self.folder / f"documents-{self.number:03d}.parquet", DOCUMENT, self.inner)
            self.number += 1
        self.table.write(batch)
        self.held += batch.nbytes
        if self.held >= self.shard_bytes:
            self.inner.close()
            self.table, self.held = None, 0


def write_json(path: Path, value: Any) -> None:
    """A JSON file with sorted keys."""
    with disk_errors_named(path):
        path.write_bytes(orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS))
