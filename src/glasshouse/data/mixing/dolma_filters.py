"""Dolma's filters and span selectors (JSONPath and jq) as expressions, with the meaning Dolma 1.2.1 gives them.

Measured on Dolma 1.2.1's mixer with attributes that are missing, empty, null and of every type:

- a JSONPath comparison with a value that is not there is false, `!=` is true; so the guards of
  `@.a && @.a[0] && @.a[0][2] > x` change nothing, and all three together are `first_score(a) > x`;
- `@.a` holds for any value that is there, an empty list and `null` too (here `null` is missing), `!@.a` is its
  opposite;
- `$@.` is no JSONPath, but is read as `$.`;
- a list is neither equal to nor above a number or `true` (here a list of one span is its score: `span_as_number` is
  reported for such a rule);
- `$.a[?(…)]` holds for no document without `a`;
- in jq a missing value is `null`, and `null` is less than every number: `.a < x` holds where `a` is missing (what a
  path below a missing value does is told in `dolma_jq`);
- a jq comparison orders values of different types (a text is above every number); here a value of another type meets
  no comparison, and is counted.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import NamedTuple, NoReturn, cast

from glasshouse.data.mixing.dolma_jq import TooManyPathsError, truth
from glasshouse.data.mixing.expression import (
    OPPOSITE,
    And,
    Comparison,
    Constant,
    Expression,
    Measure,
    Not,
    Operator,
    Or,
    Presence,
    Value,
)  # fmt: skip
from glasshouse.data.mixing.fields import FIELDS
from glasshouse.data.mixing.parsing import unquoted

_TOKEN = re.compile(
    r"""\s+
    |(?P<number>-?(?:\d+(?:\.\d+)?|\.\d+)(?:[eE][-+]?\d+)?)
    |(?P<text>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
    |(?P<path>@?(?:\??(?:\.[A-Za-z_][\w-]*|\.?\[(?:\d+|"[^"]*"|'[^']*')\]))+\??|@|\.)
    |(?P<word>[A-Za-z_]+)
    |(?P<mark>&&|\|\||<=|>=|==|!=|[<>()!|])""",
    re.VERBOSE,
)
_STEP = re.compile(r"""\.?\[(?:(\d+)|"([^"]*)"|'([^']*)')\]|\.([A-Za-z_][\w-]*)""")
_SELECTOR = re.compile(rf"(?:\??(?:{_STEP.pattern}))+\??")
_ROOTED = re.compile(r"\$@?(?P<root>(?:\.[A-Za-z_][\w-]*)*)\[\?\((?P<condition>.*)\)\]\s*", re.DOTALL)
_PLAIN = re.compile(r"\$@?(?P<path>(?:\.[A-Za-z_][\w-]*)+)")
# The one conditional of published jq filters: a guarded look at the score of the first span.
_GUARDED = re.compile(
    r"""\(?\s*(?P<path>\.[\w.?]+)\s*\|\s*if\s+type\s*==\s*"array"\s+and\s+length\s*>\s*0\s+and\s+\.\[0\]\s*!=\s*null
    \s+and\s+\.\[0\]\[2\]\s*!=\s*null\s+then\s+\.\[0\]\[2\]\s*(?P<operator><=|>=|==|!=|<|>)\s*(?P<value>-?[\d.]+)
    \s+else\s+false\s+end\s*\)?""",
    re.VERBOSE,
)
_MAXIMUM_DEPTH = 40


class DolmaFilterError(ValueError):
    """A filter or selector of Dolma's that has no expression; the message quotes it."""


class _Token(NamedTuple):
    kind: str
    text: str


def from_jsonpath(text: str) -> Expression:
    """The expression of a JSONPath filter.

    `$.attributes[?(@.a && @.a[0] && @.a[0][2] > 0.5)]` is `first_score(a) > 0.5`.

    Raises:
        DolmaFilterError: it is no such filter, or looks at something that is neither a value nor a first span's score.
    """
    text = text.strip()
    rooted = _ROOTED.fullmatch(text)
    if rooted is not None:
        root = tuple(part for part in rooted["root"].split(".") if part)
        found = _Parser(rooted["condition"], text, root, jq=False).whole()
        guarded = (
            And((Presence(_name(root, text), missing=False), found)) if root not in ((), ("attributes",)) else found
        )
        return simplified(guarded)
    plain = _PLAIN.fullmatch(text)
    if plain is not None:
        return Presence(_name(tuple(plain["path"].split(".")[1:]), text), missing=False)
    raise DolmaFilterError(f"{text!r} is no filter of the form $.attributes[?(…)] or $.path")


def from_jq(text: str) -> Expression:
    """The expression of a jq filter made of paths, comparisons, `and`, `or`, `not` and parentheses.

    Raises:
        DolmaFilterError: for anything else of jq.
    """
    text = text.strip()
    guarded = _GUARDED.fullmatch(text)
    if guarded is not None:
        name = _name(_steps(guarded["path"], text)[0], text)
        operator = cast("Operator", guarded["operator"])
        return Comparison(Measure(name, "first_score"), operator, Constant(float(guarded["value"])))
    parser = _Parser(text, text, (), jq=True)
    try:
        return simplified(truth(parser.whole()))
    except TooManyPathsError as error:
        return parser.fail(str(error))


def spans_column(selector: str) -> str:
    """The column a selector means: `$.attributes.pii.email` or `.attributes?.pii?.email?` -> `pii.email`."""
    text = selector.strip()
    path = re.sub(r"^\$@?", "", text)
    if not _SELECTOR.fullmatch(path):
        raise DolmaFilterError(f"{selector!r} is no path such as $.attributes.name or .attributes?.name?")
    steps, indices = _steps(path, text)
    if indices:
        raise DolmaFilterError(f"{selector!r} selects one span: select the list")
    return _name(steps, text)


def _steps(path: str, text: str) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Names, then indices, of a path; names after an index are refused."""
    names: list[str] = []
    indices: list[int] = []
    for index, double, single, plain in _STEP.findall(path.replace("?", "").removeprefix("@")):
        if index:
            indices.append(int(index))
        elif indices:
            raise DolmaFilterError(f"{text!r}: a name after an index in {path!r} has no column")
        else:
            names.append(double or single or plain)
    return tuple(names), tuple(indices)


def _name(path: tuple[str, ...], text: str) -> str:
    """The column at a path from the row's root."""
    if any("`" in part or "\n" in part for part in path):
        raise DolmaFilterError(f"{text!r}: the name in {path!r} cannot be written as a column")
    if len(path) > 1 and path[0] == "attributes":
        return ".".join(path[1:])
    if path and (path[0] == "metadata" or (len(path) == 1 and path[0] in FIELDS)):
        return ".".join(path)
    raise DolmaFilterError(
        f"{text!r}: {'.'.join(path) or 'the row'!r} is no attribute, metadata or field of a document"
    )


class _Parser:
    """Conditions: `||` and `or`, `&&` and `and`, `!`, `not`, comparisons of a path with a literal, paths."""

    def __init__(self, condition: str, text: str, root: tuple[str, ...], *, jq: bool) -> None:
        self.text, self.root, self.jq = text, root, jq
        self.tokens: list[_Token] = []
        at = 0
        while at < len(condition):
            match = _TOKEN.match(condition, at)
            if match is None:
                raise DolmaFilterError(f"{text!r}: {condition[at : at + 12]!r} is not understood")
            if match.lastgroup:
                self.tokens.append(_Token(match.lastgroup, match[match.lastgroup]))
            at = match.end()
        self.tokens.append(_Token("end", ""))
        self.position = 0
        self.depth = 0

    def fail(self, message: str) -> NoReturn:
        shown = self.text if len(self.text) <= 200 else f"{self.text[:200]}…"
        raise DolmaFilterError(f"{shown!r}: {message}")

    @property
    def next(self) -> _Token:
        return self.tokens[self.position]

    def take(self) -> _Token:
        self.position += 1
        return self.tokens[self.position - 1]

    def whole(self) -> Expression:
        found = self.piped()
        if self.next.kind != "end":
            self.fail(f"{self.next.text!r} is not expected here")
        return found

    def piped(self) -> Expression:
        found = self.disjunction()
        while self.jq and self.next.text == "|":
            self.take()
            if self.take().text != "not":
                self.fail("only `| not` is understood after a pipe")
            found = _not(found)
        return found

    def disjunction(self) -> Expression:
        return self._joined("or" if self.jq else "||", Or, self.conjunction)

    def conjunction(self) -> Expression:
        return self._joined("and" if self.jq else "&&", And, self.negation)

    def _joined(self, mark: str, kind: type[And] | type[Or], part: Callable[[], Expression]) -> Expression:
        parts = [part()]
        while self.next.text == mark:
            self.take()
            parts.append(part())
        return parts[0] if len(parts) == 1 else kind(tuple(parts))

    def negation(self) -> Expression:
        if self.next.text not in ("(", *("!" if not self.jq else "")):
            return self.comparison()
        self.depth += 1
        if self.depth > _MAXIMUM_DEPTH:
            self.fail(f"nested more than {_MAXIMUM_DEPTH} deep")
        if self.take().text == "!":
            found = _not(self.negation())
        else:
            found = self.piped()
            if self.take().text != ")":
                self.fail("a ')' is missing")
        self.depth -= 1
        return found

    def comparison(self) -> Expression:
        left = self.take()
        if left.kind != "path":
            self.fail(f"expected a path, got {left.text!r}")
        names, indices = _steps(left.text, self.text)
        name = _name((*self.root, *names), self.text)
        if self.next.text not in ("<", "<=", ">", ">=", "==", "!="):
            return self.existence(name, indices)
        if indices not in ((), (0, 2)):
            self.fail(f"{left.text!r} looks at a place of a span other than the score of the first, `[0][2]`")
        measure = Measure(name, "first_score" if indices else "")
        operator = cast("Operator", self.take().text)
        if self.next.text == "null":
            self.take()
            return self.null(measure, operator)
        value = Constant(self.value())
        missing = operator == "!=" or (self.jq and operator in ("<", "<="))
        if missing and not (self.jq and measure.function):
            # True for what is missing: the opposite comparison is not met.
            return Not(Comparison(measure, OPPOSITE[operator], value))
        return Comparison(measure, operator, value)

    def null(self, measure: Measure, operator: str) -> Expression:
        if not self.jq or measure.function or operator not in ("==", "!="):
            self.fail("a comparison with null is only understood as `.path == null` or `!= null` in jq")
        return Presence(measure.column, operator == "==")

    def existence(self, name: str, indices: tuple[int, ...]) -> Expression:
        if self.jq:
            self.fail("a path on its own is true by its value's type in jq: write a comparison")
        if not indices:
            return Presence(name, missing=False)
        if indices in ((0,), (0, 2)):
            return Comparison(Measure(name, "count"), ">", Constant(0.0))
        return self.fail("looks at a span other than the first")

    def value(self) -> Value:
        token = self.take()
        if token.kind == "number" and math.isfinite(float(token.text)):
            return float(token.text)
        if token.kind == "text":
            try:
                return unquoted(token.text)
            except ValueError as error:
                self.fail(f"{token.text} is no text: {error}")
        if token.text in ("true", "false"):
            return token.text == "true"
        return self.fail(f"expected a number, a text, true or false, got {token.text!r}")


def _not(body: Expression) -> Expression:
    if isinstance(body, Presence):
        return Presence(body.column, not body.missing)
    return body.body if isinstance(body, Not) else Not(body)


def simplified(expression: Expression) -> Expression:
    """Without the guards a comparison implies: present, and has a span, where the first span's score is compared."""
    if isinstance(expression, Not):
        return Not(simplified(expression.body))
    if isinstance(expression, Or):
        return Or(tuple(simplified(part) for part in expression.parts))
    if not isinstance(expression, And):
        return expression
    parts = tuple(simplified(part) for part in expression.parts)
    compared = {part.left for part in parts if isinstance(part, Comparison)}
    kept = tuple(part for part in parts if not _implied(part, compared))
    return kept[0] if len(kept) == 1 else And(kept)


def _implied(part: Expression, compared: set[Measure]) -> bool:
    if isinstance(part, Presence) and not part.missing:
        return any(f"{measure.column}.".startswith(f"{part.column}.") for measure in compared)
    guard = isinstance(part, Comparison) and part.left.function == "count" and part.operator == ">"
    return guard and Measure(part.left.column, "first_score") in compared  # type: ignore[union-attr]
