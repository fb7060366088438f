"""Work that survives a kill: one folder per task, whole or not there, skipped when it is there already.

A task writes into a folder of its own under a provisional name; when it is done, a receipt is written and the folder
gets its real name. A second run does only what has no receipt, or one for other work.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Generic, TypeVar

import orjson
from filelock import FileLock, Timeout

from glasshouse.data.executor import Executor
from glasshouse.data.writing import disk_errors_named
from glasshouse.store.configuration import fingerprint

Task = TypeVar("Task")
RECEIPT = "receipt.json"


class BusyDirectoryError(OSError):
    """Another run is writing into the directory."""


class OwnInputError(ValueError):
    """A directory of results would hold the inputs they are made from."""


@contextlib.contextmanager
def claimed(home: Path, work: Path, inputs: Iterable[str] = ()) -> Iterator[None]:
    """Keeps a directory, and the folder its work is in, to one run at a time; a killed run's claim is gone with it.

    Args:
        home: where results are written.
        work: where unfinished work is kept.
        inputs: paths of the inputs.

    Raises:
        BusyDirectoryError: another run has it.
        OwnInputError: an input lies inside `home`, where a later run would take results for inputs.
    """
    for path in inputs:
        if "://" not in path and Path(path).resolve().is_relative_to(home.resolve()):
            raise OwnInputError(f"{home} holds the input {path}: choose a directory of its own for the results")
    work.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(work.with_name(f"{work.name}.lock"), timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise BusyDirectoryError(f"another run is writing into {home}: wait for it, or choose another one") from None
    try:
        yield
    finally:
        Path(lock.lock_file).unlink(missing_ok=True)
        lock.release()


def is_new_or_unfinished(home: Path, work: Path, results: Collection[str], parts: Collection[str]) -> bool:
    """Whether a directory holds nothing, or nothing but what a killed run of the same kind left.

    Args:
        home: where results are written.
        work: the folder in it where unfinished work is kept; a finished result has none.
        results: patterns of the names of results, which a killed run may have moved into place.
        parts: names of what is kept in `work`.
    """
    kept = {path.name for path in work.iterdir()} if work.is_dir() else set()
    inside = {path.name for path in home.iterdir()} - {work.name, f"{work.name}.lock"}
    if not kept:
        return not inside and (work.is_dir() or not work.exists())
    return kept <= set(parts) and all(any(fnmatch(name, pattern) for pattern in results) for name in inside)


def run_resumable(
    function: Callable[[Task, Path], dict[str, Any]],
    tasks: Iterable[tuple[str, Task]],
    home: Path,
    executor: Executor,
) -> Iterator[dict[str, Any]]:
    """Runs `function(task, folder)` for every task that is not done yet; yields the receipts in the order of the tasks.

    Args:
        function: writes files into the folder it is given and returns what a receipt says (JSON values); picklable.
        tasks: (key, task): the key names the work, all that its result depends on.
        home: where the folders `00000`, `00001`, … are kept.
        executor: where the tasks run.
    """
    home.mkdir(parents=True, exist_ok=True)
    numbered = ((number, key, task) for number, (key, task) in enumerate(tasks))
    return executor.map(_Resumable(function, home), numbered)


@dataclass(frozen=True)
class _Resumable(Generic[Task]):
    function: Callable[[Task, Path], dict[str, Any]]
    home: Path

    def __call__(self, numbered: tuple[int, str, Task]) -> dict[str, Any]:
        number, key, task = numbered
        folder = self.home / f"{number:05d}"
        found = receipt(folder)
        if found is not None and found["key"] == key:
            return dict(found["says"])
        partial = self.home / f"{number:05d}.partial"
        for old in (folder, partial):
            if old.exists():
                shutil.rmtree(old)
        partial.mkdir()
        says = self.function(task, partial)
        with disk_errors_named(partial / RECEIPT):
            (partial / RECEIPT).write_bytes(orjson.dumps({"key": key, "says": says}, option=orjson.OPT_SORT_KEYS))
        partial.rename(folder)
        return says


def receipt(folder: Path) -> dict[str, Any] | None:
    """The receipt in a folder, or `None` when its work is not done: there is none, or a power cut left a torn one."""
    try:
        return dict(orjson.loads((folder / RECEIPT).read_bytes()))
    except (FileNotFoundError, orjson.JSONDecodeError):
        return None


def work_key(*parts: Any) -> str:
    """A key that names a piece of work: a hash of everything its result depends on."""
    return fingerprint(list(parts))
