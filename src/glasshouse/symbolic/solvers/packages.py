"""Solver packages are imported when first needed; a missing one is named with what installs it."""

from __future__ import annotations

import importlib
from typing import Any

from glasshouse.symbolic.errors import NoEngineError

_DISTRIBUTIONS = {"z3": "z3-solver", "pysat": "python-sat", "ortools": "ortools", "clingo": "clingo", "sympy": "sympy"}


def package(name: str) -> Any:
    """A module of a solver package. Raises `NoEngineError` when the package is not installed."""
    distribution = _DISTRIBUTIONS[name.split(".")[0]]
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise NoEngineError(f"{distribution} is not installed: pip install 'glasshouse[solvers]'") from error
