"""A curated corpus on disk: what `curate` left in a directory, read back by everything that looks at a corpus.

documents-00000.parquet …   the kept documents (`document.DOCUMENT`)
signals-00000.parquet …     every document that came in: id, source, its signals, its verdict
removed-00000.parquet …     one row per reason of a removal
quarantine.jsonl            records that could not become documents
summary.json                counts and examples
record/roots.json           where the inputs lay; the one file that says something about the place it was made in
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from glasshouse.data.writing import disk_errors_named

KEPT = "kept"
ROOTS = "record/roots.json"
SIGNAL_FILES, REMOVED_FILES = "signals-*.parquet", "removed-*.parquet"


class NotACorpusError(FileNotFoundError):
    """A directory that holds no documents."""


def signal_files(path: str | Path) -> list[Path]:
    """The files of signals in a directory, in order; none where there are none."""
    return sorted(Path(path).glob(SIGNAL_FILES))


def write_roots(home: Path, roots: dict[str, str]) -> None:
    """Records where the roots lay below which files are called (`sources/naming.py`), by what the roots are called."""
    if not roots:  # a stream of documents
        return
    with disk_errors_named(home / ROOTS):
        (home / ROOTS).parent.mkdir(exist_ok=True)
        (home / ROOTS).write_bytes(orjson.dumps(roots, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS))


def read_roots(home: str | Path) -> dict[str, str]:
    """The roots that `write_roots` recorded for what is in a directory; none where there is no record."""
    path = Path(home) / ROOTS
    return dict(orjson.loads(path.read_bytes())) if path.is_file() else {}


class CorpusDirectory:
    """Reads a corpus; nothing is in memory until it is asked for.

    Raises on opening: `NotACorpusError` when the directory holds no `documents-*.parquet`.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.document_files = sorted(self.path.glob("documents-*.parquet"))
        if not self.document_files:
            raise NotACorpusError(f"{path} holds no documents-*.parquet: curate documents into it first")

    @property
    def signal_files(self) -> list[Path]:
        """The files of signals, in order; none where it was not made by `curate`."""
        return signal_files(self.path)

    @property
    def removed_files(self) -> list[Path]:
        """The files of removals, in order; none where it was not made by `curate`."""
        return sorted(self.path.glob(REMOVED_FILES))

    def batches(self, rows: int = 512) -> Iterator[pa.RecordBatch]:
        """The kept documents, in order."""
        for file in self.document_files:
            with pq.ParquetFile(file) as table:
                yield from table.iter_batches(batch_size=rows)

    def signals(self, columns: Sequence[str] | None = None) -> pa.Table:
        """id, source, signals and verdict of every document that came in, in order; `columns` reads only some."""
        return self._table(self.signal_files, SIGNAL_FILES, columns)

    def removed(self) -> pa.Table:
        """One row per reason of a removal: id, source, stage, rule, value, threshold, duplicate_of, excerpt."""
        return self._table(self.removed_files, REMOVED_FILES, None)

    @cached_property
    def summary(self) -> dict[str, Any]:
        """`summary.json`; empty where there is none."""
        path = self.path / "summary.json"
        return dict(orjson.loads(path.read_bytes())) if path.is_file() else {}

    @cached_property
    def quarantined(self) -> list[dict[str, Any]]:
        """The quarantined records: file, line, offset, reason, message, excerpt."""
        path = self.path / "quarantine.jsonl"
        return [orjson.loads(line) for line in path.read_bytes().splitlines()] if path.is_file() else []

    def located(self, file: str) -> str:
        """Where the file of an origin is, or of a record of the quarantine; what it is called when it is not there."""
        name, mark, row = file.partition("#row=")
        for called, root in self.roots.items():
            if called in ("", name) or name.startswith(f"{called}/"):
                place = Path(root) / name[len(called) :].lstrip("/")
                if "://" not in root and place.exists():
                    return f"{place}{mark}{row}"
        return file

    @cached_property
    def roots(self) -> dict[str, str]:
        """Where the inputs lay, by what they are called in origins."""
        return read_roots(self.path)

    def document(self, identifier: str, source: str | None = None) -> dict[str, Any] | None:
        """The kept document of an id (and source), as a row; `None` when it was not kept."""
        for file in self.document_files:
            with pq.ParquetFile(file) as table:
                for group in range(table.num_row_groups):
                    ids = table.read_row_group(group, columns=["id", "source"]).to_pylist()
                    for row, found in enumerate(ids):
                        if found["id"] == identifier and source in (None, found["source"]):
                            return dict(table.read_row_group(group).slice(row, 1).to_pylist()[0])
        return None

    def _table(self, files: list[Path], pattern: str, columns: Sequence[str] | None) -> pa.Table:
        if not files:
            raise NotACorpusError(f"{self.path} holds no {pattern}: it was not made by `curate`")
        wanted = None if columns is None else list(columns)
        return pa.concat_tables([pq.read_table(file, columns=wanted) for file in files])
