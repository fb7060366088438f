"""Micro-batches side by side: the same numbers as one after another, on one core or several."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from glasshouse.language.pretrain import LanguageModelling
from glasshouse.nn.configuration import olmo
from glasshouse.nn.transformer import Transformer
from glasshouse.training.accumulation import Accumulator
from glasshouse.training.configuration import Training
from glasshouse.training.data import TensorRows
from glasshouse.training.trainer import train


def run(
    directory: Path, *, cores: int, monkeypatch: pytest.MonkeyPatch, precision: str = "bf16", micro: int = 4
) -> str:
    monkeypatch.setattr("glasshouse.training.accumulation.usable_cores", lambda: cores)
    model = Transformer(olmo(depth=2).but(vocabulary=64, context=16), seed=1)
    generator = torch.Generator().manual_seed(0)
    data = TensorRows({"tokens": torch.randint(0, 64, (50, 16), generator=generator)})
    config = Training(steps=12, batch_size=12, micro_batch_size=micro, precision=precision, compile=False)  # type: ignore[arg-type]
    return train(LanguageModelling(model), data, config, directory).weights_hash


@pytest.mark.parametrize("precision", ["bf16", "fp32"])
def test_the_number_of_cores_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: str) -> None:
    hashes = {run(tmp_path / str(n), cores=n, monkeypatch=monkeypatch, precision=precision) for n in (1, 2, 3, 8)}
    assert len(hashes) == 1


def test_side_by_side_is_close_to_the_whole_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = []
    for micro in (4, 12):
        model = Transformer(olmo(depth=2).but(vocabulary=64, context=16), seed=1)
        data = TensorRows({"tokens": torch.randint(0, 64, (50, 16), generator=torch.Generator().manual_seed(0))})
        config = Training(steps=5, batch_size=12, micro_batch_size=micro, precision="fp32", compile=False)
        train(LanguageModelling(model), data, config, tmp_path / str(micro))
        weights.append(torch.cat([parameter.flatten() for parameter in model.parameters()]))
    assert (weights[0] - weights[1]).abs().max() < 1e-5


def test_threads_are_given_back_and_random_objectives_stay_in_line(tmp_path: Path) -> None:
    before = torch.get_num_threads()
    model = Transformer(olmo(depth=1).but(vocabulary=64, context=16))
    objective = LanguageModelling(model)
    with Accumulator(objective, list(model.parameters()), "fp32", 2):
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == before
    objective.concurrent = False
    with Accumulator(objective, list(model.parameters()), "fp32", 2):
        assert torch.get_num_threads() == before
