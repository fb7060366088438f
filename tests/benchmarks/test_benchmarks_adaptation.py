"""What adaptation brings and costs in the world of letters: the recorded runs, and one made again."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

STAGES = {
    "base": "pre-trained",
    "sft": "SFT",
    "shuffled": "SFT on shuffled answers (control)",
    "dpo": "DPO",
    "random": "DPO without a rule (control)",
    "normalised": "DPO, length-normalised",
    "lora": "DPO on LoRA",
}
BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def shows(stages):
    """What every seed has to show. The bar for preferences is 90 %, set before any run."""
    base, sft, shuffled, dpo, chance = (stages[name] for name in ("base", "sft", "shuffled", "dpo", "random"))
    assert base["answers/format"] < 0.05
    assert sft["answers/format"] > 0.9
    assert shuffled["answers/format"] > 0.9  # form can be learnt from wrong answers
    assert sft["answers/right"] > shuffled["answers/right"] + 0.1  # answers cannot
    assert dpo["preferences/accuracy"] >= 0.9
    assert dpo["preferences/accuracy"] > chance["preferences/accuracy"] + 0.2
    assert dpo["kl/exact"] > 0
    assert abs(dpo["kl/exact"] - dpo["kl/k1"]) < 4 * (dpo["kl/exact/error"] + dpo["kl/k1/error"])
    assert stages["lora"]["preferences/accuracy"] >= 0.9
    assert stages["normalised"]["preferences/accuracy"] > chance["preferences/accuracy"] + 0.2
    assert abs(chance["preferences/margin"]) < 0.1 * dpo["preferences/margin"]


def test_the_recorded_runs():
    document = json.loads((BENCHMARKS / "results" / "adaptation.json").read_text())
    assert len(document["runs"]) == 3
    for run in document["runs"]:
        shows(run["stages"])
    chance = document["summary"]["random"]
    assert chance["preferences/accuracy"]["mean"] < 0.6  # nothing is learnt where there is no rule
    assert chance["preferences/margin"]["mean"] == pytest.approx(0, abs=0.1)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_one_seed_made_again(tmp_path):
    command = [sys.executable, "adaptation.py", "--seeds", "1", "--output", str(tmp_path / "made.json")]
    subprocess.run(command, cwd=BENCHMARKS, check=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    shows(json.loads((tmp_path / "made.json").read_text())["runs"][0]["stages"])


def test_the_page_says_what_was_recorded():
    page = (BENCHMARKS.parent / "docs" / "adaptation.md").read_text(encoding="utf-8")
    found = json.loads((BENCHMARKS / "results" / "adaptation.json").read_text())["summary"]
    for stage, values in found.items():
        row = next(line for line in page.splitlines() if line.startswith(f"| {STAGES[stage]} | ") and "±" in line)
        for name, scale, digits in (
            ("answers/format", 100, 0),
            ("answers/right", 100, 0),
            ("recall", 100, 0),
            ("preferences/accuracy", 100, 1),
            ("preferences/margin", 1, 2),
            ("kl/exact", 1, 2),
        ):
            if name in values:
                mean, spread = (round(scale * values[name][part], digits) for part in ("mean", "spread"))
                assert f"| {mean:.{digits}f} ± {spread:.{digits}f} " in row, (stage, name, mean, spread)
