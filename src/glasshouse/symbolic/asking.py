"""Ask the engines for one node's value: choose them, wait and try again, read the answer, repair, fall back."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from typing import Any

from glasshouse.symbolic.answers import constraint_of, described, read
from glasshouse.symbolic.call import Call, Engine, Reply, StreamingEngine
from glasshouse.symbolic.errors import AnswerError, EngineError, NoEngineError
from glasshouse.symbolic.graph import OPERAND, Node
from glasshouse.symbolic.operations import OPERATIONS
from glasshouse.symbolic.prompting import messages, repair
from glasshouse.symbolic.spending import Meter, Retry
from glasshouse.symbolic.trace import Record

Heard = Callable[[Call, Reply], None]


@dataclass
class Asking:
    """How nodes are asked for.

    Attributes:
        engines: in the order in which they are preferred.
        context: what every language model is told first.
        retry: for errors that may pass.
        repairs: how often a text that is not of its type is answered with the reason and asked for again.
        heard: told of every call and its reply.
        sleep: waits; another one in tests.
    """

    engines: Sequence[Engine]
    context: str = ""
    retry: Retry = field(default_factory=Retry)
    repairs: int = 2
    heard: Heard = lambda call, reply: None
    sleep: Callable[[float], None] = time.sleep

    def call(self, node: Node, inputs: Sequence[Any]) -> Call:
        """The call that asks for a node's value. Raises `NoEngineError` for an operation that is not in the table."""
        operation = OPERATIONS.get(node.op)
        if operation is None:
            raise NoEngineError(f"no operation {node.op!r}; operations: {', '.join(sorted(OPERATIONS))}")
        given = {name: _value(value, inputs) for name, value in node.params.items()}
        own = {name: value for name, value in given.items() if name in operation.params or name == "answer"}
        operands = inputs[: len(inputs) - sum(_is_operand(value) for value in node.params.values())]
        text = operation.kind == "text"
        return Call(
            kind=operation.kind,
            op=node.op,
            inputs=tuple(operands),
            params=own,
            messages=messages(operation, operands, given, self.context) if text else (),
            constraint=constraint_of(node.params["answer"]) if text else None,
            seed=node.params.get("seed", 0),
        )

    def candidates(self, call: Call, name: str | None) -> list[Engine]:
        """The engines that can answer, those first that can also enforce the constraint."""
        able = [one for one in self.engines if call.kind in one.kinds and name in (None, one.name)]
        if not able:
            known = "; ".join(f"{one.name} answers {', '.join(sorted(one.kinds))}" for one in self.engines) or "none"
            wanted = f" called {name!r}" if name else ""
            raise NoEngineError(f"no engine{wanted} answers {call.kind!r}, which {call.op!r} needs; engines: {known}")
        form = call.constraint.form if call.constraint else call.kind
        return sorted(able, key=lambda one: form not in one.kinds)

    def answer(self, node: Node, inputs: Sequence[Any], meter: Meter) -> Record:
        """The record of a node. Raises the last engine's error, with a note on what was tried before."""
        start = time.perf_counter()
        call = self.call(node, inputs)
        tried: list[str] = []
        engines = self.candidates(call, node.params.get("engine"))
        for place, engine in enumerate(engines):
            try:
                reply, value = self._read(engine, call, node, meter, tried)
            except (EngineError, AnswerError) as error:
                tried.append(f"{engine.name}: {type(error).__name__}: {error}")
                if place + 1 < len(engines):
                    continue
                for earlier in tried[:-1]:
                    error.add_note(f"tried before: {earlier}")
                raise
            return _recorded(node, value, call, engine, reply, time.perf_counter() - start, tried)
        raise AssertionError("candidates() gives at least one engine")

    def pieces(self, node: Node, inputs: Sequence[Any], meter: Meter) -> Generator[str, None, Record]:
        """A node's text piece by piece, from the first engine that can answer; returns its record.

        What was shown cannot be taken back: errors are raised, nothing is tried again.
        """
        start = time.perf_counter()
        call = self.call(node, inputs)
        engine = self.candidates(call, node.params.get("engine"))[0]
        call = call.but(budget=meter.begin(node.label(), node.params.get("tokens")))
        if isinstance(engine, StreamingEngine):
            reply = yield from _streamed(engine, call)
        else:
            reply = engine.run(call)
            yield reply.text
        meter.add(reply.usage)
        self.heard(call, reply)
        value = read(node.params["answer"], reply.text)
        return _recorded(node, value, call, engine, reply, time.perf_counter() - start)

    def _read(self, engine: Engine, call: Call, node: Node, meter: Meter, tried: list[str]) -> tuple[Reply, Any]:
        """A reply whose text is of the type asked for; each one that is not is answered with the reason."""
        for number in range(self.repairs + 1):
            reply = self._reply(engine, call, node, meter, tried)
            if call.kind != "text":
                return reply, reply.value
            answer = node.params["answer"]
            try:
                return reply, read(answer, reply.text)
            except AnswerError as error:
                if number == self.repairs:
                    raise
                tried.append(f"{engine.name}: {error}")
                turns = repair(reply.text, f"{error} It must be {described(answer)}.")
                call = call.but(messages=(*call.messages, *turns))
        raise AssertionError("the last attempt returns or raises")

    def _reply(self, engine: Engine, call: Call, node: Node, meter: Meter, tried: list[str]) -> Reply:
        generator = random.Random(call.key)  # noqa: S311 - spreads waiting times, no secret
        for number in range(1, self.retry.attempts + 1):
            budget = meter.begin(node.label(), node.params.get("tokens"))
            try:
                reply = engine.run(call.but(budget=budget))
            except EngineError as error:
                wait = self.retry.wait(number, error, generator)
                if (
                    not error.retryable
                    or number == self.retry.attempts
                    or wait > meter.longest_wait(self.retry.patience)
                ):
                    raise
                tried.append(f"{engine.name}: {type(error).__name__}: {error}")
                self.sleep(wait)
                continue
            meter.add(reply.usage)
            self.heard(call, reply)
            return reply
        raise AssertionError("the last attempt returns or raises")


def _recorded(
    node: Node, value: Any, call: Call, engine: Engine, reply: Reply, seconds: float, tried: Sequence[str] = ()
) -> Record:
    """What is kept of an answer; a text that was read is valid, of other answers there is nothing to say."""
    return Record(
        node,
        value,
        call.kind,
        engine.name,
        reply.model,
        reply.text,
        reply.evidence,
        reply.usage,
        reply.finish,
        seconds,
        True if call.kind == "text" else None,
        reply.verified,
        tuple(tried),
        artifact=reply.artifact,
    )


def _streamed(engine: StreamingEngine, call: Call) -> Generator[str, None, Reply]:
    """The pieces of a text; returned is the engine's reply, or the pieces as one where it tells no more."""
    pieces, heard = iter(engine.stream(call)), list[str]()
    while True:
        try:
            heard.append(next(pieces))
        except StopIteration as end:
            text = "".join(heard)
            return end.value if isinstance(end.value, Reply) else Reply(text, text)
        yield heard[-1]


def _is_operand(value: Any) -> bool:
    return type(value) is dict and set(value) == {OPERAND}


def _value(value: Any, inputs: Sequence[Any]) -> Any:
    """A parameter's value: what stands there, or the input it points to."""
    return inputs[value[OPERAND]] if _is_operand(value) else value
