"""Bits per byte against a token-by-token reading of its definition."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from glasshouse.evaluation.perplexity import bits_per_byte, bootstrap_interval, document_nats
from glasshouse.nn.configuration import olmo
from glasshouse.nn.transformer import Transformer

END, CONTEXT = 0, 8


@pytest.fixture
def model() -> Transformer:
    torch.set_num_threads(1)
    return Transformer(olmo(depth=1).but(vocabulary=50, context=CONTEXT)).eval()


def one_by_one(model: Transformer, document: list[int]) -> float:
    inputs = [END, *document[:-1]]
    nats = 0.0
    for index, token in enumerate(document):
        start = index // CONTEXT * CONTEXT
        logits = model(torch.tensor([inputs[start : index + 1]])).logits[0, -1].double()
        nats -= float(torch.log_softmax(logits, -1)[token])
    return nats


@torch.no_grad()
@pytest.mark.parametrize("batch", [1, 3, 64])
def test_equals_scoring_one_token_at_a_time(model: Transformer, batch: int) -> None:
    generator = np.random.default_rng(1)
    documents = [generator.integers(1, 50, size=int(length)) for length in (1, 7, 8, 9, 16, 30)]
    seen: list[int] = []
    nats = document_nats(model, documents, end_of_sequence=END, context=CONTEXT, batch=batch, advance=seen.append)
    for found, document in zip(nats, documents, strict=True):
        assert found == pytest.approx(one_by_one(model, document.tolist()), rel=1e-5)
    assert sum(seen) == sum(map(len, documents))


def test_bits_per_byte_by_hand() -> None:
    assert bits_per_byte([math.log(2) * 10, math.log(2) * 30], [10, 10]) == pytest.approx(2.0)


def test_interval_holds_the_value_and_shrinks_with_documents() -> None:
    generator = np.random.default_rng(0)
    widths = []
    for count in (20, 2000):
        size = generator.integers(50, 200, count).astype(float)
        nats = size * generator.normal(1.0, 0.2, count)
        low, high = bootstrap_interval(nats, size, seed=0)
        assert low < bits_per_byte(nats, size) < high
        assert (low, high) == bootstrap_interval(nats, size, seed=0)
        widths.append(high - low)
    assert widths[1] < widths[0] / 4
