"""Trees of source code, one document per file, with its language and the licence file that covers it.

Version control, vendored packages, generated folders and symbolic links are skipped by named rules (`trees.py`).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING, Any

import fsspec
import pyarrow as pa

from glasshouse.data.quarantine import Quarantine
from glasshouse.data.sources.code_languages import language_of
from glasshouse.data.sources.rows import SeenIds, batches_of
from glasshouse.data.sources.trees import found_files

if TYPE_CHECKING:
    from glasshouse.data.sources.inputs import InputShard

_LICENCES = ("license", "licence", "copying", "unlicense", "copyright")


def read_code_tree(shard: InputShard, quarantine: Quarantine, seen: SeenIds) -> Iterator[pa.RecordBatch]:
    """The source files of a shard as documents: id and metadata.path are the name below the root.

    `metadata.licence_file` is the licence of the nearest folder above the file; files without one lack it.
    """
    licence = _licences(shard.path)

    def about(name: str) -> dict[str, Any]:
        found = licence(name.rpartition("/")[0])
        return {"path": name, "language": language_of(name)} | ({"licence_file": found} if found else {})

    found = found_files(shard, quarantine, about)
    return batches_of(found, shard.called(), quarantine, seen, shard.reading.batch_bytes)


def _licences(root: str) -> Any:
    system, path = fsspec.core.url_to_fs(root)

    @cache
    def nearest(folder: str) -> str | None:
        where = f"{path.rstrip('/')}/{folder}".rstrip("/")
        try:
            names = sorted(name.rstrip("/").rsplit("/", 1)[-1] for name in system.ls(where, detail=False))
        except OSError:
            names = []
        own = next((name for name in names if name.lower().split(".")[0].split("-")[0] in _LICENCES), None)
        if own:
            return f"{folder}/{own}" if folder else own
        return nearest(folder.rpartition("/")[0]) if folder else None

    return nearest
