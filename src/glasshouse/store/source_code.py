"""The fingerprint of the code behind a step, so that changed code is run again and an edited comment is not.

It covers the step's module and every module of the same package it imports, directly or not, also inside functions.
Comments, blank lines and docstrings do not count. `glasshouse.store` is left out: it keeps results, it does not make
them.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.util
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

LEFT_OUT = "glasshouse.store"


@functools.cache
def code_fingerprint(function: Callable[..., Any] | type) -> str:
    """sha256 over the step's function and the modules it can reach; "interactive" code is hashed by its source."""
    module = function.__module__
    if _source(module) is None:
        return source_fingerprint(function)
    lines = [f"{name} {_meaning(name)}" for name in sorted(reachable(module))]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


@functools.cache
def source_fingerprint(function: Callable[..., Any] | type) -> str:
    """sha256 over the text of one function."""
    return hashlib.sha256(inspect.getsource(function).encode()).hexdigest()


@functools.cache
def reachable(module: str) -> frozenset[str]:
    """Names of the modules of the same top-level package that `module` imports, itself included."""
    package = module.partition(".")[0]
    found, waiting = set(), [module]
    while waiting:
        name = waiting.pop()
        left_out = name.startswith(LEFT_OUT) and name != f"{LEFT_OUT}.configuration"
        if name in found or left_out or _source(name) is None:
            continue
        found.add(name)
        waiting += [target for target in _imports(name) if target.partition(".")[0] == package]
    return frozenset(found)


@functools.cache
def _source(module: str) -> Path | None:
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError, AttributeError):
        return None
    return Path(spec.origin) if spec and spec.origin and spec.origin.endswith(".py") else None


@functools.cache
def _tree(module: str) -> ast.Module:
    path = _source(module)
    if path is None:
        raise ValueError(f"{module} has no Python source")
    return ast.parse(path.read_text(encoding="utf-8"))


def _imports(module: str) -> list[str]:
    names: list[str] = []
    for node in ast.walk(_tree(module)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(module, node)
            names += [base, *(f"{base}.{alias.name}" for alias in node.names)]
    return names


def _absolute(module: str, node: ast.ImportFrom) -> str:
    if not node.level:
        return node.module or ""
    path = _source(module)
    is_package = path is not None and path.name == "__init__.py"
    parts = module.split(".")[: len(module.split(".")) - node.level + is_package]
    return ".".join([*parts, node.module] if node.module else parts)


@functools.cache
def _meaning(module: str) -> str:
    tree = _tree(module)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and _is_text(body[0]):
            node.body = body[1:] or [ast.Pass()]  # type: ignore[attr-defined]
    text = ast.dump(tree, annotate_fields=False, include_attributes=False)
    _tree.cache_clear()
    return hashlib.sha256(text.encode()).hexdigest()


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
