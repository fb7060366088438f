"""A remote store behind any `fsspec` URL (`s3://…`, `gs://…`, `memory://…`), kept in step with a local one.

Work always happens on local disk; a finished artifact is copied out file by file with the manifest last, so that a
reader never finds half an artifact.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import fsspec

from glasshouse.store.artifact import MANIFEST
from glasshouse.store.files import StoreError, inside
from glasshouse.store.manifest import check_download


class Mirror:
    """The remote side of a store.

    Args:
        url: where it lives, for example `s3://bucket/team`.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        try:
            self.system, self.root = fsspec.core.url_to_fs(url)
        except (ImportError, ValueError) as error:
            raise StoreError(f"cannot open the store at {url}: {error}") from None

    def names(self) -> list[str]:
        """Directory names of the finished artifacts."""
        base = f"{self.root}/artifacts"
        if not self.system.exists(base):
            return []
        names = (path.rstrip("/").rsplit("/", 1)[-1] for path in self.system.ls(base, detail=False))
        return sorted(name for name in names if self.system.exists(f"{base}/{name}/{MANIFEST}"))

    def read(self, name: str) -> dict[str, Any] | None:
        """A JSON document of the store (`keys/…`, `artifacts/…/manifest.json`), or None."""
        path = f"{self.root}/{name}"
        if not self.system.exists(path):
            return None
        value: dict[str, Any] = json.loads(self.system.cat_file(path))
        return value

    def write(self, name: str, value: dict[str, Any]) -> None:
        """Write a JSON document."""
        self._parents(name)
        self.system.pipe_file(f"{self.root}/{name}", json.dumps(value, indent=2).encode())

    def documents(self, folder: str) -> list[str]:
        """Names of the JSON documents in a folder of the store (`runs`, `pins`), without `.json`."""
        base = f"{self.root}/{folder}"
        paths = self.system.ls(base, detail=False) if self.system.exists(base) else []
        return sorted(path.rsplit("/", 1)[-1].removesuffix(".json") for path in paths if path.endswith(".json"))

    def forget(self, name: str) -> None:
        """Delete a JSON document, if it is there."""
        if self.system.exists(f"{self.root}/{name}"):
            self.system.rm_file(f"{self.root}/{name}")

    def push(self, directory: Path, name: str) -> None:
        """Copy a finished artifact out, manifest last; nothing happens if it is already there."""
        if self.system.exists(f"{self.root}/artifacts/{name}/{MANIFEST}"):
            return
        files = sorted(path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file())
        for file in [*(file for file in files if file != MANIFEST), MANIFEST]:
            self._parents(f"artifacts/{name}/{file}")
            self.system.put_file(str(directory / file), f"{self.root}/artifacts/{name}/{file}")

    def pull(self, name: str, directory: Path) -> None:
        """Copy an artifact in and check every hash; `StoreError` if it is absent or damaged."""
        manifest = self.read(f"artifacts/{name}/{MANIFEST}")
        if manifest is None:
            raise StoreError(f"{self.url} has no artifact {name}")
        for file in [*manifest["files"], MANIFEST]:
            target = inside(directory, file)
            target.parent.mkdir(parents=True, exist_ok=True)
            self.system.get_file(f"{self.root}/artifacts/{name}/{file}", str(target))
        check_download(directory, manifest)

    def remove(self, name: str) -> None:
        """Delete an artifact, manifest first, so that it never looks finished while it goes."""
        base = f"{self.root}/artifacts/{name}"
        if self.system.exists(f"{base}/{MANIFEST}"):
            self.system.rm_file(f"{base}/{MANIFEST}")
        if self.system.exists(base):
            self.system.rm(base, recursive=True)

    def _parents(self, name: str) -> None:
        self.system.makedirs(f"{self.root}/{name}".rsplit("/", 1)[0], exist_ok=True)
