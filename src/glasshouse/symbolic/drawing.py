"""A graph as Mermaid and DOT text, with the values where they are known."""

from __future__ import annotations

import html
from collections.abc import Mapping
from typing import TYPE_CHECKING

from glasshouse.symbolic.graph import LEAF, Graph

if TYPE_CHECKING:
    from glasshouse.symbolic.trace import Record


def labels(graph: Graph, records: Mapping[str, Record], width: int = 40) -> dict[str, list[str]]:
    """Lines of text for every node: what it is, and below it its value, by the node's id."""
    found = {}
    for key, node in graph.nodes.items():
        name = repr(node.value) if node.op == LEAF else node.op.removeprefix("python.")
        lines = [name]
        if node.op != LEAF and key in records:
            lines.append(repr(records[key].value))
        found[key] = [line if len(line) <= width else line[: width - 1] + "…" for line in lines]
    return found


def to_mermaid(graph: Graph, records: Mapping[str, Record]) -> str:
    """A Mermaid flow chart; leaves are rounded."""
    names = {key: f"n{number}" for number, key in enumerate(graph.nodes, 1)}
    lines = ["graph TD"]
    for key, texts in labels(graph, records).items():
        text = "<br/>".join(_quoted(line) for line in texts)
        rounded = graph.nodes[key].op == LEAF
        lines.append(f'  {names[key]}("{text}")' if rounded else f'  {names[key]}["{text}"]')
    lines += [f"  {names[one]} --> {names[other]}" for one, other in graph.edges]
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    """Mermaid reads entities as `#name;`, Markdown and its own syntax everywhere else."""
    escaped = "".join(letter if letter.isalnum() or letter in " .,!?…'+" else f"#{ord(letter)};" for letter in text)
    return escaped.replace("\n", " ")


def to_dot(graph: Graph, records: Mapping[str, Record]) -> str:
    """A Graphviz digraph; leaves are ellipses, operations boxes."""
    names = {key: f"n{number}" for number, key in enumerate(graph.nodes, 1)}
    lines = ["digraph symbolic {"]
    for key, texts in labels(graph, records).items():
        text = "<br/>".join(html.escape(line) for line in texts)
        shape = "ellipse" if graph.nodes[key].op == LEAF else "box"
        lines.append(f"  {names[key]} [shape={shape}, label=<{text}>];")
    lines += [f"  {names[one]} -> {names[other]};" for one, other in graph.edges]
    return "\n".join([*lines, "}"]) + "\n"
