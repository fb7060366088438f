"""Artifacts: typed handles over immutable directories."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from glasshouse.store.files import StoreError, inside, read_json

if TYPE_CHECKING:
    from glasshouse.store.panels import Panel

MANIFEST = "manifest.json"
RECORD = "record"
"""Files under `record/` are kept and verified, but are not part of the content: timings, logs, plots."""


class Artifact:
    """Something a step left behind. A subclass knows how to open what its directory holds.

    Args:
        path: the artifact's directory (finished, or the output directory of a running step).
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)

    @property
    def manifest(self) -> dict[str, Any]:
        """The JSON record written when the artifact was finished."""
        return read_json(self.path / MANIFEST)

    @property
    def id(self) -> str:
        """The full identity (sha256, hex)."""
        return str(self.manifest["id"])

    @property
    def record(self) -> Path:
        """Directory for files that may differ between two runs of the same step (made on first use)."""
        directory = self.path / RECORD
        directory.mkdir(exist_ok=True)
        return directory

    def file(self, name: str) -> Path:
        """Path of one of the artifact's files; `StoreError` if there is none of that name."""
        path = inside(self.path, name)
        if not path.is_file():
            known = sorted(p.relative_to(self.path).as_posix() for p in self.path.rglob("*") if p.is_file())
            raise StoreError(f"{self} has no file {name!r}; it holds {', '.join(known) or 'nothing'}")
        return path

    def panels(self) -> list[Panel]:
        """What a person should see of this artifact in a report; nothing by default."""
        return []

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.path.name})"


def handle_name(kind: type[Artifact]) -> str:
    """How a manifest names the class that opens an artifact."""
    return f"{kind.__module__}:{kind.__qualname__}"


def handle_class(name: str) -> type[Artifact]:
    """The class a manifest names.

    Only modules already imported, or Glasshouse's own, are looked in: a manifest from elsewhere cannot make this
    process import other code. An unknown class opens as a plain `Artifact`.
    """
    module_name, _, class_name = name.partition(":")
    module = sys.modules.get(module_name)
    if module is None and module_name.startswith("glasshouse."):
        try:
            module = importlib.import_module(module_name)
        except ModuleNotFoundError:
            return Artifact
    kind = getattr(module, class_name, Artifact)
    return kind if isinstance(kind, type) and issubclass(kind, Artifact) else Artifact
