"""What was measured of a model: the evaluations in a store that read it, with their values, claims and baselines."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from glasshouse.store.artifact import Artifact
from glasshouse.store.lineage import ancestors
from glasshouse.store.store import Store

OUTCOMES = "outcomes.json"
BITS = "bits_per_byte/"


@dataclass(frozen=True)
class Measured:
    """One evaluation: its artifact, one record per measure, and its decided claims."""

    artifact: Artifact
    outcomes: list[dict[str, Any]]
    claims: list[dict[str, Any]]

    @property
    def values(self) -> dict[str, float]:
        """All measured values by name."""
        return {name: value for outcome in self.outcomes for name, value in outcome["values"].items()}


@dataclass(frozen=True)
class BitsSaved:
    """Bits per byte of a model and of a baseline on the same held-out text, every byte counting alike."""

    name: str
    model: float
    baseline: float

    @property
    def saved(self) -> float:
        return self.baseline - self.model


def evaluations_of(store: Store, model: str) -> list[Measured]:
    """The evaluations of this model, oldest first. Those of another model that it was compared with are not."""
    name = store.resolve(model)
    found = []
    for other in store.names():
        manifest = store.manifest(other)
        if OUTCOMES in manifest["files"] and manifest["inputs"].get("model", {}).get("artifact") == name:
            found.append((str(manifest["resources"]["finished"]), _measured(store.open(other))))
    return [measured for _, measured in sorted(found, key=lambda pair: (pair[0], pair[1].artifact.path.name))]


def bits_saved(store: Store, reference: str) -> list[BitsSaved]:
    """The model's bits per byte beside every baseline's, from the newest evaluation that has any.

    `reference` is a model, or an evaluation (then it is that one).
    """
    name = store.resolve(reference)
    if OUTCOMES in ancestors(store, name)[name]["files"]:
        measured = [_measured(store.open(name))]
    else:
        measured = evaluations_of(store, name)
    for one in reversed(measured):
        if points := _points(one.values):
            return points
    return []


def _points(values: Mapping[str, float]) -> list[BitsSaved]:
    micro = {
        key.split("/")[1]: value for key, value in values.items() if key.startswith(BITS) and key.endswith("/micro")
    }
    model = micro.pop("model", None)
    return [] if model is None else [BitsSaved(name, model, value) for name, value in micro.items()]


def _measured(artifact: Artifact) -> Measured:
    claims = artifact.path / "claims.json"
    return Measured(
        artifact,
        json.loads(artifact.file(OUTCOMES).read_text(encoding="utf-8")),
        json.loads(claims.read_text(encoding="utf-8")) if claims.exists() else [],
    )
