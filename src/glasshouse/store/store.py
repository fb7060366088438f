"""The store: where finished artifacts live, are found again, checked and cleared away.

<root>/artifacts/<type>-<id>/   immutable directories, each with its manifest.json
<root>/keys/<key>.json          which artifact answers a step asked with this identity and code
<root>/runs/<time>-<name>.json  what was run, with which arguments, and what came out
<root>/pins/<name>.json         artifacts kept whatever happens
<root>/work/<key>/              a step at work: `output/` is renamed into place at the end, `scratch/` survives kills
<root>/locks/                   one lock per step at work, so that two processes share work instead of mixing it
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from glasshouse.store.artifact import MANIFEST, Artifact, handle_class
from glasshouse.store.files import StoreError, full_disk_explained, inside, read_json, remove_tree, seal, write_json
from glasshouse.store.manifest import check_files, directory_name, short
from glasshouse.store.mirror import Mirror

DEFAULT = ".glasshouse"


class Store:
    """Artifacts under a local directory or behind an `fsspec` URL.

    Args:
        location: a directory (made when missing) or a URL; None takes `$GLASSHOUSE_STORE`, else `.glasshouse` here.
            Behind a URL, work happens in a local copy under `~/.cache/glasshouse`.
    """

    def __init__(self, location: str | os.PathLike[str] | None = None) -> None:
        text = os.fspath(location if location is not None else os.environ.get("GLASSHOUSE_STORE", DEFAULT))
        self.mirror: Mirror | None = None
        if "://" in text and not text.startswith("file://"):
            self.mirror = Mirror(text)
            name = hashlib.sha256(text.encode()).hexdigest()[:16]
            self.root = Path("~/.cache/glasshouse").expanduser() / name
        else:
            self.root = Path(text.removeprefix("file://")).expanduser().resolve()
        if self.root.exists() and not self.root.is_dir():
            raise StoreError(f"{self.root} is a file; give a directory or a URL for the store")
        self.location = text

    # Finding

    def find(self, key: str) -> Artifact | None:
        """The finished artifact for a step's key, if there is one (fetched from the remote store when needed)."""
        path = self.root / "keys" / f"{key}.json"
        entry = read_json(path) if path.exists() else self.mirror and self.mirror.read(f"keys/{key}.json")
        if not entry:
            return None
        name = str(entry["artifact"])
        if not self._present(name):
            return None
        if not path.exists():
            write_json(path, entry)
        artifact = self._open(name)
        self._share(key, artifact)
        return artifact

    def _share(self, key: str, artifact: Artifact) -> None:
        """Behind a URL: copy out what the remote store does not hold (any more)."""
        name = artifact.path.name
        if self.mirror is None or self.mirror.read(f"artifacts/{name}/{MANIFEST}") is not None:
            return
        for source in artifact.manifest["inputs"].values():
            if (self.root / "artifacts" / source["artifact"] / MANIFEST).exists():
                self.mirror.push(self.root / "artifacts" / source["artifact"], source["artifact"])
        self.mirror.push(artifact.path, name)
        self.mirror.write(f"keys/{key}.json", {"artifact": name})

    def open(self, reference: str) -> Artifact:
        """The artifact named by an id, the beginning of one, a directory name, a pin or a recipe's last run."""
        return self._open(self.resolve(reference))

    def resolve(self, reference: str) -> str:
        """Directory name of the artifact a reference means; `StoreError` when none or several fit."""
        if (pinned := self.pins().get(reference)) is not None:
            return pinned
        if (run := self.latest_run(reference)) is not None:
            return str(run["artifact"])
        names = self.names()
        fits = [name for name in names if name == reference or name.rpartition("-")[2].startswith(reference[:32])]
        if len(reference) < 4 and reference not in names:
            fits = []
        if len(fits) == 1:
            return fits[0]
        if fits:
            raise StoreError(f"{reference!r} could be any of {', '.join(sorted(fits))}; give more digits")
        raise StoreError(f"no artifact, pin or run called {reference!r} in {self.location}; `glasshouse ls` lists them")

    def names(self) -> list[str]:
        """Directory names of all finished artifacts, local and remote."""
        base = self.root / "artifacts"
        local = {path.parent.name for path in base.glob(f"*/{MANIFEST}")} if base.exists() else set()
        return sorted(local | set(self.mirror.names() if self.mirror else ()))

    def manifest(self, name: str) -> dict[str, Any]:
        """The manifest of an artifact given by directory name or id."""
        path = self.root / "artifacts" / name / MANIFEST
        if path.exists():
            found = read_json(path)
            if missing := {"id", "type", "files", "inputs", "resources"} - found.keys():
                what = ", ".join(sorted(missing))
                raise StoreError(f"{path} is damaged: it lacks {what}; remove {path.parent} and run its recipe again")
            return found
        remote = self.mirror.read(f"artifacts/{name}/{MANIFEST}") if self.mirror else None
        return remote if remote is not None else self._open(self.resolve(name)).manifest

    def _present(self, name: str) -> bool:
        if (self.root / "artifacts" / name / MANIFEST).exists():
            return True
        return self.mirror is not None and self.mirror.read(f"artifacts/{name}/{MANIFEST}") is not None

    def _open(self, name: str) -> Artifact:
        directory = inside(self.root / "artifacts", name)
        if not (directory / MANIFEST).exists() and self.mirror is not None:
            fetched = self.root / "work" / f"fetch-{name}-{os.getpid()}"
            remove_tree(fetched)
            fetched.mkdir(parents=True)
            self.mirror.pull(name, fetched)
            self._install(fetched, directory)
        return handle_class(read_json(directory / MANIFEST)["handle"])(directory)

    # Keeping

    @contextlib.contextmanager
    def work(self, key: str, waiting: Any = None) -> Iterator[Path | None]:
        """The work directory of a step, held by this process alone; None when another process finished it meanwhile.

        `waiting()` is called once if another process holds it now.
        """
        lock = FileLock(self._lock_path(key))
        try:
            lock.acquire(timeout=0)
        except Timeout:
            if waiting is not None:
                waiting()
            lock.acquire()
        try:
            if self.find(key) is not None:
                yield None
                return
            directory = self.root / "work" / key
            remove_tree(directory / "output")
            with full_disk_explained(directory):
                (directory / "output").mkdir(parents=True)
                (directory / "scratch").mkdir(exist_ok=True)
            yield directory
        finally:
            lock.release()

    def keep(self, key: str, work: Path, manifest: dict[str, Any]) -> Artifact:
        """Finish a step: seal its output, move it into place, and remember it under `key`."""
        name = directory_name(manifest["type"], manifest["id"])
        with full_disk_explained(work):
            write_json(work / "output" / MANIFEST, manifest)
            seal(work / "output")
            self._install(work / "output", self.root / "artifacts" / name)
            if self.mirror is not None:
                self.mirror.push(self.root / "artifacts" / name, name)
                self.mirror.write(f"keys/{key}.json", {"artifact": name})
            write_json(self.root / "keys" / f"{key}.json", {"artifact": name})
        remove_tree(work)
        return self._open(name)

    def _install(self, source: Path, target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists() and not (target / MANIFEST).exists():
            remove_tree(target)  # what a deletion that was killed left behind
        try:
            source.rename(target)
        except OSError:
            if not (target / MANIFEST).exists():
                raise
            remove_tree(source)  # the same identity and content are already there

    def _lock_path(self, name: str) -> str:
        (self.root / "locks").mkdir(parents=True, exist_ok=True)
        return str(self.root / "locks" / f"{name}.lock")

    # Runs and pins

    def record_run(self, name: str, run: dict[str, Any]) -> Path:
        """Remember what was run; the newest run of a name is what the name means from now on."""
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%f")
        self._write_document("runs", f"{stamp}-{name}", {"name": name, **run})
        return self.root / "runs" / f"{stamp}-{name}.json"

    def runs(self) -> list[dict[str, Any]]:
        """All recorded runs whose artifact is still there, oldest first."""
        return [run for run in self._documents("runs").values() if self._present(run["artifact"])]

    def latest_run(self, name: str) -> dict[str, Any] | None:
        """The newest run of a recipe or step."""
        return next((run for run in reversed(self.runs()) if run["name"] == name), None)

    def pin(self, reference: str, name: str) -> None:
        """Keep an artifact, and everything it was made from, under a name of one's own."""
        if not name or name.startswith(".") or "/" in name:
            raise StoreError(f"{name!r} cannot name a pin: use a plain name without '/' that does not begin with '.'")
        self._write_document("pins", name, {"artifact": self.resolve(reference)})

    def pins(self) -> dict[str, str]:
        """Pin -> directory name of the artifact it keeps."""
        return {name: str(document["artifact"]) for name, document in self._documents("pins").items()}

    def unpin(self, name: str) -> None:
        """Forget a pin; the artifact stays until `gc` finds no other reason to keep it."""
        if name not in self.pins():
            raise StoreError(f"no pin called {name!r}; there are: {', '.join(self.pins()) or 'none'}")
        inside(self.root / "pins", f"{name}.json").unlink(missing_ok=True)
        if self.mirror is not None:
            self.mirror.forget(f"pins/{name}.json")

    def _write_document(self, folder: str, name: str, document: dict[str, Any]) -> None:
        write_json(inside(self.root / folder, f"{name}.json"), document)
        if self.mirror is not None:
            self.mirror.write(f"{folder}/{name}.json", document)

    def _documents(self, folder: str) -> dict[str, dict[str, Any]]:
        """Documents of a folder by name, sorted; behind a URL the remote store's are the ones that count."""
        if self.mirror is not None:
            found = {name: self.mirror.read(f"{folder}/{name}.json") for name in self.mirror.documents(folder)}
            return {name: document for name, document in found.items() if document is not None}
        base = self.root / folder
        return {path.stem: read_json(path) for path in sorted(base.glob("*.json"))} if base.exists() else {}

    # Checking and clearing

    def must_exist(self) -> None:
        """`StoreError` when nothing was ever kept here, which usually is a mistyped location."""
        if not self.root.exists() and not (self.mirror and self.mirror.names()):
            raise StoreError(f"there is no store at {self.location}; `glasshouse run quickstart` makes one")

    def verify(self, name: str) -> list[str]:
        """Problems of one artifact, in words: every file re-hashed, every input present."""
        try:
            directory = self._open(name).path
            manifest = read_json(directory / MANIFEST)
            problems = check_files(directory, manifest)
        except StoreError as error:
            return [str(error)]
        except (KeyError, TypeError, AttributeError) as error:
            return [f"its {MANIFEST} is not a manifest any more ({type(error).__name__}: {error})"]
        for role, source in manifest["inputs"].items():
            if not self._present(source["artifact"]):
                problems.append(f"its input {role} ({source['artifact']}) is not in the store")
            elif self._id_of(source["artifact"]) not in (source["id"], None):
                problems.append(f"its input {role} ({source['artifact']}) is not the artifact it was made from")
        return problems

    def _id_of(self, name: str) -> str | None:
        """The id in an artifact's manifest; None when that is damaged, which is its own problem."""
        try:
            return str(self.manifest(name)["id"])
        except StoreError:
            return None

    @contextlib.contextmanager
    def in_use(self) -> Iterator[None]:
        """Held while a graph runs: `gc` waits for no one and removes nothing meanwhile."""
        with FileLock(self._lock_path("gc")):
            mark = FileLock(self._lock_path(f"running-{os.getpid()}-{time.monotonic_ns()}"))
            mark.acquire()
        try:
            yield
        finally:
            mark.release()
            Path(mark.lock_file).unlink(missing_ok=True)

    def _running(self) -> list[str]:
        busy = []
        for path in (self.root / "locks").glob("running-*.lock"):
            lock = FileLock(path)
            try:
                lock.acquire(timeout=0)
            except Timeout:
                busy.append(path.stem.split("-")[1])
            else:
                lock.release()
                path.unlink(missing_ok=True)
        return busy

    def reachable(self, roots: list[str]) -> set[str]:
        """The given artifacts and everything they were made from."""
        found: set[str] = set()
        waiting = list(roots)
        while waiting:
            name = waiting.pop()
            if name not in found and self._present(name):
                found.add(name)
                waiting += [source["artifact"] for source in self.manifest(name)["inputs"].values()]
        return found

    def gc(self, keep_runs: int = 1, delete: bool = False) -> dict[str, Any]:
        """Find, and with `delete` remove, what nothing needs any more.

        Kept: pins, the newest `keep_runs` runs of every recipe or step, and all they were made from. Behind a URL also
        whatever was made within the last day, because another machine may be at work on it.

        Returns:
            `{"kept": [...], "removed": [...], "unfinished": [...], "bytes": n}`; nothing is deleted without `delete`.

        Raises:
            StoreError: another process is running a graph in this store.
        """
        self.must_exist()
        with FileLock(self._lock_path("gc")):
            if busy := self._running():
                raise StoreError(f"process {', '.join(busy)} is using this store; run gc when it has finished")
            kept = self.reachable([*self.pins().values(), *self._recent(keep_runs)])
            removed = [name for name in self.names() if name not in kept and not self._may_be_in_use(name)]
            unfinished = self._unfinished()
            paths = [self.root / "artifacts" / name for name in removed] + [self.root / name for name in unfinished]
            size = sum(file.stat().st_size for path in paths for file in path.rglob("*") if file.is_file())
            if delete:
                self._delete(removed, unfinished)
            return {"kept": sorted(kept), "removed": removed, "unfinished": unfinished, "bytes": size}

    def _unfinished(self) -> list[str]:
        """Work of killed steps and artifacts that lost their manifest, as folders below the root."""
        folders = [*(self.root / "work").glob("*"), *(self.root / "artifacts").glob("*")]
        return sorted(str(path.relative_to(self.root)) for path in folders if not (path / MANIFEST).exists())

    def _may_be_in_use(self, name: str) -> bool:
        if self.mirror is None:
            return False
        finished = datetime.fromisoformat(self.manifest(name)["resources"]["finished"])
        return datetime.now(UTC) - finished < timedelta(days=1)

    def _recent(self, keep_runs: int) -> list[str]:
        counts: dict[str, int] = {}
        recent = []
        for run in reversed(self.runs()):
            counts[run["name"]] = counts.get(run["name"], 0) + 1
            if counts[run["name"]] <= keep_runs:
                recent.append(str(run["artifact"]))
        return recent

    def _delete(self, removed: list[str], unfinished: list[str]) -> None:
        gone = set(removed)
        for path in (self.root / "keys").glob("*.json"):
            if read_json(path)["artifact"] in gone:
                path.unlink()
                if self.mirror is not None:
                    self.mirror.forget(f"keys/{path.name}")
        for name in removed:
            directory = self.root / "artifacts" / name
            if (directory / MANIFEST).exists():
                (directory / MANIFEST).unlink()  # first, so that it never looks finished while it goes
            remove_tree(directory)
            (self.root / "reports" / f"{name}.html").unlink(missing_ok=True)
            if self.mirror is not None:
                self.mirror.remove(name)
        for name in unfinished:
            remove_tree(self.root / name)

    def __repr__(self) -> str:
        return f"Store({self.location!r}, {len(self.names())} artifacts)"


__all__ = ["DEFAULT", "Store", "StoreError", "short"]
