"""Winograd schemas: whom does a pronoun mean, where only understanding tells?

Scored as lm-evaluation-harness scores `wsc273`, by partial scoring (Trinh & Le, arXiv 1806.02847): the pronoun is
replaced by each option, and the option is right after which the rest of the sentence is likelier. The option's article
or pronoun is in lower case where it does not begin a sentence, and `'s` follows it where the pronoun is possessive.
The paper does not say how it scores; its accuracies are multiples of 1/273. For models that only write, the question
is asked with letters.
"""

from __future__ import annotations

import csv
import dataclasses
import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from glasshouse.evaluation.context.choices import Choices, arrange, chosen, requests_of
from glasshouse.evaluation.context.prompts import Prompt, load_prompt
from glasshouse.evaluation.context.sources import DataError, find_files, hash_items, hash_settings
from glasshouse.evaluation.records import Metric, Record, mean_of
from glasshouse.evaluation.requests import LogLikelihood, Request
from glasshouse.evaluation.running import Rounds

Scoring = Literal["partial", "full", "generate"]
_POSSESSIVE = frozenset(("my", "his", "her", "our", "their"))
_LOWERED = frozenset(("A", "An", "The", "She", "He", "It", "They", "My", "His", "Her", "Their", "Our"))


@dataclasses.dataclass(frozen=True)
class Schema:
    """A sentence around a pronoun.

    Attributes:
        before, pronoun, after: the text, in three parts.
        options: what the pronoun may refer to.
        label: number of the right one.
        group: schemas that are variants of one another share it.
    """

    id: str
    before: str
    pronoun: str
    after: str
    options: tuple[str, ...]
    label: int
    group: str

    def substitute(self, option: int) -> str:
        """An option in the pronoun's place."""
        text = self.options[option]
        if self.pronoun.lower() in _POSSESSIVE:
            text += "'s"
        first, _, rest = text.partition(" ")
        if first in _LOWERED and self.before.rstrip() and not self.before.rstrip().endswith((".", "!", "?")):
            text = f"{first.lower()} {rest}"
        return text


def read_winograd(folder: str | Path, language: str = "en", part: str = "original") -> list[Schema]:
    """The schemas of a language; WSC273 are the English originals.

    Raises:
        DataError: there are none of this language and part, or a row does not have its form.
    """
    file = find_files("winograd", folder, "crosslingual.tsv", "dataset.tsv")[0]
    found: list[Schema] = []
    kinds: set[tuple[str, str]] = set()
    with file.open(encoding="utf-8", newline="") as lines:
        for number, row in enumerate(csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE), start=1):
            kinds.add((row[0], row[1]))
            if row[:2] == [language, part]:
                try:
                    found.append(_schema(row, f"{language}-{len(found)}", f"{language}-{len(found) // 2}"))
                except (ValueError, IndexError, TypeError, StopIteration) as error:
                    raise DataError(f"{file}, line {number}: not a Winograd schema ({error})") from error
    if not found:
        known = ", ".join(" ".join(kind) for kind in sorted(kinds))
        raise DataError(f"{file} has no schemas of {language} {part}; it has {known}")
    return found


def _schema(row: Sequence[str], name: str, group: str) -> Schema:
    text, tokens, pronoun, options = row[3], *map(json.loads, row[4:7])
    place = _character(text, tokens, pronoun[1][0])
    if not text.startswith(pronoun[0], place):
        raise ValueError(f"{pronoun[0]!r} is not where it should be in {text!r}")
    before, after = text[:place], text[place + len(pronoun[0]) :]
    label = next(number for number, option in enumerate(options) if option[3])
    return Schema(name, before, pronoun[0], after, tuple(option[0] for option in options), label, group)


def _character(text: str, tokens: Sequence[str], token: int) -> int:
    """Where a token begins; quotation marks of a tokenizer (`` and '') are one character of the text."""
    at = 0
    for number, piece in enumerate(tokens[: token + 1]):
        wanted = ('"', piece) if piece in ("``", "''") else (piece,)
        places = [found for form in wanted if (found := text.find(form, at)) >= 0]
        if not places:
            raise ValueError(f"{piece!r} is not in the rest of {text!r}")
        at = min(places)
        if number < token:
            at += next(len(form) for form in wanted if text.startswith(form, at))
    return at


@dataclasses.dataclass(frozen=True)
class Winograd:
    """The task.

    Attributes:
        scoring: `partial` compares the likelihoods of what follows, `full` those of all from the option on, `generate`
            asks for a letter.
    """

    name: str
    schemas: tuple[Schema, ...]
    scoring: Scoring = "partial"
    shuffle: int | None = None
    prompt: str = "winograd"

    @cached_property
    def wording(self) -> Prompt:
        """The prompt, where one is needed."""
        return load_prompt(self.prompt)

    @cached_property
    def hashes(self) -> Mapping[str, str]:
        """Of schemas, prompt and settings."""
        data = hash_items(self.schemas)
        return {"data": data, "prompts": self.wording.sha256, "settings": hash_settings(self, "schemas")}

    @property
    def metrics(self) -> Mapping[str, Metric]:
        """The share of schemas answered right, and for written answers the share that cannot be read."""
        found = {"acc": mean_of("acc")}
        return found | {"invalid": mean_of("invalid", best=None)} if self.scoring == "generate" else found

    def requests(self, schema: Schema) -> list[Request]:
        """What is asked of a schema."""
        if self.scoring == "generate":
            fields = {
                "context": f"{schema.before}*{schema.pronoun}*{schema.after}",
                "pronoun": schema.pronoun,
                "choices": self.choices(schema).listed(),
            }
            return requests_of(self.wording.write(fields), self.choices(schema), "generate", self.wording)
        found: list[Request] = []
        for number in range(len(schema.options)):
            option = schema.substitute(number)
            if self.scoring == "partial":
                found.append(LogLikelihood(schema.before + option, schema.after))
            else:
                found.append(LogLikelihood(schema.before.rstrip(), f" {option}{schema.after}"))
        return found

    def choices(self, schema: Schema) -> Choices:
        """The options of a schema."""
        return arrange(schema.options, self.shuffle, "winograd", schema.id)

    def rounds(self) -> Rounds:
        """One round; a record to a schema."""
        each = [self.requests(schema) for schema in self.schemas]
        answers = yield [request for requests in each for request in requests]
        records, first = [], 0
        for schema, requests in zip(self.schemas, each, strict=True):
            found = answers[first : first + len(requests)]
            first += len(requests)
            option = chosen(found, self.choices(schema))
            asked = tuple(zip(requests, found, strict=True))
            prompt = requests[0].prompt if not isinstance(requests[0], LogLikelihood) else schema.before
            record = Record(schema.id, prompt, schema.label, option, group=schema.group, asked=asked)
            records.append(self._scored(record, option, schema))
        return records

    def baselines(self, records: Sequence[Record]) -> Mapping[str, Sequence[Record]]:
        """Always the first option, and always the last."""
        schemas = {schema.id: schema for schema in self.schemas}
        return {
            name: [self._scored(r.but(asked=()), place % len(schemas[r.id].options), schemas[r.id]) for r in records]
            for name, place in (("first option", 0), ("last option", -1))
        }

    @staticmethod
    def example(schema: Schema) -> str:
        """A sentence with the right option in the place of its pronoun, to learn from."""
        return f"{schema.before}{schema.substitute(schema.label)}{schema.after}\n\n"

    @staticmethod
    def _scored(record: Record, option: int | None, schema: Schema) -> Record:
        scores: dict[str, Any] = {"acc": float(option == schema.label), "invalid": float(option is None)}
        return record.but(response=option, scores=scores)
