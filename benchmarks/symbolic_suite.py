"""The benchmark in five parts, for stand-ins that need no key or for any OpenAI-compatible endpoint.

    python benchmarks/symbolic_suite.py                              the four stand-ins; no network
    python benchmarks/symbolic_suite.py --url http://localhost:8000/v1 --model NAME [--key-variable NAME]

The embedder is MiniLM where it is installed (see `glasshouse.symbolic.engines.minilm`), else hashed n-grams, and the
result says which. The result goes to benchmarks/results/symbolic_suite.json.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from turns import machine

from glasshouse.symbolic.engines.hashing import HashedNgrams
from glasshouse.symbolic.engines.http import HttpEngine
from glasshouse.symbolic.engines.minilm import MiniLM, installed_folder
from glasshouse.symbolic.runtime import Runtime
from glasshouse.symbolic.solvers.sympy import Sympy
from glasshouse.symbolic.solvers.z3 import Z3
from glasshouse.symbolic.suite.run import part_scores, run_suite, separation, table, total
from glasshouse.symbolic.vertex import embedding

RESULTS = Path(__file__).parent / "results"
STAND_INS = ("reference", "paraphrase", "wrong", "mock")


def columns(outcomes) -> dict:
    scores = part_scores(outcomes)
    print(table(scores))
    whole, sound = total(scores)
    return {
        "parts": [asdict(one) for one in scores],
        "total": whole,
        "total_sound": sound,
        "ended_early": {one.case.name: one.error for one in outcomes if one.error},
        "nodes": [node._asdict() for one in outcomes for node in one.nodes],
    }


def areas(good, bad, part) -> dict:
    """The chance that a true answer stands above a false one: by VERTEX alone, and with what was found wrong at 0."""
    chosen = [[one for one in some if part in ("all", one.case.part)] for some in (good, bad)]
    return {"vertex": separation(*chosen), "sound": separation(*chosen, lambda node: node.sound)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", help="an endpoint, up to and with /v1")
    parser.add_argument("--model", help="the name the endpoint knows the model by")
    parser.add_argument("--key-variable", help="environment variable that holds the API key")
    parser.add_argument("--output", type=Path, default=RESULTS / "symbolic_suite.json")
    options = parser.parse_args()
    embedder = MiniLM() if installed_folder() else HashedNgrams()
    embed = embedding(Runtime(embedder))
    solvers = [Z3(), Sympy()]
    engines = {name: name for name in STAND_INS}
    if options.url:
        engines = {options.model: HttpEngine(options.url, options.model, key_variable=options.key_variable)}
    found = {}
    outcomes = {}
    for name, engine in engines.items():
        print(name)
        outcomes[name] = run_suite(engine, embed, solvers)
        found[name] = columns(outcomes[name])
    result = {"machine": machine(), "embedder": embedder.name, "engines": found}
    if not options.url:
        result["area"] = {
            f"{good} above wrong, {part}": areas(outcomes[good], outcomes["wrong"], part)
            for good in ("reference", "paraphrase")
            for part in ("all", "logic")
        }
        print(json.dumps(result["area"], indent=2))
    options.output.write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
