"""Outliers are skipped or stop the run: against the rule in NumPy, and a skipped update leaves nothing behind."""

import numpy as np
import pytest
import torch
from training_standins import Autoencoder, config, records

from glasshouse.training import trainer
from glasshouse.training.checkpoint import latest_checkpoint, weights_hash
from glasshouse.training.configuration import Outliers
from glasshouse.training.data import TensorRows
from glasshouse.training.guards import TrainingStoppedError
from glasshouse.training.objective import Loss
from glasshouse.training.optimizers import build_optimizers
from glasshouse.training.outliers import OutlierDetector, step_unless
from glasshouse.training.trainer import train

CPU = torch.device("cpu")
IMAGES = TensorRows(
    {"image": torch.rand(32, 64, generator=torch.Generator().manual_seed(0))}, [f"picture-{i}" for i in range(32)]
)
SKIP = {"action": "skip", "window": 20, "sigmas": 6.0}


class Poisoned(Autoencoder):
    """The loss of some updates is multiplied."""

    def __init__(self, factors):
        super().__init__()
        self.factors = factors

    def loss(self, batch, step):
        return Loss(super().loss(batch, step).value * self.factors.get(step.number, 1.0))


def olmo_core(losses, norms, window, sigmas):
    """1 where OLMo-core's rule skips: written down from its description, in float64."""
    found = []
    for step in range(len(losses)):
        outside = []
        for series in (losses, norms):
            past = np.array(series[max(0, step - window) : step])
            if min(step, window) + 1 < max(20, window // 2):
                outside.append(False)
            else:
                outside.append(abs(series[step] - past.mean()) > sigmas * past.std(ddof=1))
        found.append(float(any(outside)))
    return found


@pytest.mark.parametrize(("window", "sigmas"), [(20, 3.0), (50, 4.0), (128, 6.0)])
def test_the_rule_is_olmo_cores(window, sigmas):
    draw = np.random.default_rng(window)
    losses, norms = draw.normal(3, 0.1, 400), draw.normal(1, 0.05, 400)
    losses[[60, 100, 200, 333]] += [1, -1, 5, 1]
    norms[[61, 150, 333]] += [1, -1, 9]
    detector = OutlierDetector(Outliers(window=window, sigmas=sigmas), CPU)
    found = [
        float(detector.judge(torch.tensor(float(loss)), torch.tensor(float(norm))))
        for loss, norm in zip(losses, norms, strict=True)
    ]
    expected = olmo_core(losses, norms, window, sigmas)
    assert found == expected
    assert {100, 150, 200, 333} <= set(np.flatnonzero(found).tolist())
    assert len(detector.past[0]) == window


def test_a_fall_is_skipped_but_does_not_stop_and_equal_numbers_are_no_outliers():
    for action, expected in (("skip", 1.0), ("stop", 0.0)):
        detector = OutlierDetector(Outliers(action=action, window=20), CPU)
        for _ in range(40):
            assert float(detector.judge(torch.tensor(2.0), torch.tensor(1.0))) == 0.0
        assert float(detector.judge(torch.tensor(0.1), torch.tensor(1.0))) == expected
        assert float(detector.judge(torch.tensor(float("nan")), torch.tensor(1.0))) == 1.0
    assert OutlierDetector(None, CPU).judge(torch.tensor(1.0), torch.tensor(1.0)) is None


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
@pytest.mark.parametrize("number", [1e9, float("nan")])
def test_a_step_that_is_left_out_changes_nothing(optimizer, number):
    """Not weights, momenta or step counts, neither before the first step nor after some."""
    skipping, plain = Autoencoder(), Autoencoder()
    optimizers = [build_optimizers(item, config(optimizer=optimizer)) for item in (skipping, plain)]

    def step(objective, built, gradient, outlier):
        for parameter in objective.net.parameters():
            parameter.grad = torch.full_like(parameter, gradient) * torch.arange(parameter.numel()).view_as(parameter)
        step_unless(built, None if outlier is None else torch.tensor(outlier))

    for gradient in (0.1, 0.2, 0.3):
        before = weights_hash(skipping.net)
        step(skipping, optimizers[0], number, 1.0)
        assert weights_hash(skipping.net) == before
        step(skipping, optimizers[0], gradient, 0.0)
        step(plain, optimizers[1], gradient, None)
        assert weights_hash(skipping.net) == weights_hash(plain.net)


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
@pytest.mark.parametrize("reading", ["free", "deferred"])
def test_skipped_updates_are_recorded_and_resumed_exactly(tmp_path, monkeypatch, optimizer, reading):
    if reading == "deferred":
        monkeypatch.setattr(trainer, "reading_is_free", lambda device: False)
    settings = config(steps=60, outliers=SKIP, optimizer=optimizer, log_every=7, schedule="constant", warmup=0)
    factors = {30: 50.0, 55: 1000.0}  # one leaves the window, and its spread, before the other comes
    held = {}

    class Watching(Poisoned):
        def after_step(self, step):
            held[step.number] = weights_hash(self.net)

    whole = train(Watching(factors), IMAGES, settings, tmp_path / "whole")
    skipped = [record["step"] for record in records(tmp_path / "whole") if record.get("skipped")]
    assert whole.skipped == len(skipped)
    assert {30, 55} <= set(skipped)
    for step in range(2, 61):
        assert (held[step] == held[step - 1]) == (step in skipped)
    for stop in (30, 50):
        train(Watching(factors), IMAGES, settings, tmp_path / "parts", stop=lambda step, stop=stop: step == stop)
        state = latest_checkpoint(tmp_path / "parts" / "checkpoints").state
        assert len(state["outliers"]["window"][0]) == 20
    parts = train(Watching(factors), IMAGES, settings, tmp_path / "parts")
    assert (parts.weights_hash, parts.skipped) == (whole.weights_hash, whole.skipped)
    assert (tmp_path / "parts/metrics.jsonl").read_bytes() == (tmp_path / "whole/metrics.jsonl").read_bytes()
    plain = train(Poisoned(factors), IMAGES, settings.but(outliers=None), tmp_path / "plain")
    assert plain.weights_hash != whole.weights_hash
    assert plain.skipped == 0


def test_stopping_names_the_documents_only_when_asked(tmp_path):
    settings = config(steps=40, outliers={**SKIP, "action": "stop"})
    with pytest.raises(TrainingStoppedError, match=r"step 30: the loss .* is a spike: more than 6 standard .*picture-"):
        train(Poisoned({30: 50.0}), IMAGES, settings, tmp_path / "on")
    assert train(Poisoned({30: 50.0}), IMAGES, config(steps=40), tmp_path / "off").finished


def test_a_number_that_is_not_finite_stops_even_where_outliers_are_skipped(tmp_path):
    objective = Poisoned({30: float("nan")})
    with pytest.raises(TrainingStoppedError, match="step 30: the loss is nan"):
        train(objective, IMAGES, config(steps=40, outliers=SKIP), tmp_path)
    assert all(torch.isfinite(parameter).all() for parameter in objective.net.parameters())


def test_no_decision_waits_for_the_device():
    """Tensors on the meta device have no values: reading one on the host would raise."""
    detector, meta = OutlierDetector(Outliers(window=20), torch.device("meta")), torch.ones((), device="meta")
    for _ in range(25):
        outlier = detector.judge(meta, meta)
    assert outlier.device.type == "meta"
    weight = torch.nn.Parameter(torch.ones(4, 6, device="meta"))
    muon = torch.optim.Muon([weight], lr=1e-3)
    for _ in range(2):
        weight.grad = torch.ones_like(weight)
        step_unless([muon], outlier)
    with pytest.raises(RuntimeError, match="meta"):
        float(outlier)
