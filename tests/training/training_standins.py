"""Small objectives of different kinds for one unchanged trainer."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import ClassVar

import torch
from torch import nn
from torch.nn import functional

from glasshouse.training.configuration import Training
from glasshouse.training.data import TensorRows
from glasshouse.training.objective import Loss


class Plain:
    """Whatever has modules and a loss."""

    carries: ClassVar[dict] = {}
    frozen: ClassVar[dict] = {}
    unit = "examples"

    def weight(self, batch):
        return float(len(next(iter(batch.values()))))


class TinyLanguageModel(nn.Module):
    def __init__(self, vocabulary=32, width=16, tied=True, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.embedding = nn.Embedding(vocabulary, width)
        self.mixer = nn.GRU(width, width, batch_first=True)
        self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(0.1)
        self.head = nn.Linear(width, vocabulary, bias=False)
        if tied:
            self.head.weight = self.embedding.weight

    def forward(self, tokens):
        return self.head(self.dropout(self.norm(self.mixer(self.embedding(tokens))[0])))


class NextToken(Plain):
    unit = "tokens"

    def __init__(self, model):
        self.model = model
        self.learns = {"model": model}

    def weight(self, batch):
        return float((batch["tokens"][:, 1:] > 0).sum())

    def loss(self, batch, step):
        tokens = batch["tokens"]
        logits = self.model(tokens)[:, :-1].flatten(0, 1).float()
        targets = tokens[:, 1:].flatten()
        value = functional.cross_entropy(logits, targets, ignore_index=0)
        return Loss(value, {"accuracy": (logits.argmax(-1) == targets)[targets > 0].float().mean()})

    def validate(self):
        return {"draw": float(torch.rand(()))}


def token_rows(rows=48, length=12, seed=1):
    """Rows that count upwards from a random start, padded with zeros to random lengths."""
    generator = torch.Generator().manual_seed(seed)
    starts = torch.randint(1, 20, (rows, 1), generator=generator)
    tokens = (starts + torch.arange(length)) % 31 + 1
    lengths = torch.randint(3, length + 1, (rows, 1), generator=generator)
    tokens[torch.arange(length) >= lengths] = 0
    return TensorRows({"tokens": tokens}, [f"document-{row}" for row in range(rows)])


class Autoencoder(Plain):
    def __init__(self, batch_norm=False):
        torch.manual_seed(0)
        middle = [nn.BatchNorm1d(32)] if batch_norm else []
        self.net = nn.Sequential(nn.Linear(64, 32), *middle, nn.GELU(), nn.Linear(32, 64))
        self.learns = {"net": self.net}

    def loss(self, batch, step):
        return Loss(functional.mse_loss(self.net(batch["image"]).float(), batch["image"]))


class Distillation(Plain):
    """A student that follows a frozen teacher on noisy inputs, and an EMA copy that follows the student."""

    def __init__(self, rate=0.9):
        torch.manual_seed(0)
        self.teacher = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 4))
        self.student = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 4))
        self.average = copy.deepcopy(self.student)
        self.rate = rate
        self.learns = {"student": self.student}
        self.carries = {"average": self.average}
        self.frozen = {"teacher": self.teacher}
        self.configuration = {"rate": rate}

    def loss(self, batch, step):
        noise = torch.randn(batch["x"].shape, generator=step.generator, device=batch["x"].device)
        x = batch["x"] + 0.1 * noise
        with torch.no_grad():
            target = self.teacher(x)
        return Loss(functional.mse_loss(self.student(x), target))

    def after_step(self, step):
        for average, live in zip(self.average.parameters(), self.student.parameters(), strict=True):
            average.lerp_(live, 1 - self.rate)


def points(rows=64, seed=2):
    return TensorRows({"x": torch.randn(rows, 8, generator=torch.Generator().manual_seed(seed))})


def config(**changes):
    fields = {"steps": 20, "batch_size": 8, "precision": "fp32", "learning_rate": 3e-3, "log_every": 1, "seed": 7}
    return Training(**(fields | changes))


def records(directory):
    return [json.loads(line) for line in (Path(directory) / "metrics.jsonl").read_text().splitlines()]


def losses(directory):
    return [record["loss"] for record in records(directory) if "loss" in record]
