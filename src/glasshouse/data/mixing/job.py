"""One task of a mixture: some consecutive files of a stream, read, decided, changed and written."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from glasshouse.data.document import to_batch
from glasshouse.data.mixing.fields import Seen, SpanError, spans_at, text_at, usage_of_columns
from glasshouse.data.mixing.filters import decide
from glasshouse.data.mixing.mixture import Mixture, MixtureError, Stream
from glasshouse.data.mixing.rows import InputFile, Rows, read_rows
from glasshouse.data.mixing.sampling import Sampling, hashes_of
from glasshouse.data.mixing.shards import ShardWriter
from glasshouse.data.mixing.spans import Replacement, SpanReplacement, replace_spans
from glasshouse.data.quarantine import Quarantine
from glasshouse.data.resumption import work_key
from glasshouse.data.sources.reading import fingerprint_files

WHITE_SPACE = (
    "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000"
)
"""Unicode's White_Space, which Dolma's mixer strips; Python's `strip` also takes U+001C to U+001F."""
_FORMAT = 1  # of what a task leaves behind: a change makes old work be done again


@dataclass(frozen=True)
class Task:
    """Some consecutive files of one stream; without `write` only the amounts are found."""

    mixture: Mixture
    number: int
    files: tuple[InputFile, ...]
    sampling: Sampling
    write: bool

    @property
    def stream(self) -> Stream:
        return self.mixture.streams[self.number]

    def key(self) -> str:
        """Names the work: all that its result depends on."""
        prints = [file.fingerprint() for file in self.files]
        return work_key(_FORMAT, self.mixture, self.number, self.sampling, self.write, prints)


def mix_files(task: Task, folder: Path) -> dict[str, Any]:
    """One task: writes its shards and its quarantine into `folder` and returns its books as JSON values."""
    job = _Job(task, folder)
    with Quarantine(folder / "quarantine.jsonl") as quarantine:
        for file in task.files:
            job.file = file
            job.sha256 = fingerprint_files([file.shard.path])[0][2] if task.write else ""
            for rows in read_rows(file, quarantine, job.columns):
                job.batch(rows)
    job.writer.close()
    if not task.write:
        np.save(folder / "hashes.npy", np.array(job.hashes, np.uint64))
        np.save(folder / "amounts.npy", np.array(job.amounts, np.float64))
    return dict(job.counts) | {
        "rows": quarantine.rows_seen, "quarantined": quarantine.rows_quarantined,
        "quarantine_reasons": dict(sorted(quarantine.by_reason.items())),
        "matched": job.matched, "replaced": job.replaced, "overlapping": job.overlapping,
        "present": dict(job.seen.present), "mistyped": dict(job.seen.mistyped), "files": job.writer.files,
    }  # fmt: skip


