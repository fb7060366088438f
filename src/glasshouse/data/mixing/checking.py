"""Checks of an expression against the columns there are, before any document is read."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple, NoReturn

import pyarrow as pa

from glasshouse.data.mixing.expression import (
    OPPOSITE,
    And,
    Comparison,
    Constant,
    Expression,
    Flag,
    Measure,
    Membership,
    Not,
    Or,
    Presence,
    Usage,
    atoms,
    render,
    render_literal,
    render_measure,
    usage_of,
)  # fmt: skip
from glasshouse.data.mixing.intervals import Bounds, TooManyAlternativesError, satisfiable, tautology
from glasshouse.data.mixing.parsing import parse, pointed
from glasshouse.data.signals.signal import SPANS, Signal, label

ANY: pa.DataType = pa.null()
"""Type of a column nobody has declared, such as a field of `metadata` or a Dolma attribute: any use is allowed."""

MOST_JOINED = 256
"""Comparisons in one expression up to which they are held against each other."""

OPEN = ("metadata.",)
"""Beginnings of names that need no declaration: fields that differ from document to document."""

DOCUMENT_FIELDS: dict[str, Signal] = {
    name: label(name, f"the document's {name}", "arXiv 2402.00159") for name in ("id", "source", "added", "created")
}
"""Columns every document has."""


class UnknownColumnError(ValueError):
    """An expression names a column that is not there."""


class ColumnTypeError(ValueError):
    """A column is compared with a value of another type, or a function gets a column it cannot take."""


class UnitMismatchError(ValueError):
    """A value has a unit that is not its column's."""


class UnreachableRuleError(ValueError):
    """An expression, or a part of one, cannot hold for any document."""


class Warning(NamedTuple):
    """Something that is allowed and probably not meant.

    `kind`: "always" (holds for every document that has the value), "redundant" (changes nothing beside its
    neighbours), "unchecked" (too large to analyse); after a run also "matched_none", "matched_all",
    "never_present", "mistyped", "share_missed".
    """

    kind: Literal[
        "always", "redundant", "unchecked", "matched_none", "matched_all", "never_present", "mistyped", "share_missed"
    ]
    rule: str
    message: str


_UNITS: dict[str, str] = {
    "byte": "bytes", "character": "characters", "word": "words", "line": "lines", "paragraph": "paragraphs",
    "sentence": "sentences", "token": "tokens", "occurrence": "occurrences", "span": "spans",
    **dict.fromkeys(("B", "kB", "MB", "GB", "TB", "KiB", "MiB", "GiB"), "bytes"),
}  # fmt: skip
_PERCENT = ("share", "ratio", "score", "number")


def check(
    expression: Expression | str, schema: Mapping[str, Signal], *, open_names: tuple[str, ...] = OPEN
) -> list[Warning]:
    """Everything that can be known to be wrong with an expression.

    Args:
        expression: a tree, or the text, in which errors are then pointed at.
        schema: the columns by name, beside `DOCUMENT_FIELDS`.
        open_names: beginnings of names that may be used undeclared.

    Returns:
        What is allowed and probably not meant.

    Raises:
        UnknownColumnError: with the nearest names.
        ColumnTypeError, UnitMismatchError: a comparison that makes no sense.
        UnreachableRuleError: a comparison no value can meet, or comparisons that exclude each other.
    """
    text = expression if isinstance(expression, str) else render(expression)
    checker = _Checker(text, {**DOCUMENT_FIELDS, **schema}, open_names)
    return checker.check(parse(text))


