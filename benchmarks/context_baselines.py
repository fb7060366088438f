"""What trivial methods reach in the context benchmark: on every open data set that is there, and on generated items.

No model is asked: every request gets an empty answer, and the baselines of the tasks are scored.

    python benchmarks/context_baselines.py --data FOLDER       result in benchmarks/results/context_baselines.json
    python benchmarks/table.py --write                         the table in benchmarks/README.md
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from turns import machine

from glasshouse.evaluation.context.dialogue_state.task import DialogueState
from glasshouse.evaluation.context.generated.names import Difficulty
from glasshouse.evaluation.context.generated.suite import GENERATED, generated_task
from glasshouse.evaluation.context.rewriting.kvret import read_cqr_kvret
from glasshouse.evaluation.context.rewriting.mudoco import read_mudoco
from glasshouse.evaluation.context.rewriting.task import Rewriting
from glasshouse.evaluation.context.sources import SOURCES, DataError
from glasshouse.evaluation.context.suite import SETS, ContextTask, named, open_sets
from glasshouse.evaluation.records import MetricError
from glasshouse.evaluation.requests import Answer, Generate, Likelihood, Written

RESULTS = Path(__file__).parent / "results"
REPORTED = {
    "Coreference": ("average", "muc", "b3", "ceaf_e"),
    "Winograd": ("acc",),
    "DialogueState": ("joint", "joint_fuzzy"),
    "Discourse": ("acc", "macro_f1"),
    "Rewriting": ("bleu", "rouge1", "rougeL"),
}


def baselines(task: ContextTask) -> dict[str, dict[str, float]]:
    """Baseline -> metric -> value of 100."""
    rounds = task.rounds()
    requests = next(rounds)
    while True:
        silent: list[Answer] = [
            Written("", 0) if isinstance(r, Generate) else Likelihood(0.0, False, 1) for r in requests
        ]
        try:
            requests = rounds.send(silent)
        except StopIteration as finished:
            records = finished.value
            break
    found: dict[str, dict[str, float]] = {}
    for name, answered in task.baselines(records).items():
        found[name] = {}
        for metric in REPORTED[type(task).__name__]:
            try:
                found[name][metric] = round(100 * task.metrics[metric](answered), 2)
            except MetricError:
                continue
    return found | {"items": {"records": len(records)}}


def tasks(folder: Path) -> dict[str, ContextTask]:
    """Every open set of a folder without examples, its variants, and the generated tasks at three difficulties."""
    found: dict[str, ContextTask] = {}
    for name in open_sets():
        settings = {} if SETS[name].shots is None else {"shots": 0}
        try:
            found[name] = named(name, folder=folder, **settings)
            if isinstance(found[name], DialogueState):
                found[f"{name}, gold previous state"] = named(name, folder=folder, shots=0, previous="gold")
        except DataError as error:
            print(f"{name} is left out: {error}")
    if (folder / "cqr_kvret").is_dir():
        found["cqr_kvret, dev"] = Rewriting("dev", tuple(read_cqr_kvret(folder / "cqr_kvret", "dev")), shots=0)
    for domain in ("news", "weather"):
        for needed in (False, True):
            if (folder / "mudoco_qr" / f"{domain}.json").is_file():
                queries = tuple(read_mudoco(folder / "mudoco_qr", domain, only_needed=needed))
                name = f"mudoco_qr, {domain}, {'turns that need it' if needed else 'all turns'}"
                found[name] = Rewriting(name, queries, shots=0)
    for kind in GENERATED:
        for size in (0, 1, 3):
            dial = Difficulty(distractors=size, distance=size)
            settings = {} if kind == "winograd" else {"shots": 0}
            found[f"generated {kind}, difficulty {size}"] = generated_task(kind, difficulty=dial, **settings)
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="a folder with a folder for each data set")
    parser.add_argument("--output", type=Path, default=RESULTS / "context_baselines.json")
    given = parser.parse_args(arguments)
    rows = {}
    for name, task in tasks(given.data).items():
        rows[name] = baselines(task)
        print(name, *(f"{method}: {values}" for method, values in rows[name].items()), sep="\n  ", flush=True)
    licences = {name: SOURCES[SETS[name].source].licence for name in open_sets() if name in rows}
    text = json.dumps(
        {
            "machine": machine("sacrebleu", "rouge_score", "rapidfuzz", "scipy", "glasshouse"),
            "licences": licences,
            "rows": rows,
        },
        indent=1,
        ensure_ascii=False,
    )
    given.output.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
