"""Engines made of Python functions: test doubles, tools, and rules written by hand."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from glasshouse.symbolic.call import Call, Reply
from glasshouse.symbolic.errors import RefusalError
from glasshouse.symbolic.values import as_text


class FunctionEngine:
    """Answers with what a function returns: a `Reply`, or a value (for `text` calls, a text).

    Attributes:
        calls: the calls it was given, in order.
    """

    def __init__(self, function: Callable[[Call], Any], kinds: Iterable[str] = ("text",), name: str = "") -> None:
        self.name = name or getattr(function, "__name__", "function")
        self.kinds = frozenset(kinds)
        self.calls: list[Call] = []
        self._function = function

    def run(self, call: Call) -> Reply:
        """Call the function."""
        self.calls.append(call)
        found = self._function(call)
        return found if isinstance(found, Reply) else Reply(found, as_text(found), finish="stop")


class Rule(NamedTuple):
    """What to answer where a regular expression matches the operands as a whole.

    `pattern` is matched against the operands, joined by line breaks. `answer` is a template in which `\\1` stands for
    the first group, or a function of the match.
    """

    pattern: str
    answer: str | Callable[[re.Match[str]], Any]


class RuleEngine:
    """Answers by regular expressions, one list of rules per operation; the first that matches answers.

    Raises `RefusalError` where none does, so that another engine can.
    """

    def __init__(
        self, rules: Mapping[str, Sequence[Rule]], name: str = "rules", kinds: Iterable[str] = ("text",)
    ) -> None:
        self.name = name
        self.kinds = frozenset(kinds)
        self._rules = {
            op: [(re.compile(one.pattern, re.DOTALL), one.answer) for one in some] for op, some in rules.items()
        }

    def run(self, call: Call) -> Reply:
        """The first matching rule's answer."""
        given = "\n".join(as_text(value) for value in call.inputs)
        for pattern, answer in self._rules.get(call.op, ()):
            if found := pattern.fullmatch(given):
                value = found.expand(answer) if isinstance(answer, str) else answer(found)
                return Reply(value, as_text(value), model="rules", finish="stop")
        raise RefusalError(f"no rule of {self.name!r} for {call.op!r} matches {given!r:.200}")
