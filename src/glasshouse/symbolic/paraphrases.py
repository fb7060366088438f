"""Pairs of a sentence and its program, from templates that a person writes: what a parser is trained on.

A template says one meaning: a program, and sentences that mean it, grouped by style. Both have slots: `{kind1.many}` is
the form `many` of a word of the class `kind`; the digits tell two words of one class apart. A word is a mapping of its
forms, or a text; `word` is the form of a slot without one, and `name` the word with a capital where it has no other. A
sentence begins with a capital. Every program must be of the grammar, a Lark grammar in the common part of what `lark`
reads and what `llguidance` enforces.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import Field, field_validator

from glasshouse.store.configuration import Config, ConfigurationError, named_seed

FOLDER = Path(__file__).with_name("templates")
_SLOT = re.compile(r"\{([a-z]+)([0-9]*)(?:\.([a-z]+))?\}")
Word = Mapping[str, str]


class Pair(NamedTuple):
    """A sentence and what it means.

    Attributes:
        meaning, style: of the template that it was made from.
    """

    text: str
    program: str
    meaning: str = ""
    style: str = ""


class Meaning(Config):
    """One meaning: its program, and the sentences for it by style."""

    name: str
    program: str
    texts: dict[str, tuple[str, ...]]


class Templates(Config):
    """A small language: what can be said, in which words, and the grammar of the programs.

    Attributes:
        copies: terminals of the grammar that are words of the sentence -> endings that such a word may lose.
    """

    name: str
    grammar: str
    copies: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    meanings: tuple[Meaning, ...] = Field(min_length=1)
    words: dict[str, tuple[dict[str, str], ...]]

    @field_validator("words", mode="before")
    @classmethod
    def _with_forms(cls, words: Any) -> Any:
        if not isinstance(words, Mapping):
            return words
        return {name: tuple(map(_forms, several)) for name, several in words.items()}

    @cached_property
    def by_name(self) -> dict[str, Meaning]:
        """The meanings by their names."""
        return {meaning.name: meaning for meaning in self.meanings}

    @property
    def styles(self) -> tuple[str, ...]:
        """The styles that any meaning has, in their order."""
        return tuple(dict.fromkeys(style for meaning in self.meanings for style in meaning.texts))

    def check(self) -> None:
        """Raises `ConfigurationError` naming a slot without words, and a program that is not of the grammar."""
        import lark

        draw = random.Random(0)  # noqa: S311 - templates, no secret
        parser = lark.Lark(self.grammar, start="start")
        for meaning in self.meanings:
            for style in meaning.texts:
                pair = self.pair(meaning.name, style, draw)
                try:
                    parser.parse(pair.program)
                except lark.exceptions.LarkError as error:
                    why = str(error).splitlines()[0]
                    raise ConfigurationError(
                        f"{self.name}: {meaning.name!r} gives {pair.program!r}, which is not of the grammar: {why}"
                    ) from None

    def pair(self, meaning: str, style: str, draw: random.Random, given: Mapping[str, Word] | None = None) -> Pair:
        """One pair; `given` are words for slots by name, such as `kind1`, the others are drawn without repeats."""
        if (found := self.by_name.get(meaning)) is None:
            raise ConfigurationError(f"{self.name} has no meaning {meaning!r}; it has {', '.join(self.by_name)}")
        if not (texts := found.texts.get(style)):
            raise ConfigurationError(f"{meaning!r} has no text of the style {style!r}; it has {', '.join(found.texts)}")
        text = draw.choice(texts)
        chosen = dict(given or {})
        for form in (text, found.program):
            for slot in _SLOT.finditer(form):
                name = slot[1] + slot[2]
                if name not in chosen:
                    chosen[name] = draw.choice(self._left(slot[1], chosen))
        sentence = _filled(text, chosen)
        return Pair(sentence[:1].upper() + sentence[1:], _filled(found.program, chosen), meaning, style)

    def pairs(self, count: int, styles: Sequence[str], seed: int = 0) -> Iterator[Pair]:
        """Pairs of meanings drawn alike often, each in a style drawn among those that it has."""
        draw = random.Random(named_seed(seed, "paraphrases", self.name))  # noqa: S311 - data, no secret
        able = {one.name: [style for style in styles if one.texts.get(style)] for one in self.meanings}
        names = [name for name, several in able.items() if several]
        if not names:
            raise ConfigurationError(f"{self.name} has no text in {', '.join(styles)}; it has {', '.join(self.styles)}")
        for _ in range(count):
            name = draw.choice(names)
            yield self.pair(name, draw.choice(able[name]), draw)

    def _left(self, kind: str, chosen: Mapping[str, Word]) -> list[Word]:
        used = list(chosen.values())
        left: list[Word] = [word for word in self.words.get(kind, ()) if word not in used]
        if not left:
            raise ConfigurationError(f"{self.name}: no word is left for a slot {{{kind}}}: give more words of {kind!r}")
        return left


def read_templates(path: Path | str) -> Templates:
    """Templates from a JSON file, checked. `kinds` is the set that comes with the package."""
    file = FOLDER / f"{path}.json" if path == "kinds" else Path(path)
    try:
        templates = Templates.model_validate_json(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{file} holds no templates: {error}") from None
    templates.check()
    return templates


def _forms(word: Any) -> Any:
    if isinstance(word, str):
        word = {"word": word}
    if isinstance(word, Mapping) and "word" not in word:
        raise ValueError(f"a word is a text, or a mapping with its form `word`; got {dict(word)!r:.80}")
    return {"name": str(word["word"]).capitalize(), **word} if isinstance(word, Mapping) else word


def _filled(form: str, words: Mapping[str, Word]) -> str:
    def value(slot: re.Match[str]) -> str:
        word, wanted = words[slot[1] + slot[2]], slot[3] or "word"
        if wanted not in word:
            raise ConfigurationError(f"{slot[0]}: {word['word']!r} has no form {wanted!r}; it has {', '.join(word)}")
        return word[wanted]

    return _SLOT.sub(value, form)
