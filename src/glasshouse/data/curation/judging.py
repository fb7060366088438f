"""The first pass of curation: everything about a document that does not need the others.

One shard of input becomes a folder of streams that run side by side, one Arrow record batch for each batch read:

    rows.arrow        id, source, size and provisional verdict of every document
    signals.arrow     its signals
    removed.arrow     reasons of removals so far, with the row of the document in its batch
    survivors.arrow   the masked texts of those that are still in
    ids.u64           128 bits of (source, id) per document, to find ids that come twice
    keys-N.u64        keys of the survivors for method N of de-duplication
    counts-N.i64      for a method on pieces: pieces per survivor
    quarantine.jsonl  what could not be read
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from glasshouse.data.curation.configuration import KEPT, Curation
from glasshouse.data.curation.rules import failed_rules
from glasshouse.data.document import DOCUMENT, check_batch, strings, text_buffers
from glasshouse.data.signals.families import compute_signals
from glasshouse.data.signals.pii import Span, mask, spans_of_batch
from glasshouse.data.writing import disk_errors_named

EXCERPT = 200
Edit = tuple[int, int, str]
"""Characters `[start, end)` and what stands there afterwards."""
_ROW: dict[str, pa.DataType] = {
    "id": pa.string(),
    "source": pa.string(),
    "size": pa.int64(),
    "masked_spans": pa.int32(),
    "verdict": pa.string(),
}
ROWS: pa.Schema = pa.schema(_ROW)
_REASON: dict[str, pa.DataType] = {
    "id": pa.string(),
    "source": pa.string(),
    "stage": pa.string(),
    "rule": pa.string(),
    "value": pa.float64(),
    "threshold": pa.float64(),
    "duplicate_of": pa.string(),
    "excerpt": pa.string(),
}
REMOVED: pa.Schema = pa.schema(_REASON)
"""Columns of `removed-*.parquet`: a document has one row per rule it fails."""
REASONS: pa.Schema = pa.schema({"row": pa.int64()} | _REASON)


class Judged(NamedTuple):
    """One batch after the first pass."""

    rows: pa.RecordBatch
    signals: pa.RecordBatch
    reasons: pa.RecordBatch
    survivors: pa.RecordBatch
    ids: npt.NDArray[np.uint64]
    keys: list[npt.NDArray[np.uint64]]
    counts: list[npt.NDArray[np.int64] | None]
    masked: Counter[str]
    cut: Counter[str]


@dataclass
class Books:
    """What the first pass counts of a shard."""

    documents: int = 0
    survivors: int = 0
    masked: Counter[str] = None  # type: ignore[assignment]
    masked_documents: int = 0
    cut: Counter[str] = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        self.masked, self.cut = Counter(), Counter()


def judge(batch: pa.RecordBatch, curation: Curation, signals: pa.RecordBatch | None = None) -> Judged:
    """Signals, rules, personal information and keys of one batch: a pure function.

    Args:
        batch: documents (`document.DOCUMENT`).
        curation: what to do.
        signals: the batch's signals, when they were measured before.
    """
    check_batch(batch)
    if signals is None:
        signals = compute_signals(batch, curation.measured)
    ids, sources = strings(batch, "id"), strings(batch, "source")
    sizes = np.diff(text_buffers(batch)[0])
    failures = failed_rules(signals, sources, curation.keep) if curation.keep else [[] for _ in sources]
    spans = spans_of_batch(batch) if curation.mask else [[] for _ in sources]
    most = curation.mask.most_masked if curation.mask else 0
    reasons: list[dict[str, Any]] = []
    verdicts, staying = [], []
    for row, (failed, found) in enumerate(zip(failures, spans, strict=True)):
        stage = "rules" if failed else "pii" if len(found) > most else KEPT
        verdicts.append(stage)
        if stage == KEPT:
            staying.append(row)
            continue
        rule = f"spans of personal information > {most}"
        why = [(f.rule, f.value, f.threshold) for f in failed] or [(rule, float(len(found)), float(most))]
        about = {"row": row, "id": ids[row], "source": sources[row], "stage": stage, "duplicate_of": None}
        about["excerpt"] = mask(cast(str, batch.column("text")[row].as_py()), found)[:EXCERPT]
        reasons += [about | {"rule": name, "value": value, "threshold": bound} for name, value, bound in why]
    cuts = _cuts(signals, curation)
    lost: Counter[str] = Counter()
    for row in [row for row in staying if cuts[row]]:
        text = cast(str, batch.column("text")[row].as_py())
        if edited(text, cuts[row]).strip():
            lost["spans"] += len(cuts[row])
            lost["bytes"] += len(text.encode()) - len(edited(text, cuts[row]).encode())
            continue
        staying.remove(row)
        verdicts[row] = "cut"
        about = {"row": row, "id": ids[row], "source": sources[row], "stage": "cut", "duplicate_of": None}
        about |= {"excerpt": mask(text, spans[row])[:EXCERPT], "rule": "nothing left after cut"}
        reasons.append(about | {"value": None, "threshold": None})
    reasons.sort(key=lambda reason: cast(int, reason["row"]))
    original = batch.take(pa.array(staying, pa.int64()))
    kept_spans = [_outside(spans[row], cuts[row]) for row in staying]
    kept_cuts = [cuts[row] for row in staying]
    marked = [[(s.start, s.end, f"|||{s.kind}|||") for s in found] for found in kept_spans]
    survivors = _edited(original, [cut + mark for cut, mark in zip(kept_cuts, marked, strict=True)])
    original = _edited(original, kept_cuts)
    pieces = [method.sign(survivors) for method in curation.piece_methods]
    masked_spans = np.zeros(len(ids), np.int32)
    masked_spans[staying] = [len(found) for found in kept_spans]
    columns: list[pa.Array[Any]] = [
        batch.column("id"), batch.column("source"), pa.array(sizes, pa.int64()), pa.array(masked_spans),
        pa.array(verdicts, pa.string()),
    ]  # fmt: skip
    return Judged(
        rows=pa.RecordBatch.from_arrays(columns, schema=ROWS),
        signals=signals,
        reasons=pa.RecordBatch.from_pylist(reasons, schema=REASONS),
        survivors=survivors,
        ids=_identities(ids, sources),
        keys=[*(m.sign(original) for m in curation.document_methods), *(p.keys for p in pieces)],
        counts=[*(None for _ in curation.document_methods), *(p.counts for p in pieces)],
        masked=Counter(span.kind for found in kept_spans for span in found),
        cut=lost,
    )


def write_judged(
    judged: Iterable[Judged], folder: Path, curation: Curation, progress: Callable[[int], None] | None = None
) -> dict[str, Any]:
    """Writes the streams of one shard, batch by batch. Returns the counts its receipt says."""
    schemas = {"rows": ROWS, "signals": curation.signals, "removed": REASONS, "survivors": DOCUMENT}
    books = Books()
    with ExitStack() as stack:
        writers = {name: _Stream(folder / f"{name}.arrow", schema, stack) for name, schema in schemas.items()}
        numbers = _Numbers(folder, stack)
        numbers.append("ids.u64", np.zeros(0, np.uint64))
        for position in range(len(curation.deduplicate)):
            numbers.append(f"keys-{position}.u64", np.zeros(0, np.uint64))
        for one in judged:
            for name, batch in zip(schemas, (one.rows, one.signals, one.reasons, one.survivors), strict=True):
                writers[name].write(batch)
            numbers.append("ids.u64", one.ids)
            for position, (keys, counts) in enumerate(zip(one.keys, one.counts, strict=True)):
                numbers.append(f"keys-{position}.u64", keys)
                if counts is not None:
                    numbers.append(f"counts-{position}.i64", counts)
            books.documents += one.rows.num_rows
            books.survivors += one.survivors.num_rows
            books.masked += one.masked
            books.cut += one.cut
            books.masked_documents += int(np.count_nonzero(one.rows.column("masked_spans").to_numpy()))
            if progress is not None:
                progress(int(one.rows.column("size").to_numpy().sum()))
    return {
        "documents": books.documents,
        "survivors": books.survivors,
        "masked": dict(sorted(books.masked.items())),
        "masked_documents": books.masked_documents,
        "cut": {"spans": books.cut["spans"], "bytes": books.cut["bytes"]},
    }


class _Stream:
    """An Arrow IPC stream of one schema; texts are compressed lightly."""

    def __init__(self, path: Path, schema: pa.Schema, stack: ExitStack) -> None:
        self.path = path
        with disk_errors_named(path):
            self.file = path.open("wb")
            options = pa.ipc.IpcWriteOptions(compression="lz4")
            self.writer = pa.ipc.new_stream(self.file, schema, options=options)
        stack.callback(self.close)

    def write(self, batch: pa.RecordBatch) -> None:
        with disk_errors_named(self.path):
            self.writer.write_batch(batch)

    def close(self) -> None:
        with disk_errors_named(self.path):
            try:
                self.writer.close()
            finally:
                self.file.close()


class _Numbers:
    """Plain files of numbers that grow batch by batch."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder, self.stack = folder, stack
        self.files: dict[str, IO[bytes]] = {}

    def append(self, name: str, values: npt.NDArray[Any]) -> None:
        with disk_errors_named(self.folder / name):
            if name not in self.files:
                self.files[name] = self.stack.enter_context((self.folder / name).open("wb"))
            self.files[name].write(np.ascontiguousarray(values).tobytes())


