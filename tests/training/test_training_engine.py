"""The parts around the loop: loader, meters, compilation, two processes, overhead."""

import json
import shutil
import subprocess
import sys
import time
from collections import namedtuple
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from training_standins import (
    Autoencoder,
    NextToken,
    Plain,
    TinyLanguageModel,
    config,
    losses,
    points,
    records,
    token_rows,
)

from glasshouse.training.compilation import compile_blocks
from glasshouse.training.data import TensorRows, move
from glasshouse.training.loader import Loader
from glasshouse.training.meters import Meter, Peak, peak_flops, transformer_flops_per_token
from glasshouse.training.objective import Loss, Objective
from glasshouse.training.order import BatchPlan, DataOrder, KeyedOrder
from glasshouse.training.trainer import train

Pair = namedtuple("Pair", "x y")


@dataclass
class Named:
    x: torch.Tensor
    label: str


def test_the_standins_are_objectives():
    assert isinstance(Autoencoder(), Objective)
    assert isinstance(NextToken(TinyLanguageModel()), Objective)


def test_any_nest_of_tensors_moves():
    x = torch.ones(2)
    batch = {"a": [x, (x, "text")], "b": Pair(x, 3), "c": Named(x, "n")}
    moved = move(batch, torch.device("meta"))
    assert moved["a"][1][0].device.type == moved["b"].x.device.type == moved["c"].x.device.type == "meta"
    assert moved["a"][1][1] == "text"
    assert (moved["b"].y, moved["c"].label) == (3, "n")


@pytest.mark.parametrize("prefetch", [0, 1, 5])
@pytest.mark.parametrize("world", [1, 2, 4])
def test_ranks_share_a_batch_and_a_late_start_is_the_same_stream(prefetch, world):
    data = TensorRows({"x": torch.arange(13)})
    order = DataOrder(KeyedOrder(13, 1), BatchPlan.constant(8))

    def stream(first, rank, world):
        with Loader(
            data, order, first=first, last=9, micro_batch=2, rank=rank, world=world, prefetch=prefetch
        ) as loader:
            return [[batch["x"].tolist() for batch in prepared.batches] for prepared in loader]

    ranks = [stream(1, rank, world) for rank in range(world)]
    for index, whole in enumerate(stream(1, 0, 1)):
        flat = [row for batch in whole for row in batch]
        assert [[row for batch in rank[index] for row in batch] for rank in ranks] == [
            flat[rank::world] for rank in range(world)
        ]
    assert stream(6, 0, world) == ranks[0][5:]


def test_growing_batches_are_seen_row_by_row_and_weighted_exactly(tmp_path):
    seen = []

    class Rows(TensorRows):
        def batch(self, indices):
            seen.append(indices.tolist())
            return super().batch(indices)

    stages = [{"batch_size": 4, "steps": 3}, {"batch_size": 8, "examples": 30}]
    settings = config(examples=100, steps=None, batch_size=16, batch_warmup=stages, prefetch=0, compile=False)
    result = train(Autoencoder(), Rows({"image": torch.rand(32, 64)}), settings, tmp_path)
    sizes = [4] * 3 + [8] * 4 + [16] * 4
    assert result.steps == len(sizes)
    assert result.examples == sum(sizes) == 108
    assert [record["examples"] for record in records(tmp_path)] == np.cumsum(sizes).tolist()
    order = json.loads((tmp_path / "run.json").read_text())["order"]
    assert order["batches"] == [[1, 4], [4, 8], [8, 16]]
    flat = [row for rows in seen[1:] for row in rows]  # the first batch is looked at to estimate the work
    assert len(flat) == 108
    for epoch in range(3):
        assert sorted(flat[32 * epoch : 32 * epoch + 32]) == list(range(32))


def test_leaving_a_loader_early_stops_its_thread():
    data = TensorRows({"x": torch.arange(13)})
    order = DataOrder(KeyedOrder(13, 1), BatchPlan.constant(8))
    with Loader(data, order, first=1, last=10**9, micro_batch=8, prefetch=2) as loader:
        next(iter(loader))
        thread = loader._thread
    assert not thread.is_alive()


def test_flops_follow_olmos_monitor():
    found = transformer_flops_per_token(
        parameters=6_888_095_744, embedding_parameters=50_304 * 4096, layers=32, width=4096, context=2048
    )
    n, e, attention = 6_888_095_744, 50_304 * 4096, 32 * 4096 * 2048
    assert found == 2 * (n - e) + 4 * attention + 4 * n + 8 * attention


