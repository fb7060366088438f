"""Steps that make the network images are compared by."""

from __future__ import annotations

import json
import shutil
from functools import cached_property
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file

from glasshouse.store.artifact import Artifact
from glasshouse.store.files import hash_file
from glasshouse.store.panels import Numbers, Panel
from glasshouse.store.step import Run, step
from glasshouse.vision.feature_network import Extractor, FeatureNetwork, FeatureNetworkConfig, train_feature_network
from glasshouse.vision.image_steps import ImageSet
from glasshouse.vision.pretrained_features import PretrainedFeatures


class Features(Artifact):
    """A network whose features images are compared by: a small classifier of the run, or a user's own."""

    @cached_property
    def about(self) -> dict[str, Any]:
        """What it is called; of a classifier also its configuration, classes and accuracy on held-out images."""
        found: dict[str, Any] = json.loads(self.file("features.json").read_text(encoding="utf-8"))
        return found

    def load(self) -> Extractor:
        """The network."""
        if "config" not in self.about:
            return PretrainedFeatures(self.path)
        config = FeatureNetworkConfig(**self.about["config"])
        network = FeatureNetwork(self.about["channels"], self.about["classes"], config)
        network.load_state_dict(load_file(self.file("model.safetensors")))
        return network.eval()

    @property
    def told(self) -> str:
        """How a report calls it, with its accuracy where it has one."""
        accuracy = self.about.get("accuracy")
        beside = "" if accuracy is None else f" (accuracy on held-out images {100 * accuracy:.1f} %)"
        return f"{self.about['name']}{beside}"

    def panels(self) -> list[Panel]:
        """What it is."""
        return [Numbers("Features that images are compared by", {"network": self.told})]


@step()
def train_features(run: Run, images: ImageSet, config: FeatureNetworkConfig = FeatureNetworkConfig()) -> Features:  # noqa: B008 (frozen)
    """Train the network that completions are measured by, on real images."""
    found = images.load()
    seen, held = ~found.held_out, found.held_out
    pixels, classes = found.images, len(found.classes)
    with run.bar("training the feature network", config.steps) as bar:
        made = train_feature_network(
            pixels[seen], found.labels[seen], (pixels[held], found.labels[held]), classes, run.scratch / "run", config,
            progress=bar,
        )  # fmt: skip
    save_file(
        {name: part.contiguous() for name, part in made.network.state_dict().items()}, run.output / "model.safetensors"
    )
    about = {"channels": pixels.shape[1], "classes": classes, "config": config.model_dump(mode="json"),
             "accuracy": made.accuracy, "name": made.network.name}  # fmt: skip
    (run.output / "features.json").write_text(json.dumps(about, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    run.measure(accuracy=made.accuracy, cpu_seconds=round(made.result.cpu_seconds, 3))
    return Features(run.output)


def folder_weights(folder: str) -> list[list[str]]:
    """Name and sha256 of what is read of a folder."""
    return [[path.name, hash_file(path)] for path in _model_files(Path(folder))]


@step(observe=folder_weights)
def read_features(run: Run, folder: str) -> Features:
    """A vision model of transformers, copied into the store (see `glasshouse.vision.pretrained_features`)."""
    name = PretrainedFeatures(folder).name
    for path in _model_files(Path(folder)):
        shutil.copyfile(path, run.output / path.name)
    (run.output / "features.json").write_text(json.dumps({"name": name}) + "\n", encoding="utf-8")
    return Features(run.output)


def _model_files(home: Path) -> list[Path]:
    named = [home / name for name in ("config.json", "preprocessor_config.json")]
    return [path for path in (*named, *sorted(home.glob("*.safetensors"))) if path.is_file()]
