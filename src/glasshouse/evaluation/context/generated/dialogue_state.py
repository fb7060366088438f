"""Generated dialogues whose state is known: somebody looks for a hotel, a table, or a ride.

In a turn the user gives a slot a value, changes one, asks to be told something, or only thanks. `distractors` are
values that are named and not wanted ("not the north"), `distance` is the number of turns of small talk in between.
"""

from __future__ import annotations

from glasshouse.evaluation.context.dialogue_state.dialogues import Dialogue, Slot, Turn
from glasshouse.evaluation.context.generated.names import Difficulty, Draw, Split

_AREAS = ("north", "south", "east", "west")
_DAYS = ("monday", "tuesday", "friday", "sunday")
_NUMBERS = ("two", "three", "four", "five")
SCHEMAS: dict[str, tuple[Slot, ...]] = {
    "hotel": (
        Slot("hotel-area", "part of town", "hotel", _AREAS),
        Slot("hotel-day", "day of arrival", "hotel", _DAYS),
        Slot("hotel-name", "name of the hotel", "hotel"),
    ),
    "table": (
        Slot("table-area", "part of town", "table", _AREAS),
        Slot("table-day", "day of the meal", "table", _DAYS),
        Slot("table-people", "number of people", "table", _NUMBERS),
    ),
    "ride": (
        Slot("ride-from", "place to start from", "ride"),
        Slot("ride-to", "place to go to", "ride"),
        Slot("ride-day", "day of the ride", "ride", _DAYS),
    ),
}
_ASKED = {
    "area": "where", "day": "on what day", "name": "at which house", "people": "for how many", "from": "from where",
    "to": "to where",
}  # fmt: skip
_WORDS = {
    "area": ("in the {value}", "somewhere in the {value}"),
    "day": ("on {value}", "it is for {value}"),
    "name": ("at the {value}", "the {value} please"),
    "people": ("for {value} of us", "we are {value}"),
    "from": ("from {value}", "I start in {value}"),
    "to": ("to {value}", "I go to {value}"),
}
_SMALL_TALK = (
    ("Anything else ?", "It is a fine day ."),
    ("Is that all ?", "I like this town ."),
    ("Good .", "Thank you ."),
)


def generate_dialogues(
    count: int, split: Split = "test", difficulty: Difficulty | None = None, seed: int = 0
) -> tuple[Dialogue, ...]:
    """Dialogues of a domain each; those of a part share no name with those of the other."""
    dial = difficulty or Difficulty()
    return tuple(draw_dialogue(number, split, dial, seed) for number in range(count))


def draw_dialogue(number: int, split: Split, difficulty: Difficulty, seed: int) -> Dialogue:
    """The dialogue of a number."""
    draw = Draw(seed, "dialogue_state", split, number)
    domain = draw.one(list(SCHEMAS))
    slots = SCHEMAS[domain]
    order = draw.several(slots, len(slots))
    changed = draw.one(order)
    state: dict[str, tuple[str, ...]] = {}
    turns: list[Turn] = []
    for place, slot in enumerate([*order, changed]):
        kind = slot.name.partition("-")[2]
        value = _value(draw, slot, state.get(slot.name, ("",))[0])
        state = {**state, slot.name: (value,)}
        said = draw.one(_WORDS[kind]).format(value=value)
        others = [_value(draw, slot, value) for _ in range(difficulty.distractors if draw.chance(0.5) else 0)]
        unwanted = "".join(f" , not {other}" for other in dict.fromkeys(others))
        if place == 0:
            turns.append(Turn("", f"I want a {domain} , {said}{unwanted} .", state))
        elif place == len(order):
            turns.append(Turn(f"The {domain} is booked .", f"I changed my mind , {said}{unwanted} .", state))
        else:
            turns.append(Turn(f"A {domain} , {_ASKED[kind]} ?", f"{said}{unwanted} .", state))
        turns += [Turn(*draw.one(_SMALL_TALK), state) for _ in range(difficulty.distance if place == 0 else 0)]
    return Dialogue(f"{split}-{number}", tuple(turns), slots)


def _value(draw: Draw, slot: Slot, but: str) -> str:
    if slot.values:
        return draw.one([value for value in slot.values if value != but])
    return draw.name("place")
