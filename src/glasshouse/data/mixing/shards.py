"""Output files of a mixture: cut by bytes of text, each whole as soon as it has its name."""

from __future__ import annotations

import gzip
import io
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import orjson
import pyarrow.parquet as pq

from glasshouse.data.document import DOCUMENT, Document, Origin, to_batch
from glasshouse.data.mixing.mixture import Form
from glasshouse.data.writing import disk_errors_named, parquet_options

_ROWS = 256
_BUFFER = 1 << 20


class ShardWriter:
    """Writes rows into `00000.<form>`, `00001.<form>`, … of a folder, at most `maximum_bytes` of text in each."""

    def __init__(self, folder: Path, form: Form, maximum_bytes: int) -> None:
        self.folder, self.form, self.maximum = folder, form, maximum_bytes
        self.files = 0
        self.bytes = 0
        self._stack = ExitStack()
        self._out: Any = None
        self._buffer = io.BytesIO()
        self._rows: list[Document] = []

    @property
    def path(self) -> Path:
        return self.folder / f"{max(self.files - 1, 0):05d}.{self.form}"

    def write(self, row: dict[str, Any], text_bytes: int) -> None:
        """One row; `metadata` is an object."""
        if self._out is None or (self.bytes and self.bytes + text_bytes > self.maximum):
            self.close()
            self._open()
        self.bytes += text_bytes
        if self.form == "parquet":
            self._rows.append(_document(row))
            if len(self._rows) >= _ROWS:
                self._flush()
        else:
            self._buffer.write(orjson.dumps(row, default=str))
            self._buffer.write(b"\n")
            if self._buffer.tell() >= _BUFFER:
                self._flush()

    def close(self) -> None:
        """Finishes the file being written."""
        if self._out is not None:
            with disk_errors_named(self.path):
                self._flush()
                self._stack.close()
            self._out, self.bytes = None, 0

    def _open(self) -> None:
        self.files += 1
        with disk_errors_named(self.path):
            raw = self._stack.enter_context(self.path.open("wb"))
            if self.form == "parquet":
                self._out = self._stack.enter_context(pq.ParquetWriter(raw, DOCUMENT, **parquet_options(DOCUMENT)))
            elif self.form == "jsonl.gz":
                self._out = gzip.GzipFile(filename="", fileobj=raw, mode="wb", compresslevel=6, mtime=0)
                self._stack.callback(self._out.close)
            elif self.form == "jsonl.zst":
                import zstandard

                compressor = zstandard.ZstdCompressor(level=3)
                self._out = self._stack.enter_context(compressor.stream_writer(raw, closefd=False))
            else:
                self._out = raw

    def _flush(self) -> None:
        with disk_errors_named(self.path):
            if self._rows:
                self._out.write_batch(to_batch(self._rows))
                self._rows = []
            if self._buffer.tell():
                self._out.write(self._buffer.getbuffer())
                self._buffer = io.BytesIO()


def _document(row: dict[str, Any]) -> Document:
    texts = {name: row.get(name) or "" for name in ("id", "text", "source", "added", "created")}
    metadata = orjson.dumps(row.get("metadata") or {}, option=orjson.OPT_SORT_KEYS).decode()
    return Document(origin=Origin(**row["origin"]), metadata=metadata, **texts)
