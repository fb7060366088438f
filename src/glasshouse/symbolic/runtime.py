"""The runtime: which engines answer, what may be spent, where the trace goes. There is no other global state."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import Token
from pathlib import Path
from typing import Any

from glasshouse.symbolic.asking import Asking
from glasshouse.symbolic.call import UNLIMITED, Budget, Call, Engine, Reply
from glasshouse.symbolic.engines.recorded import Cassette
from glasshouse.symbolic.execution import Run
from glasshouse.symbolic.graph import Node
from glasshouse.symbolic.operations import OPERATIONS
from glasshouse.symbolic.program import Program, fulfil, result_of
from glasshouse.symbolic.result import Result
from glasshouse.symbolic.spending import Meter, Retry
from glasshouse.symbolic.sym import ACTIVE, Evaluator, Sym, lift
from glasshouse.symbolic.trace import Record, TraceFile


class Runtime:
    """Runs symbols and programs.

    Values are kept by node: running a graph again, or one that shares nodes with it, asks only for what is new.

    Args:
        engines: in the order in which they are preferred; several of one kind are each other's reserve.
        context: what every language model is told first.
        trace: a file of JSON Lines that every node's record is appended to.
        retry: how errors that may pass are waited out.
        repairs: how often a text that is not of its type is asked for again, with the reason.
        workers: how many engine calls may be under way at once (one, where tokens are limited).
        sleep: waits; another one in tests.
    """

    def __init__(
        self,
        *engines: Engine,
        context: str = "",
        trace: Path | str | None = None,
        retry: Retry | None = None,
        repairs: int = 2,
        workers: int = 1,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.known: dict[str, Record] = {}
        self._asking = Asking(engines, context, retry or Retry(), repairs, self._heard, sleep)
        self._trace = TraceFile(trace) if trace else None
        self._workers = workers
        self._cassettes: list[Cassette] = []
        self._tokens: list[Token[Evaluator | None]] = []

    def run(self, what: Any, *inputs: Any, budget: Budget = UNLIMITED) -> Result:
        """Run a symbol, or a program on inputs.

        Raises what Python and the engines raise, `BudgetError` when the budget is spent, and `ContractError` when a
        program's contract cannot be fulfilled.
        """
        run = self._new_run(budget)
        if isinstance(what, Program):
            node = fulfil(what, [lift(one) for one in inputs], run).node
        elif inputs:
            raise TypeError(f"inputs are for programs; a {type(what).__name__} takes none")
        else:
            node = lift(what).node
            run.compute([node])
        return result_of(run, node)

    def stream(self, symbol: Sym, budget: Budget = UNLIMITED) -> Iterator[str]:
        """The text of an operation of a language model, piece by piece; `run` then knows it and asks no more.

        Raises `TypeError` for a symbol that no language model answers. Once pieces were given, nothing is tried again.
        """
        operation = OPERATIONS.get(symbol.node.op)
        if operation is None or operation.kind != "text":
            raise TypeError(f"{symbol!r} is not answered by a language model, so there are no pieces of text")
        return self._new_run(budget).stream(symbol.node)

    def value_of(self, node: Node) -> Any:
        """The value of a node: what `with runtime:` gives to pending symbols."""
        return self._new_run(UNLIMITED).value_of(node)

    def call_of(self, node: Node, *inputs: Any) -> Call:
        """The call that would ask for a node's value, given its inputs' values: a preview, nothing is asked."""
        return self._asking.call(node, inputs)

    @contextmanager
    def record(self, path: Path | str) -> Iterator[Cassette]:
        """Append every call and its reply inside to a cassette, which `Recorded` replays."""
        cassette = Cassette(path)
        self._cassettes.append(cassette)
        try:
            yield cassette
        finally:
            self._cassettes.remove(cassette)

    def forget(self) -> None:
        """Drop all known values, so that everything is asked again."""
        self.known.clear()

    def __enter__(self) -> Runtime:
        self._tokens.append(ACTIVE.set(self))
        return self

    def __exit__(self, *_: object) -> None:
        ACTIVE.reset(self._tokens.pop())

    def _new_run(self, budget: Budget) -> Run:
        return Run(self._asking, self.known, Meter(budget), self._told, self._workers)

    def _told(self, record: Record) -> None:
        if self._trace:
            self._trace.write(record.to_json())

    def _heard(self, call: Call, reply: Reply) -> None:
        for cassette in self._cassettes:
            cassette.add(call, reply)
