"""Names that no corpus holds, in two parts that share none, and the dial of difficulty.

A name is two syllables, and its end tells whether it is of a woman (-a, -i), a man (-o, -u) or a place (-ex, -or). The
sum of the syllables' numbers decides to which part a name belongs: every syllable occurs in both, every name in one. So
nothing that was learnt by heart helps with the names of the other part, while their letters are all known.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Literal, TypeVar

import numpy as np

from glasshouse.store.configuration import named_seed

Item = TypeVar("Item")
Split = Literal["train", "test"]
Kind = Literal["woman", "man", "place"]

_FIRST = (
    "Ba", "Be", "Bi", "Bo", "Da", "De", "Di", "Do", "Fa", "Fe", "Ga", "Go", "Ka", "Ke", "Ki", "La", "Le", "Li", "Lo",
    "Ma", "Me", "Mi", "Mo", "Na", "Ne", "Ni", "Pa", "Pe", "Ra", "Re", "Ri", "Ro", "Sa", "Se", "So", "Ta", "Te", "Ti",
    "Va", "Ve",
)  # fmt: skip
_LAST: dict[Kind, tuple[str, ...]] = {
    "woman": ("na", "la", "ra", "ma", "ta", "sa", "ni", "li", "ri", "mi"),
    "man": ("no", "lo", "ro", "mo", "to", "so", "nu", "lu", "ru", "mu"),
    "place": ("nex", "lex", "rex", "mex", "tex", "nor", "lor", "ror", "mor", "tor"),
}
_EVERY = 4
"""One name of so many is for testing."""


@dataclasses.dataclass(frozen=True)
class Difficulty:
    """How hard items are.

    Attributes:
        distractors: people, values or turns that could be meant and are not.
        distance: sentences or turns between something and what refers to it.
    """

    distractors: int = 1
    distance: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.distractors <= 6 or not 0 <= self.distance <= 20:
            raise ValueError(
                f"difficulty takes 0 to 6 distractors and a distance of 0 to 20, got {self.distractors} and "
                f"{self.distance}"
            )


@dataclasses.dataclass(frozen=True)
class Person:
    """Somebody in an item."""

    name: str
    woman: bool

    @property
    def subject(self) -> str:
        """she or he."""
        return "she" if self.woman else "he"

    @property
    def possessive(self) -> str:
        """her or his."""
        return "her" if self.woman else "his"


class Draw:
    """The random choices of one item: a function of seed, task, part and number."""

    def __init__(self, seed: int, task: str, split: Split, number: int) -> None:
        self.random = np.random.default_rng(named_seed(seed, "context", task, split, number))
        self.split = split
        self._used: set[str] = set()

    def one(self, options: Sequence[Item]) -> Item:
        """One of several."""
        return options[int(self.random.integers(len(options)))]

    def several(self, options: Sequence[Item], count: int) -> list[Item]:
        """Different ones, in random order."""
        return [options[index] for index in self.random.permutation(len(options))[:count]]

    def chance(self, share: float) -> bool:
        """True with this probability."""
        return bool(self.random.random() < share)

    def name(self, kind: Kind) -> str:
        """A name of this part that the item does not have yet."""
        while True:
            first, last = int(self.random.integers(len(_FIRST))), int(self.random.integers(len(_LAST[kind])))
            name = _FIRST[first] + _LAST[kind][last]
            if ((first + last) % _EVERY == 0) == (self.split == "test") and name not in self._used:
                self._used.add(name)
                return name

    def person(self, woman: bool | None = None) -> Person:
        """Somebody new."""
        of_women = self.chance(0.5) if woman is None else woman
        return Person(self.name("woman" if of_women else "man"), of_women)


def part_of(name: str) -> Split | None:
    """The part that a name belongs to; `None` for a word that is no such name."""
    for lasts in _LAST.values():
        for last, syllable in enumerate(lasts):
            if name.endswith(syllable) and name.removesuffix(syllable) in _FIRST:
                first = _FIRST.index(name.removesuffix(syllable))
                return "test" if (first + last) % _EVERY == 0 else "train"
    return None
