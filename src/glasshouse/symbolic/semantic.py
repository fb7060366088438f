"""The view `symbol.sem`: the same operators, and the named operations, as nodes that an engine will answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from glasshouse.symbolic.answers import specification
from glasshouse.symbolic.graph import LEAF, OPERAND, Node
from glasshouse.symbolic.operations import OPERATIONS, OPERATORS, Operation
from glasshouse.symbolic.sym import Sym, apply, lift

OPTIONS = ("as_", "context", "engine", "seed", "tokens")


def _by(operator: str) -> Callable[[Semantic, Any], Sym]:
    return lambda self, other: self.ask(OPERATORS[operator], other)


def _reflected(operator: str) -> Callable[[Semantic, Any], Sym]:
    return lambda self, other: Semantic(lift(other), **self.options).ask(OPERATORS[operator], self.of_symbol)


class Semantic:
    """Operations on a symbol that ask an engine. Nothing runs here: every one gives a pending `Sym`.

    Options hold for the operations built from the view: `symbol.sem(context="Lengths are in metres.") < other`.

    Args:
        as_: the type of the answer, see `answers.specification`.
        context: what a language model is told beside the instruction.
        engine: the name of the engine that must answer.
        seed: makes two otherwise equal operations two draws.
        tokens: the most tokens the answer may have.
    """

    __slots__ = ("of_symbol", "options")

    def __init__(self, symbol: Sym, **options: Any) -> None:
        unknown = set(options) - set(OPTIONS)
        if unknown:
            raise TypeError(f"unknown option {sorted(unknown)[0]!r}; options: {', '.join(OPTIONS)}")
        self.of_symbol = symbol
        self.options = options

    def __call__(self, **options: Any) -> Semantic:
        """The view with options set."""
        return Semantic(self.of_symbol, **self.options | options)

    def ask(self, name: str, *arguments: Any, **named: Any) -> Sym:
        """The node of an operation of the table: operands first, then its parameters, then options by name.

        A parameter that is a symbol, or holds some, becomes an input of the node.

        Raises `AttributeError` for an unknown operation, `TypeError` for wrong arguments.
        """
        if name not in OPERATIONS:
            raise AttributeError(f"no operation {name!r}; operations: {', '.join(sorted(OPERATIONS))}")
        operation = OPERATIONS[name]
        options = self.options | {
            key: named.pop(key) for key in OPTIONS if key in named and key not in operation.params
        }
        operands, params = _arguments(operation, (self.of_symbol, *arguments), named)
        params |= {key: value for key, value in options.items() if key != "as_" and key not in params}
        params["answer"] = specification(options.get("as_", operation.answer))
        inputs = [lift(operand).node for operand in operands]
        for key, value in params.items():
            if (symbol := lift(value)).node.op != LEAF or type(value) is Sym:
                params[key] = {OPERAND: len(inputs)}
                inputs.append(symbol.node)
        return Sym.of(Node(name, tuple(inputs), params))

    def __getattr__(self, name: str) -> Callable[..., Sym]:
        if name not in OPERATIONS:
            raise AttributeError(f"no operation {name!r}; operations: {', '.join(sorted(OPERATIONS))}")
        return lambda *arguments, **named: self.ask(name, *arguments, **named)

    __lt__, __gt__, __le__, __ge__ = _by("<"), _by(">"), _by("<="), _by(">=")
    __add__, __radd__ = _by("+"), _reflected("+")
    __sub__, __rsub__ = _by("-"), _reflected("-")
    __and__, __rand__ = _by("&"), _reflected("&")
    __or__, __ror__ = _by("|"), _reflected("|")
    __xor__, __rxor__ = _by("^"), _reflected("^")
    __lshift__, __rlshift__ = _by("<<"), _reflected("<<")
    __rshift__, __rrshift__ = _by(">>"), _reflected(">>")
    __truediv__, __rtruediv__ = _by("/"), _reflected("/")
    __matmul__, __rmatmul__ = _by("@"), _reflected("@")
    __getitem__ = _by("[]")

    def similarity(self, other: Any, measure: str = "cosine") -> Sym:
        """How alike the embeddings of two texts are, by a measure of `measures.MEASURES`."""
        theirs = other if isinstance(other, Semantic) else Semantic(lift(other), **self.options)
        return apply("measured", self.ask("embed"), theirs.ask("embed"), measure)

    def __eq__(self, other: object) -> Sym:  # type: ignore[override]
        return self.ask("equals", other)

    def __ne__(self, other: object) -> Sym:  # type: ignore[override]
        return self.ask("differs", other)

    def __neg__(self) -> Sym:
        return self.ask("negate")

    def __invert__(self) -> Sym:
        return self.ask("invert")

    def __setitem__(self, key: Any, item: Any) -> None:
        self.of_symbol._become(self.ask("set_item", key, item))

    def __delitem__(self, key: Any) -> None:
        self.of_symbol._become(self.ask("delete_item", key))

    def __contains__(self, item: Any) -> bool:
        return bool(self.ask("contains", item))

    def __hash__(self) -> int:
        raise TypeError("unhashable: a view; use the symbol")

    def __iter__(self) -> Any:
        raise TypeError("a view cannot be iterated; use the symbol, or an operation with a list as its answer")

    def __bool__(self) -> bool:
        raise TypeError("a view is neither true nor false; ask for something: `symbol.sem == other`")


def _arguments(
    operation: Operation, given: tuple[Any, ...], named: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Operands and parameters out of what was given by position and by name."""
    given = tuple(one.of_symbol if isinstance(one, Semantic) else one for one in given)
    wanted = len(given) if operation.operands is None else operation.operands
    operands, rest = given[:wanted], given[wanted:]
    if len(operands) < wanted:
        raise TypeError(f"{operation.name} takes {wanted} operands, got {len(operands)}")
    if len(rest) > len(operation.params):
        raise TypeError(f"{operation.name} takes the parameters {operation.params}, got {len(rest)}: {rest!r:.100}")
    params = dict(zip(operation.params, rest, strict=False))
    for name, value in named.items():
        if name not in operation.params or name in params:
            raise TypeError(
                f"{operation.name} takes no {name!r} here; parameters: {', '.join(operation.params) or 'none'}; "
                f"options: {', '.join(OPTIONS)}"
            )
        params[name] = value
    return operands, params
