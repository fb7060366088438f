"""All solvers together: light to import, named when missing, bounded on a rule set that feeds itself."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

from glasshouse.symbolic.errors import NoEngineError
from glasshouse.symbolic.logic_programs.formulas_text import parse_formula
from glasshouse.symbolic.solvers import clingo, sat, z3
from glasshouse.symbolic.solvers.sympy import Sympy

SOLVERS = ("horn", "z3", "sat", "clingo", "ortools", "sympy", "statements")


def run(code: str) -> object:
    """What a fresh process prints, as JSON."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def test_importing_the_solvers_imports_none_of_their_packages() -> None:
    imports = "\n".join(f"import glasshouse.symbolic.solvers.{name}" for name in SOLVERS)
    heavy = ["torch", "numpy", "sympy", "z3", "pysat", "clingo", "ortools", "pandas"]
    assert run(f"import json, sys\n{imports}\nprint(json.dumps([m for m in {heavy} if m in sys.modules]))") == []


@pytest.mark.parametrize(
    ("name", "use"),
    [
        ("z3", lambda: z3.model([parse_formula("A")])),
        ("pysat", lambda: sat.satisfy(parse_formula("A"))),
        ("clingo", lambda: clingo.satisfy(parse_formula("A"))),
        ("sympy", Sympy),
    ],
)
def test_a_missing_package_is_named(name: str, use: object, monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda wanted: None if wanted == name else found(wanted))
    with pytest.raises(NoEngineError, match=r"is not installed: pip install 'glasshouse\[solvers\]'"):
        use()


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of memory is read from /proc")
def test_rules_that_feed_themselves_are_bounded_in_time_and_memory() -> None:
    """Sixty things in four places would be thirteen million literals."""
    code = """
import json, pathlib, time
from glasshouse.symbolic.errors import EngineError
from glasshouse.symbolic.logic_programs.rules_text import parse_rules
from glasshouse.symbolic.solvers.horn import entails
facts = "\\n".join(f"P(a{number})" for number in range(60))
rules = "P($x) && P($y) && P($z) >>> Q($x, $y, $z)\\nQ($x, $y, $z) && Q($u, $v, $w) >>> Q($x, $v, $w)\\n"
program = parse_rules(f"Facts:\\n{facts}\\nRules:\\n{rules}Q($x, $y, $z) >>> R($x, $y, $z, $t)\\nQuery:\\nS(a0)")
began = time.process_time()
try:
    entails(program, seconds=2.0)
    refused = ""
except EngineError as error:
    refused = str(error)
memory = int(pathlib.Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1024
print(json.dumps([refused, time.process_time() - began, memory]))
"""
    refused, seconds, megabytes = run(code)
    assert refused
    assert seconds < 2
    assert megabytes < 500
