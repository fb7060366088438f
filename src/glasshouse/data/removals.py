"""The record of removals: `removed.parquet` and its counts, written as curation goes."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import pyarrow as pa
import pyarrow.parquet as pq

from glasshouse.data.writing import disk_errors_named

_COLUMNS: dict[str, pa.DataType] = {
    "id": pa.string(),
    "source": pa.string(),
    "stage": pa.string(),
    "rule": pa.string(),
    "value": pa.float64(),
    "threshold": pa.float64(),
    "duplicate_of": pa.string(),
    "excerpt": pa.string(),
}
REMOVED: pa.Schema = pa.schema(_COLUMNS)
EXAMPLES = 3


class Removal(NamedTuple):
    """One reason to remove a document; a document has one row per rule it fails."""

    stage: str
    rule: str
    value: float | None
    threshold: float | None
    duplicate_of: str | None
    excerpt: str


class Removals:
    """Writes `removed.parquet` and counts documents and bytes per stage, per rule and per (source, stage).

    The rows of one document must be added one after the other.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.total = (0, 0)
        self.stages: dict[str, tuple[int, int]] = {}
        self.rules: dict[str, tuple[int, int]] = {}
        self.sources: dict[tuple[str, str], tuple[int, int]] = {}
        self.examples: dict[str, list[dict[str, Any]]] = {}
        self._rows: list[dict[str, Any]] = []
        self._last: tuple[str, str] | None = None
        with disk_errors_named(path):
            self._file = path.open("wb")
            self._writer = pq.ParquetWriter(self._file, REMOVED, compression="zstd")

    def add(self, identifier: str, source: str, size: int, removal: Removal) -> None:
        """Records why the document was removed; `size` is its text in bytes."""
        self._rows.append({"id": identifier, "source": source} | removal._asdict())
        self.rules[removal.rule] = _more(self.rules.get(removal.rule), size)
        shown = self.examples.setdefault(removal.rule, [])
        if len(shown) < EXAMPLES:
            kept = {"id": identifier, "source": source, "value": removal.value, "excerpt": removal.excerpt}
            shown.append(kept | {"duplicate_of": removal.duplicate_of})
        if self._last != (source, identifier):
            self._last = (source, identifier)
            self.total = _more(self.total, size)
            self.stages[removal.stage] = _more(self.stages.get(removal.stage), size)
            self.sources[source, removal.stage] = _more(self.sources.get((source, removal.stage)), size)

    def flush(self) -> None:
        """Writes the rows added since the last time as one row group."""
        if self._rows:
            with disk_errors_named(self.path):
                self._writer.write_batch(pa.RecordBatch.from_pylist(self._rows, schema=REMOVED))
            self._rows = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with disk_errors_named(self.path):
            try:
                self._writer.close()
            finally:
                self._file.close()


def _more(counts: tuple[int, int] | None, size: int) -> tuple[int, int]:
    documents, held = counts or (0, 0)
    return documents + 1, held + size
