"""What happened at each node, as JSON Lines; from such a file a graph can be shown, checked and computed again.

Fields of calls to language models carry the names of OpenTelemetry's generative-AI conventions (`gen_ai.…`) beside the
room's own, so that a collector can read them. `model` is the engine's own word for what answered: for a model of the
house the sha256 of its weights. If the model came out of a store, `artifact` is its id there, from which `glasshouse
lineage` leads down to the documents it was trained on (`provenance`).
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from glasshouse.symbolic.call import NO_USAGE, Usage
from glasshouse.symbolic.errors import ReplayError
from glasshouse.symbolic.graph import LEAF, Node, node_from_record, node_record
from glasshouse.symbolic.plain import PREFIX, compute
from glasshouse.symbolic.values import decode, encode, written

OPERATION_NAMES = {"text": "chat", "embed": "embeddings"}


@dataclass(frozen=True, slots=True)
class Record:
    """One node and what came of it.

    Attributes:
        node: the node.
        value: its value; None when it failed.
        kind: `leaf`, `python`, or the kind of engine.
        engine, model, artifact, text, evidence, usage, finish: of the reply; empty where no engine answered.
        seconds: wall-clock time, waiting and repeated attempts included.
        valid: True when a text was read as the type asked for; None where there was none to read.
        verified: True or False where a solver or checker decided it.
        attempts: what was tried before, in words.
        cached: the value was known from an earlier run.
        error: why there is no value.
    """

    node: Node
    value: Any = None
    kind: str = "leaf"
    engine: str = ""
    model: str = ""
    text: str = ""
    evidence: Any = None
    usage: Usage = NO_USAGE
    finish: str = ""
    seconds: float = 0.0
    valid: bool | None = None
    verified: bool | None = None
    attempts: tuple[str, ...] = ()
    cached: bool = False
    error: str = ""
    artifact: str = ""

    @property
    def asked(self) -> bool:
        """Whether an engine answered, in this run or an earlier one."""
        return self.kind not in ("leaf", "python")

    def again(self) -> Record:
        """The record of the same value, taken from an earlier run."""
        return replace(self, cached=True, seconds=0.0)

    def to_json(self) -> dict[str, Any]:
        """The record as one JSON object; fields that say nothing are left out."""
        data = node_record(self.node) | {"value": encode(self.value), "kind": self.kind}
        more: dict[str, Any] = {
            "engine": self.engine,
            "model": self.model,
            "artifact": self.artifact,
            "text": self.text,
            "evidence": encode(self.evidence),
            "seconds": round(self.seconds, 6),
            "valid": self.valid,
            "verified": self.verified,
            "attempts": list(self.attempts),
            "cached": self.cached,
            "error": self.error,
            "finish": self.finish,
        }
        if self.kind in OPERATION_NAMES:
            more |= {
                "gen_ai.operation.name": OPERATION_NAMES[self.kind],
                "gen_ai.provider.name": self.engine,
                "gen_ai.response.model": self.model,
                "gen_ai.usage.input_tokens": self.usage.input_tokens,
                "gen_ai.usage.output_tokens": self.usage.output_tokens,
                "gen_ai.response.finish_reasons": [self.finish] if self.finish else [],
            }
        kept = {"valid", "verified", "gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens"}
        return data | {name: value for name, value in more.items() if (name in kept and value is not None) or value}


class TraceFile:
    """A file of JSON Lines that records are appended to as they come; safe to use from several threads."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self._lock = threading.Lock()

    def write(self, record: Mapping[str, Any]) -> None:
        """Append one line."""
        line = json.dumps(record, ensure_ascii=False) + "\n"
        with self._lock, self.path.open("a", encoding="utf-8", errors="backslashreplace") as file:
            file.write(line)


def read_trace(path: Path | str) -> dict[str, Record]:
    """The records of a trace by node id; the last one of each node counts.

    Raises `ValueError` with the number of the line that is cut, is no record, or was changed.
    """
    records: dict[str, Record] = {}
    nodes: dict[str, Node] = {}
    for number, line in enumerate(Path(path).read_text(encoding="utf-8").rstrip("\n").split("\n"), 1):
        try:
            data = json.loads(line)
            node = nodes[data["node"]] = node_from_record(data, nodes)
            records[node.id] = record_from_json(data, node)
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path}, line {number}: {error}") from None
    return records


def record_from_json(data: Mapping[str, Any], node: Node) -> Record:
    """The record that `Record.to_json` wrote."""
    fields = {name: data[name] for name in Record.__dataclass_fields__ if name in data and name != "node"}
    fields["value"], fields["evidence"] = decode(data["value"]), decode(data.get("evidence"))
    fields["attempts"] = tuple(data.get("attempts", ()))
    usage = Usage(*(data.get(f"gen_ai.usage.{name}", 0) for name in Usage._fields))
    return Record(node, **fields | {"usage": usage})


def replay(records: Iterable[Record]) -> dict[str, Record]:
    """Compute the graph again from its leaves and the engines' recorded answers; no engine is called.

    Raises `ReplayError` where a value is not the recorded one, byte for byte in its written form.
    """
    values: dict[str, Any] = {}
    again: dict[str, Record] = {}
    for record in records:
        node = record.node
        if record.error:
            raise ReplayError(f"{node.label()} failed when it was run ({record.error}); there is nothing to replay")
        if node.op == LEAF:
            value = node.value
        elif node.op.startswith(PREFIX):
            value = compute(node.op, [values[one.id] for one in node.inputs])
        else:
            value = record.value
        if written(value) != written(record.value):
            raise ReplayError(
                f"{node.label()} gave {record.value!r:.100} when it was run and gives {value!r:.100} now: "
                "the trace was changed, or this version computes differently"
            )
        values[node.id] = value
        again[node.id] = record.again()
    return again
