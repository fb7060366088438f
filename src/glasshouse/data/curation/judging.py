"""The first pass of curation: everything about a document that does not need the others.

One shard of input becomes a folder of streams that run side by side, one Arrow record batch for each batch read:

    rows.arrow        id, source, origin, size, kinds of masked spans and provisional verdict of every document
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
from glasshouse.data.document import DOCUMENT, ORIGIN, check_batch, strings, text_buffers, text_size
from glasshouse.data.signals.families import compute_signals
from glasshouse.data.signals.pii import Span, mask, spans_of_batch
from glasshouse.data.writing import disk_errors_named

EXCERPT = 200
Edit = tuple[int, int, str]
"""Characters `[start, end)` and what stands there afterwards."""
_ROW: dict[str, pa.DataType] = {
    "id": pa.string(),
    "source": pa.string(),
    "origin": ORIGIN,
    "size": pa.int64(),
    "masked": pa.string(),
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
    "duplicate_of_source": pa.string(),
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
    cut: Counter[str]


@dataclass
class Books:
    """What the first pass counts of a shard."""

    documents: int = 0
    survivors: int = 0
    cut: Counter[str] = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        self.cut = Counter()


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
    spans = spans_of_batch(batch) if curation.mask else [[] for _ in range(batch.num_rows)]
    cuts = _cuts(signals, curation)
    verdicts, reasons = _verdicts(batch, signals, spans, cuts, curation)
    staying = [row for row, verdict in enumerate(verdicts) if verdict == KEPT]
    marks = {row: _outside(spans[row], cuts[row]) for row in staying}
    whole = batch.take(pa.array(staying, pa.int64()))
    unmasked = _edited(whole, [cuts[row] for row in staying])
    survivors = _edited(
        whole, [cuts[row] + [(s.start, s.end, f"|||{s.kind}|||") for s in marks[row]] for row in staying]
    )
    pieces = [method.sign(survivors) for method in curation.piece_methods]
    return Judged(
        rows=_rows(batch, verdicts, [" ".join(s.kind for s in marks.get(row, ())) for row in range(batch.num_rows)]),
        signals=signals,
        reasons=pa.RecordBatch.from_pylist(reasons, schema=REASONS),
        survivors=survivors,
        ids=_identities(strings(batch, "id"), strings(batch, "source")),
        keys=[*(method.sign(unmasked) for method in curation.document_methods), *(piece.keys for piece in pieces)],
        counts=[*(None for _ in curation.document_methods), *(piece.counts for piece in pieces)],
        cut=Counter(spans=sum(len(cuts[row]) for row in staying), bytes=text_size(whole) - text_size(unmasked)),
    )


def _verdicts(
    batch: pa.RecordBatch,
    signals: pa.RecordBatch,
    spans: list[list[Span]],
    cuts: list[list[Edit]],
    curation: Curation,
) -> tuple[list[str], list[dict[str, Any]]]:
    """The stage that removes each document, or "kept", and the reasons."""
    ids, sources, texts = strings(batch, "id"), strings(batch, "source"), batch.column("text")
    failures = failed_rules(signals, sources, curation.keep) if curation.keep else [[] for _ in sources]
    most = curation.mask.most_masked if curation.mask else 0
    verdicts: list[str] = []
    reasons: list[dict[str, Any]] = []
    for row, failed in enumerate(failures):
        why: list[tuple[str, float | None, float | None]] = [(f.rule, f.value, f.threshold) for f in failed]
        stage = "rules"
        if not why and len(spans[row]) > most:
            stage, why = "pii", [(f"spans of personal information > {most}", float(len(spans[row])), float(most))]
        if not why and cuts[row] and not edited(cast(str, texts[row].as_py()), cuts[row]).strip():
            stage, why = "cut", [("nothing left after cut", None, None)]
        verdicts.append(stage if why else KEPT)
        if why:
            about = {"row": row, "id": ids[row], "source": sources[row], "stage": stage}
            about["excerpt"] = mask(cast(str, texts[row].as_py()), spans[row])[:EXCERPT]
            reasons += [about | {"rule": rule, "value": value, "threshold": bound} for rule, value, bound in why]
    return verdicts, reasons


def _rows(batch: pa.RecordBatch, verdicts: list[str], masked: list[str]) -> pa.RecordBatch:
    sizes = np.diff(text_buffers(batch)[0])
    columns: list[pa.Array[Any]] = [batch.column(name) for name in ("id", "source", "origin")]
    columns += [pa.array(sizes, pa.int64()), pa.array(masked, pa.string()), pa.array(verdicts, pa.string())]
    return pa.RecordBatch.from_arrays(columns, schema=ROWS)


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
            books.cut += one.cut
            if progress is not None:
                progress(int(one.rows.column("size").to_numpy().sum()))
    return {
        "documents": books.documents,
        "survivors": books.survivors,
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
