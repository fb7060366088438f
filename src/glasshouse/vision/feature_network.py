"""A small network whose features images are compared by, trained in the run on the run's own real images.

No weights are fetched. A report names the network, its hash and its accuracy on held-out images. A user's own network
is read by `glasshouse.vision.pretrained_features`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from glasshouse.store.configuration import Config, named_seed
from glasshouse.training.checkpoint import weights_hash
from glasshouse.training.configuration import Training
from glasshouse.training.data import TensorRows
from glasshouse.training.objective import Loss, Step
from glasshouse.training.trainer import TrainingResult, train

CHUNK = 256


class Extractor(Protocol):
    """Features of images, and how a report calls their source."""

    @property
    def name(self) -> str: ...

    def features(self, images: Float[Tensor, "images channels height width"]) -> Float[Tensor, "images features"]: ...


class FeatureNetworkConfig(Config):
    """A convolutional classifier and how it is trained."""

    width: int = Field(16, ge=1)
    features: int = Field(64, ge=2)
    steps: int = Field(400, ge=1)
    batch_size: int = Field(64, ge=1)
    learning_rate: float = Field(3e-3, gt=0)
    seed: int = Field(0, ge=0)


class FeatureNetwork(nn.Module):
    """Two convolutions with pooling, a hidden layer (the features), and a class for every output."""

    mean: Tensor
    scale: Tensor

    def __init__(self, channels: int, classes: int, config: FeatureNetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.body = nn.Sequential(
            nn.Conv2d(channels, config.width, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(config.width, 2 * config.width, 3, padding=1), nn.ReLU(), nn.AdaptiveMaxPool2d(4), nn.Flatten(),
            nn.Linear(32 * config.width, config.features), nn.ReLU(),
        )  # fmt: skip
        self.head = nn.Linear(config.features, classes)
        self.register_buffer("mean", torch.zeros(config.features))
        self.register_buffer("scale", torch.ones(config.features))

    def forward(self, images: Float[Tensor, "images channels height width"]) -> Float[Tensor, "images classes"]:
        logits: Tensor = self.head(self.body(2 * images - 1))
        return logits

    @property
    def name(self) -> str:
        """As a report calls it."""
        return f"feature network of this run, sha256 {weights_hash(self)[:12]}"

    @torch.no_grad()
    def features(self, images: Float[Tensor, "images channels height width"]) -> Float[Tensor, "images features"]:
        """Hidden layer, standardised by the real images it was trained on."""
        parts = [self.body(2 * images[start : start + CHUNK] - 1) for start in range(0, len(images), CHUNK)]
        return (torch.cat(parts) - self.mean) / self.scale

    @torch.no_grad()
    def classes(self, images: Float[Tensor, "images channels height width"]) -> Int[Tensor, " images"]:
        """The most likely class of every image."""
        parts = [self(images[start : start + CHUNK]).argmax(1) for start in range(0, len(images), CHUNK)]
        return torch.cat(parts)


class Classification:
    """Cross-entropy over classes. A batch is `{"images", "labels"}`."""

    unit = "images"

    def __init__(self, model: FeatureNetwork) -> None:
        self.model = model
        self.learns: Mapping[str, nn.Module] = {"model": model}
        self.carries: Mapping[str, nn.Module] = {}
        self.frozen: Mapping[str, nn.Module] = {}
        self.configuration = model.config

    def weight(self, batch: Mapping[str, Tensor]) -> float:
        return float(len(batch["images"]))

    def loss(self, batch: Mapping[str, Tensor], step: Step) -> Loss:
        return Loss(functional.cross_entropy(self.model(batch["images"]), batch["labels"]))


@dataclasses.dataclass(frozen=True)
class Trained:
    """A network, and its accuracy on images it was not trained on."""

    network: FeatureNetwork
    accuracy: float
    result: TrainingResult


def train_feature_network(
    images: Float[Tensor, "images channels height width"],
    labels: Int[Tensor, " images"],
    held_out: tuple[Tensor, Tensor],
    classes: int,
    directory: Path | str,
    config: FeatureNetworkConfig | None = None,
    **options: Any,
) -> Trained:
    """Train on real images; `held_out` are other images with their labels; `options` go to the trainer."""
    settings = config or FeatureNetworkConfig()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(named_seed(settings.seed, "feature network"))
        network = FeatureNetwork(images.shape[1], classes, settings)
    training = Training.small(
        steps=settings.steps, batch_size=settings.batch_size, learning_rate=settings.learning_rate, seed=settings.seed,
        schedule="cosine", final_fraction=0.0, weight_decay=0.01,
    )  # fmt: skip
    result = train(
        Classification(network), TensorRows({"images": images, "labels": labels}), training, directory, **options
    )
    network.eval()
    raw = network.features(images)
    network.mean.copy_(raw.mean(0))
    network.scale.copy_(raw.std(0).clamp(min=1e-6))
    accuracy = float((network.classes(held_out[0]) == held_out[1]).float().mean())
    return Trained(network, accuracy, result)
