"""The benchmark of symbols runs at a tiny size, and its stored result says what the house promises."""

import json
import subprocess
import sys
from pathlib import Path

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def test_the_script_measures_symbols_and_compares_operators_with_python(tmp_path):
    output = tmp_path / "symbolic.json"
    command = [sys.executable, BENCHMARKS / "symbolic.py", "--rounds", "1", "--count", "50", "--output", str(output)]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    found = json.loads(output.read_text())["glasshouse"]
    assert found["like_plain_python"] == found["cases"] >= 50
    assert 0 < found["node_seconds"] < found["semantic_seconds"] < 1e-3


def test_the_stored_result_keeps_the_promise():
    stored = json.loads((BENCHMARKS / "results" / "symbolic.json").read_text())
    assert stored["times_faster"]["node"] >= 50
    assert stored["glasshouse"]["like_plain_python"] == stored["glasshouse"]["cases"]
    assert stored["symai"]["like_plain_python"] < stored["symai"]["cases"]
    assert stored["glasshouse"]["import_seconds"] <= 0.15


def test_the_suite_is_measured_with_its_four_stand_ins(tmp_path):
    output = tmp_path / "suite.json"
    command = [sys.executable, BENCHMARKS / "symbolic_suite.py", "--output", str(output)]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    found = json.loads(output.read_text())
    assert set(found["engines"]) == {"reference", "paraphrase", "wrong", "mock"}
    assert (
        found["engines"]["reference"]["total"] > found["engines"]["wrong"]["total"] > found["engines"]["mock"]["total"]
    )
    for area in found["area"].values():
        assert area["vertex"] < area["sound"]


def test_the_stored_suite_shows_why_there_is_a_second_column():
    stored = json.loads((BENCHMARKS / "results" / "symbolic_suite.json").read_text())
    assert stored["embedder"] == "minilm"
    assert stored["engines"]["mock"]["total"] < 0.01
    area = stored["area"]["paraphrase above wrong, logic"]
    assert area["vertex"] < 0.7
    assert area["sound"] > 0.95