def test_meter_and_peak():
    meter = Meter("tokens", 1e9, Peak(1e12, "sheet"), ranks=2)
    time.sleep(0.02)
    meter.count(2000, 10)
    first = meter.read()
    assert first["tokens_per_second"] / first["examples_per_second"] == pytest.approx(200)
    assert first["mfu"] == pytest.approx(first["examples_per_second"] * 1e9 / 2e12)
    assert meter.read()["tokens_per_second"] == 0
    assert peak_flops(torch.device("cpu"), "fp32").source == "measured peak"
    assert peak_flops(torch.device("meta"), "fp32") is None


def test_auto_compiles_long_runs_only():
    cpu = torch.device("cpu")
    block = nn.Linear(2, 2)
    assert not compile_blocks([block], "auto", device=cpu, run_flops=1e12)
    assert not compile_blocks([block], False, device=cpu, run_flops=1e20)
    assert not compile_blocks([], "auto", device=cpu, run_flops=1e20)
    with pytest.raises(ValueError, match="names no blocks"):
        compile_blocks([], True, device=cpu, run_flops=1e20)
    if shutil.which("g++"):
        assert compile_blocks([block], "auto", device=cpu, run_flops=1e14)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="compiling on a CPU needs a C++ compiler")
def test_a_compiled_run_has_the_same_losses_and_names(tmp_path):
    class Blocks(Autoencoder):
        def blocks(self):
            return [self.net]

    images = TensorRows({"image": torch.rand(32, 64)})
    eager, compiled = Blocks(), Blocks()
    train(eager, images, config(compile=False), tmp_path / "eager")
    result = train(compiled, images, config(compile=True), tmp_path / "compiled")
    assert result.compiled
    assert list(eager.net.state_dict()) == list(compiled.net.state_dict())
    assert losses(tmp_path / "compiled") == pytest.approx(losses(tmp_path / "eager"), rel=1e-4)


RANK = """
import sys; sys.path.insert(0, sys.argv[1])
import torch, torch.distributed as dist
from training_standins import *
from glasshouse.training.trainer import train
torch.set_num_threads(1)
rank = int(sys.argv[3])
dist.init_process_group("gloo", init_method="file://" + sys.argv[2] + "/rendezvous", rank=rank, world_size=2)
model = TinyLanguageModel(seed=rank)
model.dropout.p = 0.0
train(NextToken(model), token_rows(), config(micro_batch_size=2), sys.argv[2] + "/run")
dist.destroy_process_group()
"""


def test_two_processes_equal_one(tmp_path):
    """Different numbers of targets per rank: only exact weighting gives the same losses."""
    command = [sys.executable, "-c", RANK, str(Path(__file__).parent), str(tmp_path)]
    processes = [subprocess.Popen([*command, str(rank)]) for rank in range(2)]
    assert [process.wait(timeout=120) for process in processes] == [0, 0]
    model = TinyLanguageModel()
    model.dropout.p = 0.0
    train(NextToken(model), token_rows(), config(micro_batch_size=2), tmp_path / "one")
    assert losses(tmp_path / "run") == pytest.approx(losses(tmp_path / "one"), abs=1e-5)
    metrics = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").open()]
    expected = [json.loads(line) for line in (tmp_path / "one" / "metrics.jsonl").open()]
    for found, wanted in zip(metrics, expected, strict=True):
        assert found["gradient_norm"] == pytest.approx(wanted["gradient_norm"], rel=1e-4)


def test_the_loop_costs_under_a_millisecond_a_step(tmp_path):
    """CPU seconds per step of a model that does next to nothing, everything included."""

    class Nothing(Plain):
        def __init__(self):
            self.net = nn.Linear(8, 1)
            self.learns = {"net": self.net}

        def loss(self, batch, step):
            return Loss(self.net(batch["x"]).square().mean())

    settings = config(steps=600, log_every=10, checkpoint_every=None, compile=False)
    train(Nothing(), points(), config(steps=5), tmp_path / "warm")
    result = train(Nothing(), points(), settings, tmp_path / "measured")
    assert result.cpu_seconds / 600 < 2e-3  # the bar is 1 ms on a quiet core; twice that when it is shared
