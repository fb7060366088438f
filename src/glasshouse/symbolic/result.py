"""What a run gives back: the value, how it was made, what it cost, and the means to make it again."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from glasshouse.symbolic.call import Usage
from glasshouse.symbolic.drawing import to_dot, to_mermaid
from glasshouse.symbolic.graph import Graph, Node
from glasshouse.symbolic.sym import Sym
from glasshouse.symbolic.trace import Record, replay
from glasshouse.symbolic.values import as_text


@dataclass(frozen=True, slots=True)
class Cost:
    """What a run spent; nodes known from earlier runs cost nothing."""

    calls: int
    usage: Usage
    seconds: float


@dataclass(frozen=True, slots=True)
class Result:
    """The outcome of a run.

    Attributes:
        node: the node that was run, with the repairs that were made.
        records: what came of every node below it, by id, inputs first.
        cost: what it spent.
    """

    node: Node
    records: Mapping[str, Record]
    cost: Cost

    @property
    def record(self) -> Record:
        """What came of the node itself."""
        return self.records[self.node.id]

    @property
    def value(self) -> Any:
        """The value (a copy, so that changing it changes no record)."""
        return copy.deepcopy(self.record.value)

    @property
    def text(self) -> str:
        """The answer in words: the engine's, or the value as it is written."""
        return self.record.text or as_text(self.record.value)

    @property
    def verified(self) -> bool | None:
        """True or False where a solver or checker decided it; a computed value is verified when all it needs is."""
        return self.record.verified

    @property
    def valid(self) -> bool | None:
        """True when at least one text was read and every one was of its type; None when there was none."""
        found = [one.valid for one in self.records.values() if one.valid is not None]
        return all(found) if found else None

    @property
    def symbol(self) -> Sym:
        """The value as a symbol that remembers all this."""
        return Sym.of(self.node, self.value)

    @property
    def graph(self) -> Graph:
        """The graph that was run."""
        return Graph(self.node)

    @property
    def trace(self) -> list[dict[str, Any]]:
        """The records as JSON data, inputs first; what a trace file holds."""
        return [record.to_json() for record in self.records.values()]

    def replay(self) -> Result:
        """Compute it again from the leaves and the engines' recorded answers, calling none.

        Raises `ReplayError` where a value is not the recorded one, byte for byte.
        """
        return Result(self.node, replay(self.records.values()), Cost(0, Usage(), 0.0))

    def changed_from(self, other: Result) -> list[Record]:
        """The records of nodes that the other result does not have: what an edit made run again."""
        return [record for key, record in self.records.items() if key not in other.records]

    def explain(self) -> str:
        """One line per node, inputs first: number, operation and inputs, value, and who answered."""
        numbers = {key: number for number, key in enumerate(self.records, 1)}
        return "\n".join(_line(numbers, record) for record in self.records.values())

    def to_mermaid(self) -> str:
        """The graph with its values, for Markdown pages."""
        return to_mermaid(self.graph, self.records)

    def to_dot(self) -> str:
        """The graph with its values, for Graphviz."""
        return to_dot(self.graph, self.records)


def _line(numbers: Mapping[str, int], record: Record) -> str:
    node = record.node
    made = "" if record.kind == "leaf" else f"{node.op.removeprefix('python.')}("
    if made:
        params = [f"{name}={value!r:.40}" for name, value in node.params.items() if name != "answer"]
        made += ", ".join([*(f"#{numbers[one.id]}" for one in node.inputs), *params]) + ") → "
    told = []
    if record.asked:
        told += [record.engine + (f" {record.model}" if record.model else ""), f"{record.seconds:.3f} s"]
        told += [f"after: {'; '.join(record.attempts)}"] if record.attempts else []
        told += ["valid"] if record.valid else []
        told += ["cut at its limit of tokens"] if record.finish == "length" else []
    told += [] if record.verified is None else ["verified" if record.verified else "found wrong"]
    told += ["known"] if record.cached and record.asked else []
    return f"#{numbers[node.id]} {made}{record.value!r:.120}" + (f"  [{', '.join(told)}]" if told else "")
