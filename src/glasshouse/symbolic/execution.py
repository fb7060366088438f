"""One run of a graph: every node once, inputs first, known values kept, engines asked in parallel."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import Any

from glasshouse.symbolic.asking import Asking
from glasshouse.symbolic.graph import LEAF, Node, ordered, substitute
from glasshouse.symbolic.plain import PREFIX, compute
from glasshouse.symbolic.spending import Meter
from glasshouse.symbolic.sym import ACTIVE
from glasshouse.symbolic.trace import Record

Told = Callable[[Record], None]


class Run:
    """Values of nodes, computed when they are wanted.

    Attributes:
        records: what came of each node of this run, by id, inputs first.
        meter: what was spent.
        substitutions: nodes (by id) that are replaced before they are computed: repairs of what a contract refused.
    """

    def __init__(self, asking: Asking, known: dict[str, Record], meter: Meter, told: Told, workers: int = 1) -> None:
        self.records: dict[str, Record] = {}
        self.meter = meter
        self.substitutions: dict[str, Node] = {}
        self._given: set[str] = set()
        self._asking = asking
        self._known = known
        self._told = told
        # What a call writes is known only after it, so a limit on tokens allows one call at a time.
        self._workers = workers if meter.budget.tokens is None else 1

    @contextmanager
    def active(self) -> Iterator[None]:
        """Pending symbols whose value is wanted inside are computed by this run."""
        token = ACTIVE.set(self)
        try:
            yield
        finally:
            ACTIVE.reset(token)

    def repaired(self, node: Node) -> Node:
        """The node with all substitutions made."""
        while self.substitutions:
            new = substitute(node, self.substitutions)
            if new is node:
                break
            node = new
        return node

    def value_of(self, node: Node) -> Any:
        """The value of a node, computed if need be."""
        node = self.repaired(node)
        self.compute([node])
        return self.records[node.id].value

    def stream(self, node: Node) -> Iterator[str]:
        """The text of a node that asks a language model, piece by piece, once what it needs is computed."""
        node = self.repaired(node)
        self.compute(node.inputs)
        if node.id in self._known:
            yield self._known[node.id].text
        else:
            inputs = [self.records[one.id].value for one in node.inputs]
            self._keep((yield from self._asking.pieces(node, inputs, self.meter)))

    def compute(self, roots: Iterable[Node]) -> None:
        """Compute everything below the roots that this run has not computed yet."""
        wanted = ordered(roots, known=lambda node: node.id in self.records)
        if self._workers > 1:
            self._compute_in_parallel(wanted)
            return
        for node in wanted:
            if node.id not in self.records:
                self._keep(self._record(node))

    def _compute_in_parallel(self, wanted: list[Node]) -> None:
        waiting = {node.id: node for node in wanted}
        needs = {key: {one.id for one in node.inputs if one.id in waiting} for key, node in waiting.items()}
        users: dict[str, list[str]] = {}
        for key, inputs in needs.items():
            for one in inputs:
                users.setdefault(one, []).append(key)
        ready = [key for key, inputs in needs.items() if not inputs]
        running: dict[Future[Record], str] = {}
        with ThreadPoolExecutor(self._workers) as pool:
            while ready or running:
                done: list[Record] = []
                for key in ready:
                    if _asks(waiting[key]):
                        running[pool.submit(self._record, waiting[key])] = key
                    else:
                        done.append(self._record(waiting[key]))
                ready = []
                if not done:
                    finished, _ = wait(running, return_when=FIRST_COMPLETED)
                    for future in finished:
                        del running[future]
                        done.append(self._result(future, running))
                for record in done:
                    self._keep(record)
                    for user in users.get(record.node.id, ()):
                        needs[user].discard(record.node.id)
                        if not needs[user]:
                            ready.append(user)

    def _result(self, future: Future[Record], running: dict[Future[Record], str]) -> Record:
        try:
            return future.result()
        except BaseException:
            # What the others are answering is paid for: it is kept, so that running again asks only for the rest.
            for other in list(running):
                if not other.cancel() and other.exception() is None:
                    self._keep(other.result())
            raise

    def _keep(self, record: Record) -> None:
        self.records[record.node.id] = record
        self._known[record.node.id] = record
        if not record.asked and all(one.id in self._given for one in record.node.inputs):
            self._given.add(record.node.id)
        self._told(record)

    def _record(self, node: Node) -> Record:
        known = self._known.get(node.id)
        if known is not None:
            return known.again()
        if node.op == LEAF:
            return Record(node, node.value)
        inputs = [self.records[one.id].value for one in node.inputs]
        start = time.perf_counter()
        try:
            if _asks(node):
                return self._asking.answer(node, inputs, self.meter)
            value = compute(node.op, inputs)
        except Exception as error:
            spent = time.perf_counter() - start
            words = f"{type(error).__name__}: {error}"
            self._told(Record(node, kind="python" if not _asks(node) else "engine", seconds=spent, error=words))
            error.add_note(f"at the node {node.label()} ({node.id[:12]})")
            raise
        verified = _joint([self.records[one.id].verified for one in node.inputs if one.id not in self._given])
        return Record(node, value, "python", seconds=time.perf_counter() - start, verified=verified)


def _asks(node: Node) -> bool:
    return node.op != LEAF and not node.op.startswith(PREFIX)


def _joint(verified: list[bool | None]) -> bool | None:
    """A value computed from others is verified when all of them are, and wrong when one of them is."""
    if False in verified:
        return False
    return True if verified and None not in verified else None
