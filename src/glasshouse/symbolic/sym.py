"""`Sym`: a value that remembers where it came from. Plain Python on the outside; `.sem` asks engines, and only `.sem`.

`Sym(2) + 3` computes 5 at once, raises what Python raises, and calls no model; it also records the node `python.add`.
`Sym(text).sem & other` builds a node and computes nothing: a `Runtime` does, when the graph is run or, inside
`with runtime:`, when the value is needed (`if a.sem == b:`).
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Protocol

from glasshouse.symbolic.errors import PendingError
from glasshouse.symbolic.graph import LEAF, Graph, Node, leaf
from glasshouse.symbolic.plain import ATTRIBUTES, METHODS, PLAIN, PREFIX, attribute

if TYPE_CHECKING:
    from glasshouse.symbolic.semantic import Semantic


class Evaluator(Protocol):
    """What gives pending symbols their values: a runtime."""

    def value_of(self, node: Node) -> Any:
        """The value of a node, computed if need be."""
        ...


ACTIVE: ContextVar[Evaluator | None] = ContextVar("glasshouse_symbolic_runtime", default=None)
PENDING: Any = type("Pending", (), {"__repr__": lambda _: "pending"})()


def _binary(name: str) -> Callable[[Sym, Any], Sym]:
    def method(self: Sym, other: Any) -> Sym:
        return NotImplemented if hasattr(type(other), "of_symbol") else apply(name, self, other)

    return method


def _reflected(name: str) -> Callable[[Sym, Any], Sym]:
    return lambda self, other: apply(name, other, self)


def _unary(name: str) -> Callable[[Sym], Sym]:
    return lambda self: apply(name, self)


class Sym:
    """A value and the node that says how it was made; a pending one has no value yet.

    Args:
        value: any Python value. A `Sym` is taken as it is; symbols inside lists, tuples and dictionaries become inputs.
    """

    __slots__ = ("_node", "_value")
    _node: Node
    _value: Any

    def __init__(self, value: Any = None) -> None:
        kind = type(value)
        if kind is Sym or (kind in (list, tuple, dict) and _holds_symbols(value)):
            value = lift(value)
            self._node, self._value = value._node, value._value
        else:
            self._node, self._value = leaf(value), value

    @classmethod
    def of(cls, node: Node, value: Any = PENDING) -> Sym:
        """The symbol of a node; pending without a value."""
        symbol = cls.__new__(cls)
        symbol._node = node
        symbol._value = node.params["value"] if value is PENDING and node.op == LEAF else value
        return symbol

    @property
    def node(self) -> Node:
        """How this value was made."""
        return self._node

    @property
    def graph(self) -> Graph:
        """All nodes this value was made from."""
        return Graph(self._node)

    @property
    def pending(self) -> bool:
        """Whether the value still has to be computed by a runtime."""
        return self._value is PENDING

    @property
    def value(self) -> Any:
        """The plain Python value. A pending symbol asks the runtime of the `with` block it is in.

        Raises `PendingError` when there is none.
        """
        if self._value is PENDING:
            runtime = ACTIVE.get()
            if runtime is None:
                raise PendingError(
                    f"{self!r} has no value yet: run it with `runtime.run(symbol)`, or use it inside `with runtime:`"
                )
            self._value = runtime.value_of(self._node)
        return self._value

    @property
    def sem(self) -> Semantic:
        """The view whose operations ask engines: `a.sem & b`, `a.sem.extract("dates")`."""
        from glasshouse.symbolic.semantic import Semantic

        return Semantic(self)

    __add__, __radd__, __iadd__ = _binary("add"), _reflected("add"), _binary("iadd")
    __sub__, __rsub__, __isub__ = _binary("sub"), _reflected("sub"), _binary("isub")
    __mul__, __rmul__, __imul__ = _binary("mul"), _reflected("mul"), _binary("imul")
    __matmul__, __rmatmul__, __imatmul__ = _binary("matmul"), _reflected("matmul"), _binary("imatmul")
    __truediv__, __rtruediv__, __itruediv__ = _binary("truediv"), _reflected("truediv"), _binary("itruediv")
    __floordiv__, __rfloordiv__, __ifloordiv__ = _binary("floordiv"), _reflected("floordiv"), _binary("ifloordiv")
    __mod__, __rmod__, __imod__ = _binary("mod"), _reflected("mod"), _binary("imod")
    __lshift__, __rlshift__, __ilshift__ = _binary("lshift"), _reflected("lshift"), _binary("ilshift")
    __rshift__, __rrshift__, __irshift__ = _binary("rshift"), _reflected("rshift"), _binary("irshift")
    __and__, __rand__, __iand__ = _binary("and"), _reflected("and"), _binary("iand")
    __or__, __ror__, __ior__ = _binary("or"), _reflected("or"), _binary("ior")
    __xor__, __rxor__, __ixor__ = _binary("xor"), _reflected("xor"), _binary("ixor")
    __divmod__, __rdivmod__ = _binary("divmod"), _reflected("divmod")
    __rpow__, __ipow__ = _reflected("pow"), _binary("ipow")
    __lt__, __le__, __gt__, __ge__ = _binary("lt"), _binary("le"), _binary("gt"), _binary("ge")
    __neg__, __pos__, __invert__, __abs__ = _unary("neg"), _unary("pos"), _unary("invert"), _unary("abs")
    __trunc__, __floor__, __ceil__ = _unary("trunc"), _unary("floor"), _unary("ceil")

    def __pow__(self, other: Any, modulus: Any = None) -> Sym:
        if modulus is not None:
            return apply("pow_mod", self, other, modulus)
        return NotImplemented if hasattr(type(other), "of_symbol") else apply("pow", self, other)

    def __eq__(self, other: object) -> Sym:  # type: ignore[override]
        return NotImplemented if hasattr(type(other), "of_symbol") else apply("eq", self, other)

    def __ne__(self, other: object) -> Sym:  # type: ignore[override]
        return NotImplemented if hasattr(type(other), "of_symbol") else apply("ne", self, other)

    def __round__(self, digits: Any = None) -> Sym:
        return apply("round", self) if digits is None else apply("round", self, digits)

    def __getitem__(self, key: Any) -> Sym:
        return apply("getitem", self, key)

    def __setitem__(self, key: Any, item: Any) -> None:
        self._become(apply("setitem", self, key, item))

    def __delitem__(self, key: Any) -> None:
        self._become(apply("delitem", self, key))

    def _become(self, other: Sym) -> None:
        self._node, self._value = other._node, other._value

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(f"'Sym' object has no attribute {name!r}")
        method = name in METHODS if self.pending else callable(attribute(self._value, name))
        if not method and self.pending and name not in ATTRIBUTES:
            raise AttributeError(f"{self!r} has no value yet, and no built-in type has a plain attribute {name!r}")
        if not method:
            return apply("attribute", self, name)
        return lambda *arguments: apply("method", name, self, *arguments)

    def __contains__(self, item: Any) -> bool:
        return plain(item) in self.value

    def __iter__(self) -> Iterator[Sym]:
        value = self.value
        place = "getitem" if isinstance(value, list | tuple | str | bytes | range) else "nth"
        for number, item in enumerate(value):
            yield Sym.of(Node(PREFIX + place, (self._node, leaf(number))), item)

    def __reversed__(self) -> Iterator[Sym]:
        return iter(apply("reversed", self))

    def __len__(self) -> int:
        return len(self.value)

    def __bool__(self) -> bool:
        return bool(self.value)

    def __int__(self) -> int:
        return int(self.value)

    def __float__(self) -> float:
        return float(self.value)

    def __complex__(self) -> complex:
        return complex(self.value)

    def __index__(self) -> int:
        return operator.index(self.value)

    def __hash__(self) -> int:
        if self.pending:
            raise TypeError(f"unhashable: {self!r} has no value yet; use its `node.id` as a key")
        return hash(self._value)

    def __str__(self) -> str:
        return str(self.value)

    def __format__(self, form: str) -> str:
        return format(self.value, form)

    def __repr__(self) -> str:
        return f"Sym(<{self._node.label()}>)" if self.pending else f"Sym({self._value!r})"


def plain(value: Any) -> Any:
    """The plain value of a symbol, or of anything else the value itself."""
    return value.value if type(value) is Sym else value


def lift(value: Any) -> Sym:
    """`value` as a symbol; symbols inside lists, tuples and dictionaries become inputs of a node."""
    if type(value) is Sym:
        return value
    if type(value) in (list, tuple) and _holds_symbols(value):
        return apply(type(value).__name__, *value)
    if type(value) is dict and _holds_symbols(value):
        return apply("dict", list(value), *value.values())
    return Sym(value)


def _holds_symbols(value: Any) -> bool:
    stack, seen = [value], {id(value)}
    while stack:
        one = stack.pop()
        for item in one.values() if type(one) is dict else one:
            if type(item) is Sym:
                return True
            if type(item) in (list, tuple, dict) and id(item) not in seen:
                seen.add(id(item))
                stack.append(item)
    return False


def apply(name: str, *operands: Any) -> Sym:
    """A plain operation on symbols and values: computed at once unless one of them is pending."""
    symbols = [lift(operand) for operand in operands]
    node = Node(PREFIX + name, tuple([symbol._node for symbol in symbols]))
    for symbol in symbols:
        if symbol._value is PENDING:
            return Sym.of(node)
    return Sym.of(node, PLAIN[name](*[symbol._value for symbol in symbols]))
