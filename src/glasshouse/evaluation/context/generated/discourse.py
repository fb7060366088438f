"""Generated discourse relations: two sentences whose relation follows from both.

A scene has two beginnings that are each other's opposite, an outcome that follows from each, a thing done next, and a
detail of each beginning. An outcome after the beginning that leads to it is Contingency, after the other Comparison;
what is done next is Temporal, a detail Expansion. So a cause and a contrast cannot be told by one sentence alone.
`distractors` adds people who are named and play no part, `distance` clauses at the end of the first sentence.
"""

from __future__ import annotations

from typing import NamedTuple

from glasshouse.evaluation.context.discourse.relations import SENSES, Relation, Sense
from glasshouse.evaluation.context.generated.names import Difficulty, Draw, Split


class Scene(NamedTuple):
    """Beginnings, their outcomes, what is done next, and details, in the same order."""

    beginnings: tuple[str, str]
    outcomes: tuple[str, str]
    next: str
    details: tuple[str, str]


SCENES = (
    Scene(
        ("{name} studied all week", "{name} did not study at all"),
        ("{She} passed the test", "{She} failed the test"),
        "{She} put the books away and went to bed",
        ("{She} read every chapter twice", "{She} opened none of the books"),
    ),
    Scene(
        ("{name} watered the plants", "{name} forgot the plants"),
        ("They grew tall", "They dried up"),
        "{She} locked the garden and drove home",
        ("Each of them got a whole can", "Not one of them got a drop"),
    ),
    Scene(
        ("{name} took the early train", "{name} missed the early train"),
        ("{She} was at work on time", "{She} was late for work"),
        "{She} read the paper at the station",
        ("It was the six o'clock to {place}", "The doors closed just before {her} eyes"),
    ),
    Scene(
        ("{name} repaired the roof", "{name} left a hole in the roof"),
        ("The house stayed dry", "The house was full of water"),
        "{She} carried the ladder back to {place}",
        ("{She} laid forty new tiles", "It was as wide as a door"),
    ),
    Scene(
        ("{name} trained every day", "{name} never trained"),
        ("{She} won the race", "{She} came in last"),
        "{She} took a bath and called a friend",
        ("{She} ran ten miles each morning", "{Her} shoes were still in the box"),
    ),
    Scene(
        ("{name} locked the shop", "{name} left the shop open"),
        ("Nothing was stolen", "Everything was stolen"),
        "{She} walked to the market",
        ("{She} turned the key three times", "The door stood wide all night"),
    ),
)
CLAUSES = ("as always", "in {place}", "that spring", "with great care", "to tell the truth", "so it is said")


def generate_relations(
    count: int, split: Split = "test", difficulty: Difficulty | None = None, seed: int = 0
) -> tuple[Relation, ...]:
    """Relations, as many of each class; those of a part share no name with those of the other."""
    dial = difficulty or Difficulty()
    return tuple(draw_relation(number, split, dial, seed) for number in range(count))


def draw_relation(number: int, split: Split, difficulty: Difficulty, seed: int) -> Relation:
    """The relation of a number; its class is the number modulo four."""
    draw = Draw(seed, "discourse", split, number)
    sense: Sense = SENSES[number % len(SENSES)]
    scene, side = draw.one(SCENES), draw.one((0, 1))
    second = {
        "Contingency": scene.outcomes[side],
        "Comparison": scene.outcomes[1 - side],
        "Temporal": scene.next,
        "Expansion": scene.details[side],
    }[sense]
    person = draw.person()
    words = {
        "name": person.name,
        "She": person.subject.capitalize(),
        "Her": person.possessive.capitalize(),
        "her": person.possessive,
        "place": draw.name("place"),
    }
    clauses = draw.several(CLAUSES, min(difficulty.distance, len(CLAUSES)))
    first = "".join([scene.beginnings[side], *(f" {clause}" for clause in clauses)])
    others = [draw.person().name for _ in range(difficulty.distractors)]
    first += f", said {' and '.join(others)}" if others else ""
    name = f"{split}-{number}"
    return Relation(name, f"{first.format_map(words)}.", f"{second.format_map(words)}.", (sense,), name)
