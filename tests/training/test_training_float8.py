"""Float8 products: refused where there are none, near the plain run where they are emulated, and gone afterwards."""

import pytest
import torch
from torch import nn

from glasshouse.language.pretrain import LanguageModelling
from glasshouse.nn.configuration import olmo
from glasshouse.nn.transformer import Transformer
from glasshouse.store.configuration import ConfigurationError
from glasshouse.training.configuration import Training
from glasshouse.training.data import TensorRows
from glasshouse.training.float8 import use_float8
from glasshouse.training.parallel import ParallelPlan
from glasshouse.training.trainer import train

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def rows():
    steps = torch.arange(64)[:, None] * 7 + torch.arange(32)[None] * 3
    return TensorRows({"tokens": steps % 61})


def trained(rows, directory, stop=None, **options):
    model = Transformer(olmo(depth=1).but(vocabulary=64, context=32), seed=0)
    training = Training(steps=30, batch_size=8, learning_rate=1e-2, compile=False, checkpoint_every=10, **options)
    result = train(LanguageModelling(model), rows, training, directory, stop=stop)
    return model, result


def test_an_emulated_run_ends_near_the_plain_one_and_leaves_plain_matrices(rows, tmp_path):
    pytest.importorskip("torchao")
    plain, without = trained(rows, tmp_path / "plain")
    model, narrow = trained(rows, tmp_path / "float8", float8="emulated")
    assert narrow.loss == pytest.approx(without.loss, rel=0.05)
    assert narrow.loss != without.loss
    assert {type(m) for m in model.modules()} == {type(m) for m in plain.modules()}
    assert list(model.state_dict()) == list(plain.state_dict())


def test_a_stopped_run_goes_on_to_the_same_bits(rows, tmp_path):
    pytest.importorskip("torchao")
    _, whole = trained(rows, tmp_path / "whole", float8="emulated")
    trained(rows, tmp_path / "half", stop=lambda step: step == 17, float8="emulated")
    _, resumed = trained(rows, tmp_path / "half", float8="emulated")
    assert (resumed.resumed_from, resumed.weights_hash) == (17, whole.weights_hash)


def test_where_there_is_none_it_is_refused(rows, tmp_path):
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(ConfigurationError, match="the device 'cpu' has no float8 products"):
        trained(rows, tmp_path, float8=True)


def test_matrices_of_other_sides_are_left_alone_and_none_at_all_is_refused():
    pytest.importorskip("torchao")
    block = nn.Sequential(nn.Linear(16, 32), nn.Linear(32, 10), nn.LayerNorm(10))
    put_back = use_float8([block], "emulated", CPU, ParallelPlan())
    assert [type(part).__name__ for part in block] == ["Float8Linear", "Linear", "LayerNorm"]
    put_back()
    assert [type(part).__name__ for part in block] == ["Linear", "Linear", "LayerNorm"]
    with pytest.raises(ConfigurationError, match="multiples of 16"):
        use_float8([nn.Sequential(nn.Linear(5, 5))], "emulated", CPU, ParallelPlan())


def test_it_stands_on_bf16():
    with pytest.raises(ConfigurationError, match="float8 stands on precision='bf16'"):
        Training(steps=1, float8=True, precision="fp32")
