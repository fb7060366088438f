"""Programs: a graph built in `forward`, a contract in `require`, and repairs until the contract holds.

When `require` refuses a result, the text operations nearest to it are asked again, with their answer and the complaint
in the prompt; everything that does not depend on them is kept. The repaired nodes are nodes of their own, with the
history of repairs among their parameters, so that the final graph says what happened and can be replayed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from glasshouse.symbolic.errors import ContractError, ViolationError
from glasshouse.symbolic.graph import Node, ordered
from glasshouse.symbolic.operations import OPERATIONS
from glasshouse.symbolic.result import Cost, Result
from glasshouse.symbolic.sym import ACTIVE, Sym, lift

if TYPE_CHECKING:
    from glasshouse.symbolic.execution import Run


class Program:
    """A unit of composition: state in `__init__`, the graph in `forward`, the contract in `require`.

    Attributes:
        attempts: how many results the contract may look at before `ContractError` is raised.
    """

    attempts: int = 3

    def forward(self, *inputs: Any) -> Any:
        """Build the graph: from symbols to a symbol. A condition on a pending symbol runs what it needs."""
        raise NotImplementedError(f"{type(self).__name__} defines no forward()")

    def require(self, result: Result) -> bool | str | None:
        """Whether a result is acceptable: True or None, or else False, or the reason in words for the repair prompt.

        May also raise `ViolationError` with the reason.
        """
        return True

    def __call__(self, *inputs: Any) -> Sym:
        """The program as a part of another one: inside a run its contract is kept, else only the graph is built."""
        from glasshouse.symbolic.execution import Run

        run = ACTIVE.get()
        symbols = [lift(one) for one in inputs]
        if isinstance(run, Run) and type(self).require is not Program.require:
            return fulfil(self, symbols, run)
        return lift(self.forward(*symbols))


class _OfFunction(Program):
    def __init__(self, function: Callable[..., Any], contract: Callable[[Result], bool | str | None] | None) -> None:
        self.__name__ = self.__qualname__ = function.__name__
        self.__doc__ = function.__doc__
        self.forward = function  # type: ignore[method-assign]
        self._contract = contract

    def require(self, result: Result) -> bool | str | None:
        return self._contract(result) if self._contract else True


def program(function: Callable[..., Any], require: Callable[[Result], bool | str | None] | None = None) -> Program:
    """A program whose `forward` is a function of symbols, and whose contract may be another. Also as a decorator."""
    return _OfFunction(function, require)


def fulfil(program: Program, inputs: list[Sym], run: Run) -> Sym:
    """Run a program until its contract holds; the symbol of the node that fulfils it.

    Raises `ContractError` with all attempts when none does, or when there is nothing to ask again.
    """
    name = getattr(program, "__name__", type(program).__name__)
    tried: list[tuple[Any, str]] = []
    for _ in range(program.attempts):
        with run.active():
            node = run.repaired(lift(program.forward(*inputs)).node)
            value = run.value_of(node)
        complaint = complaint_about(program, result_of(run, node))
        if complaint is None:
            return Sym.of(node, value)
        tried.append((value, complaint))
        asked = nearest_asked(node)
        if not asked:
            raise ContractError(f"{name}: {complaint} No text operation made {value!r:.100}, so none is asked again.")
        for one in asked:
            repairs = [*one.params.get("repairs", ()), [run.records[one.id].text, complaint]]
            run.substitutions[one.id] = Node(one.op, one.inputs, {**one.params, "repairs": repairs})
    last = tried[-1][1] if tried else "no attempt is allowed"
    raise ContractError(f"{name}: not fulfilled after {len(tried)} attempts; the last complaint: {last}", tuple(tried))


def result_of(run: Run, node: Node) -> Result:
    """The result of a node that the run has computed: its records are those the node depends on."""
    records = {one.id: run.records[one.id] for one in ordered([node])}
    return Result(node, records, Cost(run.meter.calls, run.meter.usage, run.meter.seconds))


def complaint_about(program: Program, result: Result) -> str | None:
    """Why the contract refuses a result; None when it does not."""
    try:
        verdict = program.require(result)
    except ViolationError as error:
        return str(error)
    if verdict is None or verdict is True:
        return None
    if isinstance(verdict, str):
        return verdict
    if verdict is False:
        return f"{result.value!r:.200} does not meet the contract of {type(program).__name__}."
    raise TypeError(f"{type(program).__name__}.require gave {verdict!r}; it gives True, None, False, or the reason")


def nearest_asked(node: Node) -> list[Node]:
    """The text operations that a value comes from, the nearest on each path."""
    found: dict[str, Node] = {}
    seen: set[str] = set()
    stack = [node]
    while stack:
        one = stack.pop()
        if one.id in seen:
            continue
        seen.add(one.id)
        if one.op in OPERATIONS and OPERATIONS[one.op].kind == "text":
            found[one.id] = one
        else:
            stack.extend(one.inputs)
    return list(found.values())
