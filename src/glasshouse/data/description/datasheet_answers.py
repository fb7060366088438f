"""What only a person can say about a corpus: the questions of a datasheet (Gebru et al., arXiv 1803.09010), answered in
a YAML or JSON file. What is not answered is marked "not stated"; nothing is invented.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from pydantic import Field

from glasshouse.data.settings_file import SettingsFileError, read_settings_file
from glasshouse.store.configuration import Config

QUESTIONS: dict[str, dict[str, str]] = {
    "motivation": {
        "purpose": "For what purpose was the corpus created?",
        "creators": "Who created it, and on behalf of whom?",
        "funding": "Who funded it?",
    },
    "composition": {
        "instances": "What do the documents represent?",
        "missing": "Is it a sample of something larger, and what is missing?",
        "sensitive": "Does it hold confidential, offensive or otherwise sensitive text?",
    },
    "collection": {
        "acquired": "How was the text acquired?",
        "timeframe": "Over what time was it collected?",
        "consent": "Were the authors told, and did they consent?",
    },
    "uses": {
        "intended": "What is it meant for?",
        "prior": "What has it been used for already?",
        "unsuitable": "What should it not be used for?",
    },
    "distribution": {
        "how": "How is it distributed, and to whom?",
        "terms": "Under which terms of use?",
        "restrictions": "Do export controls or third-party rights apply?",
    },
    "maintenance": {
        "maintainer": "Who maintains it?",
        "contact": "How can they be reached?",
        "updates": "Will it be updated, and how are older versions kept?",
        "takedown": "How can someone have a document removed?",
    },
    "legal": {
        "review": "Was there an ethical or legal review?",
        "personal_data": "On what basis is personal data processed?",
        "copyright": "How are copyright and the wishes of publishers respected?",
    },
}
"""Section -> name of an answer -> the question."""


class AnswersError(ValueError):
    """A file of answers cannot be used."""


class Said(Config):
    """What a person says: metadata, and answers by section and name to the questions of the kind of document."""

    questions: ClassVar[Mapping[str, Mapping[str, str]]] = {}
    sections: dict[str, dict[str, str]] = Field(default_factory=dict)

    def to(self, section: str, name: str) -> str | None:
        """The answer to a question, if there is one."""
        return self.sections.get(section, {}).get(name) or None

    @classmethod
    def lists(cls) -> list[str]:
        """The names of the metadata that may have several values."""
        return [name for name, field in cls.model_fields.items() if field.default == ()]


class Answers(Said):
    """What a person says about a corpus.

    Attributes:
        license: best the URL of a known licence.
        date_published: ISO date.
        sections: section -> name -> answer.
    """

    questions: ClassVar[Mapping[str, Mapping[str, str]]] = QUESTIONS

    name: str | None = None
    version: str | None = None
    description: str | None = None
    license: str | None = None
    url: str | None = None
    creators: tuple[str, ...] = ()
    date_published: str | None = None
    citation: str | None = None


Kind = TypeVar("Kind", bound=Said)


def load_answers(path: str | Path, kind: type[Kind] = Answers) -> Kind:  # type: ignore[assignment]
    """Answers from a YAML or JSON file: metadata and sections side by side at the top level.

    Raises `AnswersError` for an unreadable file, an unknown name (with the nearest), or an answer that is not text.
    """
    try:
        values = read_settings_file(path)
    except SettingsFileError as error:
        raise AnswersError(str(error)) from None
    return answers_from(values if values is not None else {}, str(path), kind)


def answers_from(values: Any, origin: str = "the answers", kind: type[Kind] = Answers) -> Kind:  # type: ignore[assignment]
    """Answers from plain values, checked. Raises `AnswersError`."""
    if not isinstance(values, dict):
        raise AnswersError(f"{origin} must hold names and answers, got a {type(values).__name__}")
    metadata = [name for name in kind.model_fields if name != "sections"]
    known, sections = [*metadata, *kind.questions], {}
    about: dict[str, Any] = {}
    for name, value in values.items():
        if name not in known:
            raise AnswersError(f"{origin}: nothing is called {name!r}; {_near(str(name), known)}")
        if value is None or value == []:
            continue
        if name in kind.lists():
            about[name] = tuple(str(one) for one in value) if isinstance(value, list) else (str(value),)
        elif name in kind.questions:
            if said := _section(name, value, origin, kind.questions[name]):
                sections[name] = said
        else:
            about[name] = _text(value, name, origin)
    return kind(**about, sections=sections)


def answers_template(kind: type[Said] = Answers, what: str = "a corpus") -> str:
    """An empty YAML file of answers, with every question as a comment."""
    lines = [f"# What only a person can say about {what}. Leave out what is not known.", ""]
    lines += [
        f"{name}: {'[]' if name in kind.lists() else ''}".rstrip() for name in kind.model_fields if name != "sections"
    ]
    for section, questions in kind.questions.items():
        lines += ["", f"{section}:"]
        for name, question in questions.items():
            lines += [f"  # {question}", f"  {name}:"]
    return "\n".join(lines) + "\n"


def _section(name: str, value: Any, origin: str, questions: Mapping[str, str]) -> dict[str, str]:
    if not isinstance(value, dict):
        raise AnswersError(f"{origin}: {name} must hold names and answers, got {value!r}")
    for key in value:
        if key not in questions:
            raise AnswersError(f"{origin}: {name} asks nothing called {key!r}; {_near(str(key), list(questions))}")
    return {key: _text(said, f"{name}.{key}", origin) for key, said in value.items() if said is not None}


def _text(value: Any, name: str, origin: str) -> str:
    if isinstance(value, dict | list):
        raise AnswersError(f"{origin}: {name} must be text, got {value!r}")
    return str(value).strip()


def _near(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=2, cutoff=0.5)
    return f"did you mean {' or '.join(near)}?" if near else f"there are: {', '.join(known)}"
