"""Symbols side by side with SymbolicAI's own package: what one costs, what an import costs, and what operators answer.

The peer is `symai` (PyPI symbolicai 2.2.0) in an environment of its own, made once with

    python -m venv PEER && PEER/bin/pip install symbolicai==2.2.0

Both run in processes of their own, in turns, and are measured in the CPU time of their process.

    python benchmarks/symbolic.py --peer PEER/bin/python      result in benchmarks/results/symbolic.json
"""

from __future__ import annotations

import argparse
import json
import operator
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

RESULTS = Path(__file__).parent / "results"
COMPETITORS = ("glasshouse", "symai")
# (function of `operator`, left, right): what a symbol on the left gives should be what Python gives.
CASES = [
    ("add", 2, 3), ("add", "a", "b"), ("add", [1], [2]), ("add", "a", 1), ("add", "a", [1]), ("sub", 5, 7.5),
    ("sub", "abc", "b"), ("mul", "ab", 3), ("mul", "a", "b"), ("truediv", 1, 4), ("truediv", 1, 0),
    ("truediv", "a,b", ","), ("floordiv", -7, 2), ("mod", 7, 3), ("mod", 7, 0), ("pow", 2, 10), ("pow", 0, -1),
    ("matmul", 1, 2), ("lshift", 1, 10), ("lshift", 1, -1), ("rshift", 1024, 3), ("rshift", "a", "b"),
    ("and_", 12, 10), ("and_", "A", "B"), ("or_", 12, 10), ("or_", "A", "B"), ("xor", 12, 10), ("xor", "A", 1),
    ("eq", 1, 1.0), ("eq", "1", 1), ("ne", [1], [1]), ("lt", 10, 5), ("lt", "abc", 3), ("le", "a", "b"),
    ("gt", 3, 2), ("gt", "10", 5), ("ge", 2, 2), ("getitem", "hello", 1), ("getitem", [1, 2], 5),
    ("getitem", {"a": 1}, "b"), ("getitem", 5, 0), ("contains", "abc", "b"), ("contains", [1, 2], 3),
    ("contains", "abc", 1), ("contains", 5, 1), ("neg", 5, None), ("neg", "a", None), ("invert", 5, None),
    ("invert", 1.5, None), ("not_", "a", None),
]  # fmt: skip


def outcome(function, left, right):
    """What came of it, in words that can be compared: type and value, or the type of the error."""
    try:
        found = function(left) if right is None else function(left, right)
    except Exception as error:
        return type(error).__name__
    found = getattr(found, "value", found)
    return f"{type(found).__name__} {found!r}"


def seconds_each(function, count):
    start = time.process_time()
    for _ in range(count):
        function()
    return (time.process_time() - start) / count


def compete(name: str, count: int) -> dict:
    """One competitor's turn, in this process."""
    modules, start = len(sys.modules), resource.getrusage(resource.RUSAGE_SELF).ru_utime
    if name == "symai":
        from symai import Symbol as Made
    else:
        import glasshouse.symbolic.runtime  # noqa: F401
        from glasshouse.symbolic.sym import Sym as Made
    told = {
        "import_seconds": resource.getrusage(resource.RUSAGE_SELF).ru_utime - start,
        "modules": len(sys.modules) - modules,
        "answers": [outcome(getattr(operator, op), Made(left), right) for op, left, right in CASES],
    }
    one = Made(1)
    told["create_seconds"] = seconds_each(lambda: Made("text"), count)
    told["add_seconds"] = seconds_each(lambda: one + 2, count)
    if name == "glasshouse":
        from glasshouse.symbolic.graph import Node, leaf

        inputs = (leaf(1), leaf(2))
        told["node_seconds"] = seconds_each(lambda: Node("combine", inputs), count)
        told["semantic_seconds"] = seconds_each(lambda: one.sem + 2, count)
    return told


def turn(python: str, name: str, count: int) -> dict:
    command = [python, __file__, "--compete", name, "--count", str(count)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=600)
    return json.loads(done.stdout.splitlines()[-1])


def summary(turns: list[dict]) -> dict:
    """Medians over the turns; the answers are the same each time."""
    numbers = {key: statistics.median(one[key] for one in turns) for key in turns[0] if key != "answers"}
    plain = [outcome(getattr(operator, op), left, right) for op, left, right in CASES]
    different = [
        {"case": [op, left, right], "plain": wanted, "gives": got}
        for (op, left, right), wanted, got in zip(CASES, plain, turns[0]["answers"], strict=True)
        if wanted != got
    ]
    return numbers | {"cases": len(CASES), "like_plain_python": len(CASES) - len(different), "different": different}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", help="interpreter of the environment that has symbolicai")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--count", type=int, default=5000)
    parser.add_argument("--output", type=Path, default=RESULTS / "symbolic.json")
    parser.add_argument("--compete", choices=COMPETITORS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.compete:
        print(json.dumps(compete(options.compete, options.count)))
        return
    from turns import machine

    pythons = {"glasshouse": sys.executable} | ({"symai": options.peer} if options.peer else {})
    turns: dict[str, list[dict]] = {name: [] for name in pythons}
    for _ in range(options.rounds):
        for name, python in pythons.items():
            turns[name].append(turn(python, name, options.count))
    found = {name: summary(some) for name, some in turns.items()}
    result = {
        "machine": machine(),
        "rounds": options.rounds,
        "count": options.count,
        "peer": "symbolicai 2.2.0",
    } | found
    if "symai" in found:
        ours, theirs = found["glasshouse"], found["symai"]
        result["times_faster"] = {
            "create": theirs["create_seconds"] / ours["create_seconds"],
            "add": theirs["add_seconds"] / ours["add_seconds"],
            "node": theirs["create_seconds"] / ours["node_seconds"],
        }
    options.output.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps({key: value for key, value in result.items() if key != "machine"}, indent=2))


if __name__ == "__main__":
    main()
