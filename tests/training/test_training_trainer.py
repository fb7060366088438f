"""One trainer for everything: it learns, counts exactly, and stops when it should."""

import signal
import threading
import time

import numpy as np
import pytest
import torch
from torch import nn
from training_standins import (
    Autoencoder,
    Distillation,
    NextToken,
    Plain,
    TinyLanguageModel,
    config,
    losses,
    points,
    records,
    token_rows,
)

from glasshouse.store.configuration import ConfigurationError
from glasshouse.training import trainer
from glasshouse.training.checkpoint import latest_checkpoint, weights_hash
from glasshouse.training.data import DataError, TensorRows
from glasshouse.training.guards import TrainingStoppedError
from glasshouse.training.objective import Loss
from glasshouse.training.trainer import train


def test_a_language_model_learns(tmp_path):
    result = train(NextToken(TinyLanguageModel()), token_rows(), config(steps=150, learning_rate=2e-2), tmp_path)
    stream = losses(tmp_path)
    assert len(stream) == 150
    assert result.finished
    assert stream[-1] < 0.5 * stream[0]
    assert records(tmp_path)[-1]["accuracy"] > 0.8
    assert result.unit == "tokens"
    assert result.examples == 150 * 8


def test_an_image_autoencoder_halves_its_loss_on_digits(tmp_path):
    digits = pytest.importorskip("sklearn.datasets").load_digits()
    images = TensorRows({"image": torch.tensor(digits.data, dtype=torch.float32) / 16})
    train(Autoencoder(), images, config(steps=150, batch_size=64), tmp_path)
    stream = losses(tmp_path)
    assert np.mean(stream[-5:]) < 0.5 * stream[0]


def test_a_student_follows_a_frozen_teacher_with_an_average(tmp_path):
    objective = Distillation()
    teacher, average = weights_hash(objective.teacher), weights_hash(objective.average)
    train(objective, points(), config(steps=300, learning_rate=1e-2), tmp_path)
    stream = losses(tmp_path)
    assert np.mean(stream[-5:]) < 0.2 * stream[0]
    assert weights_hash(objective.teacher) == teacher
    assert weights_hash(objective.average) not in (average, weights_hash(objective.student))
    assert all(p.grad is None for p in objective.teacher.parameters())


@pytest.mark.parametrize("micro", [1, 2, 4])
def test_accumulation_equals_the_big_batch(tmp_path, micro):
    """Rows of different lengths: a mean of micro-batch means would be visibly off."""
    whole, parts = TinyLanguageModel(), TinyLanguageModel()
    whole.dropout.p = parts.dropout.p = 0.0
    train(NextToken(whole), token_rows(), config(), tmp_path / "whole")
    train(NextToken(parts), token_rows(), config(micro_batch_size=micro), tmp_path / "parts")
    assert losses(tmp_path / "whole") == pytest.approx(losses(tmp_path / "parts"), abs=1e-6)
    for a, b in zip(whole.parameters(), parts.parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-6)


def test_bf16_ends_within_one_percent_of_fp32_with_fp32_weights(tmp_path):
    ends = {}
    for precision in ("fp32", "bf16"):
        model = TinyLanguageModel()
        train(
            NextToken(model),
            token_rows(),
            config(steps=120, learning_rate=5e-3, precision=precision),
            tmp_path / precision,
        )
        assert {p.dtype for p in model.parameters()} == {torch.float32}
        ends[precision] = np.mean(losses(tmp_path / precision)[-20:])
    assert ends["bf16"] == pytest.approx(ends["fp32"], rel=0.01)


def test_bf16_is_an_autocast_on_the_device_in_use(tmp_path):
    seen = []

    class Watching(Autoencoder):
        def loss(self, batch, step):
            seen.append(self.net[0](batch["image"]).dtype)
            return super().loss(batch, step)

    train(Watching(), TensorRows({"image": torch.rand(16, 64)}), config(steps=2, precision="bf16"), tmp_path)
    assert set(seen) == {torch.bfloat16}


@pytest.mark.parametrize("prefetch", [0, 1, 16])
def test_prefetch_changes_nothing(tmp_path, prefetch):
    reference = train(NextToken(TinyLanguageModel()), token_rows(), config(prefetch=4), tmp_path / "a")
    other = train(NextToken(TinyLanguageModel()), token_rows(), config(prefetch=prefetch), tmp_path / "b")
    assert other.weights_hash == reference.weights_hash
    assert losses(tmp_path / "a") == losses(tmp_path / "b")


def test_the_caller_keeps_its_random_numbers(tmp_path):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    objective, data = Distillation.__new__(Distillation), points()
    with torch.random.fork_rng():
        objective.__init__()
    train(objective, data, config(steps=2), tmp_path)
    assert torch.equal(torch.rand(3), expected)