def edited(text: str, edits: list[Edit]) -> str:
    """`text` with every span of characters replaced; where spans overlap, what an earlier one took is gone."""
    parts, at = [], 0
    for start, end, replacement in sorted(edits):
        if end > at:
            parts += [text[at : max(at, start)], replacement]
            at = end
    return "".join([*parts, text[at:]])


def _edited(batch: pa.RecordBatch, edits: list[list[Edit]]) -> pa.RecordBatch:
    if not any(edits):
        return batch
    texts = strings(batch, "text")
    column = pa.array([edited(text, found) for text, found in zip(texts, edits, strict=True)], pa.large_string())
    return batch.set_column(DOCUMENT.get_field_index("text"), DOCUMENT.field("text"), column)


def _cuts(signals: pa.RecordBatch, curation: Curation) -> list[list[Edit]]:
    """What is cut out of every document."""
    found: list[list[Edit]] = [[] for _ in range(signals.num_rows)]
    for cut in curation.cut:
        for row, spans in enumerate(signals.column(cut.signal).to_pylist()):
            found[row] += [(s["start"], s["end"], "") for s in spans or () if s["score"] >= cut.minimum_score]
    return found


def _outside(spans: list[Span], cuts: list[Edit]) -> list[Span]:
    """The spans that no cut touches."""
    return [span for span in spans if not any(start < span.end and span.start < end for start, end, _ in cuts)]


def _identities(ids: list[str], sources: list[str]) -> npt.NDArray[np.uint64]:
    """128 bits of (source, id) per document: `[rows, 2]`."""
    digests = b"".join(
        hashlib.blake2b(f"{source}\0{name}".encode(), digest_size=16).digest()
        for name, source in zip(ids, sources, strict=True)
    )
    return np.frombuffer(digests, "<u8").reshape(-1, 2).astype(np.uint64)
