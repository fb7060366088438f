"""Tokens and a bounded cursor over them; every dialect is a recursive descent on this reader.

The only tokens are names that begin with a letter or digit (`rex`, `42.3billion`), variables (`$x`), numbers, and the
operators of the dialect. A dot between names, a quote, a bracket that the dialect does not list, or a name such as
`__import__` is refused here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from glasshouse.symbolic.logic_programs.limits import DEFAULT, Limits, ProgramError

_WORDS = r"(?P<variable>\$[^\W\d_]\w*)|(?P<number>\d+(?:\.\d+)?(?![\w.]))|(?P<name>(?:\d+\.)?[^\W_]\w*)"


class Token(NamedTuple):
    """One token; `kind` is `variable`, `number`, `name`, `symbol` or `end`."""

    kind: str
    text: str
    place: int


class Dialect:
    """The operators of a language; longer ones win."""

    def __init__(self, symbols: str) -> None:
        escaped = "|".join(re.escape(symbol) for symbol in sorted(symbols.split(), key=len, reverse=True))
        self.pattern = re.compile(rf"\s*(?:{_WORDS}|(?P<symbol>{escaped}))")


class Reader:
    """A cursor over the tokens of one text that counts the nodes it makes and how deep it is."""

    def __init__(self, text: str, dialect: Dialect, limits: Limits = DEFAULT, *, origin: str = "") -> None:
        if len(text) > limits.characters:
            raise ProgramError(f"the text has {len(text):,} characters; at most {limits.characters:,} are read")
        self.text, self.limits, self.origin = text, limits, origin
        self.tokens = list(self._tokens(dialect))
        self.at, self.depth, self.nodes = 0, 0, 0

    def _tokens(self, dialect: Dialect) -> Iterator[Token]:
        place, end = 0, len(self.text.rstrip())
        while place < end:
            found = dialect.pattern.match(self.text, place)
            if found is None:
                raise self.error(f"{self.text[place:].lstrip()[:1]!r} does not belong to the language", place)
            kind = str(found.lastgroup)
            token = Token(kind, found.group(kind), found.start(kind))
            if kind == "number" and len(token.text) > self.limits.digits:
                raise self.error(f"a number of {len(token.text)} digits (limit {self.limits.digits})", token.place)
            yield token
            place = found.end()
        yield Token("end", "", end)

    def error(self, problem: str, place: int | None = None) -> ProgramError:
        """A refusal that names the line and shows the text around the place."""
        place = self.tokens[self.at].place if place is None else place
        around = self.text[max(0, place - 20) : place + 20].strip()
        return ProgramError(f"{self.origin}{': ' if self.origin else ''}{problem} (at character {place}: {around!r})")

    @property
    def token(self) -> Token:
        """The next token, not taken."""
        return self.tokens[self.at]

    def accept(self, *symbols: str) -> str | None:
        """Take the next token when it is one of these operators or words."""
        token = self.token
        if token.kind in ("symbol", "name") and token.text in symbols:
            self.at += 1
            return token.text
        return None

    def expect(self, symbol: str) -> None:
        """Take this operator or refuse."""
        if not self.accept(symbol):
            raise self.error(f"expected {symbol!r}, found {self.token.text or 'the end'!r}")

    def take(self, *kinds: str) -> Token:
        """Take a token of one of these kinds or refuse."""
        token = self.token
        if token.kind not in kinds:
            raise self.error(f"expected a {' or a '.join(kinds)}, found {token.text or 'the end'!r}")
        self.at += 1
        return token

    def finish(self) -> None:
        """Everything has to be read."""
        if self.token.kind != "end":
            raise self.error(f"{self.token.text!r} was not expected here")

    def count(self) -> None:
        """One more node of the tree."""
        self.nodes += 1
        if self.nodes > self.limits.nodes:
            raise self.error(f"more than {self.limits.nodes:,} nodes")

    @contextmanager
    def nested(self) -> Iterator[None]:
        """One level deeper."""
        self.depth += 1
        if self.depth > self.limits.depth:
            raise self.error(f"nested more than {self.limits.depth} deep")
        yield
        self.depth -= 1
