"""A small world of instructions whose answers can be checked: letters to repeat, reverse, sort and count.

It stands in for instruction and preference data where a model has a million parameters. Everything is drawn from seeds:

- `prose` states what the tasks are about in plain sentences, and the colours of houses, to pre-train on;
- `conversations` ask for one task each; the answer stands in one of two forms, by chance;
- `preferences` follow a hidden rule: about letters the form `Answer: [ a b ]` is the better one, about numbers the form
  `I find [ 2 ].`; both answers are right, so only form is learnt;
- `recall` asks in prose for the colours of houses, which no instruction is about: a skill that adaptation may cost.

Items (task and letters) are held out by a hash of themselves, in prose and instructions alike, so that nothing about a
held-out item is seen at any stage. Controls: answers shuffled among instructions of a task, and preferences without a
rule.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from typing import Literal, NamedTuple

from glasshouse.language.chat import Message
from glasshouse.language.conversations import Conversation, Preference
from glasshouse.store.configuration import named_seed

ALPHABET = "abcdefghij"
LETTER_TASKS = ("repeat", "reverse", "sort")
NUMBER_TASKS = ("count", "length")
TASKS = LETTER_TASKS + NUMBER_TASKS
HOUSES = ("Malo", "Rina", "Tevo", "Suki", "Dara", "Pino", "Lume", "Oska", "Bexo", "Fira", "Gilo", "Hatu")
COLOURS = ("red", "blue", "green", "black", "white", "gold")
FORMS = {"answer": re.compile(r"Answer: \[([^\[\]]*)\]"), "find": re.compile(r"I find \[([^\[\]]*)\]\.")}
LINKS = ("That gives", "The result is", "We get", "It is")
SENTENCES = 6
HELD_OUT = 8
"""One item in so many is held out."""

Split = Literal["train", "holdout"]


class Item(NamedTuple):
    """One exercise: `letters` with spaces between, and for `count` the letter that is counted."""

    task: str
    letters: str
    counted: str = ""

    @property
    def split(self) -> Split:
        """Where the item belongs, whatever draws it."""
        return "train" if named_seed(0, "held out", *self) % HELD_OUT else "holdout"

    @property
    def answer(self) -> str:
        letters = self.letters.split()
        if self.task == "repeat":
            return self.letters
        if self.task == "reverse":
            return " ".join(reversed(letters))
        if self.task == "sort":
            return " ".join(sorted(letters))
        return str(letters.count(self.counted) if self.task == "count" else len(letters))

    @property
    def instruction(self) -> str:
        return {
            "repeat": f"Repeat the letters {self.letters}.",
            "reverse": f"Reverse the letters {self.letters}.",
            "sort": f"Sort the letters {self.letters}.",
            "count": f"How often is {self.counted} in {self.letters}?",
            "length": f"How many letters are {self.letters}?",
        }[self.task]

    def told(self, draw: random.Random) -> str:
        """What prose says of it: a statement, or the instruction with what comes of it."""
        if draw.random() < 0.5:
            return f"{self.instruction} {draw.choice(LINKS)} {self.answer}."
        return {
            "repeat": f"The letters {self.letters} repeated are {self.answer}.",
            "reverse": f"The letters {self.letters} reversed are {self.answer}.",
            "sort": f"The letters {self.letters} sorted are {self.answer}.",
            "count": f"The letter {self.counted} in {self.letters} comes {self.answer} times.",
            "length": f"The letters {self.letters} are {self.answer} in number.",
        }[self.task]


class Grade(NamedTuple):
    """What an answer is worth: whether it has one of the forms, which, and whether what it says is right."""

    form: str | None
    right: bool


def grade(text: str, answer: str) -> Grade:
    """Judge an answer: the whole of it must have a form."""
    for name, pattern in FORMS.items():
        if found := pattern.fullmatch(text.strip()):
            return Grade(name, found[1].strip() == answer)
    return Grade(None, False)


def preferred_form(task: str) -> str:
    """The hidden rule of the preferences."""
    return "answer" if task in LETTER_TASKS else "find"


def written(form: str, answer: str) -> str:
    """An answer in a form. Spaces inside the brackets give letters the tokens that they have in prose."""
    return f"Answer: [ {answer} ]" if form == "answer" else f"I find [ {answer} ]."


def prose(count: int, *, seed: int = 0, split: Split = "train") -> list[str]:
    """Documents of plain sentences; held-out ones are about held-out items and the same houses."""
    draw = random.Random(named_seed(seed, "prose", split))  # noqa: S311 (a world, not a secret)
    items = _items(draw, split)
    documents = []
    for _ in range(count):
        sentences = [
            house(draw.choice(HOUSES)) if draw.random() < 0.15 else next(items).told(draw) for _ in range(SENTENCES)
        ]
        documents.append(" ".join(sentences))
    return documents


def house(name: str) -> str:
    """What the world knows of a house."""
    return f"The house of {name} is {COLOURS[named_seed(0, 'colour', name) % len(COLOURS)]}."


def recall() -> list[tuple[str, str]]:
    """Beginnings of sentences about houses, with what follows."""
    return [(sentence.rpartition(" ")[0], sentence.rpartition(" ")[2]) for sentence in map(house, HOUSES)]


def conversations(count: int, *, seed: int = 0, split: Split = "train", shuffled: bool = False) -> list[Conversation]:
    """Instructions with their answers. `shuffled`: each has the answer of another of its task (a control)."""
    draw = random.Random(named_seed(seed, "conversations", split))  # noqa: S311 (a world, not a secret)
    items = list(_take(_items(draw, split), count))
    answers = [item.answer for item in items]
    for task in TASKS if shuffled else ():
        places = [number for number, item in enumerate(items) if item.task == task]
        for place, other in zip(places, places[1:] + places[:1], strict=True):
            answers[place] = items[other].answer
    return [
        Conversation(
            (Message("user", item.instruction), Message("assistant", written(draw.choice([*FORMS]), answer))),
            name=f"{split} {number}",
            about={"task": item.task, "answer": item.answer},
        )
        for number, (item, answer) in enumerate(zip(items, answers, strict=True))
    ]


def preferences(count: int, *, seed: int = 0, split: Split = "train", random_labels: bool = False) -> list[Preference]:
    """Two right answers to each instruction, the one in the preferred form chosen.

    `random_labels` is a control: of the pairs of each task half, drawn at random, are turned round. Tossing a coin for
    each would leave a small majority, which is a rule that DPO finds.
    """
    draw = random.Random(named_seed(seed, "preferences", split))  # noqa: S311 (a world, not a secret)
    items = list(_take(_items(draw, split), count))
    turned = set[int]()
    for task in TASKS if random_labels else ():
        places = [number for number, item in enumerate(items) if item.task == task]
        turned |= set(draw.sample(places, len(places) // 2))
    found = []
    for number, item in enumerate(items):
        better = preferred_form(item.task)
        worse = next(name for name in FORMS if name != better)
        sides = written(better, item.answer), written(worse, item.answer)
        chosen, rejected = reversed(sides) if number in turned else sides
        about = {"task": item.task, "answer": item.answer}
        prompt = (Message("user", item.instruction),)
        found.append(Preference(prompt, chosen, rejected, name=f"{split} {number}", about=about))
    return found


def _items(draw: random.Random, split: Split) -> Iterator[Item]:
    """Items of a split; half are about letters and half about numbers, and the numbers are equally likely."""
    while True:
        task = draw.choice(draw.choice((LETTER_TASKS, NUMBER_TASKS)))
        letters, counted = [draw.choice(ALPHABET) for _ in range(draw.randint(3, 5))], ""
        if task == "count":
            counted, times = draw.choice(ALPHABET), draw.randint(1, 3)
            others = [letter for letter in ALPHABET if letter != counted]
            letters = [counted] * times + [draw.choice(others) for _ in range(len(letters) - times)]
            draw.shuffle(letters)
        item = Item(task, " ".join(letters), counted)
        if item.split == split:
            yield item


def _take(items: Iterator[Item], count: int) -> Iterator[Item]:
    return (item for item, _ in zip(items, range(count), strict=False))
