"""Documents to files: JSON Lines (plain, gzip, zstd) and Parquet, the same bytes on every run."""

from __future__ import annotations

import contextlib
import errno
import gzip
import io
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

import fsspec
import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from glasshouse.data.document import DOCUMENT, check_batch

_REPEATING = ["source", "added", "created", "metadata", "origin.file"]
_FULL = {errno.ENOSPC, errno.EDQUOT}


class Written(NamedTuple):
    """What a writer wrote: documents and bytes of UTF-8 text (before compression)."""

    documents: int
    text_bytes: int


class DiskFullError(OSError):
    """The disk or the quota is full; the message names the file that is now incomplete."""


@contextlib.contextmanager
def disk_errors_named(path: str | Path) -> Iterator[None]:
    """Turns a full disk or quota into a `DiskFullError` that names the file and says what to do."""
    try:
        yield
    except DiskFullError:
        raise  # the innermost file is the one that could not be written
    except OSError as error:
        if error.errno in _FULL:
            message = (
                f"no space left while writing {path}; the file is incomplete and must not be used: "
                "free some space or choose another directory, then run again"
            )
            raise DiskFullError(error.errno, message) from error
        raise


def write_documents(batches: Iterable[pa.RecordBatch], path: str | Path) -> Written:
    """Writes documents to one file; the suffix names the form: `.jsonl`, `.jsonl.gz`, `.jsonl.zst` or `.parquet`.

    Equal documents give equal bytes (gzip without a time stamp, one fixed zstd level, one Parquet row group per batch).
    `path` may be any fsspec URL. What exists under that name is whole: the file is written under another name (locally
    `<path>.partial`) and gets its own at the end; when writing fails, nothing is left.

    Raises:
        ValueError: for another suffix.
        TypeError: for a batch without the schema `DOCUMENT`.
        DiskFullError: naming the file.
    """
    name = str(path)
    if not name.endswith((".jsonl", ".jsonl.gz", ".jsonl.zst", ".parquet")):
        raise ValueError(f"cannot write {name!r}: use .jsonl, .jsonl.gz, .jsonl.zst or .parquet")
    with disk_errors_named(path), _whole(name) as raw:
        if name.endswith(".parquet"):
            return write_parquet(batches, raw, DOCUMENT)
        with _compressed(raw, name) as out:
            return _write_lines(batches, out)


@contextlib.contextmanager
def _whole(name: str) -> Iterator[IO[bytes]]:
    """A file that is there when the block ends, and not when it fails."""
    system, path = fsspec.core.url_to_fs(name)
    if "file" in (system.protocol if isinstance(system.protocol, tuple) else (system.protocol,)):
        partial = Path(f"{path}.partial")
        try:
            with partial.open("wb") as file:
                yield file
            partial.replace(path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
        return
    file = system.open(path, "wb", autocommit=False)
    try:
        yield file
        file.close()
    except BaseException:
        file.discard()
        raise
    file.commit()


def write_parquet(batches: Iterable[pa.RecordBatch], file: IO[bytes], schema: pa.Schema) -> Written:
    """Writes record batches of `schema` as Parquet (zstd), one row group per batch, with a checksum on every page."""
    documents = text_bytes = 0
    with pq.ParquetWriter(file, schema, **parquet_options(schema)) as writer:
        for batch in batches:
            writer.write_batch(batch)
            documents += batch.num_rows
            text_bytes += _text_bytes(batch)
    return Written(documents, text_bytes)


def parquet_options(schema: pa.Schema) -> dict[str, Any]:
    """How Parquet is written here: zstd, a checksum on every page, no dictionary of texts (they hardly ever repeat)."""
    dictionary: Any = _REPEATING if schema.equals(DOCUMENT) else True
    return {"compression": "zstd", "use_dictionary": dictionary, "write_page_checksum": True}


def _text_bytes(batch: pa.RecordBatch) -> int:
    import pyarrow.compute as pc

    if batch.num_rows == 0 or "text" not in batch.schema.names:
        return 0
    return int(pc.sum(pc.binary_length(cast("pa.LargeStringArray", batch.column("text")))).as_py())


@contextlib.contextmanager
def _compressed(raw: IO[bytes], name: str) -> Iterator[IO[bytes]]:
    if name.endswith(".gz"):
        with gzip.GzipFile(filename="", fileobj=raw, mode="wb", compresslevel=6, mtime=0) as out:
            yield cast("IO[bytes]", out)
    elif name.endswith(".zst"):
        import zstandard

        with zstandard.ZstdCompressor(level=3, write_checksum=True).stream_writer(raw, closefd=False) as out:
            yield cast("IO[bytes]", out)
    else:
        yield raw


def _write_lines(batches: Iterable[pa.RecordBatch], out: IO[bytes]) -> Written:
    documents = text_bytes = 0
    for batch in batches:
        check_batch(batch)
        block = io.BytesIO()
        for row in batch.to_pylist():
            block.write(orjson.dumps(_row(row)) + b"\n")
        out.write(block.getbuffer())
        documents += batch.num_rows
        text_bytes += _text_bytes(batch)
    return Written(documents, text_bytes)


def _row(row: dict[str, Any]) -> dict[str, Any]:
    """Dolma's row has `metadata` as an object, not as text."""
    return row | {"metadata": orjson.loads(row["metadata"] or "{}")}