def test_clipping_uses_the_global_norm(tmp_path):
    class Linear(Plain):
        def __init__(self):
            self.a, self.b = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)
            self.learns = {"a": self.a, "b": self.b}
            self.seen = []

        def loss(self, batch, step):
            return Loss((3 * self.a.weight + 4 * self.b.weight).sum())

    objective = Linear()
    handle = []
    for parameter in (objective.a.weight, objective.b.weight):
        parameter.register_hook(lambda gradient: handle.append(float(gradient)))
    train(objective, points(), config(steps=1, clip_norm=2.5), tmp_path)
    assert sorted(handle) == [3.0, 4.0]
    assert records(tmp_path)[0]["gradient_norm"] == pytest.approx(5.0)


class Poisoned(Autoencoder):
    def __init__(self, at, value=float("nan")):
        super().__init__()
        self.at, self.value = at, value

    def loss(self, batch, step):
        found = super().loss(batch, step)
        return Loss(found.value * self.value) if step.number == self.at else found


IMAGES = TensorRows({"image": torch.rand(32, 64)}, [f"picture-{row}" for row in range(32)])


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_bad_number_names_step_value_and_documents(tmp_path, value):
    from glasshouse.training.order import BatchPlan, DataOrder, KeyedOrder

    with pytest.raises(TrainingStoppedError, match=rf"step 9: the loss is {value}.*picture-.*step 5 is kept") as caught:
        train(Poisoned(9, value), IMAGES, config(checkpoint_every=5), tmp_path)
    rows = DataOrder(KeyedOrder(32, 7), BatchPlan.constant(8)).rows_at_step(9)
    assert caught.value.step == 9
    assert caught.value.documents == [f"picture-{row}" for row in rows]
    assert latest_checkpoint(tmp_path / "checkpoints").step == 5
    assert [record["step"] for record in records(tmp_path)] == list(range(1, 9))
    # Mended, it goes on from step 5 as if nothing had been.
    mended, clean = Poisoned(-1), Poisoned(-1)
    resumed = train(mended, IMAGES, config(checkpoint_every=5), tmp_path)
    reference = train(clean, IMAGES, config(checkpoint_every=5), tmp_path.with_name("reference"))
    assert resumed.resumed_from == 5
    assert resumed.weights_hash == reference.weights_hash


@pytest.mark.parametrize("every", [4, 100])
def test_where_reading_makes_the_device_wait_a_bad_number_is_found_before_the_next_checkpoint(
    tmp_path, monkeypatch, every
):
    reference = train(Poisoned(-1), IMAGES, config(log_every=every), tmp_path / "free")
    monkeypatch.setattr(trainer, "reading_is_free", lambda device: False)
    deferred = train(Poisoned(-1), IMAGES, config(log_every=every), tmp_path / "deferred")
    assert deferred.weights_hash == reference.weights_hash
    assert records(tmp_path / "deferred") == records(tmp_path / "free")
    with pytest.raises(TrainingStoppedError, match=r"step 6: the loss is nan.*step 5 is kept") as caught:
        train(Poisoned(6), IMAGES, config(checkpoint_every=5, log_every=every), tmp_path / "bad")
    assert caught.value.step == 6
    assert latest_checkpoint(tmp_path / "bad" / "checkpoints").step == 5


def test_a_bad_gradient_is_caught_before_it_reaches_the_weights(tmp_path):
    class Sharp(Autoencoder):
        def loss(self, batch, step):
            value = super().loss(batch, step).value
            return Loss(value + (self.net[0].weight[0, 0] * 0).abs().sqrt() if step.number == 3 else value)

    objective = Sharp()
    with pytest.raises(TrainingStoppedError, match="step 3: the gradient norm is nan"):
        train(objective, IMAGES, config(), tmp_path)
    assert all(torch.isfinite(p).all() for p in objective.net.parameters())


def test_stop_ends_early_with_a_checkpoint_and_the_rest_is_the_same(tmp_path):
    whole = train(Distillation(), points(), config(), tmp_path / "whole")
    first = train(Distillation(), points(), config(), tmp_path / "parts", stop=lambda step: step == 6)
    assert (first.step, first.finished) == (6, False)
    second = train(Distillation(), points(), config(), tmp_path / "parts")
    assert (second.resumed_from, second.finished) == (6, True)
    assert second.weights_hash == whole.weights_hash
    assert records(tmp_path / "parts") == records(tmp_path / "whole")
    third = train(Distillation(), points(), config(), tmp_path / "parts")
    assert (third.resumed_from, third.weights_hash, third.loss) == (20, whole.weights_hash, whole.loss)


