"""The step `train_reward_model`: a language model and preferences give a `RewardModel`.

It is thin: the methods are in `glasshouse.alignment.reward_models`.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from functools import cached_property
from typing import Any

from glasshouse.alignment.reward_files import load_reward_model, open_classifier, open_encoder, save_reward_model
from glasshouse.alignment.reward_models import LoadedRewardModel, RewardTraining, train_classifier, train_head
from glasshouse.language.adaptation import Preferences
from glasshouse.language.model import LanguageModel
from glasshouse.store.artifact import Artifact
from glasshouse.store.files import read_json
from glasshouse.store.panels import Curves, Numbers, Panel
from glasshouse.store.step import Run, step
from glasshouse.training.trainer import TrainingResult

TRAINING = "training.json"


class RewardModel(Artifact):
    """A reward model as a Hugging Face folder (see `glasshouse.alignment.reward_files`), and what it is worth."""

    def load(self, device: str = "cpu") -> LoadedRewardModel:
        """The model, ready to judge."""
        return load_reward_model(self.path, device)

    @cached_property
    def training(self) -> dict[str, Any]:
        """`training.json`: the run's identity, its last loss, and what became of the pairs."""
        found: dict[str, Any] = json.loads(self.file(TRAINING).read_text(encoding="utf-8"))
        return found

    @property
    def values(self) -> dict[str, float]:
        """Accuracy and log-losses on held-out pairs, for claims."""
        worth: dict[str, float] = self.training["worth"]
        return {f"reward_model/{name}": float(value) for name, value in worth.items()}

    def panels(self) -> list[Panel]:
        """What it is worth, and the loss."""
        worth = self.training["worth"]
        figures = {
            "pairs learnt from": f"{worth['pairs']:,}",
            "cut to the context": f"{worth['truncated']:,}",
            "left out": f"{worth['left_out']:,}",
        }
        if "accuracy" in worth:
            figures |= {
                "accuracy on held-out pairs": f"{100 * worth['accuracy']:.1f} %",
                "marginal log-loss (chance 0.693)": f"{worth['marginal_nll']:.3f} nats",
                "dyadic joint log-loss (chance 6.93)": f"{worth.get('dyadic_nll', float('nan')):.2f} nats",
            }
        records = [json.loads(line) for line in self.file("metrics.jsonl").read_text(encoding="utf-8").splitlines()]
        losses = {"training": [(record["step"], record["loss"]) for record in records if "loss" in record]}
        return [Numbers("Reward model", figures), Curves("Loss", "update", "nats per pair", losses)]


@step()
def train_reward_model(
    run: Run, model: LanguageModel, data: Preferences, settings: RewardTraining, device: str = "cpu"
) -> RewardModel:
    """Train a reward model on a language model: a head on its embeddings, or all of it as a sequence classifier.

    A killed run goes on. What it is worth is measured on the held-out pairs.
    """
    base, home = model.path, run.scratch / "run"
    train: Callable[..., tuple[LoadedRewardModel, TrainingResult, dict[str, float]]]
    if settings.learn == "head":
        train, opened = train_head, open_encoder(base, device)
    else:
        train, opened = train_classifier, open_classifier(base, seed=settings.seed, device=device)
    with run.bar("training a reward model", None) as bar:
        made, result, worth = train(opened, data.train, settings, home, validation=data.holdout, progress=bar)
    save_reward_model(made, base, run.output)
    document = {"identity": read_json(home / "run.json"), "loss": result.loss, "worth": worth}
    (run.output / TRAINING).write_text(json.dumps(document, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    shutil.copyfile(result.metrics, run.output / "metrics.jsonl")
    artifact = RewardModel(run.output)
    shutil.copyfile(home / "timings.jsonl", artifact.record / "timings.jsonl")
    run.measure(seconds=round(result.seconds, 3), resumed_from=result.resumed_from, **worth)
    return artifact
