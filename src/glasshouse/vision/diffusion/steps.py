"""The step `train_diffusion_model`: pictures give a diffusion model. The method is in `denoising`."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from typing import Any, Protocol

from glasshouse.store.artifact import Artifact
from glasshouse.store.files import read_json
from glasshouse.store.panels import Curves, Numbers, Panel
from glasshouse.store.step import Run, step
from glasshouse.training.data import TrainingData
from glasshouse.vision.diffusion.denoising import DenoisingSettings, train_diffusion
from glasshouse.vision.diffusion.files import load_diffusion, save_diffusion
from glasshouse.vision.diffusion.model import DiffusionConfig, DiffusionModel
from glasshouse.vision.diffusion.text import TextConfig, Vocabulary

TRAINING = "training.json"


class Pictured(Protocol):
    """An artifact with pictures to learn from."""

    @property
    def prompts(self) -> Sequence[str]:
        """Texts of its pictures, each once; empty where they have none."""

    def pictures(self, vocabulary: Vocabulary | None) -> TrainingData:
        """Batches as `denoising` takes them; `vocabulary` gives words their numbers."""


class TrainedDiffusion(Artifact):
    """A diffusion model as a folder (see `diffusion.files`), and how it was trained."""

    def load(self, device: str = "cpu") -> DiffusionModel:
        """The model, ready to sample."""
        return load_diffusion(self.path, device)

    @property
    def training(self) -> dict[str, Any]:
        """`training.json`: the run's identity, its steps and its last loss."""
        return read_json(self.file(TRAINING))

    def panels(self) -> list[Panel]:
        """Its size, and the loss."""
        records = [json.loads(line) for line in self.file("metrics.jsonl").read_text(encoding="utf-8").splitlines()]
        losses = {"training": [(record["step"], record["loss"]) for record in records if "loss" in record]}
        about = self.training
        figures = {"weights": f"{about['weights']:,}", "pictures seen": f"{about['pictures']:,}"}
        return [Numbers("Diffusion model", figures), Curves("Loss", "update", "squared error", losses, log_y=True)]


@step()
def train_diffusion_model(
    run: Run, data: Pictured, config: DiffusionConfig, settings: DenoisingSettings, device: str = "cpu"
) -> TrainedDiffusion:
    """Train a diffusion model from nothing; a killed run goes on. See `trained` for its vocabulary."""
    trained(run, data, config, settings, device)
    return TrainedDiffusion(run.output)


def trained(
    run: Run, data: Pictured, config: DiffusionConfig, settings: DenoisingSettings, device: str = "cpu"
) -> DiffusionModel:
    """What the step does: train, and write the model and how it went into `run.output`.

    A model with `unet.token_width` and no `text` gets the vocabulary of the data's prompts.
    """
    width = config.unet.token_width
    if width and config.text is None and data.prompts:
        config = config.but(text=TextConfig.of(data.prompts, width=width))
    vocabulary = Vocabulary(config.text) if config.text is not None else None
    home = run.scratch / "run"
    with run.bar("training a diffusion model", settings.steps) as bar:
        model, result = train_diffusion(config, data.pictures(vocabulary), settings, home, device=device, progress=bar)
    save_diffusion(model, run.output)
    about = {
        "identity": read_json(home / "run.json"), "loss": result.loss, "pictures": result.examples,
        "weights": sum(part.numel() for part in model.parameters()),
    }  # fmt: skip
    (run.output / TRAINING).write_text(json.dumps(about, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    shutil.copyfile(result.metrics, run.output / "metrics.jsonl")
    shutil.copyfile(home / "timings.jsonl", Artifact(run.output).record / "timings.jsonl")
    run.measure(cpu_seconds=round(result.cpu_seconds, 3), resumed_from=result.resumed_from)
    return model


__all__ = ["Pictured", "TrainedDiffusion", "train_diffusion_model", "trained"]
