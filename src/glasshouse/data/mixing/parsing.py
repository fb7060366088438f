"""Text to a tree: a tokeniser and a recursive descent, nothing is ever evaluated as code.

expression  = conjunction { "or" conjunction }
conjunction = negation { "and" negation }
negation    = "not" negation | "(" expression ")" | atom
atom        = measure operator value | value operator measure | measure ["not"] "in" "(" value { "," value } ")"
            | name "is" ("missing" | "present") | name
measure     = name | ("count" | "first_score" | "max_score" | "min_score") "(" name ")"
value       = number [ "%" | unit ] | "text" | 'text' | true | false
name        = letters, digits, "_" and dots, or anything between backquotes
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from typing import NamedTuple, NoReturn, cast

from glasshouse.data.mixing.expression import (
    FUNCTIONS,
    KEYWORDS,
    And,
    Comparison,
    Constant,
    Expression,
    Flag,
    Measure,
    Membership,
    Not,
    Operator,
    Or,
    Place,
    Presence,
    scaled,
    usage_of,
)  # fmt: skip

_TOKEN = re.compile(
    r"""(?P<space>\s+)
    |(?P<number>[-+]?(?:\d[\d_]*(?:\.\d+)?|\.\d+)(?:[eE][-+]?\d+)?)(?P<percent>\s*%)?
    |(?P<text>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')
    |(?P<quoted>`[^`\n]+`)
    |(?P<name>[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)
    |(?P<operator><=|>=|==|!=|<|>)
    |(?P<mark>[(),])""",
    re.VERBOSE,
)
_FLIPPED: dict[str, Operator] = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "==": "==", "!=": "!="}
_NEAR_OPERATORS = {
    "=": "==", "&&": "and", "||": "or", "&": "and", "|": "or", "!": "not", "<>": "!=", "=>": ">=", "≥": ">=", "≤": "<=",
    "≠": "!=",
}  # fmt: skip
MAXIMUM_DEPTH = 100


class ExpressionSyntaxError(ValueError):
    """A text that is no expression; the message shows the place with a caret."""


class _Token(NamedTuple):
    kind: str
    text: str
    start: int
    end: int


def pointed(text: str, place: Place) -> str:
    """The line of `text` with carets under a place."""
    start, end = place
    begin = text.rfind("\n", 0, start) + 1
    stop = text.find("\n", start)
    line = text[begin:] if stop < 0 else text[begin:stop]
    width = max(1, min(end, begin + len(line)) - start)
    return f"  {line}\n  {' ' * (start - begin)}{'^' * width}"


def parse(text: str) -> Expression:
    """The tree of an expression. Raises `ExpressionSyntaxError` with a caret under the place."""
    parser = _Parser(text)
    found = parser.expression(0)
    parser.at_end()
    return found


class _Parser:
    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = self._tokens()
        self.position = 0

    def _tokens(self) -> list[_Token]:
        found, at = [], 0
        while at < len(self.text):
            match = _TOKEN.match(self.text, at)
            if match is None:
                self._bad_character(at)
            kind = cast(str, match.lastgroup)
            if kind == "percent":
                found.append(_Token("number", match["number"] + "%", at, match.end()))
            elif kind != "space":
                found.append(_Token(kind, match[kind], at, match.end()))
            at = match.end()
        return [*found, _Token("end", "the end", len(self.text), len(self.text))]

    def _bad_character(self, at: int) -> NoReturn:
        for wrong in sorted(_NEAR_OPERATORS, key=len, reverse=True):
            if self.text.startswith(wrong, at):
                self.fail(f"write {_NEAR_OPERATORS[wrong]!r} instead of {wrong!r}", (at, at + len(wrong)))
        if self.text[at] in "\"'`":
            self.fail("this quotation has no end", (at, at + 1))
        self.fail(f"{self.text[at]!r} has no meaning here", (at, at + 1))

    def fail(self, message: str, place: Place) -> NoReturn:
        raise ExpressionSyntaxError(f"{message}\n{pointed(self.text, place)}")

    @property
    def next(self) -> _Token:
        return self.tokens[self.position]

    def take(self) -> _Token:
        self.position += 1
        return self.tokens[self.position - 1]

    def is_word(self, *words: str) -> bool:
        return self.next.kind == "name" and self.next.text in words

    def at_end(self) -> None:
        if self.next.kind == "end":
            return
        place = (self.next.start, self.next.end)
        if self.next.kind in ("operator", "number", "text"):
            self.fail("one comparison at a time: join two with 'and' or 'or'", place)
        self.fail(f"expected 'and', 'or' or the end, got {self.next.text!r}", place)

    def expression(self, depth: int) -> Expression:
        return self._joined("or", Or, lambda: self._joined("and", And, lambda: self.negation(depth)))

    def _joined(self, word: str, kind: type[And] | type[Or], part: Callable[[], Expression]) -> Expression:
        start, parts = self.next.start, [part()]
        while self.is_word(word):
            self.take()
            parts.append(part())
        if len(parts) == 1:
            return parts[0]
        return kind(tuple(parts), place=(start, self.tokens[self.position - 1].end))

    def negation(self, depth: int) -> Expression:
        if depth > MAXIMUM_DEPTH:
            self.fail(f"nested more than {MAXIMUM_DEPTH} deep", (self.next.start, self.next.end))
        start = self.next.start
        if self.is_word("not"):
            self.take()
            body = self.negation(depth + 1)
            return Not(body, place=(start, self.tokens[self.position - 1].end))
        if self.next.kind == "mark" and self.next.text == "(":
            opening = self.take()
            inner = self.expression(depth + 1)
            if self.next.text != ")":
                self.fail(f"expected ')' for this '(', got {self.next.text!r}", (opening.start, opening.end))
            self.take()
            return inner
        return self.atom()

    def atom(self) -> Expression:
        start = self.next.start
        if self.next.kind in ("number", "text") or self.is_word("true", "false"):
            value = self.constant()
            if self.next.kind != "operator":
                self.fail("a value on its own is no condition: compare it with a column", value.place)
            operator = _FLIPPED[self.take().text]
            return Comparison(self.measure(), operator, value, place=(start, self.tokens[self.position - 1].end))
        left = self.measure()
        if self.next.kind == "operator":
            comparison = cast("Operator", self.take().text)
            return Comparison(left, comparison, self.constant(), place=(start, self.tokens[self.position - 1].end))
        if self.is_word("in") or (self.is_word("not") and self.tokens[self.position + 1].text == "in"):
            return self.membership(left, start)
        if left.function:
            self.fail(f"{left.function}(…) is a number: compare it with one", left.place)
        if self.is_word("is"):
            return self.presence(left, start)
        return Flag(left.column, place=left.place)

    def presence(self, left: Measure, start: int) -> Expression:
        self.take()
        word = self.take()
        if word.text not in ("missing", "present"):
            self.fail("expected 'is missing' or 'is present'", (word.start, max(word.end, word.start + 1)))
        return Presence(left.column, word.text == "missing", place=(start, word.end))

    def membership(self, left: Measure, start: int) -> Expression:
        negated = self.take().text == "not"
        if negated:
            self.take()
        if self.next.text != "(":
            self.fail("expected '(' and the values after 'in'", (self.next.start, self.next.end))
        self.take()
        values = [self.constant()]
        while self.next.text == ",":
            self.take()
            if self.next.text == ")":
                break
            values.append(self.constant())
        closing = self.take()
        if closing.text != ")":
            self.fail(f"expected ',' or ')', got {closing.text!r}", (closing.start, closing.end))
        for value in values:
            if usage_of(value.value) != usage_of(values[0].value):
                self.fail("the values of a list must be of one type", value.place)
        return Membership(left, tuple(values), negated, place=(start, closing.end))

    def measure(self) -> Measure:
        token = self.take()
        place = (token.start, max(token.end, token.start + 1))
        if token.kind == "quoted":
            return Measure(token.text[1:-1], place=place)
        if token.kind != "name" or token.text in KEYWORDS:
            self.fail(f"expected the name of a column, got {token.text!r}", place)
        if self.next.text != "(" or self.next.kind != "mark":
            return Measure(token.text, place=place)
        if token.text not in FUNCTIONS:
            self.fail(f"there is no function {token.text!r}: there are {', '.join(FUNCTIONS)}", place)
        self.take()
        if self.tokens[self.position + 1].text == "(" and self.next.kind == "name":
            self.fail(f"{token.text}(…) takes the name of one column", (self.next.start, self.next.end))
        inner = self.measure()
        closing = self.take()
        if closing.text != ")":
            self.fail(f"{token.text}(…) takes the name of one column", inner.place)
        return Measure(inner.column, token.text, place=(token.start, closing.end))

    def constant(self) -> Constant:
        token = self.take()
        place = (token.start, max(token.end, token.start + 1))
        if token.kind == "text":
            return Constant(self._unquoted(token), place=place)
        if token.kind == "name" and token.text in ("true", "false"):
            return Constant(token.text == "true", place=place)
        if token.kind != "number":
            hint = f': text is written in quotation marks, "{token.text}"' if token.kind == "name" else ""
            self.fail(f"expected a number, a text or true/false, got {token.text!r}{hint}", place)
        percent = token.text.endswith("%")
        written = float(token.text.rstrip("% \t\n").replace("_", ""))
        if not math.isfinite(written):
            self.fail("the number is too large", place)
        unit = "%" if percent else ""
        if not percent and self.next.kind == "name" and self.next.text not in (*KEYWORDS, *FUNCTIONS):
            following = self.take()
            unit, place = following.text, (token.start, following.end)
        return Constant(scaled(written, unit), unit, place=place)

    def _unquoted(self, token: _Token) -> str:
        try:
            return unquoted(token.text)
        except ValueError as error:
            self.fail(f"not a text: {error}", (token.start, token.end))


def unquoted(written: str) -> str:
    """The text that is written in quotation marks, double or single, with JSON's escapes. Raises `ValueError`."""
    inner = written[1:-1]
    if written[0] == "'":
        inner = re.sub(r'\\(.)|(")', lambda m: m[1] if m[1] == "'" else '\\"' if m[2] else m[0], inner)
    try:
        found = str(json.loads(f'"{inner}"'))
        found.encode()
    except json.JSONDecodeError as error:
        raise ValueError(error.msg) from None
    except UnicodeEncodeError:
        raise ValueError("half of a surrogate pair") from None
    return found
