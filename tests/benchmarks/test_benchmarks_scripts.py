"""The benchmark scripts run at tiny sizes, write whole JSON, and the page says what the JSON says."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
import torch

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"

STAND_IN = """
from dataclasses import dataclass
import torch

@dataclass
class GPTConfig:
    block_size: int = 0
    vocab_size: int = 0
    n_layer: int = 0
    n_head: int = 0
    n_embd: int = 0
    dropout: float = 0.0
    bias: bool = False

class GPT(torch.nn.Module):
    def __init__(self, config):
        super().__init__()
        print("this must not end up among the answers")
        self.table = torch.nn.Embedding(config.vocab_size, config.vocab_size)

    def configure_optimizers(self, decay, rate, betas, device):
        return torch.optim.AdamW(self.parameters(), lr=rate, betas=betas, weight_decay=decay)

    def forward(self, tokens, targets):
        logits = self.table(tokens)
        return logits, torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten())
"""


def script(name, *arguments):
    command = [sys.executable, BENCHMARKS / name, *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=300, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "text.txt"
    words = ["to be", "or not", "to be.", "that is", "the question:\n"]
    draw = random.Random(0)
    path.write_text(" ".join(draw.choice(words) for _ in range(1000)))
    return path


@pytest.fixture
def peer(tmp_path):
    (tmp_path / "model.py").write_text(STAND_IN)
    return tmp_path


def test_training_rows_do_the_same_work(tmp_path):
    pytest.importorskip("transformers")
    out = tmp_path / "out" / "train.json"
    done = script("train_cpu.py", "--small", "--rounds", 2, "--warm", 1, "--only", "fp32 eager", "--out", out)
    assert done.returncode == 0, done.stderr
    rows = json.loads(out.read_text())["rows"]
    assert list(rows) == ["transformers fp32 eager", "loop fp32 eager", "trainer fp32 eager"]
    assert len({row["parameters"] for row in rows.values()}) == 1
    losses = [row["last_loss"] for row in rows.values()]
    assert max(losses) - min(losses) < 1e-3 * min(losses)
    for row in rows.values():
        assert len(row["cpu_seconds"]) == 2
        assert all(seconds > 0 for seconds in row["cpu_seconds"])


def test_a_step_of_rloo_beside_trls(tmp_path):
    pytest.importorskip("trl")
    out = tmp_path / "rloo.json"
    done = script("rloo.py", "--small", "--out", out)
    assert done.returncode == 0, done.stderr
    found = json.loads(out.read_text())
    (shape,) = found["shapes"].values()
    assert {name: len(row["cpu_seconds"]) for name, row in shape["rows"].items()} == {"glasshouse": 3, "trl": 3}
    ratios = [t / g for t, g in zip(*(shape["rows"][who]["cpu_seconds"] for who in ("trl", "glasshouse")), strict=True)]
    assert found["bars"][0]["ratio"]["median"] == pytest.approx(sorted(ratios)[1])


@pytest.mark.slow
def test_scoring_beside_the_harness(tmp_path):
    pytest.importorskip("lm_eval")
    out = tmp_path / "evaluation.json"
    done = script("evaluation.py", "--small", "--out", out)
    assert done.returncode == 0, done.stderr
    found = json.loads(out.read_text())
    assert [bar["holds"] for bar in found["bars"] if bar["bar"] == "0"] == [True, True]
    assert set(found["commands"]) == {"lm_eval", "glasshouse on the task file", "glasshouse on plain rows"}


def test_an_unknown_row_is_refused_with_the_rows_there_are():
    done = script("train_cpu.py", "--small", "--only", "fp8")
    assert done.returncode == 2
    assert "trainer bf16 compiled" in done.stderr


def test_the_gpu_script_measures_everyone_on_a_cpu(tmp_path):
    pytest.importorskip("transformers")
    out = tmp_path / "gpu.json"
    options = ("--shape", "tiny", "--device", "cpu", "--micro", 2, "--warm", 1, "--steps", 2, "--rounds", 1)
    done = script("train_gpu.py", *options, "--only", "eager", "--out", out)
    assert done.returncode == 0, done.stderr
    found = json.loads(out.read_text())
    assert found["machine"]["device"] == "CPU"
    rows = found["shapes"]["tiny"]["rows"]
    assert list(rows) == ["trainer eager", "transformers eager"]
    assert found["shapes"]["tiny"]["failed"] == {}
    assert all(row["tokens_per_second"] > 0 and row["utilisation"] is None for row in rows.values())


def test_a_row_that_fails_is_in_the_results_with_its_reason(tmp_path):
    out = tmp_path / "gpu.json"
    options = ("--shape", "tiny", "--device", "cpu", "--micro", 2, "--warm", 1, "--steps", 2, "--rounds", 1)
    (tmp_path / "nanochat").mkdir()
    (tmp_path / "nanochat" / "gpt.py").write_text("raise RuntimeError('broken peer')")
    done = script("train_gpu.py", *options, "--only", "nanochat", "--nanochat", tmp_path, "--out", out)
    assert done.returncode == 0, done.stderr
    assert json.loads(out.read_text())["shapes"]["tiny"] == {
        "rows": {},
        "failed": {"nanochat compiled": "RuntimeError: broken peer"},
    }


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_nothing_is_measured(tmp_path):
    done = script("train_gpu.py", "--out", tmp_path / "gpu.json")
    assert done.returncode == 2
    assert "there is no GPU here" in done.stderr
    assert not (tmp_path / "gpu.json").exists()


def test_shakespeare_beside_its_peer(tmp_path, text, peer):
    out = tmp_path / "shakespeare.json"
    done = script("shakespeare_cpu.py", "--data", text, "--nanogpt", peer, "--steps", 4, "--seeds", 1, "--out", out)
    assert done.returncode == 0, done.stderr
    found = json.loads(out.read_text())
    assert list(found["rows"]) == ["ours seed 0", "nanogpt seed 0"]
    for row in found["rows"].values():
        assert 0 < row["validation_loss"] < 5
        assert abs(row["validation_loss"] - row["validation_loss_random_windows"]) < 0.3
        assert row["cpu_seconds"] == pytest.approx(sum(row["cpu_seconds_of_turns"]))
    assert [bar["bar"] for bar in found["bars"]] == ["<= 1.68", "<= 1.25"]
    assert found["bars"][1]["value"] > 0
    assert len(found["machine"]["nanogpt_model_sha256"]) == 64


def test_missing_input_is_named(tmp_path, text):
    done = script("shakespeare_cpu.py", "--data", tmp_path / "absent.txt")
    assert done.returncode == 2
    assert "absent.txt" in done.stderr


def test_a_competitor_that_fails_ends_the_run_with_its_name(tmp_path, text):
    (tmp_path / "model.py").write_text("raise RuntimeError('broken peer')")
    done = script("shakespeare_cpu.py", "--data", text, "--nanogpt", tmp_path, "--steps", 2, "--seeds", 1)
    assert done.returncode != 0
    assert "broken peer" in done.stderr
    assert "nanogpt seed 0 ended early" in done.stderr


def test_the_page_says_what_the_results_say():
    done = script("table.py", "--check")
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_changed_number_is_noticed_and_written(tmp_path):
    page, results = tmp_path / "README.md", tmp_path / "results"
    results.mkdir()
    page.write_text((BENCHMARKS / "README.md").read_text())
    found = json.loads((BENCHMARKS / "results" / "shakespeare_cpu.json").read_text())
    found["rows"]["ours seed 0"]["validation_loss"] = 1.2345
    (results / "shakespeare_cpu.json").write_text(json.dumps(found))
    options = ("--page", page, "--results", results)
    assert script("table.py", "--check", *options).returncode == 1
    assert script("table.py", "--write", *options).returncode == 0
    assert "1.2345" in page.read_text()
    assert "Not measured yet: `train_cpu.json`" in page.read_text()
    assert script("table.py", "--check", *options).returncode == 0


def test_a_page_without_its_place_is_refused(tmp_path):
    page = tmp_path / "README.md"
    page.write_text("nothing here")
    done = script("table.py", "--write", "--page", page)
    assert done.returncode != 0
    assert "train_cpu: begin" in done.stderr
    assert page.read_text() == "nothing here"
