"""Records: JSON Lines that survive an interruption, TensorBoard for real, Weights & Biases through a stand-in."""

import importlib
import json
import sys
import types

import pytest
from training_standins import Distillation, config, points

from glasshouse.training.sinks import JsonLines, MissingExtraError, TensorBoard, WeightsAndBiases
from glasshouse.training.trainer import train


def test_json_lines_drop_what_lies_after_the_checkpoint_and_a_torn_line(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step":1,"a":1}\n{"step":2,"a":2}\n{"step":3,"a":3}\n{"step":4,"a')
    sink = JsonLines(path)
    sink.begin(2)
    sink.write({"step": 3, "a": 30})
    sink.close()
    assert [json.loads(line)["a"] for line in path.read_text().splitlines()] == [1, 2, 30]
    with pytest.raises(RuntimeError, match="before begin"):
        sink.write({"step": 4})


def test_tensorboard_for_real(tmp_path):
    pytest.importorskip("tensorboard")
    train(Distillation(), points(), config(steps=5), tmp_path / "run", sinks=[TensorBoard(tmp_path / "board")])
    module = importlib.import_module("tensorboard.backend.event_processing.event_accumulator")
    events = module.EventAccumulator(str(tmp_path / "board"))
    events.Reload()
    found = [(event.step, event.value) for event in events.Scalars("loss")]
    expected = [(r["step"], r["loss"]) for r in map(json.loads, (tmp_path / "run" / "metrics.jsonl").open())]
    assert [step for step, _ in found] == [1, 2, 3, 4, 5]
    assert [value for _, value in found] == pytest.approx([value for _, value in expected], rel=1e-6)


def test_weights_and_biases_gets_the_same_records(tmp_path, monkeypatch):
    calls = []

    class Run:
        def log(self, values, step):
            calls.append((step, values))

        def finish(self):
            calls.append("finished")

    fake = types.ModuleType("wandb")
    fake.init = lambda **settings: calls.append(settings) or Run()
    monkeypatch.setitem(sys.modules, "wandb", fake)
    sink = WeightsAndBiases(project="greenhouse", id="a1", mode="offline")
    train(Distillation(), points(), config(steps=3, log_every=3), tmp_path, sinks=[sink])
    assert calls[0] == {"resume": None, "project": "greenhouse", "id": "a1", "mode": "offline"}
    assert [step for step, _ in calls[1:-1]] == [1, 3]
    assert {"loss", "gradient_norm", "learning_rate"} <= set(calls[1][1])
    assert calls[-1] == "finished"


@pytest.mark.parametrize(("sink", "extra"), [(TensorBoard, "tensorboard"), (WeightsAndBiases, "wandb")])
def test_a_missing_package_names_its_extra(monkeypatch, sink, extra):
    monkeypatch.setitem(sys.modules, extra, None)
    with pytest.raises(MissingExtraError, match=rf"glasshouse\[{extra}\]"):
        sink("directory") if extra == "tensorboard" else sink()


def test_importing_the_trainer_imports_no_tracker():
    import subprocess

    code = "import sys, glasshouse.training.trainer; print([m for m in ('wandb', 'tensorboard') if m in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"
