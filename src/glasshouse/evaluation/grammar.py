"""A stochastic grammar whose entropy is known: how far a trained model is from the best that can be reached.

A grammar is simple [Korenjak & Hopcroft 1966] when every rule begins with a text and no two rules of a symbol begin
alike: reading from the left, the text itself says which rule was used. So a sentence has one derivation, its
probability is the product of its rules', and with h the entropy and n the bytes of a symbol's texts,

    h(A) = sum_r p_r (-log2 p_r + sum_B h(B))        n(A) = sum_r p_r (bytes(r) + sum_B n(B))

are linear equations [Grenander 1967; Soule 1974]. h(start) / n(start) is the fewest bits per byte that any model can
need on average, and `bits` is what a sentence costs the source itself.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from itertools import permutations
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from glasshouse.evaluation.encoding import encoder
from glasshouse.evaluation.perplexity import bits_per_byte, document_nats
from glasshouse.store.configuration import named_seed
from glasshouse.store.panels import Numbers, Panel
from glasshouse.store.progress import Bar

if TYPE_CHECKING:
    from glasshouse.language.measures import CausalModel


class GrammarError(ValueError):
    """A grammar that is not simple, not stochastic or not finite, or a text that is no sentence of it."""


@dataclasses.dataclass(frozen=True)
class Rule:
    """`symbol -> text rest`, used with `probability`; `rest` are symbols."""

    symbol: str
    probability: float
    text: str
    rest: tuple[str, ...] = ()


class Moments(NamedTuple):
    """Of the texts of a symbol: entropy in bits, and mean length in UTF-8 bytes."""

    bits: float
    size: float


@dataclasses.dataclass(frozen=True)
class Grammar:
    """A simple stochastic grammar; sentences are derived from `start`.

    Raises `GrammarError` naming the symbol that has no rules, whose probabilities do not sum to one, or two of whose
    rules begin alike; and when sentences would be of infinite length on average.
    """

    start: str
    rules: tuple[Rule, ...]

    def __post_init__(self) -> None:
        used = {self.start, *(symbol for rule in self.rules for symbol in rule.rest)}
        for symbol in sorted(used | {rule.symbol for rule in self.rules}):
            rules = self.of(symbol)
            total = sum(rule.probability for rule in rules)
            if not math.isclose(total, 1, abs_tol=1e-9) or any(rule.probability <= 0 for rule in rules):
                raise GrammarError(f"the rules of {symbol} have probabilities that sum to {total:g}, not to 1")
            texts = [rule.text for rule in rules]
            if "" in texts or any(b.startswith(a) for a, b in permutations(texts, 2)):
                raise GrammarError(f"two rules of {symbol} begin alike, or one with nothing: {texts}")
        growth = max(abs(np.linalg.eigvals(self._uses())))
        if growth >= 1:
            raise GrammarError(f"sentences grow without end: a symbol gives {growth:.3g} others on average")

    def of(self, symbol: str) -> tuple[Rule, ...]:
        """The rules of a symbol."""
        return tuple(rule for rule in self.rules if rule.symbol == symbol)

    @property
    def symbols(self) -> list[str]:
        """All symbols, in the order of their first rules."""
        return list(dict.fromkeys(rule.symbol for rule in self.rules))

    def _uses(self) -> Any:
        """Expected number of symbols (columns) in a rule of each symbol (rows)."""
        number = {symbol: index for index, symbol in enumerate(self.symbols)}
        uses = np.zeros((len(number), len(number)))
        for rule in self.rules:
            for symbol in rule.rest:
                uses[number[rule.symbol], number[symbol]] += rule.probability
        return uses

    def moments(self, symbol: str | None = None) -> Moments:
        """Entropy and mean length of the sentences, or of the texts of a symbol."""
        every = self.symbols
        bits = [sum(-rule.probability * math.log2(rule.probability) for rule in self.of(one)) for one in every]
        size = [sum(rule.probability * len(rule.text.encode()) for rule in self.of(one)) for one in every]
        solved = np.linalg.solve(np.eye(len(every)) - self._uses(), np.array([bits, size]).T)
        return Moments(*map(float, solved[every.index(symbol or self.start)]))

    @property
    def bits_per_byte(self) -> float:
        """The fewest that any model can need on average."""
        bits, size = self.moments()
        return bits / size

    def sentence(self, generator: np.random.Generator) -> str:
        """A sentence drawn at random."""
        parts, waiting = [], [self.start]
        while waiting:
            rules = self.of(waiting.pop())
            rule = rules[int(generator.choice(len(rules), p=[rule.probability for rule in rules]))]
            parts.append(rule.text)
            waiting += reversed(rule.rest)
        return "".join(parts)

    def document(self, sentences: int, *seed: int | str) -> str:
        """Sentences one after the other: a function of the seed."""
        generator = np.random.default_rng(named_seed(0, "grammar", *seed))
        return "".join(self.sentence(generator) for _ in range(sentences))

    def bits(self, text: str) -> float:
        """-log2 of the probability of a text of whole sentences, their number given. `GrammarError` if it is not."""
        at, bits, waiting = 0, 0.0, [self.start]
        while waiting:
            symbol = waiting.pop()
            rule = next((rule for rule in self.of(symbol) if text.startswith(rule.text, at)), None)
            if rule is None:
                raise GrammarError(
                    f"{text[at : at + 20]!r}, character {at} of a text, is not what {symbol} can begin with"
                )
            at, bits = at + len(rule.text), bits - math.log2(rule.probability)
            waiting += reversed(rule.rest)
            if not waiting and at < len(text):
                waiting.append(self.start)
        return bits


def _of(symbol: str, *alternatives: tuple[float, str, str]) -> list[Rule]:
    return [Rule(symbol, probability, text, tuple(rest.split())) for probability, text, rest in alternatives]


BRACKETS = Grammar(
    "line",
    (
        *_of("line", (0.5, "(", "nest ) end"), (0.5, "[", "nest ] end")),
        *_of("nest", (0.2, "(", "nest ) nest"), (0.2, "[", "nest ] nest"), (0.3, "x", ""), (0.3, "y", "")),
        *_of(")", (1.0, ")", "")),
        *_of("]", (1.0, "]", "")),
        *_of("end", (1.0, "\n", "")),
    ),
)
"""Two kinds of matching brackets around letters, a nest per line."""

GARDEN = Grammar(
    "sentence",
    (
        *_of("sentence", (0.5, "The", "thing does end"), (0.3, "A", "thing does end"), (0.2, "No", "thing does end")),
        *_of("thing", (0.3, " small", "thing"), (0.3, " rose", ""), (0.2, " pot", ""), (0.2, " vine", "")),
        *_of("does", (0.4, " grows", "where"), (0.35, " stands", "where"), (0.25, " leans", "where")),
        *_of("where", (0.5, " here", ""), (0.3, " by the", "thing"), (0.2, " under the", "thing")),
        *_of("end", (0.8, ".\n", ""), (0.2, " and", "clause")),
        *_of("clause", (0.6, " the", "thing does end"), (0.4, " a", "thing does end")),
    ),
)
"""Sentences of a few words that may go on."""


@dataclasses.dataclass(frozen=True)
class KnownEntropy:
    """The measure: bits per byte on texts of a grammar, beside what they cost the grammar itself.

    A model cannot need fewer, except by chance on few documents, so `excess` is how far it is from the best.
    """

    grammar: Grammar
    name: str = "grammar"
    documents: int = 64
    sentences: int = 8
    seed: int = 0

    @property
    def texts(self) -> list[str]:
        """The documents."""
        return [self.grammar.document(self.sentences, self.seed, "held out", n) for n in range(self.documents)]

    def measure(self, model: CausalModel, bar: Callable[[str, float | None], Bar]) -> dict[str, Any]:
        """Values `<name>/model` and `<name>/exact` (bits per byte of these texts), `<name>/excess` and
        `<name>/entropy` (bits per byte of the grammar's texts on average).
        """
        texts = self.texts
        tokens = [np.array(ids, np.int64) for ids in encoder(model.tokenizer)(texts)]
        with bar("scoring generated texts", sum(map(len, tokens))) as shown:
            nats = document_nats(
                model.transformer,
                tokens,
                end_of_sequence=model.end_of_sequence,
                context=model.context,
                advance=shown.advance,
            )
        size = [len(text.encode()) for text in texts]
        found = bits_per_byte(nats, size)
        exact = sum(map(self.grammar.bits, texts)) / sum(size)
        values = {
            f"{self.name}/model": found,
            f"{self.name}/exact": exact,
            f"{self.name}/excess": found - exact,
            f"{self.name}/entropy": self.grammar.bits_per_byte,
        }
        curve = {
            "title": f"{self.name}: bits per byte, and the fewest possible",
            "y": "bits per byte",
            "series": {"model": f"{self.name}/model"},
            "levels": {"the source itself": f"{self.name}/exact"},
        }
        return {"values": values, "name": self.name, "curves": [curve]}

    @staticmethod
    def panels(outcome: Mapping[str, Any]) -> list[Panel]:
        """The figures."""
        values, name = outcome["values"], outcome["name"]
        figures = {
            "bits per byte": f"{values[f'{name}/model']:.3f}",
            "of the source itself on these texts": f"{values[f'{name}/exact']:.3f}",
            "entropy of the source": f"{values[f'{name}/entropy']:.3f}",
        }
        return [Numbers(f"Known entropy: {name}", figures)]
