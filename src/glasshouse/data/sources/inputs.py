"""Inputs as shards: what can be read on its own, on any worker."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow as pa

from glasshouse.data.document import BATCH_BYTES, batches
from glasshouse.data.quarantine import Quarantine
from glasshouse.data.sources.reading import MAX_DOCUMENT_BYTES, _documents, _files
from glasshouse.store.configuration import Config


class InputShard(Config):
    """A file of documents."""

    path: str
    size: int
    stamp: int = 0

    @property
    def name(self) -> str:
        return self.path.rsplit("/", 1)[-1]

    def fingerprint(self) -> str:
        """Says whether the input changed: path, size and time of modification."""
        return f"{self.path} {self.size} {self.stamp}"

    def batches(self, quarantine: Quarantine) -> Iterator[pa.RecordBatch]:
        """The documents, in order."""
        return batches(_documents([self.path], quarantine, MAX_DOCUMENT_BYTES), BATCH_BYTES)


def plan_inputs(paths: str | Path | Iterable[str | Path]) -> list[InputShard]:
    """The shards of files, directories and patterns, in a fixed order."""
    entries = [paths] if isinstance(paths, str | Path) else list(paths)
    files = [file for entry in entries for file in _files(str(entry))]
    return [InputShard(path=f, size=Path(f).stat().st_size, stamp=Path(f).stat().st_mtime_ns) for f in files]
