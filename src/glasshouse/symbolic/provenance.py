"""From a line of a trace to the model that wrote it, and to what that model was trained on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from glasshouse.store.artifact import MANIFEST
from glasshouse.store.files import StoreError, hash_file, read_json
from glasshouse.store.lineage import ancestors
from glasshouse.store.store import Store
from glasshouse.symbolic.trace import Record

WEIGHTS = ".safetensors"


class Source(NamedTuple):
    """An artifact that a model comes from: its name in the store, its type, and the step that made it."""

    name: str
    type: str
    step: str


class Origin(NamedTuple):
    """Where an answer comes from.

    Attributes:
        model: the artifact that answered.
        sources: everything it was made from, the first first; documents are in those that nothing was made into.
    """

    model: Source
    sources: tuple[Source, ...]


def origin_of(record: Record | Mapping[str, Any], store: Store) -> Origin:
    """The model that answered at a node, and everything in the store that it was made from.

    Args:
        record: of a result, or a line of a trace as JSON data.

    Raises:
        StoreError: the line names no artifact, the store does not hold it, or its weights are not those of the line.
    """
    if isinstance(record, Record):
        record = record.to_json()
    identity, artifact, model = (str(record.get(name, "")) for name in ("node", "artifact", "model"))
    if not artifact:
        raise StoreError(
            f"node {identity[:12]} ({record.get('op', 'a value')}): no model out of a store answered; "
            f"engine {record.get('engine', 'none')!r}, model {model or 'none'!r}"
        )
    made = ancestors(store, artifact)
    name, manifest = made.popitem()
    found = {file: entry["sha256"] for file, entry in manifest["files"].items() if "/" not in file}
    if (weights := "sha256:" + _joint({k: v for k, v in found.items() if k.endswith(WEIGHTS)})) != model:
        raise StoreError(f"node {identity[:12]} was answered by weights {model}; {name} holds {weights}")
    return Origin(_source(name, manifest), tuple(_source(*one) for one in made.items()))


def origins_of_trace(path: Path | str, store: Store) -> dict[str, Origin]:
    """Node id -> origin, for every line of a trace that names an artifact. Raises as `origin_of` does."""
    lines = [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]
    return {str(line["node"]): origin_of(line, store) for line in lines if line.get("artifact")}


def artifact_id(folder: Path) -> str:
    """The id of the artifact that a folder is; empty for a folder that no store made."""
    return str(read_json(folder / MANIFEST)["id"]) if (folder / MANIFEST).is_file() else ""


def hash_of_files(folder: Path) -> str:
    """sha256 of the weights' file; of the names and hashes where there are several."""
    return _joint({path.name: hash_file(path) for path in sorted(folder.glob(f"*{WEIGHTS}"))})


def _joint(hashes: Mapping[str, str]) -> str:
    if len(hashes) == 1:
        return next(iter(hashes.values()))
    return hashlib.sha256("".join(f"{name} {hashes[name]}\n" for name in sorted(hashes)).encode()).hexdigest()


def _source(name: str, manifest: Mapping[str, Any]) -> Source:
    return Source(name, str(manifest["type"]), str(manifest["step"]))
