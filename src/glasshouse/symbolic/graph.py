"""Graphs of symbols: what was done to which values, whether it has run or not.

A node is an operation, its parameters and its inputs; a leaf holds a value. Its id is the sha256 of that and of
its inputs' ids: equal expressions have equal ids, which is all that caching, provenance and replay need. Ids are worked
out when first asked for, so that building a node costs about a microsecond. No function here recurses over inputs: a
chain of ten thousand operations is an ordinary graph.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from glasshouse.symbolic.call import NOTHING
from glasshouse.symbolic.values import decode, encode

LEAF = "value"
OPERAND = "$operand"
"""In a parameter `{"$operand": 2}`: its value is that of the third input."""


class Node:
    """One operation on other nodes. Immutable; equal to another node when their ids are equal.

    Attributes:
        op: the operation's name; `value` for a leaf.
        inputs: the nodes it works on, in order.
        params: what else it was given; a leaf's value stands under `value`.
    """

    __slots__ = ("_id", "inputs", "op", "params")
    op: str
    inputs: tuple[Node, ...]
    params: Mapping[str, Any]
    _id: str | None

    def __init__(self, op: str, inputs: tuple[Node, ...] = (), params: Mapping[str, Any] = NOTHING) -> None:
        _set_op(self, op)
        _set_inputs(self, inputs)
        _set_params(self, params)
        _set_id(self, None)

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"a node cannot change ({name}); build another one")

    @property
    def id(self) -> str:
        """sha256 (hex) of operation, parameters and inputs. Raises `TypeError` for values without a written form."""
        if self._id is None:
            for node in ordered([self], known=lambda node: node._id is not None):
                _set_id(node, _hash(node))
        return str(self._id)

    @property
    def value(self) -> Any:
        """A leaf's value. Raises `KeyError` for other nodes."""
        return self.params["value"]

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, Node) and self.id == other.id)

    def __hash__(self) -> int:
        return hash(self.id)

    def __copy__(self) -> Node:
        return self

    def __deepcopy__(self, _: dict[int, Any]) -> Node:
        return self

    def __repr__(self) -> str:
        return f"Node({self.label()!r}, {len(self.inputs)} inputs)"

    def label(self, width: int = 40) -> str:
        """A leaf's value or an operation's name and parameters, cut to `width` characters."""
        if self.op == LEAF:
            text = repr(self.params["value"])
        else:
            text = self.op + "".join(f" {name}={value!r}" for name, value in self.params.items())
        return text if len(text) <= width else text[: width - 1] + "…"


# The slots' own setters: the one way past `__setattr__`, and quicker than `object.__setattr__`.
_set_op, _set_inputs, _set_params, _set_id = (vars(Node)[name].__set__ for name in ("op", "inputs", "params", "_id"))


def leaf(value: Any) -> Node:
    """A node that holds `value`."""
    return Node(LEAF, (), {"value": value})


def _hash(node: Node) -> str:
    try:
        content = [node.op, encode(dict(node.params)), [one._id for one in node.inputs]]
    except RecursionError:
        raise TypeError(f"the value of a {node.op!r} node is nested too deeply to be written") from None
    return hashlib.sha256(json.dumps(content, separators=(",", ":")).encode()).hexdigest()


def ordered(roots: Iterable[Node], known: Callable[[Node], bool] = lambda _: False) -> list[Node]:
    """Every node object below `roots`, inputs before what uses them; nothing below a `known` node is visited."""
    found: list[Node] = []
    done: set[int] = set()
    stack: list[tuple[Node, Iterator[Node]]] = []
    for root in roots:
        if id(root) not in done and not known(root):
            done.add(id(root))
            stack.append((root, iter(root.inputs)))
        while stack:
            node, rest = stack[-1]
            for child in rest:
                if id(child) not in done and not known(child):
                    done.add(id(child))
                    stack.append((child, iter(child.inputs)))
                    break
            else:
                found.append(node)
                stack.pop()
    return found


def substitute(root: Node, replacements: Mapping[str, Node]) -> Node:
    """The graph of `root` with some nodes (by id) replaced. Nodes that do not depend on one stay the same objects."""
    new: dict[str, Node] = {}
    for node in ordered([root], known=lambda node: node.id in replacements):
        inputs = tuple(replacements.get(one.id) or new[one.id] for one in node.inputs)
        same = all(one is other for one, other in zip(inputs, node.inputs, strict=True))
        new[node.id] = node if same else Node(node.op, inputs, node.params)
    return replacements.get(root.id) or new[root.id]


class Graph:
    """The distinct nodes below one or several roots, inputs first."""

    def __init__(self, *roots: Node) -> None:
        self.roots = roots
        self.nodes: dict[str, Node] = {node.id: node for node in ordered(roots)}

    def __len__(self) -> int:
        return len(self.nodes)

    @property
    def edges(self) -> list[tuple[str, str]]:
        """(input's id, user's id), one for each place where a node is used."""
        return [(one.id, node.id) for node in self.nodes.values() for one in node.inputs]

    def descendants(self, *ids: str) -> set[str]:
        """Ids of all nodes that depend on one of these, themselves not counted."""
        reached = set(ids)
        for identity, node in self.nodes.items():
            if any(one.id in reached for one in node.inputs):
                reached.add(identity)
        return reached - set(ids)

    def replace(self, replacements: Mapping[str, Any]) -> Graph:
        """The graph with some nodes (by id) replaced by a node or by a value. Raises `KeyError` for an unknown id."""
        for identity in replacements:
            if identity not in self.nodes:
                raise KeyError(f"no node {identity} in this graph of {len(self)} nodes")
        nodes = {key: new if isinstance(new, Node) else leaf(new) for key, new in replacements.items()}
        return Graph(*(substitute(root, nodes) for root in self.roots))

    def to_json(self) -> dict[str, Any]:
        """The graph as JSON data: roots' ids and one record per node."""
        return {"roots": [root.id for root in self.roots], "nodes": [node_record(node) for node in self.nodes.values()]}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Graph:
        """The graph that `to_json` wrote. Raises `ValueError` where a node's content does not give its id."""
        nodes: dict[str, Node] = {}
        for record in data["nodes"]:
            nodes[record["node"]] = node_from_record(record, nodes)
        return cls(*(nodes[identity] for identity in data["roots"]))


def node_record(node: Node) -> dict[str, Any]:
    """A node as JSON data: id, operation, parameters, inputs' ids."""
    return {
        "node": node.id,
        "op": node.op,
        "params": encode(dict(node.params)),
        "inputs": [one.id for one in node.inputs],
    }


def node_from_record(record: Mapping[str, Any], nodes: Mapping[str, Node]) -> Node:
    """The node of a record, its inputs looked up in `nodes`.

    Raises `ValueError` when an input is missing or the content does not hash to the id that stands there.
    """
    missing = [identity for identity in record["inputs"] if identity not in nodes]
    if missing:
        raise ValueError(f"node {record['node']} uses {missing[0]}, which does not stand before it; the record is cut")
    node = Node(record["op"], tuple(nodes[identity] for identity in record["inputs"]), decode(record["params"]))
    if node.id != record["node"]:
        raise ValueError(f"node {record['node']} ({record['op']}) holds other content than its id says: it was changed")
    return node
