"""Programs made of programs: one after another, side by side, over the pieces of a long text, one of several."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from glasshouse.symbolic.answers import Choice
from glasshouse.symbolic.program import Program
from glasshouse.symbolic.sym import Sym, lift


class Sequence(Program):
    """Each program's result is the next one's input."""

    def __init__(self, *programs: Program) -> None:
        self.programs = programs

    def forward(self, *inputs: Any) -> Any:
        """From the first program's inputs to the last one's result."""
        for program in self.programs:
            inputs = (program(*inputs),)
        return inputs[0]


class Parallel(Program):
    """All programs on the same inputs; a list of their results. A runtime with several workers runs them together."""

    def __init__(self, *programs: Program) -> None:
        self.programs = programs

    def forward(self, *inputs: Any) -> Sym:
        """The list of results, in the order of the programs."""
        return lift([program(*inputs) for program in self.programs])


class Stream(Program):
    """One program over the pieces of a text that is too long for it; a list of the results.

    A piece ends after white space where there is some in its second half. Each is a slice of the text in the graph, so
    a result leads back to the characters it came from.

    Args:
        program: what is done with each piece.
        characters: the longest piece.
        overlap: how many characters of the piece before stand at the start of a piece.
    """

    def __init__(self, program: Program, characters: int = 2000, overlap: int = 0) -> None:
        if not 0 <= overlap < characters // 2:
            raise ValueError(f"Stream takes 0 <= overlap < characters / 2, got overlap={overlap}, {characters=}")
        self.program, self.characters, self.overlap = program, characters, overlap

    def forward(self, *inputs: Any) -> Sym:
        """The results of the pieces of the first input, each with the other inputs beside it."""
        text, *rest = inputs
        cuts = self._cuts(text.value)
        pieces = [text[max(0, start - self.overlap) : end] for start, end in pairwise(cuts)]
        return lift([self.program(piece, *rest) for piece in pieces])

    def _cuts(self, text: str) -> list[int]:
        cuts = [0]
        room = self.characters - self.overlap
        while cuts[-1] + room < len(text):
            end = cuts[-1] + room
            halfway = cuts[-1] + room // 2
            breaks = [place for place in range(end, halfway, -1) if text[place - 1].isspace()]
            cuts.append(breaks[0] if breaks else end)
        return [*cuts, len(text)] if text else [0]


class Switch(Program):
    """The paper's Choice: an engine says which case fits, and that case's program runs.

    Args:
        cases: the program of each case, by the words that describe it.
        default: what runs when none fits; with none, the engine must choose one of the cases.
    """

    NEITHER = "none of these"

    def __init__(self, cases: Mapping[str, Program], default: Program | None = None) -> None:
        self.cases, self.default = dict(cases), default

    def forward(self, *inputs: Any) -> Any:
        """The chosen program's result. The choice is made while the graph is built, so it needs a runtime."""
        names = [*self.cases, *([self.NEITHER] if self.default else [])]
        chosen = inputs[0].sem.choose(names, as_=Choice(names)).value
        program = self.default if chosen == self.NEITHER and self.default else self.cases[chosen]
        return program(*inputs)
