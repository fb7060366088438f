"""OLMo's layout, as `dolma tokens` writes it and OLMo's `MemMapDataset` reads it (arXiv 2402.00838, section 3).

`part-0-00000.npy` holds bare ids (despite its name without NumPy's header); `part-0-00000.csv.gz` has a row
`start,end,id,src,loc` per document: bounds in the ids, its id, the file it came from and its place there. Dolma's place
is a line, counted from 1; ours is the document's first byte (uncompressed), counted from 1. Sources are not kept.
"""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from glasshouse.data.tokens.layout_reading import ImportedDocument, LayoutError, files_of, raw_ids
from glasshouse.data.tokens.shard_reader import TokenShards
from glasshouse.data.writing import disk_errors_named

_PART = 1 << 22


def export(shards: TokenShards, home: Path) -> list[Path]:
    """Writes a pair of files per shard."""
    written: list[Path] = []
    for number, entry in enumerate(shards.manifest.shards):
        tokens = home / f"part-0-{number:05d}.npy"
        rows = home / f"part-0-{number:05d}.csv.gz"
        written += [copy_ids(shards, number, entry.tokens, tokens), _write_rows(shards, number, rows)]
    return written


def copy_ids(shards: TokenShards, shard: int, count: int, path: Path, dtype: str | None = None) -> Path:
    """The ids of a shard as raw ids, in parts."""
    partial = path.with_name(path.name + ".partial")
    kind = np.dtype(dtype or shards.manifest.dtype).newbyteorder("<")
    with disk_errors_named(path), partial.open("wb") as file:
        for start in range(0, count, _PART):
            file.write(shards.document_tokens(shard, start, min(start + _PART, count)).astype(kind).tobytes())
    return partial.replace(path)


def _write_rows(shards: TokenShards, shard: int, path: Path) -> Path:
    partial = path.with_name(path.name + ".partial")
    table = shards.spans_table(shard)
    with (
        disk_errors_named(path),
        partial.open("wb") as raw,
        gzip.GzipFile(filename="", fileobj=raw, mode="wb", mtime=0) as packed,
        io.TextIOWrapper(packed, encoding="utf-8", newline="") as text,
    ):
        rows = csv.writer(text)
        for batch in table.to_batches(max_chunksize=65_536):
            for row in batch.to_pylist():
                rows.writerow((row["start"], row["end"], row["id"], row["file"], row["byte_start"] + 1))
    return partial.replace(path)


def read(source: Path, dtype: str, eos_id: int) -> Iterator[ImportedDocument]:
    """The documents of all pairs of files, in order."""
    csv.field_size_limit(1 << 24)
    for path in files_of(source, "*.npy"):
        about = path.with_name(path.name.removesuffix(".npy") + ".csv.gz")
        if not about.is_file():
            raise LayoutError(f"{path} has no {about.name} beside it, so its documents are not known")
        tokens, last = raw_ids(path, dtype), 0
        for line, (start, end, identifier, src, loc) in _rows(about):
            if start != last or end < start or end > len(tokens):
                raise LayoutError(
                    f"{about}, line {line}: tokens {start} to {end} do not follow {last} inside {len(tokens)} ids"
                )
            last = end
            yield ImportedDocument(tokens[start:end].astype(np.uint32), identifier, "", src, loc - 1, -1)
        if last != len(tokens):
            raise LayoutError(f"{about} ends at token {last}, but {path} holds {len(tokens)}: one of them is cut")


def _rows(path: Path) -> Iterator[tuple[int, tuple[int, int, str, str, int]]]:
    try:
        with gzip.open(path, "rt", encoding="utf-8", newline="") as text:
            for line, row in enumerate(csv.reader(text), start=1):
                start, end, identifier, src, loc = row
                yield line, (int(start), int(end), identifier, src, int(loc))
    except (ValueError, EOFError, OSError, csv.Error) as error:
        raise LayoutError(f"{path} is damaged, or not rows of start,end,id,src,loc: {error}") from error