@dataclass
class _Checker:
    text: str
    schema: Mapping[str, Signal]
    open_names: tuple[str, ...]

    def check(self, tree: Expression) -> list[Warning]:
        for atom in atoms(tree):
            self.types(atom)
        for atom in atoms(tree):
            self.units(atom)
        try:
            return self.reach(tree)
        except TooManyAlternativesError:
            return [Warning("unchecked", self.text, "too many alternatives to look for contradictions")]

    def fail(self, kind: type[ValueError], message: str, place: tuple[int, int]) -> NoReturn:
        raise kind(f"{message}\n{pointed(self.text, place)}")

    def signal(self, name: str, place: tuple[int, int]) -> Signal:
        if name in self.schema:
            return self.schema[name]
        if name == "metadata" or name.startswith(self.open_names):
            return Signal(name, ANY, "", "", "number", low=None)
        return self.unknown(name, place)

    def unknown(self, name: str, place: tuple[int, int]) -> NoReturn:
        near = difflib.get_close_matches(name, self.schema, n=3, cutoff=0.6)
        ends = [known for known in self.schema if known.rpartition("__")[2] == name.rpartition("__")[2]]
        near = list(dict.fromkeys([*near, *ends]))[:3]
        known = ", ".join(sorted(self.schema)[:20])
        hint = f"did you mean {' or '.join(near)}?" if near else f"there are: {known}"
        self.fail(UnknownColumnError, f"there is no column {name!r}; {hint}", place)

    def types(self, atom: Comparison | Membership | Presence | Flag) -> None:
        if isinstance(atom, Presence | Flag):
            kind = _kind(self.signal(atom.column, atom.place).dtype)
            if isinstance(atom, Flag) and kind not in ("flag", "any"):
                self.fail(ColumnTypeError, f"{atom.column!r} is {_SAID[kind]}: compare it with something", atom.place)
            return
        signal = self.signal(atom.left.column, atom.left.place)
        kind = _kind(signal.dtype)
        if atom.left.function:
            if kind not in ("spans", "any"):
                message = f"{atom.left.function}(…) takes a column of spans, {signal.name!r} is {_SAID[kind]}"
                self.fail(ColumnTypeError, message, atom.left.place)
            kind = "number"
        elif kind == "spans":
            message = f"{signal.name!r} holds spans: compare count({signal.name}) or max_score({signal.name})"
            self.fail(ColumnTypeError, message, atom.left.place)
        values = (atom.right,) if isinstance(atom, Comparison) else atom.values
        ordered = isinstance(atom, Comparison) and atom.operator not in ("==", "!=")
        for value in values:
            got = usage_of(value.value)
            if ordered and got != "number":
                self.fail(ColumnTypeError, f"{_SAID[got]} has no order: use == or !=", value.place)
            if kind not in (got, "any"):
                message = f"{render_measure(atom.left)} is {_SAID[kind]}, {render_literal(value)} is {_SAID[got]}"
                self.fail(ColumnTypeError, message, value.place)

    def units(self, atom: Comparison | Membership | Presence | Flag) -> None:
        if isinstance(atom, Presence | Flag):
            return
        signal = self.signal(atom.left.column, atom.left.place)
        unit = {"": signal.unit, "count": "spans"}.get(atom.left.function, "score")
        for value in (atom.right,) if isinstance(atom, Comparison) else atom.values:
            self.unit(atom.left, unit, value)

    def unit(self, left: Measure, unit: str, value: Constant) -> None:
        written = value.unit
        if not written or (written == "%" and unit in _PERCENT):
            return
        name = "%" if written == "%" else _UNITS.get(written, written)
        if name != unit:
            takes = "%" if unit in ("share", "ratio", "score") else "none" if unit in ("number", "flag") else unit
            message = f"{render_measure(left)} is measured in {unit} (unit to write: {takes}), not in {name!r}"
            self.fail(UnitMismatchError, message, value.place)

    def bounds(self, measure: Measure) -> Bounds:
        signal = self.signal(measure.column, measure.place)
        if measure.function == "count":
            return Bounds(0, math.inf, whole=True)
        kind = _kind(signal.dtype)
        declared = kind != "any"
        if kind == "flag":
            return Bounds(0, 1, whole=True, optional=False)
        low = -math.inf if signal.low is None else signal.low
        high = math.inf if signal.high is None else signal.high
        plain = not measure.function
        return Bounds(low, high, pa.types.is_integer(signal.dtype) and plain, optional=not (declared and plain))

    def reach(self, tree: Expression) -> list[Warning]:
        warnings: list[Warning] = []
        for atom in atoms(tree):
            if not satisfiable(atom, self.bounds):
                self.fail(UnreachableRuleError, f"no document can meet this: {self.limits(atom)}", atom.place)
            if not isinstance(atom, Presence) and not satisfiable(_differently(atom), self.bounds):
                message = f"every document that has the value meets this: {self.limits(atom)}"
                warnings.append(Warning("always", render(atom), f"{message}\n{pointed(self.text, atom.place)}"))
        if sum(1 for _ in atoms(tree)) > MOST_JOINED:
            raise TooManyAlternativesError
        warnings += self.joined(tree)
        if not warnings and tautology(tree, self.bounds):
            warnings.append(Warning("always", self.text, "every document meets this rule"))
        return warnings

    def joined(self, tree: Expression) -> list[Warning]:
        """Contradictions and idle parts, innermost first, so that the smallest place is pointed at."""
        if isinstance(tree, Not):
            found = self.joined(tree.body)
            if not satisfiable(tree, self.bounds):
                self.fail(UnreachableRuleError, "this never holds: what is negated holds for all documents", tree.place)
            return found
        if not isinstance(tree, And | Or):
            return []
        found = [warning for part in tree.parts for warning in self.joined(part)]
        if not satisfiable(tree, self.bounds):
            self.fail(UnreachableRuleError, "these exclude each other: no document can meet them all", tree.place)
        for number, part in enumerate(tree.parts):
            others = tree.parts[:number] + tree.parts[number + 1 :]
            rest = And((*others, Not(part))) if isinstance(tree, And) else And((part, *map(Not, others)))
            if not tautology(part, self.bounds) and not satisfiable(rest, self.bounds):
                word = "and" if isinstance(tree, And) else "or"
                message = f"this part changes nothing beside the others joined by {word!r}"
                found.append(Warning("redundant", render(part), f"{message}\n{pointed(self.text, part.place)}"))
                break
        return found

    def limits(self, atom: Comparison | Membership | Presence | Flag) -> str:
        """What is known of the measure, for a message."""
        if isinstance(atom, Presence | Flag):
            return f"{atom.column!r} always has a value"
        bounds = self.bounds(atom.left)
        low = "(-∞" if bounds.low == -math.inf else f"[{bounds.low:g}"
        high = "∞)" if bounds.high == math.inf else f"{bounds.high:g}]"
        whole = ", whole numbers" if bounds.whole else ""
        said = f"{render_measure(atom.left)} lies in {low}, {high}{whole}"
        value = atom.right.value if isinstance(atom, Comparison) else None
        if isinstance(value, float) and bounds.high == 1.0 and 1 < value <= 100:
            said += f" (did you mean {value:g}%?)"
        return said


