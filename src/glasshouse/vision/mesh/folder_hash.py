"""One hash for the files of a model's folder."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Sequence
from pathlib import Path


def folder_hash(folder: Path, parts: Sequence[str]) -> str:
    """sha256 (hex) over names and contents of the files in these subfolders, in the order of their names.

    Files are read once per process as long as their sizes and times stay the same.
    """
    paths = sorted(path for part in parts for path in (folder / part).rglob("*") if path.is_file())
    digest = hashlib.sha256()
    for path in paths:
        state = path.stat()
        content = _file_hash(path, state.st_size, state.st_mtime_ns)
        digest.update(f"{path.relative_to(folder).as_posix()} {content}\n".encode())
    return digest.hexdigest()


@functools.lru_cache(maxsize=4096)
def _file_hash(path: Path, size: int, modified: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


__all__ = ["folder_hash"]
