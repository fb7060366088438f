"""From pairs that a proof showed to templates: words become slots again, and what several problems show is kept."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from glasshouse.symbolic.paraphrases import Meaning, Pair, Templates
from glasshouse.symbolic.solved_problems import Solved

LEARNT = "learnt"
"""The style of what was learnt."""
_WORD = re.compile(r"[^\W\d_]+")
_NAME = re.compile(r"\b[A-Z][a-z]+")
_ARTICLE = re.compile(r"\ban? \{([a-z]+)([0-9]+)\}")
_SIGNS = {"True", "False"}


class Form(NamedTuple):
    """A sentence and its program with slots in the place of words."""

    text: str
    program: str


def learnt_forms(solved: Iterable[Solved], templates: Templates, support: int) -> dict[Form, int]:
    """New forms among the pairs that proofs of right answers rest on -> in how many problems they were shown.

    Left out are forms whose sentence the templates have already, and those shown as often with another program.
    """
    shown: dict[str, Counter[Form]] = defaultdict(Counter)
    for one in solved:
        for form in {form_of(pair, templates) for pair in one.shown} - {None} if one.proved else ():
            assert form is not None  # noqa: S101 (taken out above)
            shown[form.text][form] += 1
    known = known_texts(templates)
    found = {}
    for text, programs in shown.items():
        (form, count), *others = programs.most_common(2)
        if text not in known and count >= support and not (others and others[0][1] == count):
            found[form] = count
    return found


def form_of(pair: Pair, templates: Templates) -> Form | None:
    """A pair with slots in the place of words of the templates; None when its program names something else."""
    spelt = _spellings(templates)
    first = _WORD.match(pair.text)
    text = pair.text if first and first[0] in spelt else pair.text[:1].lower() + pair.text[1:]
    slots, counts = dict[str, str](), Counter[str]()

    def slot(word: re.Match[str]) -> str:
        if (found := spelt.get(word[0])) is None:
            return word[0]
        kind, name, form = found
        if name not in slots:
            counts[kind] += 1
            slots[name] = f"{kind}{counts[kind]}"
        return "{" + slots[name] + ("" if form == "word" else f".{form}") + "}"

    written = _ARTICLE.sub(lambda found: _article(found, templates), _WORD.sub(slot, text))
    if not set(_NAME.findall(pair.program)) - _SIGNS <= slots.keys():
        return None
    program = _NAME.sub(lambda name: "{" + slots[name[0]] + ".name}" if name[0] in slots else name[0], pair.program)
    return Form(written, program)


def known_texts(templates: Templates) -> set[str]:
    """The sentences of the templates, their slots numbered as `form_of` numbers them."""
    found = set()
    for meaning in templates.meanings:
        for text in (text for several in meaning.texts.values() for text in several):
            counts, names = Counter[str](), dict[str, str]()

            def numbered(slot: re.Match[str], names: dict[str, str] = names, counts: Counter[str] = counts) -> str:
                kind, digits, form = slot.groups()
                if kind + digits not in names:
                    counts[kind] += 1
                    names[kind + digits] = f"{kind}{counts[kind]}"
                return "{" + names[kind + digits] + (form or "") + "}"

            found.add(re.sub(r"\{([a-z]+)([0-9]*)(\.[a-z]+)?\}", numbered, text))
    return found


def with_forms(templates: Templates, forms: Iterable[Form]) -> Templates:
    """The templates with forms as meanings of their own, in the style `learnt`."""
    new = [
        Meaning(name=f"{LEARNT} {number}", program=form.program, texts={LEARNT: (form.text,)})
        for number, form in enumerate(forms, 1)
    ]
    found: Templates = templates.but(meanings=(*templates.meanings, *new))
    return found


def _spellings(templates: Templates) -> Mapping[str, tuple[str, str, str]]:
    """A word as it stands in sentences -> its class, its name in programs, and which form it is."""
    return {
        spelt: (kind, word["name"], form)
        for kind, several in templates.words.items()
        for word in several
        for form, spelt in word.items()
        if form not in ("name", "a")
    }


def _article(found: re.Match[str], templates: Templates) -> str:
    kind, number = found.groups()
    if any("a" not in word for word in templates.words[kind]):
        return found[0]
    return f"{{{kind}{number}.a}} {{{kind}{number}}}"