_SAID: dict[str, str] = {"number": "a number", "text": "a text", "flag": "yes or no", "spans": "spans", "any": "any"}


def _differently(atom: Comparison | Membership | Flag) -> Expression:
    """Holds where the value is there and does not meet `atom`."""
    if isinstance(atom, Flag):
        return Comparison(Measure(atom.column), "==", Constant(False))
    if isinstance(atom, Membership):
        return Membership(atom.left, atom.values, not atom.negated)
    return Comparison(atom.left, OPPOSITE[atom.operator], atom.right)


def _kind(dtype: pa.DataType) -> Usage:
    if dtype == ANY:
        return "any"
    if pa.types.is_boolean(dtype):
        return "flag"
    if pa.types.is_integer(dtype) or pa.types.is_floating(dtype):
        return "number"
    if pa.types.is_list(dtype) or pa.types.is_large_list(dtype) or dtype == SPANS:
        return "spans"
    return "text"


def signals_of_schema(schema: pa.Schema) -> dict[str, Signal]:
    """The columns of a table of signals, from what their fields say about themselves."""
    found = {}
    for field in schema:
        about = {key.decode(): value.decode() for key, value in (field.metadata or {}).items()}
        low, high = about.get("low", ""), about.get("high", "")
        unit = about.get("unit") or {"text": "label", "flag": "flag", "spans": "spans"}.get(_kind(field.type), "number")
        found[field.name] = Signal(
            field.name, field.type, about.get("doc", ""), about.get("citation", ""), unit,  # type: ignore[arg-type]
            float(low) if low else None, float(high) if high else None, int(about.get("version", "1")),
        )  # fmt: skip
    return found
