"""An algebra of "good" ["Transforming and Combining Rewards", 2402.00742].

`Good("helpful")` is the event that a response beats the reference of its prompt on one property; its probability is
sigma(r - r_ref). Properties are judged independently given prompt and response, so

    a & b    p = p_a p_b                       log p = sum of log sigma(r_i - r_i^ref)    (the paper's sum)
    a | b    p = 1 - (1 - p_a)(1 - p_b)
    ~a       p = 1 - p_a                       log p = log sigma(r_ref - r)

Utilities that are no events stand beside them: `Reward` with any transform, `Weighted` sums, the `Worst` of several,
and a transform `AfterSum`, the order the paper argues against. `combination.utility` computes them.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator

from glasshouse.alignment.transforms import AS_IT_IS, LSC, PERCENTILE_85, Reference, RewardError, Transform


class Event:
    """Something that a response is or is not, with a probability; `&`, `|` and `~` make new events."""

    def __and__(self, other: Event) -> And:
        return And((self, other))

    def __or__(self, other: Event) -> Or:
        return Or((self, other))

    def __invert__(self) -> Not:
        return Not(self)


@dataclasses.dataclass(frozen=True)
class Good(Event):
    """The response beats the reference of its prompt on a property."""

    property: str
    reference: Reference = PERCENTILE_85


@dataclasses.dataclass(frozen=True)
class And(Event):
    """All of them."""

    parts: tuple[Event, ...]

    def __post_init__(self) -> None:
        _checked_parts(self)


@dataclasses.dataclass(frozen=True)
class Or(Event):
    """At least one of them."""

    parts: tuple[Event, ...]

    def __post_init__(self) -> None:
        _checked_parts(self)


@dataclasses.dataclass(frozen=True)
class Not(Event):
    """Not so."""

    part: Event


@dataclasses.dataclass(frozen=True)
class Reward:
    """A reward with a transform, as it is by default."""

    property: str
    transform: Transform = AS_IT_IS


@dataclasses.dataclass(frozen=True)
class AfterSum:
    """A transform of the plain sum of rewards."""

    properties: tuple[str, ...]
    transform: Transform = LSC

    @property
    def name(self) -> str:
        return " + ".join(self.properties)


@dataclasses.dataclass(frozen=True)
class Weighted:
    """A weighted sum of utilities: (weight, utility) pairs."""

    parts: tuple[tuple[float, Expression], ...]

    def __post_init__(self) -> None:
        if not self.parts or not all(math.isfinite(weight) for weight, _ in self.parts):
            raise RewardError(f"a weighted sum takes one part or more with finite weights, got {self.parts!r}")


@dataclasses.dataclass(frozen=True)
class Worst:
    """The least of several utilities."""

    parts: tuple[Expression, ...]

    def __post_init__(self) -> None:
        if not self.parts:
            raise RewardError("the worst of no utilities: give one or more")


Expression = Event | Reward | AfterSum | Weighted | Worst


def total(*parts: Expression) -> Weighted:
    """The plain sum of utilities."""
    return Weighted(tuple((1.0, part) for part in parts))


def leaves(expression: Expression) -> Iterator[Good | Reward | AfterSum]:
    """The rewards an expression is made of."""
    match expression:
        case Good() | Reward() | AfterSum():
            yield expression
        case Not(part):
            yield from leaves(part)
        case And(parts) | Or(parts):
            yield from (leaf for event in parts for leaf in leaves(event))
        case Worst(several):
            yield from (leaf for one in several for leaf in leaves(one))
        case Weighted(weighted):
            yield from (leaf for _, one in weighted for leaf in leaves(one))
        case _:
            raise RewardError(f"{expression!r} is no utility: write Good('helpful'), Reward('helpful'), …")


def properties(expression: Expression) -> tuple[str, ...]:
    """Names of the scores an expression needs, each once."""
    found = (leaf.properties if isinstance(leaf, AfterSum) else (leaf.property,) for leaf in leaves(expression))
    return tuple(dict.fromkeys(name for names in found for name in names))


def _checked_parts(event: And | Or) -> None:
    if not event.parts:
        raise RewardError(f"{type(event).__name__} of no events: give one or more")
    if others := [part for part in event.parts if not isinstance(part, Event)]:
        raise RewardError(f"{others[0]!r} has no probability: & and | take events such as Good({'helpful'!r})")
    names = [leaf.property for leaf in leaves(event) if isinstance(leaf, Good)]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise RewardError(f"{twice[0]!r} stands twice in {event}: its events are taken as independent, write it once")
