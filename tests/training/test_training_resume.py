"""Checkpoints are whole or absent; a killed run continues as if it had not been; changes are refused by name."""

import errno
import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn
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

from glasshouse.training import checkpoint as checkpoints
from glasshouse.training import shards
from glasshouse.training.checkpoint import CheckpointError, ResumeRefusedError, latest_checkpoint, weights_hash
from glasshouse.training.data import TensorRows
from glasshouse.training.identity import order_of_run
from glasshouse.training.objective import Loss
from glasshouse.training.trainer import train

SCRIPT = Path(__file__).parent / "killed_run.py"
STEPS = 40


def run(kind, directory, *, kill_at=None, delay=0.0, marker="step"):
    command = [sys.executable, str(SCRIPT), kind, str(directory), str(STEPS), str(delay)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    last = ""
    for line in process.stdout:
        last = line.strip()
        if kill_at is not None and last == str(kill_at):
            os.kill(process.pid, signal.SIGKILL)
    process.wait()
    return last


@pytest.mark.parametrize("kind", ["language", pytest.param("distillation", marks=pytest.mark.slow)])
def test_kill_nine_then_resume_is_exact(tmp_path, kind):
    whole = run(kind, tmp_path / "whole")
    assert whole.startswith("hash ")
    moments = sorted(random.Random(kind).sample(range(3, STEPS), 2))  # before the first checkpoint, between, after
    for moment in moments:
        run(kind, tmp_path / "killed", kill_at=moment, delay=0.005)
        assert latest_checkpoint(tmp_path / "killed" / "checkpoints") is None or moment >= 7
    assert run(kind, tmp_path / "killed") == whole
    names = ["metrics.jsonl", "run.json", f"checkpoints/step-{STEPS:08d}/state.json"]
    for name in names:  # state.json holds the hash of every weight, average and optimiser tensor
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert len(list((tmp_path / "killed" / "checkpoints").iterdir())) == 2


class Convolution:
    """Weights that lie channels-last in memory, so that their moments do too."""

    carries, frozen = {}, {}

    def __init__(self):
        torch.manual_seed(0)
        self.module = nn.Conv2d(3, 8, 3).to(memory_format=torch.channels_last)
        self.learns = {"module": self.module}

    def weight(self, batch):
        return float(len(batch["x"]))

    def loss(self, batch, step):
        return Loss(self.module(batch["x"]).square().mean())


def test_weights_in_another_memory_order_resume_exactly(tmp_path):
    data = TensorRows({"x": torch.randn(64, 3, 8, 8, generator=torch.Generator().manual_seed(1))})
    settings = config(steps=10, batch_size=8, precision="fp32")
    whole, stopped, resumed = Convolution(), Convolution(), Convolution()
    train(whole, data, settings, tmp_path / "whole")
    train(stopped, data, settings, tmp_path / "half", stop=lambda step: step == 5)
    train(resumed, data, settings, tmp_path / "half")
    assert torch.equal(whole.module.weight, resumed.module.weight)


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_batch_norm_and_both_optimisers_resume_exactly(tmp_path, optimizer):
    images = TensorRows({"image": torch.rand(32, 64, generator=torch.Generator().manual_seed(0))})
    settings = config(optimizer=optimizer, compile=False)
    whole = train(Autoencoder(batch_norm=True), images, settings, tmp_path / "whole")
    train(Autoencoder(batch_norm=True), images, settings, tmp_path / "parts", stop=lambda step: step == 11)
    parts = train(Autoencoder(batch_norm=True), images, settings, tmp_path / "parts")
    assert parts.resumed_from == 11
    assert parts.weights_hash == whole.weights_hash


def started(tmp_path, **changes):
    train(Distillation(), points(), config(**changes), tmp_path, stop=lambda step: step == 4)


def changed_teacher():
    objective = Distillation()
    with torch.no_grad():
        objective.teacher[0].bias[0] += 1e-3
    return objective


def narrower():
    objective = Distillation()
    objective.learns["student"].append(nn.Linear(4, 4))
    return objective


@pytest.mark.parametrize(
    ("objective", "data", "changes", "message"),
    [
        (Distillation, points, {"learning_rate": 1e-4}, r"configuration.learning_rate was 0.003, now 0.0001"),
        (Distillation, points, {"seed": 8}, r"configuration.seed was 7, now 8.*order.order was"),
        (Distillation, points, {"steps": 30}, r"configuration.steps was 20, now 30"),
        (Distillation, lambda: points(seed=3), {}, r"data.fingerprint was"),
        (Distillation, lambda: points(rows=65), {}, r"data.rows was 64, now 65"),
        (changed_teacher, points, {}, r"frozen.teacher was"),
        (lambda: Distillation(rate=0.5), points, {}, r"objective.configuration.rate was 0.9, now 0.5"),
        (narrower, points, {}, r"learns.student was"),
    ],
)
def test_a_change_is_refused_by_name(tmp_path, objective, data, changes, message):
    started(tmp_path)
    with pytest.raises(ResumeRefusedError, match=message):
        train(objective(), data(), config(**changes), tmp_path)
    assert latest_checkpoint(tmp_path / "checkpoints").step == 4


def test_keeping_and_prefetching_may_change(tmp_path):
    started(tmp_path)
    result = train(Distillation(), points(), config(keep=5, checkpoint_every=3, prefetch=1), tmp_path)
    assert result.resumed_from == 4
    steps = sorted(int(path.name.removeprefix("step-")) for path in (tmp_path / "checkpoints").iterdir())
    assert steps == [9, 12, 15, 18, 20]


@pytest.mark.parametrize("damage", ["truncate", "flip", "missing", "json", "empty"])
def test_a_torn_checkpoint_is_never_picked(tmp_path, damage, caplog):
    whole = train(Distillation(), points(), config(checkpoint_every=5, keep=3), tmp_path / "whole")
    train(Distillation(), points(), config(checkpoint_every=5, keep=3), tmp_path / "torn")
    newest = tmp_path / "torn" / "checkpoints" / "step-00000020"
    weights = newest / "learns.safetensors"
    content = bytearray(weights.read_bytes())
    if damage == "truncate":
        weights.write_bytes(content[:-7])
    elif damage == "flip":
        content[-3] ^= 1
        weights.write_bytes(content)
    elif damage == "missing":
        weights.unlink()
    elif damage == "json":
        (newest / "state.json").write_text('{"step": 20,')
    else:
        (newest / "state.json").write_text("[]")
    assert latest_checkpoint(tmp_path / "torn" / "checkpoints").step == 15
    assert "passing over the damaged checkpoint" in caplog.text
    again = train(Distillation(), points(), config(checkpoint_every=5, keep=3), tmp_path / "torn")
    assert (again.resumed_from, again.weights_hash) == (15, whole.weights_hash)
    assert records(tmp_path / "torn") == records(tmp_path / "whole")


def test_a_full_disk_is_a_clear_error_and_the_previous_checkpoint_stays(tmp_path, monkeypatch):
    original, calls = shards.save_file, []

    def full(tensors, path, metadata=None):
        calls.append(path)
        if len(calls) > 4:  # the optimiser file of the second checkpoint
            Path(path).write_bytes(b"half a file")
            raise OSError(errno.ENOSPC, "No space left on device")
        original(tensors, path, metadata)

    monkeypatch.setattr(shards, "save_file", full)
    message = r"step 10 could not be written.*No space left.*step 5 is intact.*Free some space"
    with pytest.raises(CheckpointError, match=message):
        train(Distillation(), points(), config(checkpoint_every=5), tmp_path)
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-00000005"]
    monkeypatch.setattr(shards, "save_file", original)
    resumed = train(Distillation(), points(), config(checkpoint_every=5), tmp_path)
    whole = train(Distillation(), points(), config(checkpoint_every=5), tmp_path.with_name("whole"))
    assert (resumed.resumed_from, resumed.weights_hash) == (5, whole.weights_hash)
    assert records(tmp_path) == records(tmp_path.with_name("whole"))


def test_a_real_file_size_limit_is_a_clear_error(tmp_path):
    code = (
        "import resource, signal, sys; sys.path.insert(0, sys.argv[1])\n"
        "from training_standins import *; from glasshouse.training.trainer import train\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (6000, 6000))\n"
        "train(NextToken(TinyLanguageModel()), token_rows(), config(checkpoint_every=5, log_every=20), sys.argv[2])\n"
    )
    command = [sys.executable, "-c", code, str(SCRIPT.parent), str(tmp_path / "run")]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "CheckpointError: the checkpoint of step 5 could not be written" in found.stderr
    assert list((tmp_path / "run" / "checkpoints").iterdir()) == []


def test_a_directory_of_something_else_is_refused(tmp_path):
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(ResumeRefusedError, match="not empty and holds no run"):
        train(Distillation(), points(), config(), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_tied_weights_are_written_once_and_come_back_tied(tmp_path):
    model = TinyLanguageModel(tied=True)
    train(NextToken(model), token_rows(), config(steps=3), tmp_path)
    fresh = TinyLanguageModel(tied=True, seed=9)
    found = latest_checkpoint(tmp_path / "checkpoints")
    checkpoints.load_checkpoint(found, learns={"model": fresh}, carries={})
    assert weights_hash(fresh) == weights_hash(model)
    assert fresh.head.weight is fresh.embedding.weight
    with pytest.raises(CheckpointError, match=r"missing \['model.head.weight'\]"):
        checkpoints.load_checkpoint(found, learns={"model": TinyLanguageModel(tied=False)}, carries={})
    with pytest.raises(CheckpointError, match="the module has"):
        checkpoints.load_checkpoint(found, learns={"model": TinyLanguageModel(vocabulary=40)}, carries={})


def test_weights_hash_sees_names_shapes_types_and_bytes():
    a = nn.Linear(2, 3)
    b = nn.Linear(2, 3)
    b.load_state_dict(a.state_dict())
    assert weights_hash(a) == weights_hash(b)
    with torch.no_grad():
        b.bias[0] = torch.nextafter(b.bias[0], torch.tensor(9.0))
    assert weights_hash(a) != weights_hash(b)
    assert weights_hash(a) != weights_hash(a.to(torch.bfloat16))


def test_the_order_of_a_run_is_read_from_what_it_recorded(tmp_path):
    seen = []

    class Watching(TensorRows):
        def batch(self, indices):
            seen.append(indices.tolist())
            return super().batch(indices)

    data = Watching(points(rows=21).tensors)
    train(Distillation(), data, config(steps=9, prefetch=0, compile=False), tmp_path)
    order = order_of_run(json.loads((tmp_path / "run.json").read_text()))
    assert [order.rows_at_step(step).tolist() for step in range(1, 10)] == seen[-9:]
