"""Training a text classifier in the manner of fastText (Joulin et al., arXiv 1607.01759), on the shared trainer.

    L = - 1/N sum_n w(y_n) log softmax( W mean_f E[f] + b )[y_n],   f over hashed words and pairs of words

Dolma's toxicity and quality signals (arXiv 2402.00159, sections 5.2, 5.3) are such classifiers over bigrams. Deviations
from fastText: AdamW on mini-batches in place of asynchronous SGD on single lines, so that one seed gives one model; the
features of `data.signals.classifier`. The model is scored by that module, without torch.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, field_validator
from torch import Tensor, nn
from torch.nn import functional

from glasshouse.data.document import is_selected
from glasshouse.data.signals.classifier import ABOUT, FEATURES, TextClassifier, packed
from glasshouse.store.configuration import Config, named_seed
from glasshouse.training.configuration import Training
from glasshouse.training.data import DataError
from glasshouse.training.objective import Loss, Step
from glasshouse.training.trainer import train


class ClassifierSettings(Config):
    """How a classifier is made.

    Attributes:
        buckets: size of the hashed table, a power of two; more separates more words and costs memory.
        width: of the embedding.
        lower: whether ASCII capitals count as small letters.
        epochs: passes over the examples.
        batch_size: examples per update.
        learning_rate: its peak; it falls linearly.
        most_features: features taken of one example at most (from its start).
        holdout: share of the examples, chosen by a hash of their text, that measures and does not train.
        balanced: whether every label weighs the same, however many examples it has.
        seed: the same examples and seed give the same model.
    """

    buckets: int = Field(1 << 17, ge=2, le=1 << 24)
    width: int = Field(16, ge=1, le=1024)
    lower: bool = True
    epochs: float = Field(4.0, gt=0)
    batch_size: int = Field(64, ge=1)
    learning_rate: float = Field(0.02, gt=0)
    most_features: int = Field(2048, ge=1)
    holdout: float = Field(0.1, ge=0, lt=1)
    balanced: bool = False
    seed: int = Field(0, ge=0)

    @field_validator("buckets")
    @classmethod
    def _power(cls, buckets: int) -> int:
        if buckets & (buckets - 1):
            raise ValueError(f"buckets must be a power of two, e.g. {1 << buckets.bit_length()}")
        return buckets


class BagOfFeatures(nn.Module):
    """Mean of the embeddings of the features, then a linear layer."""

    def __init__(self, buckets: int, width: int, classes: int, seed: int) -> None:
        super().__init__()
        self.embedding = nn.EmbeddingBag(buckets, width, mode="mean", include_last_offset=True)
        self.output = nn.Linear(width, classes)
        generator = torch.Generator().manual_seed(named_seed(seed, "text classifier"))
        with torch.no_grad():
            self.embedding.weight.uniform_(-1 / width, 1 / width, generator=generator)
            self.output.weight.uniform_(-1 / width, 1 / width, generator=generator)
            self.output.bias.zero_()

    def forward(self, features: Tensor, offsets: Tensor) -> Tensor:
        """Logits `[rows, classes]` from flat features and their offsets `[rows + 1]`."""
        logits: Tensor = self.output(self.embedding(features, offsets))
        return logits


class TextClassification:
    """Softmax cross-entropy of a bag of features. A batch is features, offsets, labels and weights."""

    def __init__(self, model: BagOfFeatures, configuration: Any) -> None:
        self.model = model
        self.learns: Mapping[str, nn.Module] = {"model": model}
        self.carries: Mapping[str, nn.Module] = {}
        self.frozen: Mapping[str, nn.Module] = {}
        self.configuration = configuration

    def weight(self, batch: Mapping[str, Tensor]) -> float:
        return float(batch["weights"].sum())

    def loss(self, batch: Mapping[str, Tensor], step: Step) -> Loss:
        logits = self.model(batch["features"], batch["offsets"]).float()
        each = functional.cross_entropy(logits, batch["labels"], reduction="none")
        correct = (logits.argmax(1) == batch["labels"]).float()
        total = batch["weights"].sum()
        accuracy = (correct * batch["weights"]).sum() / total
        return Loss((each * batch["weights"]).sum() / total, {"precision_at_1": accuracy.detach()})


@dataclass(frozen=True)
class LabelledBags:
    """Examples as bags of features: `features[offsets[i]:offsets[i + 1]]` is example `i`."""

    features: NDArray[np.int64]
    offsets: NDArray[np.int64]
    labels: NDArray[np.int64]
    weights: NDArray[np.float32]

    @property
    def rows(self) -> int:
        return len(self.labels)

    @property
    def fingerprint(self) -> str:
        digest = hashlib.sha256()
        for array in (self.features, self.offsets, self.labels, self.weights):
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()

    def batch(self, indices: NDArray[np.int64]) -> dict[str, Tensor]:
        starts, ends = self.offsets[indices], self.offsets[indices + 1]
        offsets = np.zeros(len(indices) + 1, np.int64)
        np.cumsum(ends - starts, out=offsets[1:])
        parts = [self.features[start:end] for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]
        return {
            "features": torch.from_numpy(np.concatenate(parts)),
            "offsets": torch.from_numpy(offsets),
            "labels": torch.from_numpy(self.labels[indices]),
            "weights": torch.from_numpy(self.weights[indices]),
        }

    def describe(self, indices: NDArray[np.int64]) -> list[str]:
        return [f"example {row}" for row in indices.tolist()]


@dataclass(frozen=True)
class ClassifierReport:
    """What training came to. Measured on the held-out examples; `None` where there are none."""

    labels: tuple[str, ...]
    examples: dict[str, int]
    held_out: dict[str, int]
    precision_at_1: float | None
    per_label: dict[str, dict[str, float]]
    loss: float | None
    cpu_seconds: float
    weights_hash: str


def train_text_classifier(
    texts: Sequence[str],
    labels: Sequence[str],
    directory: Path | str,
    settings: ClassifierSettings | None = None,
    **options: Any,
) -> ClassifierReport:
    """Trains a classifier and writes it to `directory` (see `data.signals.classifier`).

    Args:
        texts, labels: examples; two or more different labels.
        directory: a new one, or that of a run that was killed (training goes on from its last checkpoint).
        options: for `training.trainer.train`.

    Raises:
        DataError: no examples, fewer than two labels, or a label all of whose examples were held out.
        FileExistsError: when the directory holds a classifier already.
    """
    chosen = settings or ClassifierSettings()
    home = Path(directory)
    if (home / ABOUT).exists():
        raise FileExistsError(f"{home} holds a classifier already: choose a new directory")
    if len(texts) != len(labels):
        raise DataError(f"{len(texts)} texts need as many labels, got {len(labels)}")
    names = tuple(sorted(set(labels)))
    if len(names) < 2:
        raise DataError(f"a classifier needs examples of two or more labels, got {list(names)}")
    held = np.array([is_selected(text, chosen.holdout, chosen.seed, "classifier holdout") for text in texts])
    numbers = np.array([names.index(label) for label in labels], np.int64)
    counts = np.bincount(numbers[~held], minlength=len(names))
    for name, number in zip(names, counts.tolist(), strict=True):
        if number == 0:
            raise DataError(f"label {name!r} has no example to train on: give more examples, or a smaller holdout")
    model = BagOfFeatures(chosen.buckets, chosen.width, len(names), chosen.seed)
    data = labelled_bags([t for t, out in zip(texts, held, strict=True) if not out], numbers[~held], counts, chosen)
    training = Training(
        steps=max(1, round(chosen.epochs * data.rows / chosen.batch_size)),
        batch_size=chosen.batch_size,
        seed=chosen.seed,
        learning_rate=chosen.learning_rate,
        weight_decay=0.0,
        betas=(0.9, 0.99),
        eps=1e-8,
        schedule="linear",
        warmup=0.05,
        final_fraction=0.0,
        precision="fp32",
        compile=False,
        checkpoint_every=1000,
    )
    result = train(TextClassification(model, chosen), data, training, home / "training", **options)
    made = exported(model, names, chosen.lower)
    report = ClassifierReport(
        labels=names,
        examples=dict(zip(names, counts.tolist(), strict=True)),
        held_out={name: int((numbers[held] == place).sum()) for place, name in enumerate(names)},
        loss=result.loss,
        cpu_seconds=result.cpu_seconds,
        weights_hash=result.weights_hash,
        **_measured(made, [t for t, out in zip(texts, held, strict=True) if out], numbers[held]),
    )
    about = {"settings": chosen.model_dump(), "features": FEATURES, "precision_at_1": report.precision_at_1,
             "examples": report.examples, "held_out": report.held_out}  # fmt: skip
    made.save(home, about)
    shutil.rmtree(home / "training")
    return report


def labelled_bags(
    texts: Sequence[str], labels: NDArray[np.int64], counts: NDArray[np.int64], settings: ClassifierSettings
) -> LabelledBags:
    """Texts as bags of features; an example without any token is left out.

    Args:
        labels: `[texts]`, places among the labels.
        counts: examples of every label, for balanced weights.
    """
    from glasshouse.data.signals import classifier_kernel as kernel

    data, bounds = packed(texts)
    table = kernel.LOWERED if settings.lower else kernel.AS_IS
    arguments = (data, bounds[:-1], bounds[1:], kernel.KINDS, table, np.uint64(settings.buckets - 1))
    features = np.empty(0, np.int64)
    offsets = kernel.bags(*arguments, settings.most_features, features)
    features = np.empty(int(offsets[-1]), np.int64)
    kernel.bags(*arguments, settings.most_features, features)
    filled = np.diff(offsets) > 0
    if not filled.any():
        raise DataError("no example has a word in it")
    weights = np.ones(len(texts), np.float32)
    if settings.balanced:
        weights = (len(texts) / (len(counts) * counts[labels])).astype(np.float32)
    kept = np.concatenate([[0], np.cumsum(np.diff(offsets)[filled])])
    return LabelledBags(features, kept, labels[filled], weights[filled])


def exported(model: BagOfFeatures, labels: Sequence[str], lower: bool) -> TextClassifier:
    """The trained module as the classifier that scores without torch."""
    parts = (model.embedding.weight, model.output.weight, model.output.bias)
    arrays = [part.detach().cpu().float().numpy() for part in parts]
    return TextClassifier(labels, arrays[0], arrays[1], arrays[2], lower=lower)


def _measured(made: TextClassifier, texts: list[str], labels: NDArray[np.int64]) -> dict[str, Any]:
    if not texts:
        return {"precision_at_1": None, "per_label": {}}
    guesses = made.score_texts(texts).argmax(1)
    per_label = {}
    for place, name in enumerate(made.labels):
        right = int(((guesses == place) & (labels == place)).sum())
        guessed, there = int((guesses == place).sum()), int((labels == place).sum())
        per_label[name] = {"precision": right / guessed if guessed else 0.0, "recall": right / there if there else 0.0}
    return {"precision_at_1": float((guesses == labels).mean()), "per_label": per_label}


__all__ = [
    "BagOfFeatures",
    "ClassifierReport",
    "ClassifierSettings",
    "LabelledBags",
    "TextClassification",
    "exported",
    "labelled_bags",
    "train_text_classifier",
]
