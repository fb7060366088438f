"""Solver packages are imported when first needed; a missing one is named with what installs it."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

from glasshouse.symbolic.errors import NoEngineError

_DISTRIBUTIONS = {"z3": "z3-solver", "pysat": "python-sat", "ortools": "ortools", "clingo": "clingo", "sympy": "sympy"}


def package(name: str) -> Any:
    """A module of a solver package. Raises `NoEngineError` when the package is not installed."""
    require(name.split(".")[0])
    return importlib.import_module(name)


def require(name: str) -> None:
    """Look for a package without importing it. Raises `NoEngineError` when it is not installed."""
    if importlib.util.find_spec(name) is None:
        raise NoEngineError(f"{_DISTRIBUTIONS[name]} is not installed: pip install 'glasshouse[solvers]'")
