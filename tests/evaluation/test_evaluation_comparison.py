"""Comparisons of trained models: means, spread and perplexity against hand-computed values."""

import contextlib
import math
import types

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch import nn

from glasshouse.evaluation.comparison import Comparison

VOCABULARY = 4


class Fixed(nn.Module):
    """Predicts token 1 with a given probability, the other three alike, whatever came before."""

    def __init__(self, probability):
        super().__init__()
        others = (1 - probability) / 3
        self.logits = nn.Parameter(torch.tensor([others, probability, others, others]).log())

    def forward(self, ids):
        return types.SimpleNamespace(logits=self.logits.expand(*ids.shape, VOCABULARY))


class Decoder:
    def decode(self, ids, skip_special_tokens):
        return "xy" * len(ids)  # two bytes a token


class Model:
    def __init__(self, probability):
        self.probability = probability

    def load(self):
        transformer = Fixed(self.probability)
        return types.SimpleNamespace(transformer=transformer, tokenizer=Decoder(), end_of_sequence=0, context=8)


class Shards:
    """Documents of the token 1 only."""

    def __init__(self, *lengths):
        self.lengths = lengths

    def documents(self):
        ends = np.cumsum([length + 1 for length in self.lengths])
        starts = np.concatenate([[0], ends[:-1]])
        return pa.table({"shard": [0] * len(ends), "start": starts, "end": ends, "source": ["s"] * len(ends)})

    def document_tokens(self, shard, start, end):
        return np.ones(end - start, np.int64)


@contextlib.contextmanager
def bar(description, total):
    yield types.SimpleNamespace(advance=lambda amount=1: None)


def test_values_are_bits_of_the_probability():
    comparison = Comparison("c", {"good": [Model(0.5), Model(0.25)], "poor": [Model(0.1)]}, {"a": Shards(20, 3)})
    values = comparison.measure(None, bar)["values"]
    assert values["c/good/a/seed 0"] == pytest.approx(1 / 2)
    assert values["c/good/a/seed 1"] == pytest.approx(2 / 2)
    assert values["c/good/a"] == pytest.approx(0.75)
    assert values["c/good/a/spread"] == pytest.approx(np.std([0.5, 1.0], ddof=1))
    assert values["c/poor/a"] == pytest.approx(-math.log2(0.1) / 2)
    assert values["c/poor/a/perplexity"] == pytest.approx(10)
    assert values["c/good/macro"] == values["c/good/a"]


def test_no_more_than_the_most_tokens_are_scored():
    seen = []

    class Watching(Model):
        def load(self):
            loaded = super().load()
            forward = loaded.transformer.forward
            loaded.transformer.forward = lambda ids: (seen.append(ids.numel()), forward(ids))[1]
            return loaded

    Comparison("c", {"m": [Watching(0.5)]}, {"a": Shards(30, 30, 30)}, most_tokens=40).measure(None, bar)
    assert 40 <= sum(seen) <= 48  # the last window is padded


def test_panels_show_every_choice_and_set():
    comparison = Comparison("c", {"good": [Model(0.5)], "poor": [Model(0.1)]}, {"a": Shards(5), "b": Shards(6)})
    table, bars = Comparison.panels({"measure": "Comparison", **comparison.measure(None, bar)})
    assert [row[0] for row in table.rows] == ["good", "poor"]
    assert set(bars.groups) == {"a", "b"}
