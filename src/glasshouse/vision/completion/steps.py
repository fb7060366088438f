"""The step `train_completion`: images give a model that completes them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from functools import cached_property
from typing import Any

from glasshouse.store.artifact import Artifact
from glasshouse.store.panels import Curves, Numbers, Panel
from glasshouse.store.step import Run, step
from glasshouse.training.trainer import TrainingResult
from glasshouse.vision.completion.cost import training_flops
from glasshouse.vision.completion.files import CompletionConfig, OwnCompletion, load_completion, save_completion
from glasshouse.vision.completion.fit import fit, objectives, updates
from glasshouse.vision.completion.training import CompletionTraining
from glasshouse.vision.image_steps import ImageSet
from glasshouse.vision.selection import Selection

TRAINING, METRICS = "training.json", "metrics.jsonl"


class CompletionModel(Artifact):
    """A model that completes images, and how it came to be."""

    def load(self, device: str = "cpu") -> OwnCompletion:
        """The model."""
        return load_completion(self.path, device)

    @cached_property
    def training(self) -> dict[str, Any]:
        """How it was made: settings, the last loss, FLOPs; of an unlearned model also the hashes."""
        found: dict[str, Any] = json.loads(self.file(TRAINING).read_text(encoding="utf-8"))
        return found

    @property
    def values(self) -> dict[str, float]:
        """What its training cost and ended with, for claims."""
        return {name: float(self.training[name]) for name in ("flops", "loss", "images")}

    def panels(self) -> list[Panel]:
        """Its cost and its loss."""
        about = self.training
        said = {"training images": f"{about['images']:,}", "computation": f"{about['flops'] / 1e9:,.0f} GFLOP"}
        lines = [json.loads(line) for line in self.file(METRICS).read_text(encoding="utf-8").splitlines()]
        losses = {"training": [(line["step"], line["loss"]) for line in lines if "loss" in line]}
        return [Numbers(about["title"], said), Curves(f"Loss: {about['title']}", "update", "loss", losses)]


@step()
def train_completion(
    run: Run,
    images: ImageSet,
    config: CompletionConfig,
    settings: CompletionTraining,
    without: Selection | None = None,
    device: str = "cpu",
) -> CompletionModel:
    """Train a completion model from nothing on the training images, or on all of them but some: the reference.

    A killed run goes on.
    """
    found = images.load()
    kept = ~found.held_out if without is None else ~found.held_out & ~without.chosen(found)
    pixels = found.images[kept]
    title = "Completion model" if without is None else "Completion model retrained without the forgotten images"
    with run.bar("training a completion model", updates(config, settings)) as bar:
        model, results = fit(pixels, config, settings, run.scratch / "run", device, progress=bar)
    batch = {"images": pixels[: settings.batch_size]}
    flops = sum(training_flops(objective, batch, steps) for objective, steps in objectives(config.build(0), settings))
    about = {"title": title, "images": len(pixels), "flops": flops, "settings": settings.model_dump(mode="json"),
             "without": None if without is None else without.model_dump(mode="json")}  # fmt: skip
    return finished(run, model, results, about)


def finished(
    run: Run, model: OwnCompletion, results: Sequence[TrainingResult], about: dict[str, Any]
) -> CompletionModel:
    """Write a trained model into a step's output."""
    save_completion(model, run.output)
    document = about | {"loss": results[-1].loss}
    (run.output / TRAINING).write_text(json.dumps(document, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    shutil.copyfile(results[-1].metrics, run.output / METRICS)
    run.measure(cpu_seconds=round(sum(result.cpu_seconds for result in results), 3), loss=results[-1].loss)
    return CompletionModel(run.output)