@pytest.fixture
def _interruptible():
    """Python's own SIGINT handler: a shell that runs the tests in the background has SIGINT ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("_interruptible")
@pytest.mark.parametrize("where", ["signal", "loss", "bar"])
def test_ctrl_c_leaves_a_whole_checkpoint(tmp_path, where):
    whole = train(Distillation(), points(), config(), tmp_path / "whole")

    class Interrupted(Distillation):
        __qualname__ = "Distillation"

        def loss(self, batch, step):
            if where == "signal" and step.number == 6:
                signal.raise_signal(signal.SIGINT)
            if where == "loss" and step.number == 7:
                raise KeyboardInterrupt
            return super().loss(batch, step)

    class Bar:
        count = 0

        def advance(self, amount=1):
            self.count += amount
            if where == "bar" and self.count == 6:
                raise KeyboardInterrupt

        def say(self, text):
            pass

    with pytest.raises(KeyboardInterrupt):
        train(Interrupted(), points(), config(), tmp_path / "parts", progress=Bar())
    assert latest_checkpoint(tmp_path / "parts" / "checkpoints").step == 6
    resumed = train(Distillation(), points(), config(), tmp_path / "parts")
    assert resumed.weights_hash == whole.weights_hash
    assert records(tmp_path / "parts") == records(tmp_path / "whole")


def test_components_have_their_own_learning_rates_and_frozen_parameters_stay(tmp_path):
    class Two(Plain):
        def __init__(self):
            torch.manual_seed(0)
            self.a, self.b = nn.Linear(8, 8), nn.Linear(8, 8)
            self.b.bias.requires_grad_(False)
            self.learns = {"a": self.a, "b": self.b}

        def loss(self, batch, step):
            return Loss(self.b(self.a(batch["x"])).square().mean())

    objective, before = Two(), Two()
    train(objective, points(), config(steps=3, learning_rate_scales={"a": 0.0}), tmp_path / "a")
    assert weights_hash(objective.a) == weights_hash(before.a)
    assert not torch.equal(objective.b.weight, before.b.weight)
    assert torch.equal(objective.b.bias, before.b.bias)
    with pytest.raises(ConfigurationError, match=r"names \['c'\]"):
        train(Two(), points(), config(learning_rate_scales={"c": 2.0}), tmp_path / "b")


def test_nothing_to_learn_from_is_said(tmp_path):
    padding = TensorRows({"tokens": torch.zeros(8, 4, dtype=torch.long)}, [f"blank-{i}" for i in range(8)])
    with pytest.raises(TrainingStoppedError, match=r"nothing to learn from.*blank-"):
        train(NextToken(TinyLanguageModel()), padding, config(), tmp_path / "a")
    objective = Autoencoder()
    objective.net.requires_grad_(False)
    with pytest.raises(ConfigurationError, match="nothing learns"):
        train(objective, IMAGES, config(), tmp_path / "b")
    with pytest.raises(DataError, match="rows"):
        TensorRows({"x": torch.zeros(0, 3)})


def test_an_error_while_reading_names_the_step_and_leaves_no_thread(tmp_path):
    class Broken(TensorRows):
        def batch(self, indices):
            if 0 in indices:
                raise OSError("the disk is gone")
            return super().batch(indices)

    with pytest.raises(OSError, match="the disk is gone") as caught:
        train(Autoencoder(), Broken({"image": torch.rand(100, 64)}), config(compile=False), tmp_path)
    assert any("while reading the rows of step" in note for note in getattr(caught.value, "__notes__", ["x"]))
    time.sleep(0.1)
    assert not [thread for thread in threading.enumerate() if thread.name == "glasshouse-loader"]


def test_energy_speed_and_validation_are_recorded(tmp_path):
    class Power:
        def start(self):
            self.started = True

        def stop(self):
            return {"joules": 3.0, "source": "test", "estimate": True}

    objective = NextToken(TinyLanguageModel())
    objective.flops_per_example = 1e6
    result = train(objective, token_rows(), config(validate_every=10, log_every=5), tmp_path, power=Power())
    assert result.energy["joules"] == 3.0
    assert [r["step"] for r in records(tmp_path) if "validation/draw" in r] == [10, 20]
    assert [r["step"] for r in records(tmp_path) if "loss" in r] == [1, 5, 10, 15, 20]
    import json

    timings = [json.loads(line) for line in (tmp_path / "timings.jsonl").read_text().splitlines()]
    assert timings[-1]["tokens_per_second"] > 0
    assert 0 < timings[-1]["mfu"] < 1
    assert timings[-1]["mfu_peak"] == "measured peak"
