"""The folder a model is published into: made beside it, checked against what is there, then moved into place.

`SHA256SUMS` lists every file of a publication. Publishing again over it may replace those files only, and only while
they are what they were; anything else in the folder is somebody's.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from glasshouse.store.files import StoreError, full_disk_explained, hash_file, inside, list_files

SUMS = "SHA256SUMS"
_LINE = re.compile(r"([0-9a-f]{64})  (.+)")


class PublishError(RuntimeError):
    """A model cannot be published there, or not in this form."""


@contextlib.contextmanager
def staged(target: Path, force: bool) -> Iterator[Path]:
    """A new directory beside `target`, moved into its place when the block ends well.

    Raises `PublishError` before anything is written when `target` is not empty and `force` is not given, or holds a
    file of an earlier publication that has been changed since; and at the end when a new file would replace one that
    no publication wrote.
    """
    target = target.resolve()
    earlier = _earlier(target, force)
    staging = target.parent / f".{target.name}.{os.getpid()}.partial"
    try:
        with full_disk_explained(target):
            staging.mkdir(parents=True)
            yield staging
            write_sums(staging)
            _move(staging, target, earlier)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def write_sums(folder: Path) -> None:
    """Write `SHA256SUMS` for every file of a folder, as `sha256sum -c SHA256SUMS` checks it."""
    files = {name: entry["sha256"] for name, entry in list_files(folder).items() if name != SUMS}
    (folder / SUMS).write_text("".join(f"{digest}  {name}\n" for name, digest in files.items()), encoding="utf-8")


def check_sums(folder: str | Path) -> list[str]:
    """What is not as `SHA256SUMS` says, in words; empty when everything is. Raises `PublishError` without that file."""
    home = Path(folder)
    problems = []
    for name, digest in _listed(home).items():
        path = _within(home, name)
        if not path.is_file():
            problems.append(f"{name} is missing")
        elif hash_file(path) != digest:
            problems.append(f"{name} has changed")
    return problems


def _earlier(target: Path, force: bool) -> set[str]:
    """The files of an earlier publication in `target`; empty for a new folder."""
    if target.exists() and not target.is_dir():
        raise PublishError(f"{target} is a file: name a new directory")
    if not target.exists() or not any(target.iterdir()):
        return set()
    if not force:
        raise PublishError(
            f"{target} exists and is not empty: name a new directory, or replace an earlier publication (--force)"
        )
    if not (target / SUMS).is_file():
        raise PublishError(f"{target} holds files that no publication wrote (it has no {SUMS}): name a new directory")
    listed = _listed(target)
    changed = [name for name, digest in listed.items() if _changed(target, name, digest)]
    if changed:
        raise PublishError(
            f"{target}: {', '.join(changed)} changed since it was published: move your changes elsewhere, such as into "
            "a file of answers, and publish again"
        )
    return {*listed, SUMS}


def _changed(target: Path, name: str, digest: str) -> bool:
    path = _within(target, name)
    return path.is_symlink() or (path.exists() and (not path.is_file() or hash_file(path) != digest))


def _listed(folder: Path) -> dict[str, str]:
    path = folder / SUMS
    if not path.is_file():
        raise PublishError(f"{folder} has no {SUMS}: it was not published by Glasshouse")
    found = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        match = _LINE.fullmatch(line)
        if match is None:
            raise PublishError(f"{path} is damaged: {line!r} is not a hash and a file")
        found[match[2]] = match[1]
    return found


def _within(folder: Path, name: str) -> Path:
    try:
        return inside(folder, name)
    except StoreError as error:
        raise PublishError(f"{folder / SUMS}: {error}") from None


def _move(staging: Path, target: Path, earlier: set[str]) -> None:
    names = [path.relative_to(staging).as_posix() for path in sorted(staging.rglob("*")) if path.is_file()]
    foreign = [name for name in names if name not in earlier and os.path.lexists(target / name)]
    if foreign:
        raise PublishError(f"{target} holds {', '.join(foreign)}, which no publication wrote: move it away first")
    for name in sorted(earlier):
        _within(target, name).unlink(missing_ok=True)
    for name in names:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        (staging / name).replace(target / name)
    for path in sorted(target.rglob("*"), reverse=True):
        if path.is_dir() and ".git" not in path.relative_to(target).parts and not any(path.iterdir()):
            path.rmdir()
