"""Everything that is recorded about a model, for its card: manifests, corpora, training, evaluations, energy."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from glasshouse.data.corpus import CorpusDirectory, NotACorpusError
from glasshouse.nn.configuration import TransformerConfig
from glasshouse.nn.huggingface import read_config
from glasshouse.nn.weight_files import WeightFiles
from glasshouse.publishing.evaluations import Measured, evaluations_of
from glasshouse.store.artifact import MANIFEST, RECORD, Artifact
from glasshouse.store.carbon import Account, account_of
from glasshouse.store.files import read_json
from glasshouse.store.lineage import ancestors, mermaid
from glasshouse.store.store import Store

Manifest = Mapping[str, Any]


@dataclass(frozen=True)
class CorpusFacts:
    """A curated corpus behind a model, and the token shards made from it."""

    manifest: Manifest
    directory: CorpusDirectory
    shards: list[Path]


@dataclass(frozen=True)
class ModelFacts:
    """What is known of a model folder; everything after `weights` is empty for one that no store knows.

    Attributes:
        folder: the model, as Hugging Face's form has it.
        family: how its tensors are named.
        weights: its safetensors files.
        manifests: directory name -> manifest of the model and all it was made from, sources first.
        graph: the lineage as a Mermaid flowchart.
        artifact: the model's own handle, which draws its curves.
    """

    folder: Path
    config: TransformerConfig
    family: str
    document: dict[str, Any]
    weights: WeightFiles
    manifest: Manifest | None = None
    manifests: dict[str, dict[str, Any]] = field(default_factory=dict)
    graph: str = ""
    artifact: Artifact | None = None
    corpora: list[CorpusFacts] = field(default_factory=list)
    evaluations: list[Measured] = field(default_factory=list)

    @property
    def training(self) -> dict[str, Any]:
        """`training.json`: identity and outcome of the run; empty where there is none."""
        path = self.folder / "training.json"
        return read_json(path) if path.is_file() else {}

    @property
    def account(self) -> Account:
        """The energy of every step up to the model (evaluating it is not counted)."""
        return account_of(self.manifests.values())


def model_facts(folder: Path, store: Store | None = None) -> ModelFacts:
    """Gather what is known of a model folder; with the store it lies in, its whole lineage.

    Raises `ConversionError` when the folder is not a model.
    """
    family, config = read_config(folder)
    document = json.loads((folder / "config.json").read_text())
    weights = WeightFiles(folder)
    if not (folder / MANIFEST).is_file():
        return ModelFacts(folder, config, family, document, weights)
    manifest = read_json(folder / MANIFEST)
    if store is None:
        return ModelFacts(folder, config, family, document, weights, manifest, {folder.name: manifest})
    found = ancestors(store, folder.name)
    return ModelFacts(
        folder, config, family, document, weights, manifest, found, mermaid(store, folder.name),
        store.open(folder.name), _corpora(store, found), evaluations_of(store, folder.name),
    )  # fmt: skip


def _corpora(store: Store, manifests: Mapping[str, Manifest]) -> list[CorpusFacts]:
    """Corpora with signals, in the order in which they were made."""
    found = []
    for name, manifest in manifests.items():
        if (
            not any(file.startswith("signals-") for file in manifest["files"])
            or "summary.json" not in manifest["files"]
        ):
            continue
        try:
            directory = CorpusDirectory(store.open(name).path)
        except NotACorpusError:
            continue
        shards = [
            store.open(other).path
            for other, made in manifests.items()
            if made["type"] == "Shards" and any(entry["artifact"] == name for entry in made["inputs"].values())
        ]
        found.append(CorpusFacts(manifest, directory, shards))
    return found


def public_files(folder: Path) -> list[str]:
    """Files of a model artifact that record its training and belong beside its card."""
    names = ("training.json", "metrics.jsonl", MANIFEST, f"{RECORD}/timings.jsonl")
    return [name for name in names if (folder / name).is_file()]
