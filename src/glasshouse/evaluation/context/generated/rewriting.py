"""Generated conversations whose last query leans on what was said: by a pronoun or by leaving out.

    User: Where does Bana live ?  Bot: In Tamor .  User: How old is she ?   ->  How old is Bana ?
    User: Where does Bana live ?  Bot: In Tamor .  User: And Tolo ?         ->  Where does Tolo live ?

`distractors` are people asked about before, of the other gender where a pronoun has to tell them apart; `distance` is
the number of exchanges about nobody in between.
"""

from __future__ import annotations

from glasshouse.evaluation.context.generated.names import Difficulty, Draw, Person, Split
from glasshouse.evaluation.context.rewriting.queries import Query

QUESTIONS = (
    ("Where does {x} live ?", "In {place} ."),
    ("Where was {x} born ?", "In {place} ."),
    ("Who taught {x} ?", "A man from {place} ."),
    ("When did {x} leave {place} ?", "In the spring ."),
    ("How old is {x} ?", "Thirty years ."),
    ("What did {x} sell in {place} ?", "Lamps ."),
)
_ABOUT_NOBODY = (
    ("Is it raining ?", "No ."), ("What day is it ?", "It is monday ."), ("Can you hear me ?", "Yes ."),
    ("Is the market open ?", "Until six ."),
)  # fmt: skip


def generate_queries(
    count: int, split: Split = "test", difficulty: Difficulty | None = None, seed: int = 0
) -> tuple[Query, ...]:
    """Queries, half with a pronoun and half with an ellipsis; those of a part share no name with those of the other."""
    dial = difficulty or Difficulty()
    return tuple(draw_query(number, split, dial, seed) for number in range(count))


def draw_query(number: int, split: Split, difficulty: Difficulty, seed: int) -> Query:
    """The query of a number: even ones have a pronoun, odd ones an ellipsis."""
    draw = Draw(seed, "rewriting", split, number)
    person = draw.person()
    questions = draw.several([question for question, _ in QUESTIONS], 2)
    answers = dict(QUESTIONS)
    history: list[tuple[str, str]] = []

    def exchange(question: str, about: Person) -> None:
        place = draw.name("place")
        history.append(("User", question.format(x=about.name, place=place)))
        history.append(("Bot", answers[question].format(place=draw.name("place"))))

    for _ in range(difficulty.distractors):
        exchange(draw.one([question for question, _ in QUESTIONS]), draw.person(not person.woman))
    exchange(questions[0], person)
    first = history[-2][1]
    for _ in range(difficulty.distance):
        asked, answered = draw.one(_ABOUT_NOBODY)
        history += [("User", asked), ("Bot", answered)]
    if number % 2:
        other = draw.person()
        text, rewrite = f"And {other.name} ?", first.replace(person.name, other.name)
    else:
        place = draw.name("place")
        pronoun = "her" if person.woman else "him"
        form = pronoun if questions[1].startswith("Who taught") else person.subject
        text = questions[1].format(x=form, place=place)
        rewrite = questions[1].format(x=person.name, place=place)
    name = f"{split}-{number}"
    return Query(name, tuple(history), text, rewrite, name)
