"""Logic programs recorded from three language models, run through our solvers: accuracy, evidence, time.

    python benchmarks/logic_programs.py FOLDER

FOLDER holds `sets` and `programs` in the form of teacherpeterpan/Logic-LLM (see `symbolic.recorded_programs`). Beside
each accuracy stand its interval, the commonest answer's share, and a bar that was set before the run, from an earlier
and independent replay of the same programs. Puzzles are solved by OR-tools too, and the two solvers have to agree.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from turns import machine

from glasshouse.symbolic.logic_programs.limits import ProgramError
from glasshouse.symbolic.logic_programs.puzzle import parse_puzzle
from glasshouse.symbolic.logic_programs.rules_text import parse_rules
from glasshouse.symbolic.logic_programs.tree import Rule
from glasshouse.symbolic.recorded_programs import MODELS, SOLVE
from glasshouse.symbolic.recorded_programs import replay as replay_programs
from glasshouse.symbolic.solvers import horn, ortools, z3

RESULTS = Path(__file__).parent / "results" / "logic_programs.json"
PACKAGES = ("z3-solver", "ortools")
BARS = {
    "ProntoQA": (0.83, 0.58, 0.84),
    "ProofWriter": (0.98, 0.48, 0.78),
    "LogicalDeduction": (0.875, 0.655, 0.620),
    "FOLIO": (0.70, 0.49, 0.49),
}
CPU_SECONDS = 90


def row(folder: Path, dataset: str, model: str) -> dict[str, Any]:
    """One set and model."""
    found = replay_programs(folder, dataset, model)
    place = MODELS.index(model)
    low, high = found.interval
    reasons = Counter(reason.split(" (at character")[0] for reason in found.refusals.values())
    return asdict(found) | {
        "accuracy": found.accuracy,
        "accuracy_with_facts_about_everything": facts_about_everything(folder, dataset, model),
        "interval": [low, high],
        "bar": BARS[dataset][place],
        "holds": round(found.accuracy, 4) >= BARS[dataset][place],
        "refusals": dict(reasons.most_common(20)),
    }


def facts_about_everything(folder: Path, dataset: str, model: str) -> float | None:
    """The accuracy when a fact with a variable, otherwise put aside, says that it holds of everything."""
    if dataset not in ("ProntoQA", "ProofWriter"):
        return None
    gold = {item["id"]: item["answer"] for item in _read(folder / "sets" / f"{dataset}.json")}
    programs = _read(folder / "programs" / f"{dataset}_{model}.json")
    letters = {True: "A", False: "B", None: "B" if dataset == "ProntoQA" else "C"}
    right = 0
    for item in programs:
        try:
            read = parse_rules(item["raw_logic_programs"][0])
        except ProgramError:
            continue
        read = replace(read, rules=(*read.rules, *(Rule((), literal) for literal in read.aside)), aside=())
        right += letters[horn.entails(read).answer] == gold[item["id"]]
    return right / len(programs)


def _read(path: Path) -> list[dict[str, Any]]:
    return json.loads(path.read_text(encoding="utf-8"))


def agreement(folder: Path, model: str) -> dict[str, Any]:
    """Whether OR-tools and Z3 find the same options in every puzzle."""
    differ, same = [], 0
    began = time.process_time()
    for item in _read(folder / "programs" / f"LogicalDeduction_{model}.json"):
        try:
            puzzle = parse_puzzle(item["raw_logic_programs"][0])
        except ProgramError:
            continue
        ours, theirs = z3.choose(puzzle), ortools.choose(puzzle)
        if (ours.consistent, ours.follow) == (theirs.consistent, theirs.follow):
            same += 1
        else:
            differ.append(str(item["id"]))
    return {"model": model, "agree": same, "differ": differ, "cpu_seconds": time.process_time() - began}


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="the folder with `sets` and `programs`")
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args()
    rows = []
    for dataset in SOLVE:
        for model in MODELS:
            rows.append(row(given.folder, dataset, model))
            found = rows[-1]
            print(f"{dataset} {model}: {found['accuracy']:.4f}, ran {found['ran']}/{found['items']}", flush=True)
    spent = sum(found["cpu_seconds"] for found in rows)
    result = {
        "machine": machine(*PACKAGES),
        "rows": rows,
        "cpu_seconds": {"all": spent, "bar": CPU_SECONDS, "holds": spent < CPU_SECONDS},
        "two_solvers": [agreement(given.folder, model) for model in MODELS],
    }
    given.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
