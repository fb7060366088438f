"""Receipts: one per scheduled checkpoint, the same after any interruption, with the hashes of what they name."""

import hashlib
import json

import pytest
import torch
from training_standins import (
    Autoencoder,
    Distillation,
    NextToken,
    TinyLanguageModel,
    config,
    points,
    records,
    token_rows,
)

from glasshouse.training.checkpoint import weights_hash
from glasshouse.training.optimizers import build_optimizers
from glasshouse.training.receipts import Receipt, optimizer_hash, read_receipts
from glasshouse.training.trainer import train


def test_a_line_per_scheduled_checkpoint(tmp_path):
    objective = Distillation()
    result = train(objective, points(), config(checkpoint_every=6), tmp_path)
    found = read_receipts(result.receipts)
    assert [(receipt.step, receipt.examples) for receipt in found] == [(6, 48), (12, 96), (18, 144), (20, 160)]
    losses = {record["step"]: record["loss"] for record in records(tmp_path)}
    assert [receipt.loss for receipt in found] == [losses[receipt.step] for receipt in found]
    assert found[-1].weights == weights_hash(objective.student, objective.average)
    assert len({receipt.weights for receipt in found}) == len({receipt.optimizer for receipt in found}) == 4
    only_last = train(Distillation(), points(), config(checkpoint_every=None), tmp_path / "last")
    assert read_receipts(only_last.receipts) == found[-1:]


@pytest.mark.parametrize("stops", [(3,), (6, 7), (12, 13, 19)])
def test_interruptions_leave_no_trace(tmp_path, stops):
    def run(name, **options):
        model = TinyLanguageModel()
        return train(NextToken(model), token_rows(), config(checkpoint_every=6), tmp_path / name, **options)

    whole = run("whole")
    for stop in stops:
        run("parts", stop=lambda step, stop=stop: step == stop)
    parts = run("parts")
    assert parts.resumed_from == stops[-1]
    assert parts.receipts.read_bytes() == whole.receipts.read_bytes()


def test_the_optimisers_hash_sees_every_value_and_name():
    images = {"image": torch.rand(8, 64)}
    for kind in ("adamw", "muon"):
        objective = Autoencoder()
        optimizers = build_optimizers(objective, config(optimizer=kind))
        objective.loss(images, None).value.backward()
        for optimizer in optimizers:
            optimizer.step()
        first = optimizer_hash(objective, optimizers)
        assert optimizer_hash(objective, optimizers) == first
        for optimizer in optimizers:
            for values in optimizer.state.values():
                for value in values.values():
                    kept = value.clone()
                    value.flatten()[-1].add_(1)
                    assert optimizer_hash(objective, optimizers) != first
                    value.copy_(kept)
        assert optimizer_hash(objective, optimizers) == first
    assert optimizer_hash(Autoencoder(), []) == hashlib.sha256().hexdigest()


def test_receipts_tell_how_they_differ_and_a_broken_line_is_named(tmp_path):
    one = Receipt(step=5, examples=40, loss=1.0, weights="a", optimizer="b")
    assert one.differences(one) == []
    assert one.differences(one.but(loss=2.0, optimizer="c")) == ["loss", "optimizer"]
    path = tmp_path / "receipts.jsonl"
    path.write_text(json.dumps(one.model_dump()) + "\n{ torn")
    with pytest.raises(ValueError, match=r"line 2 of .* is not a receipt"):
        read_receipts(path)
    path.write_text('{"step": 5}\n')
    with pytest.raises(ValueError, match=r"line 1 of .* is not a receipt: .*examples is required"):
        read_receipts(path)
