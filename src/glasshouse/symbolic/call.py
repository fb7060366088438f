"""One call to an engine, its reply, and what an engine is. Everything that answers stands behind this protocol."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

from glasshouse.symbolic.values import decode, encode

NOTHING: Mapping[str, Any] = MappingProxyType({})
Form = Literal["json_schema", "regex", "lark"]
FORMS: tuple[Form, ...] = ("json_schema", "regex", "lark")


class Message(NamedTuple):
    """One turn of what a language model reads; `role` is `system`, `user` or `assistant`."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class Constraint:
    """What the text of a reply must match: a JSON Schema, a regular expression or a Lark grammar, as text."""

    form: Form
    text: str

    def __post_init__(self) -> None:
        if self.form not in FORMS:
            raise ValueError(f"Constraint.form got {self.form!r}; it takes: {', '.join(FORMS)}")


@dataclass(frozen=True, slots=True)
class Budget:
    """The most that may be spent; None is no limit.

    Attributes:
        tokens: tokens written by language models.
        calls: calls to engines, repeated ones included.
        seconds: wall-clock time. For one call it is the time limit that an engine must keep.
    """

    tokens: int | None = None
    calls: int | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        for name in ("tokens", "calls", "seconds"):
            value = getattr(self, name)
            if value is not None and not value >= 0:
                raise ValueError(f"Budget.{name} got {value!r}; it takes a number that is not negative, or None")


UNLIMITED = Budget()


@dataclass(frozen=True, slots=True, eq=False)
class Call:
    """What is asked of an engine. Two calls are equal when their keys are.

    Attributes:
        kind: which engines can answer: `text`, `embed`, or a solver's kind such as `entail`, `sat`, `algebra`.
        op: the operation's name, such as `extract` or `entails`.
        inputs: the values of the operands, in order.
        params: everything else that the operation was given.
        messages: what a language model reads; empty for solvers and embedders.
        constraint: what the reply's text must match.
        budget: what this one call may spend.
        seed: makes two otherwise equal calls two draws.
    """

    kind: str
    op: str
    inputs: tuple[Any, ...] = ()
    params: Mapping[str, Any] = field(default_factory=dict)
    messages: tuple[Message, ...] = ()
    constraint: Constraint | None = None
    budget: Budget = UNLIMITED
    seed: int = 0

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Call) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)

    @property
    def prompt(self) -> str:
        """The messages as one text, for a model without roles."""
        return "\n\n".join(message.content for message in self.messages)

    @property
    def key(self) -> str:
        """sha256 (hex) of everything that may change the answer; the budget may only cut it off, so it is not in it."""
        return hashlib.sha256(json.dumps(self.to_json(), sort_keys=True, separators=(",", ":")).encode()).hexdigest()

    def to_json(self) -> dict[str, Any]:
        """The call as JSON data, without the budget. Raises `TypeError` for inputs without a written form."""
        return {
            "kind": self.kind,
            "op": self.op,
            "inputs": [encode(value) for value in self.inputs],
            "params": encode(dict(self.params)),
            "messages": [list(message) for message in self.messages],
            "constraint": self.constraint and [self.constraint.form, self.constraint.text],
            "seed": self.seed,
        }

    def but(self, **changes: Any) -> Call:
        """A copy with some fields changed."""
        return replace(self, **changes)


class Usage(NamedTuple):
    """Tokens read and written by a language model; zero for other engines."""

    input_tokens: int = 0
    output_tokens: int = 0

    def plus(self, other: Usage) -> Usage:
        """Both together."""
        return Usage(self.input_tokens + other.input_tokens, self.output_tokens + other.output_tokens)


NO_USAGE = Usage()


@dataclass(frozen=True, slots=True)
class Reply:
    """What an engine answers.

    Attributes:
        value: the answer, as data that `values.encode` can write. For `text` calls the text itself.
        text: the answer as words.
        verified: True or False where a solver or checker decided it; None where nobody checked.
        evidence: what a checker needs: a proof tree, a counter-model, an unsatisfiable core.
        usage: what it cost.
        model: what answered: a checkpoint's fingerprint, a served model's name, a solver and its version.
        artifact: the id of the store's artifact that the model is; empty for what came from elsewhere.
        finish: why a text ended: `stop`, `length`, or the engine's own word.
    """

    value: Any
    text: str = ""
    verified: bool | None = None
    evidence: Any = None
    usage: Usage = NO_USAGE
    model: str = ""
    finish: str = ""
    artifact: str = ""

    def to_json(self) -> dict[str, Any]:
        """The reply as JSON data, fields without content left out."""
        data = {
            "value": encode(self.value),
            "text": self.text,
            "verified": self.verified,
            "evidence": encode(self.evidence),
            "usage": list(self.usage) if any(self.usage) else None,
            "model": self.model,
            "finish": self.finish,
            "artifact": self.artifact,
        }
        return {name: value for name, value in data.items() if name == "value" or value not in (None, "")}


@runtime_checkable
class Engine(Protocol):
    """Answers calls of some kinds.

    `run` raises an `EngineError` when it cannot answer, and keeps `call.budget`. It must be safe to call from several
    threads at once. A language model that can decode under a constraint names the form among its kinds, beside `text`.
    """

    @property
    def name(self) -> str:
        """What the trace calls it."""
        ...

    @property
    def kinds(self) -> frozenset[str]:
        """The kinds of calls it answers."""
        ...

    def run(self, call: Call) -> Reply:
        """Answer one call."""
        ...


@runtime_checkable
class StreamingEngine(Engine, Protocol):
    """An engine that can give a text piece by piece."""

    def stream(self, call: Call) -> Iterator[str]:
        """The pieces of the text, in order; together they are `run(call).text`.

        A generator may return the whole reply at its end.
        """
        ...


def reply_from_json(data: Mapping[str, Any]) -> Reply:
    """The reply that `Reply.to_json` wrote. Raises `ValueError` for unknown or missing fields."""
    unknown = set(data) - set(Reply.__dataclass_fields__)
    if unknown or "value" not in data:
        raise ValueError(f"not a reply: {'unknown fields ' + ', '.join(sorted(unknown)) if unknown else 'no value'}")
    fields = dict(data) | {"value": decode(data["value"]), "evidence": decode(data.get("evidence"))}
    return Reply(**fields | {"usage": Usage(*data.get("usage", ()))})
