"""Words that nobody has seen: what shows, and teaches, that a parser copies names and does not know them by heart.

English forms only: `many` is the plural, `a` the article; a class whose words are all capitalised gets capitals.
"""

from __future__ import annotations

import random
from collections.abc import Collection

from glasshouse.store.configuration import ConfigurationError, named_seed
from glasshouse.symbolic.paraphrases import Templates

ONSETS, VOWELS, CODAS = "bcdfghjklmnprstvwz", "aeiou", ("", "", "", "n", "r", "l", "s", "m")
SYLLABLES = (1, 2, 2, 3)


def invented_words(count: int, seed: int = 0, without: Collection[str] = ()) -> list[str]:
    """`count` different made-up words of one to three syllables, none of those in `without`."""
    draw = random.Random(named_seed(seed, "invented words"))  # noqa: S311 - words, no secret
    found: dict[str, None] = {}
    for _ in range(100 * count):
        if len(found) == count:
            return list(found)
        word = "".join(_syllable(draw) for _ in range(draw.choice(SYLLABLES)))
        if len(word) > 2 and word not in without:
            found[word] = None
    raise ConfigurationError(f"only {len(found)} words could be made up, not {count}: ask for fewer")


def with_invented_words(templates: Templates, count: int, seed: int = 0, without: Collection[str] = ()) -> Templates:
    """The same templates in which every class has `count` made-up words and no others, each of one class only."""
    words = iter(invented_words(count * len(templates.words), seed, without))
    classes = {}
    for name, known in templates.words.items():
        forms = {form for word in known for form in word} - {"name"}
        capital = all(word["word"][:1].isupper() for word in known)
        classes[name] = tuple(_forms(next(words), forms, capital) for _ in range(count))
    found: Templates = templates.but(words=classes)
    return found


def spellings(templates: Templates) -> set[str]:
    """Every word of the templates, in small letters."""
    return {word["word"].lower() for several in templates.words.values() for word in several}


def _syllable(draw: random.Random) -> str:
    return draw.choice(ONSETS) + draw.choice(VOWELS) + draw.choice(CODAS)


def _forms(word: str, forms: set[str], capital: bool) -> dict[str, str]:
    english = {
        "word": word.capitalize() if capital else word,
        "many": word + ("es" if word.endswith("s") else "s"),
        "a": "an" if word[0] in VOWELS else "a",
        "name": word.capitalize(),
    }
    if unknown := forms - english.keys():
        raise ConfigurationError(
            f"no rule makes the form {', '.join(sorted(unknown))} of a word: it is word, many or a"
        )
    return {form: english[form] for form in sorted(forms | {"name"})}
