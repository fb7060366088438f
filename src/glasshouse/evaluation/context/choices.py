"""Multiple choice: options under letters, in an order that can be changed, and the answer as a letter or as a text.

A model answers by the option that it finds likeliest, or in words from which the letter is read. `letter` scores the
letters, `text` the options themselves with the end of the line behind them, `generate` asks for words.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from typing import Literal

import numpy as np

from glasshouse.evaluation.context.prompts import Prompt
from glasshouse.evaluation.requests import Answer, Generate, Likelihood, LogLikelihood, Request
from glasshouse.store.configuration import named_seed

Form = Literal["letter", "text", "generate"]


def letters(number: int) -> str:
    """A to Z, then AA, AB, and so on."""
    name = ""
    number += 1
    while number:
        number, rest = divmod(number - 1, 26)
        name = chr(ord("A") + rest) + name
    return name


@dataclasses.dataclass(frozen=True)
class Choices:
    """Options as they are shown.

    Attributes:
        options: their texts, by number.
        order: the number of the option at each place.
    """

    options: tuple[str, ...]
    order: tuple[int, ...]

    def listed(self, separator: str = "\n") -> str:
        """`A. this`, `B. that`, a line each."""
        return separator.join(f"{letters(place)}. {self.options[option]}" for place, option in enumerate(self.order))

    def letter(self, option: int) -> str:
        """The letter under which an option is shown."""
        return letters(self.order.index(option))

    def written(self, option: int, form: Form) -> str:
        """An option as an answer."""
        return self.options[option] if form == "text" else self.letter(option)


def arrange(options: Sequence[str], seed: int | None, *names: str | int, last: int | None = None) -> Choices:
    """Options in their own order, or shuffled by a seed.

    Args:
        names: of the item, so that each has an order of its own.
        last: an option that keeps its place at whichever end it is.
    """
    order = list(range(len(options)))
    if seed is not None:
        free = [number for number in order if number != last]
        mixed = np.random.default_rng(named_seed(seed, "options", *names)).permutation(free).tolist()
        order = mixed if last is None else [last, *mixed] if last == 0 else [*mixed, last]
    return Choices(tuple(options), tuple(order))


def requests_of(prompt: str, choices: Choices, form: Form, wording: Prompt) -> list[Request]:
    """What a model is asked, by option; for `generate` a single request."""
    if form == "generate":
        return [Generate(prompt, wording.stop, 16)]
    end = wording.stop[0] if form == "text" and wording.stop else ""
    return [
        LogLikelihood(prompt, wording.written(choices.written(option, form)) + end)
        for option in range(len(choices.options))
    ]


def chosen(answers: Sequence[Answer], choices: Choices) -> int | None:
    """The number of the option that was answered; `None` where words name none of them. Of equals the first shown."""
    if len(answers) == 1 and not isinstance(answers[0], Likelihood):
        return read_choice(answers[0].text, choices)
    nats = [answer.nats for answer in answers if isinstance(answer, Likelihood)]
    return max(choices.order, key=lambda option: nats[option])


def read_choice(text: str, choices: Choices) -> int | None:
    """The option that words name: by a letter at their beginning, or by its text."""
    found = re.match(r"\W*([A-Z]{1,2})(?![A-Za-z'])", text)
    known = {letters(place): option for place, option in enumerate(choices.order)}
    if found and found[1] in known and not re.match(r"\W*[AI]\s+[a-z]", text):  # "A dog", "I think"
        return known[found[1]]
    if alone := re.fullmatch(r"\W*([a-z])\W*", text):  # "b)"
        return known.get(alone[1].upper())
    said = " ".join(text.lower().split()).strip(" .\"'*")
    return next((option for option in choices.order if choices.options[option].lower() == said), None)