class _Job:
    """The state of one task while it runs."""

    def __init__(self, task: Task, folder: Path) -> None:
        self.task, self.stream, self.mixture = task, task.stream, task.mixture
        self.trees = self.stream.filter.trees()
        self.usage = usage_of_columns(self.trees, [rule.spans for rule in self.stream.replace])
        if self.mixture.weigh_by not in ("bytes", "documents"):
            self.usage.setdefault(self.mixture.weigh_by, "number")
        self.columns = list(self.usage)
        self.fingerprint = self.mixture.fingerprint()
        self.seen = Seen()
        self.counts: Counter[str] = Counter(
            dict.fromkeys(
                ("bytes_seen", "decided", "not_included", "excluded", "too_short", "not_sampled", "kept",
                 "kept_bytes", "documents", "bytes"), 0),
        )  # fmt: skip
        self.matched = [0] * len(self.trees)
        self.replaced = [0] * len(self.stream.replace)
        self.overlapping = 0
        self.amounts: list[float] = []
        self.hashes: list[int] = []
        self.writer = ShardWriter(folder, self.mixture.form, self.mixture.maximum_shard_bytes)
        self.families = _families(self.stream)
        self.file: InputFile
        self.sha256 = ""

    def batch(self, rows: Rows) -> None:
        if self.families:
            rows.signals = self._measured(rows)
        table = rows.table(self.usage, self.seen)
        decision = decide(self.stream.filter, table, self.trees)
        self.matched = [a + b for a, b in zip(self.matched, decision.matched, strict=True)]
        count = len(self.stream.filter.include)
        included = int(decision.included.sum()) if count else len(rows.numbers)
        kept = np.flatnonzero(decision.keep).tolist()
        self.counts["decided"] += len(rows.numbers)
        self.counts["bytes_seen"] += rows.bytes
        self.counts["not_included"] += len(rows.numbers) - included
        self.counts["excluded"] += included - len(kept)
        weights = self._weights(table)
        hashes = hashes_of([rows.documents[row].id for row in kept], self.mixture.seed, self.stream.name)
        copies = self.task.sampling.copies(hashes)
        for row, times, key in zip(kept, copies, hashes.tolist(), strict=True):
            size = self._document(rows, row, times)
            if size is not None and not self.task.write:
                self.hashes.append(key)
                self.amounts.append(self._amount(weights, row, size))

    def _measured(self, rows: Rows) -> pa.Table:
        from glasshouse.data.signals.families import compute_signals

        batch = compute_signals(to_batch(rows.documents), self.families)
        measured = pa.Table.from_batches([batch])
        return measured if rows.signals is None else _beside(rows.signals, measured)

    def _weights(self, table: pa.Table) -> list[float] | None:
        name = self.mixture.weigh_by
        if self.task.write or name in ("bytes", "documents"):
            return None
        return [value or 0.0 for value in table.column(name).to_pylist()]

    def _document(self, rows: Rows, row: int, times: int) -> int | None:
        """Writes a document as often as it comes; its bytes of text, or nothing when it is too short."""
        text = self._text(rows, row)
        size = len(text.encode())
        least = self.stream.minimum_text_bytes
        if least and len(text.strip(WHITE_SPACE).encode()) < least:
            self.counts["too_short"] += 1
            return None
        if not times:
            self.counts["not_sampled"] += 1
            return size
        self.counts["kept"] += 1
        self.counts["kept_bytes"] += size
        self.counts["documents"] += times
        self.counts["bytes"] += times * size
        if self.task.write:
            for copy in range(1, times + 1):
                self.writer.write(self._row(rows, row, text, copy), size)
        return size

    def _amount(self, weights: list[float] | None, row: int, size: int) -> float:
        if weights is not None:
            return weights[row]
        return float(size) if self.mixture.weigh_by == "bytes" else 1.0

    def _text(self, rows: Rows, row: int) -> str:
        text = rows.documents[row].text
        if not self.stream.replace:
            return text
        found: list[Replacement] = []
        for number, rule in enumerate(self.stream.replace):
            for start, end, score in self._spans(rows, row, rule.spans):
                if rule.takes(score):
                    found.append(Replacement(start, end, *self._new_text(rows, row, rule)))
                    self.replaced[number] += 1
        if not found:
            return text
        done = replace_spans(text, found)
        self.overlapping += done.overlapping
        return done.text

    def _new_text(self, rows: Rows, row: int, rule: SpanReplacement) -> tuple[str, bool]:
        if rule.replacement_field is None:
            return rule.replacement, False
        found = text_at(rows.attributes[row], rows.raw[row], rule.replacement_field)
        if found is None:
            place, field = self._place(rows, row), rule.replacement_field
            raise MixtureError(f"{place} has no text {field!r} to replace spans of {rule.spans!r} with")
        return found, True

    def _place(self, rows: Rows, row: int) -> str:
        return f"{self.file.shard.path} row {rows.numbers[row]} (id {rows.documents[row].id!r})"

    def _spans(self, rows: Rows, row: int, name: str) -> list[tuple[int, int, float]]:
        if rows.signals is not None and name in rows.signals.schema.names:
            spans = rows.signals.column(name)[row].as_py() or []
            return [(span["start"], span["end"], span["score"]) for span in spans]
        try:
            return spans_at(rows.attributes[row], rows.raw[row], name)
        except SpanError as error:
            raise MixtureError(f"{self._place(rows, row)}: attribute {name!r}: {error}") from None

    def _row(self, rows: Rows, row: int, text: str, copy: int) -> dict[str, Any]:
        document, raw = rows.documents[row], rows.raw[row]
        found = raw.get("metadata")
        # Metadata that is no object is kept under a name of its own: provenance needs an object.
        metadata = dict(found) if isinstance(found, dict) else {} if found is None else {"value": found}
        provenance: dict[str, Any] = {
            "file": self.file.shard.name, "row": rows.numbers[row], "sha256": self.sha256, "mixture": self.fingerprint,
            "stream": self.stream.name,
        }  # fmt: skip
        if copy > 1:
            provenance["copy"] = copy
        if "provenance" in metadata:
            provenance["before"] = metadata["provenance"]
        metadata["provenance"] = provenance
        identifier = document.id if copy == 1 else f"{document.id}#{copy}"
        out = raw | {"id": identifier, "text": text, "source": document.source, "metadata": metadata}
        out["origin"] = document.origin._asdict()
        if self.mixture.keep_attributes and (self.file.attributes or rows.attributes[row]):
            out["attributes"] = rows.attributes[row]
        for name in self.mixture.discard:
            out.pop(name, None)
        if "metadata" in self.mixture.discard:
            out["metadata"] = {"provenance": provenance}  # where a row comes from is never left out
        return out


def _families(stream: Stream) -> tuple[Any, ...]:
    from glasshouse.data.signals.families import family

    return tuple(family(name) for name in stream.measure)


def _beside(left: pa.Table, right: pa.Table) -> pa.Table:
    for name in right.schema.names:
        if name not in left.schema.names:
            left = left.append_column(right.schema.field(name), right.column(name))
    return left
