"""How alike two Python texts are in the shape of their syntax trees. Nothing is run, and long texts are not compared.

The paper's measure is a ratio of `difflib.SequenceMatcher` on the characters of parso trees printed as nested types.
Here the trees are those of Python's own parser, so a text with an error in it has no tree and is like nothing, and what
is matched are types, not letters of their names.
"""

from __future__ import annotations

import ast
import difflib

LONGEST = 20_000
MOST_NODES = 1000


def likeness(text: str, reference: str) -> float:
    """From 0 to 1: twice the matching types of both shapes over their lengths."""
    ours, theirs = shape(text), shape(reference)
    return difflib.SequenceMatcher(None, ours, theirs, autojunk=False).ratio() if ours and theirs else 0.0


def shape(text: str) -> list[str]:
    """The types of the syntax tree, depth first, `)` after the last child; empty for what is no Python or too long."""
    if len(text) > LONGEST:
        return []
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    found: list[str] = []
    stack: list[ast.AST | None] = [tree]
    while stack and len(found) <= 2 * MOST_NODES:
        node = stack.pop()
        found.append(type(node).__name__ if node else ")")
        if node:
            stack.append(None)
            stack.extend(reversed(list(ast.iter_child_nodes(node))))
    return [] if stack else found
