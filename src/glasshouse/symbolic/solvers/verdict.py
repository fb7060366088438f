"""What a logic solver answers, with the evidence for it, and the evidence as JSON data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from glasshouse.symbolic.logic_programs.tree import Literal
from glasshouse.symbolic.solvers.proofs import Interpretation, Proof


@dataclass(frozen=True, slots=True)
class Verdict:
    """True: it follows. False: its denial follows. None: neither, or it was not decided.

    Attributes:
        solver: who answered.
        proof: the steps to the goal, or to its denial.
        world: a closed world in which neither the goal nor its denial holds.
        models: an interpretation in which the goal is false, and one in which it is true.
        contradiction: the premises contradict each other on the goal; everything follows from them.
        undecided: the solver gave up; why.
    """

    answer: bool | None
    solver: str
    proof: Proof | None = None
    world: frozenset[Literal] | None = None
    models: tuple[Interpretation, ...] = ()
    contradiction: bool = False
    undecided: str = ""

    def evidence(self) -> dict[str, Any]:
        """Everything that shows the answer, as data that JSON can hold."""
        data: dict[str, Any] = {"solver": self.solver}
        if self.proof is not None:
            data["proof"] = [[str(step.literal), step.rule, list(step.premises)] for step in self.proof]
        if self.world is not None:
            data["world"] = sorted(map(str, self.world))
        if self.models:
            data["models"] = [interpretation_data(model) for model in self.models]
        if self.contradiction:
            data["contradiction"] = True
        if self.undecided:
            data["undecided"] = self.undecided
        return data


def interpretation_data(model: Interpretation) -> dict[str, Any]:
    """An interpretation as JSON data."""
    return {
        "size": model.size,
        "constants": {constant.name: thing for constant, thing in sorted(model.constants.items(), key=str)},
        "true": [[name, list(things)] for name, things in sorted(model.true)],
    }
