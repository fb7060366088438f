"""nanoGPT's layout: one file of bare ids per split (`train.bin`, `holdout.bin`), documents one after the other.

Where a document ends is known from the end-of-sequence id alone; ids and sources are not kept. litgpt's and TinyLlama's
raw readers take the same file.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from glasshouse.data.tokens.layout_reading import ImportedDocument, files_of, raw_ids, split_at
from glasshouse.data.tokens.shard_reader import TokenShards
from glasshouse.data.writing import disk_errors_named

_PART = 1 << 22


def export(shards: TokenShards, home: Path) -> list[Path]:
    """Writes `<split>.bin`."""
    path = home / f"{shards.manifest.split}.bin"
    partial = path.with_name(path.name + ".partial")
    kind = np.dtype(shards.manifest.dtype).newbyteorder("<")
    with disk_errors_named(path), partial.open("wb") as file:
        for number, entry in enumerate(shards.manifest.shards):
            for start in range(0, entry.tokens, _PART):
                part = shards.document_tokens(number, start, min(start + _PART, entry.tokens))
                file.write(part.astype(kind).tobytes())
    return [partial.replace(path)]


def read(source: Path, dtype: str, eos_id: int) -> Iterator[ImportedDocument]:
    """The documents of all files, cut behind each end-of-sequence id; ids are made from file and number."""
    for path in files_of(source, "*.bin"):
        tokens = raw_ids(path, dtype)
        for number, (start, end) in enumerate(split_at(tokens, eos_id)):
            yield ImportedDocument(tokens[start:end].astype(np.uint32), f"{path.stem}:{number}", "", str(path))
