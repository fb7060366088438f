"""Files on disk: hashing, durable writes, and paths that cannot leave their directory."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

CHUNK = 1 << 20


class StoreError(RuntimeError):
    """Something is wrong with the store or with what was asked of it; the message says what to do."""


def hash_file(path: Path) -> str:
    """sha256 (hex) of a file's bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def list_files(directory: Path) -> dict[str, dict[str, Any]]:
    """Relative POSIX path -> `{"sha256", "bytes"}` of every file below `directory`, in sorted order.

    Raises `StoreError` for links and special files: an artifact holds plain files only.
    """
    found: dict[str, dict[str, Any]] = {}
    for path in sorted(directory.rglob("*")):
        mode = path.lstat().st_mode
        if stat.S_ISDIR(mode):
            continue
        if not stat.S_ISREG(mode):
            raise StoreError(f"{path} is a link or a special file; an artifact may hold plain files only")
        name = path.relative_to(directory).as_posix()
        found[name] = {"sha256": hash_file(path), "bytes": path.stat().st_size}
    return found


def inside(directory: Path, name: str) -> Path:
    """`directory / name`, refusing names that would leave the directory."""
    pure = PurePosixPath(name)
    if pure.is_absolute() or ".." in pure.parts or not pure.parts or "\\" in name or "\0" in name:
        raise StoreError(f"{name!r} is not a plain relative path; refusing to read or write it")
    return directory.joinpath(*pure.parts)


def synchronise(path: Path) -> None:
    """Flush a file or a directory entry to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write JSON so that a reader sees the old file or the whole new one, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with full_disk_explained(path):
        temporary.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        synchronise(temporary)
        temporary.replace(path)
        synchronise(path.parent)


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in `path`; `StoreError` names the file when it is damaged."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise StoreError(f"{path} is not valid JSON ({error}); the file is damaged, remove it and run again") from None
    if not isinstance(value, dict):
        raise StoreError(f"{path} holds a {type(value).__name__}, expected a JSON object; remove it and run again")
    return value


def remove_tree(directory: Path) -> int:
    """Delete a directory, read-only files included; returns the bytes freed."""
    if not directory.exists():
        return 0
    freed = sum(path.lstat().st_size for path in directory.rglob("*") if not path.is_dir())
    for path in [directory, *directory.rglob("*")]:
        if path.is_dir() and not path.is_symlink():
            path.chmod(0o755)
    shutil.rmtree(directory)
    return freed


def seal(directory: Path) -> None:
    """Make every file of a finished artifact read-only and flush it to the disk."""
    for path in directory.rglob("*"):
        if path.is_file():
            path.chmod(0o444)
            synchronise(path)
    for path in [*directory.rglob("*"), directory]:
        if path.is_dir():
            synchronise(path)


@contextlib.contextmanager
def full_disk_explained(path: Path) -> Iterator[None]:
    """Turn 'no space left' into an error that says where, and that nothing finished was lost."""
    try:
        yield
    except Exception as error:
        if _is_full(error):
            raise StoreError(
                f"the disk holding {path} is full. Nothing finished was lost: free some space "
                "(`glasshouse gc` lists what can go) and run the same command again to go on."
            ) from error
        raise


def _is_full(error: Exception) -> bool:
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    # Libraries written in other languages raise errors of their own with the system's words in them.
    return "No space left on device" in str(error)
