"""The depth dial: its numbers are those of the sweep, and what it gives moves the way the rule says."""

import json
import math
import sys
from pathlib import Path

import pytest

from glasshouse.language.scaling import BATCH, RATE, best_batch, best_rate, dial
from glasshouse.store.configuration import ConfigurationError

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def sweep():
    return json.loads((BENCHMARKS / "results" / "scaling_cpu.json").read_text())


@pytest.fixture(scope="module")
def script():
    sys.path.insert(0, str(BENCHMARKS))
    try:
        import scaling_cpu
    finally:
        sys.path.remove(str(BENCHMARKS))
    return scaling_cpu


def test_the_numbers_are_those_of_the_sweep(sweep, script):
    fitted = script.fit(sweep["cells"].values())
    assert pytest.approx(fitted["rate"]["exponents"], rel=1e-3) == RATE
    assert pytest.approx(fitted["batch"]["exponents"], rel=1e-3) == BATCH


def test_the_rule_is_near_every_minimum_of_the_sweep(sweep):
    for row in sweep["fit"]["best"]:
        if row["rate"] is not None:
            ratio = best_rate(row["without_embeddings"], row["tokens"], row["batch_tokens"]) / row["rate"]
            assert 1 / 1.5 < ratio < 1.5, row


def test_a_fit_finds_a_law_that_was_planted(script):
    cells = []
    groups = [(2, tokens, rows) for tokens in (1e5, 4e5) for rows in (1, 2, 4, 8)] + [(4, 1e5, 4), (6, 4e5, 4)]
    for depth, tokens, rows in groups:
        parameters, batch = 1000.0 * depth**3, 256 * rows
        best = 0.05 * parameters**-0.2 * tokens**-0.1 * batch**0.4
        floor = 3 + 0.3 * (math.log(batch) - math.log(tokens**0.55)) ** 2
        cells += [
            {"depth": depth, "tokens": tokens, "rows": rows, "batch_tokens": batch, "without_embeddings": parameters,
             "rate": rate, "loss": floor + 0.1 * math.log(rate / best) ** 2}
            for rate in (best / 2.3, best / 1.15, best * 1.7)
        ]  # fmt: skip
    found = script.fit(cells)
    wanted = {"factor": 0.05, "without_embeddings": -0.2, "tokens": -0.1, "batch_tokens": 0.4}
    assert found["rate"]["exponents"] == pytest.approx(wanted, rel=1e-6)
    assert found["batch"]["exponents"] == pytest.approx({"factor": 1.0, "tokens": 0.55}, rel=1e-6)


def test_larger_models_learn_slower_and_longer_runs_take_larger_batches():
    small, large = dial(2, 1_000_000), dial(6, 1_000_000)
    assert (small.model.width, large.model.width) == (64, 192)
    assert large.training.learning_rate < small.training.learning_rate
    assert dial(2, 16_000_000).training.batch_size > small.training.batch_size
    assert best_batch(4e6) > best_batch(1e6)
    assert small.training.total_steps(small.model.context) == -(-1_000_000 // (small.training.batch_size * 256))


@pytest.mark.parametrize(("depth", "tokens", "told"), [(0, 1000, "depth got 0"), (2, 0, "tokens got 0")])
def test_what_makes_no_sense_is_refused(depth, tokens, told):
    with pytest.raises(ConfigurationError, match=told):
        dial(depth, tokens)
