"""The benchmark of GPTQ runs at a small size and writes what its page tells."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_script_measures_a_layer_and_all_variants(tmp_path: Path) -> None:
    found = tmp_path / "found.json"
    done = subprocess.run(
        [sys.executable, ROOT / "benchmarks/quantisation.py", "--small", "--out", found],
        capture_output=True, text=True, timeout=300, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    written = json.loads(found.read_text())
    (row,) = written["rows"].values()
    assert len(row["cpu_seconds"]) == 3
    assert 0 < row["lost"] < written["lost"]["round-to-nearest"]
    assert written["lost"]["groups of 32"] < row["lost"]


def test_the_page_tells_what_was_measured() -> None:
    written = json.loads((ROOT / "benchmarks/results/quantisation.json").read_text())
    page = " ".join((ROOT / "docs/quantisation.md").read_text().split())
    seconds = {name: f"{row['layer']['median']:.3f}" for name, row in written["rows"].items()}
    ours, reference, hqq = (seconds[name] for name in ("glasshouse", "IST-DASLab/gptq", "hqq"))
    assert f"ours takes {ours} CPU seconds, the reference {reference}, HQQ {hqq}" in page
    lost = [f"{written['rows'][name]['lost']:.2%}".replace("%", " %") for name in written["rows"]]
    assert f"{lost[0]}, {lost[1]} and {lost[2]} of the layer's output energy" in page
    assert all(bar["holds"] for bar in written["bars"])
