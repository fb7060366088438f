"""Programs in sections: a heading such as `Facts:` on its own line, then one statement a line, remarks after `:::`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from glasshouse.symbolic.logic_programs.limits import Limits, ProgramError

_HEADING = re.compile(r"\s*([A-Za-z]+)\s*:\s*")
_FENCE = re.compile(r"\s*```\w*\s*")


class Line(NamedTuple):
    """A statement without its remark, and the number of its line."""

    number: int
    text: str

    @property
    def origin(self) -> str:
        """How an error names the line."""
        return f"line {self.number}"


def sections(text: str, required: Sequence[str], limits: Limits) -> Mapping[str, Sequence[Line]]:
    """Statements by heading, in order; a heading may come more than once. Lines before the first are put aside.

    Raises `ProgramError` when a required heading is missing or has no statement, or the text is too long.
    """
    if len(text) > limits.characters:
        raise ProgramError(f"the program has {len(text):,} characters; at most {limits.characters:,} are read")
    found: dict[str, list[Line]] = {}
    current = ""
    for number, line in enumerate(text.splitlines(), 1):
        if heading := _HEADING.fullmatch(line):
            current = heading.group(1)
            found.setdefault(current, [])
        elif current and (statement := line.split(":::")[0].strip()) and not _FENCE.fullmatch(line):
            found[current].append(Line(number, statement))
    for name in required:
        if not found.get(name):
            what = "has no statement" if name in found else "is missing"
            raise ProgramError(
                f"the section {name + ':'!r} {what}; the program has {', '.join(found) or 'no sections'}"
            )
    return found
