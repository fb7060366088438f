"""Generated Winograd schemas: two people of a gender, and an ending that fits one of them.

Every sentence has a twin with the other ending, so always the first and always the last are right half the time.
`distractors` are further people who were there, `distance` is the number of clauses before the pronoun.
"""

from __future__ import annotations

from glasshouse.evaluation.context.coreference.winograd import Schema
from glasshouse.evaluation.context.generated.names import Difficulty, Draw, Split

THINGS = ("lamp", "coat", "drum", "cake", "boat", "chair", "clock", "kite")
FRAMES = (
    ("{a} gave the {thing} to {b}", "did not need it any more", "had asked for it"),
    ("{a} bought the {thing} from {b}", "had saved the money for it", "had to raise the money for the rent"),
    ("{a} could not lift {b}", "was so weak", "was so heavy"),
    ("{a} thanked {b}", "had been given help", "had been of great help"),
    ("{a} ran away from {b}", "was afraid", "was a danger"),
    ("{a} hid the {thing} from {b}", "wanted to keep it", "would have taken it"),
    ("{a} lent the {thing} to {b}", "had two of them", "had none"),
    ("{a} beat {b} in the race", "had trained well", "had not trained at all"),
)
"""A sentence with one ending that fits the first person and one that fits the second."""
CLAUSES = ("on that day", "as everybody saw", "after a long talk", "to nobody's surprise", "in the end")


def generate_schemas(
    count: int, split: Split = "test", difficulty: Difficulty | None = None, seed: int = 0
) -> tuple[Schema, ...]:
    """Schemas in twins; those of a part share no name with those of the other."""
    dial = difficulty or Difficulty()
    twins = (schema for number in range((count + 1) // 2) for schema in draw_twins(number, split, dial, seed))
    return tuple(schema for _, schema in zip(range(count), twins, strict=False))


def draw_twins(number: int, split: Split, difficulty: Difficulty, seed: int) -> tuple[Schema, Schema]:
    """The two schemas of a number."""
    draw = Draw(seed, "winograd", split, number)
    woman = draw.chance(0.5)
    one, other = draw.person(woman), draw.person(woman)
    frame, *endings = draw.one(FRAMES)
    others = [draw.person().name for _ in range(difficulty.distractors)]
    before = f"{' and '.join(others)} {'were' if len(others) > 1 else 'was'} there. " if others else ""
    clauses = draw.several(CLAUSES, min(difficulty.distance, len(CLAUSES)))
    before += frame.format(a=one.name, b=other.name, thing=draw.one(THINGS))
    before += "".join(f" {clause}" for clause in clauses) + " because "
    group = f"{split}-{number}"
    first, second = (
        Schema(f"{group}-{label}", before, one.subject, f" {ending}.", (one.name, other.name), label, group)
        for label, ending in enumerate(endings)
    )
    return first, second
