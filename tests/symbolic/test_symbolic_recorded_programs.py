"""Recorded programs: the scoring on a folder made here, and parity on the real ones where they are."""

import json
from pathlib import Path

import pytest
from scipy.stats import binomtest

from glasshouse.symbolic.recorded_programs import MODELS, SOLVE, Replay, replay

DATA = Path(__file__).parents[3] / "shared" / "data" / "logic"
RULES = "Facts:\nDog(Max, True)\nRules:\nDog($x, True) >>> Cat($x, False)\nQuery:\n"
FORMULAS = "Premises:\n∀x (Dog(x) → ¬Cat(x))\nDog(max)\nConclusion:\n"
PUZZLE = "Variables:\na [IN] [1, 2]\nb [IN] [1, 2]\nConstraints:\na < b\nQuery:\nA) a == 2\nB) b == 2"
PROGRAMS = {
    "ProntoQA": [(RULES + "Dog(Max, True)", "A"), (RULES + "Fox(Max, True)", "B"), ("Max is a dog", "A")],
    "ProofWriter": [(RULES + "Dog(Max, True)", "A"), (RULES + "Cat(Max, True)", "B"), (RULES + "Fox(Max, True)", "A")],
    "FOLIO": [(FORMULAS + "Dog(max)", "A"), (FORMULAS + "Cat(max)", "B"), (FORMULAS + "Fox(max)", "C")],
    "LogicalDeduction": [(PUZZLE, "B"), (PUZZLE, "A"), (PUZZLE.replace("a < b", "a > b"), "A")],
}
RIGHT = {"ProntoQA": 2, "ProofWriter": 2, "FOLIO": 3, "LogicalDeduction": 2}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, items in PROGRAMS.items():
        for kind in ("sets", "programs"):
            (tmp_path / kind).mkdir(exist_ok=True)
        gold = [{"id": f"q{number}", "answer": answer} for number, (_, answer) in enumerate(items)]
        (tmp_path / "sets" / f"{name}.json").write_text(json.dumps(gold))
        said = [{"id": f"q{number}", "raw_logic_programs": [text]} for number, (text, _) in enumerate(items)]
        (tmp_path / "programs" / f"{name}_model.json").write_text(json.dumps(said))
    return tmp_path


@pytest.mark.parametrize("dataset", SOLVE)
def test_each_set_is_answered_in_its_way(folder: Path, dataset: str) -> None:
    found = replay(folder, dataset, "model")
    assert (found.items, found.right, found.problems) == (3, RIGHT[dataset], {})
    assert found.ran == (2 if dataset == "ProntoQA" else 3)
    assert list(found.refusals) == (["q2"] if dataset == "ProntoQA" else [])
    assert sum(found.evidence.values()) == found.ran


def test_the_interval_is_wilsons() -> None:
    found = Replay("ProntoQA", "model", 500, 416, 500, 0.5, {}, {}, {}, 0.0)
    theirs = binomtest(416, 500).proportion_ci(0.95, method="wilson")
    assert found.interval == pytest.approx((theirs.low, theirs.high), abs=1e-6)


def test_unknown_sets_and_damaged_files_are_told(folder: Path) -> None:
    with pytest.raises(ValueError, match="no set is called 'GSM8K'; known: ProntoQA"):
        replay(folder, "GSM8K", "model")
    with pytest.raises(ValueError, match="cannot be read"):
        replay(folder, "FOLIO", "gpt-5")
    (folder / "sets" / "FOLIO.json").write_text('[{"id": "q0"}]')
    with pytest.raises(ValueError, match="every item needs an id and answer"):
        replay(folder, "FOLIO", "model")


# From an independent replay of the same programs, set before ours was run; LogicalDeduction exactly.
BARS = {
    "ProntoQA": (0.83, 0.58, 0.84),
    "ProofWriter": (0.98, 0.48, 0.78),
    "LogicalDeduction": (0.8763, 0.6567, 0.6200),
    "FOLIO": (0.70, 0.49, 0.49),
}


@pytest.mark.slow
@pytest.mark.skipif(not DATA.exists(), reason="the recorded programs are not on this machine (../shared/data/logic)")
def test_the_programs_of_three_models() -> None:
    spent = 0.0
    for dataset, bars in BARS.items():
        for model, bar in zip(MODELS, bars, strict=True):
            found = replay(DATA, dataset, model)
            spent += found.cpu_seconds
            assert found.problems == {}
            assert round(found.accuracy, 4) >= bar, (dataset, model)
            if dataset == "LogicalDeduction":
                assert round(found.accuracy, 4) == bar
    assert spent < 90


def test_the_results_on_record_hold_their_bars() -> None:
    path = Path(__file__).parents[2] / "benchmarks" / "results" / "logic_programs.json"
    result = json.loads(path.read_text())
    assert len(result["rows"]) == 12
    assert all(row["holds"] and not row["problems"] for row in result["rows"])
    assert all(solvers["differ"] == [] for solvers in result["two_solvers"])
