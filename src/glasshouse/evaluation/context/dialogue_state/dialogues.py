"""Dialogues in which a user asks for something: turns, the state after each, and the schema of what can be asked."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

State = Mapping[str, str]
"""Slot -> value."""
Gold = Mapping[str, tuple[str, ...]]
"""Slot -> the values that count as right; the first one is written."""


@dataclasses.dataclass(frozen=True)
class Slot:
    """Something that can be asked for, such as `hotel-area`.

    Attributes:
        domain: the service it belongs to.
        values: the values of a categorical slot; empty where any text may stand.
    """

    name: str
    description: str
    domain: str
    values: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Turn:
    """What the system said, what the user then said, and the state after that.

    Attributes:
        requested: slots whose value the user asks to be told; they are no part of the state.
    """

    system: str
    user: str
    state: Gold
    requested: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Dialogue:
    """Turns, and the slots of the domains that the dialogue is about."""

    id: str
    turns: tuple[Turn, ...]
    schema: tuple[Slot, ...]


REMOVED = "none"
"""The value by which an update takes a slot out of the state; a deviation, since no form of the paper can say it."""


def gold_update(before: Gold, turn: Turn) -> dict[str, str]:
    """What a turn changes: slots whose right values are not those of before.

    Data sets widen the values that count as right when the system repeats a value in its own words; that is no change.
    """
    changed = {slot: values[0] for slot, values in turn.state.items() if not _still_right(before.get(slot), values)}
    return changed | {slot: REMOVED for slot in before if slot not in turn.state}


def _still_right(before: tuple[str, ...] | None, after: tuple[str, ...]) -> bool:
    return before is not None and set(before) <= set(after)


def apply_update(before: State, update: Mapping[str, str]) -> dict[str, str]:
    """The state after an update: overwritten, `none` taken out, questions (`?`) left out."""
    after = {**before, **{slot: value for slot, value in update.items() if value != "?"}}
    return {slot: value for slot, value in after.items() if value != REMOVED}


def written(state: Gold) -> dict[str, str]:
    """The state as it is shown: of every slot the first value."""
    return {slot: values[0] for slot, values in state.items()}


def states_before(turns: Sequence[Turn]) -> list[Gold]:
    """The gold state before every turn."""
    return [{}, *(turn.state for turn in turns[:-1])] if turns else []
