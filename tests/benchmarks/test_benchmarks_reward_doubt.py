"""Joint and marginal log-loss of reward models on real preferences: the recorded runs, and one made again."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
DATA = Path(__file__).parents[3] / "shared" / "data" / "preferences"


def shows(sets):
    """What every seed has to show: the same marginally, better jointly. The bars were set before any run."""
    for found in sets.values():
        point, ensemble = found["heads"]["point"], found["heads"]["ensemble"]
        for one, other in zip(point["runs"], ensemble["runs"], strict=True):
            assert other["dyadic_nll"] <= one["dyadic_nll"] - 0.15
            assert abs(other["marginal_nll"] - one["marginal_nll"]) <= 0.03
        assert point["mean"]["accuracy"] > 0.53


def test_the_recorded_runs_show_it():
    document = json.loads((BENCHMARKS / "results" / "reward_doubt.json").read_text())
    assert set(document["sets"]) == {"harmless", "helpful"}
    assert len(document["sets"]["harmless"]["heads"]["point"]["runs"]) >= 3
    shows(document["sets"])


def test_the_page_says_what_was_recorded():
    page = (BENCHMARKS.parent / "docs" / "preferences.md").read_text()
    document = json.loads((BENCHMARKS / "results" / "reward_doubt.json").read_text())
    for found in document["sets"].values():
        for head in found["heads"].values():
            mean = head["mean"]
            assert f"| {mean['accuracy']:.3f} | {mean['marginal_nll']:.3f} | {mean['dyadic_nll']:.2f} |" in page


@pytest.mark.slow
def test_a_run_made_again_shows_it(tmp_path):
    files = [
        DATA / name for name in ("hh_harmless_test.jsonl.gz", "apo_helpful_train.csv.gz", "apo_helpful_test.csv.gz")
    ]
    if not all(file.exists() for file in files):
        pytest.skip(f"the preference pairs are not in {DATA}")
    result = tmp_path / "result.json"
    options = ["--harmless", files[0], "--helpful", *files[1:], "--seeds", "1", "--output", result]
    script = [sys.executable, BENCHMARKS / "reward_doubt.py", *options]
    subprocess.run(script, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    shows(json.loads(result.read_text())["sets"])
