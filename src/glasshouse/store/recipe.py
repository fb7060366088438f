"""Recipes: plain functions that call steps and return their last artifact; they read like a methods section.

Calling a recipe builds the graph, running it (`run_recipe`) makes what the store does not hold.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import pkgutil
import time
import typing
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Generic, ParamSpec

from glasshouse.store.artifact import Artifact
from glasshouse.store.configuration import canonical
from glasshouse.store.execution import execute
from glasshouse.store.files import StoreError
from glasshouse.store.progress import Reporter
from glasshouse.store.step import Node, as_node
from glasshouse.store.store import Store
from glasshouse.store.team import Team

P = ParamSpec("P")


@dataclasses.dataclass(frozen=True)
class Recipe(Generic[P]):
    """A recipe as declared. Calling it builds its graph and returns the last node."""

    function: Callable[P, Any]
    name: str

    def __call__(self, *arguments: P.args, **named: P.kwargs) -> Node:
        return as_node(self.function(*arguments, **named))

    @property
    def parameters(self) -> dict[str, inspect.Parameter]:
        """Name -> parameter, annotations resolved."""
        hints = typing.get_type_hints(self.function)
        found = inspect.signature(self.function).parameters
        return {name: parameter.replace(annotation=hints.get(name, str)) for name, parameter in found.items()}

    @property
    def help(self) -> str:
        """The docstring."""
        return inspect.getdoc(self.function) or ""


RECIPES: dict[str, Recipe[...]] = {}


def recipe(function: Callable[P, Any]) -> Recipe[P]:
    """Declare a recipe under its function's name."""
    declared = Recipe(function, function.__name__)
    RECIPES[declared.name] = declared
    return declared


def recipe_names(package: str = "glasshouse.recipes") -> list[str]:
    """Names of the recipe modules, without importing them."""
    found = importlib.import_module(package)
    return sorted(module.name for module in pkgutil.iter_modules(found.__path__))


def load_recipe(name: str, package: str = "glasshouse.recipes") -> Recipe[...]:
    """The recipe of a name; `StoreError` lists the known ones when there is none."""
    if name not in RECIPES and name in recipe_names(package):
        importlib.import_module(f"{package}.{name}")
    if name not in RECIPES:
        raise StoreError(f"no recipe called {name!r}; there are: {', '.join(recipe_names(package))}")
    return RECIPES[name]


def run_recipe(
    declared: Recipe[...], store: Store, reporter: Reporter | None = None, team: Team | None = None, **arguments: Any
) -> Artifact:
    """Build a recipe's graph, make what is missing, and remember the run under the recipe's name.

    With a `team` its processes share the work, and the leading one remembers the run.
    """
    started, clock = datetime.now(UTC), time.perf_counter()
    artifact = execute(declared(**arguments), store, reporter, team)
    if team is not None and not team.leads:
        return artifact
    defaults = {name: parameter.default for name, parameter in declared.parameters.items()}
    store.record_run(
        declared.name,
        {
            "artifact": artifact.path.name,
            "arguments": canonical(defaults | arguments),
            "started": started.isoformat(timespec="seconds"),
            "wall_seconds": round(time.perf_counter() - clock, 3),
        },
    )
    return artifact
