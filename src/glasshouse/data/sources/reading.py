"""Files of every form as one stream of Arrow record batches.

Whatever cannot become a document is quarantined with file, line, byte offset and reason, and reading goes on. Memory is
bounded by one batch and one line (`max_document_bytes`), apart from 16 bytes per document to find repeated ids.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import fsspec
import pyarrow as pa

from glasshouse.data.document import BATCH_BYTES
from glasshouse.data.quarantine import Quarantine
from glasshouse.data.sources.forms import UnknownFormatError
from glasshouse.data.sources.inputs import plan_inputs
from glasshouse.data.sources.rows import BadRowError, SeenIds, document_of
from glasshouse.data.sources.settings import MAX_DOCUMENT_BYTES, UNKNOWN_SOURCE, Reading

__all__ = [
    "MAX_DOCUMENT_BYTES", "UNKNOWN_SOURCE", "BadRowError", "Reading", "UnknownFormatError", "document_of",
    "fingerprint_files", "joined", "read_documents",
]  # fmt: skip


def read_documents(
    paths: str | Path | Iterable[str | Path],
    quarantine: Quarantine,
    *,
    form: str = "auto",
    reading: Reading | None = None,
    max_document_bytes: int | None = None,
    batch_bytes: int | None = None,
) -> Iterator[pa.RecordBatch]:
    """Documents of one or more files, directories, glob patterns or fsspec URLs, in sorted path order per entry.

    Blank lines are not rows. Of the document fields only `id` and `text` must be there; `source` defaults to "unknown";
    an `origin` written by `write_documents` is kept, else it is the line's byte range in the uncompressed file (for
    Parquet: the file and `#row=N`, with the byte range of the text inside the row).

    Args:
        paths: what to read; directories are searched for known suffixes.
        quarantine: where bad records go; its counts say `rows_seen == rows_kept + rows_quarantined`.
        form: one of `forms.FORMS`, or "auto".
        reading: settings.
        max_document_bytes: longest line, and longest text, that is read; instead of the settings'.
        batch_bytes: size of the batches in bytes of text; instead of the settings'.

    Raises:
        FileNotFoundError: when an entry of `paths` matches no file (at once, before anything is read).
        UnknownFormatError: when a file named outright is in no known form.
    """
    given = {"max_document_bytes": max_document_bytes, "batch_bytes": batch_bytes}
    settings = (reading or Reading()).but(**{name: value for name, value in given.items() if value is not None})
    shards = plan_inputs(paths, form, reading=settings)
    seen = SeenIds()
    return joined((batch for shard in shards for batch in shard.batches(quarantine, seen)), settings.batch_bytes)


def joined(batches: Iterable[pa.RecordBatch], batch_bytes: int = BATCH_BYTES) -> Iterator[pa.RecordBatch]:
    """Puts small batches (of small files) together up to about `batch_bytes` of memory."""
    held: list[pa.RecordBatch] = []
    size = 0
    for batch in batches:
        if held and size + batch.nbytes > batch_bytes:
            yield _one(held)
            held, size = [], 0
        if batch.nbytes >= batch_bytes:
            yield batch
        else:
            held.append(batch)
            size += batch.nbytes
    if held:
        yield _one(held)


def _one(batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    if len(batches) == 1:
        return batches[0]
    return pa.Table.from_batches(batches).combine_chunks().to_batches()[0]


def fingerprint_files(paths: str | Path | Iterable[str | Path]) -> list[tuple[str, int, str]]:
    """Name, size in bytes and sha256 of every file that `read_documents` would read, in its order.

    Reads every file once. Raises as `plan_inputs` does.
    """
    found = []
    for shard in plan_inputs(paths):
        for name in shard.files or ("",):
            digest, size = hashlib.sha256(), 0
            with fsspec.open(shard.location(name), "rb") as raw:
                while block := raw.read(1 << 20):
                    digest.update(block)
                    size += len(block)
            found.append((shard.called(name), size, digest.hexdigest()))
    return found
