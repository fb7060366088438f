"""Implicit discourse relations as a choice among four classes (arXiv 2402.00858, section 3.1.3)."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cached_property

import numpy as np

from glasshouse.evaluation.context.choices import Choices, Form, arrange, chosen, requests_of
from glasshouse.evaluation.context.discourse.relations import SENSES, Relation, Sense
from glasshouse.evaluation.context.examples import Examples
from glasshouse.evaluation.context.prompts import Prompt, load_prompt
from glasshouse.evaluation.context.sources import hash_items, hash_settings
from glasshouse.evaluation.rank_classification import macro_f1
from glasshouse.evaluation.records import Metric, Record, mean_of
from glasshouse.evaluation.requests import Likelihood, Request
from glasshouse.evaluation.running import Rounds


@dataclasses.dataclass(frozen=True)
class Discourse:
    """The task.

    Attributes:
        relations: to be answered.
        pool: relations that examples are taken from; the relations themselves when empty, of other documents.
        shots: examples of each class; the paper takes two.
        form: how answers are given, see `choices`.
        shuffle: seed of an order of options for each relation; that of the classes when `None`.
    """

    name: str
    relations: tuple[Relation, ...]
    pool: tuple[Relation, ...] = ()
    shots: int = 2
    form: Form = "letter"
    shuffle: int | None = None
    seed: int = 0
    prompt: str = "discourse"

    @cached_property
    def wording(self) -> Prompt:
        """The prompt."""
        return load_prompt(self.prompt)

    @cached_property
    def hashes(self) -> Mapping[str, str]:
        """Of relations, prompt and settings."""
        data = hash_items(self.relations, self.pool)
        return {"data": data, "prompts": self.wording.sha256, "settings": hash_settings(self, "relations", "pool")}

    @property
    def metrics(self) -> Mapping[str, Metric]:
        """Accuracy, the mean over classes of F1, and the share of answers that cannot be read."""
        return {"acc": mean_of("acc"), "macro_f1": Metric(_macro_f1), "invalid": mean_of("invalid", best=None)}

    def choices(self, relation: Relation) -> Choices:
        """The classes as they are shown."""
        return arrange(SENSES, self.shuffle, "discourse", relation.id)

    def fields(self, relation: Relation) -> dict[str, str]:
        """What the prompt shows of a relation."""
        return {"first": relation.first, "second": relation.second, "choices": self.choices(relation).listed()}

    def question(self, relation: Relation) -> str:
        """The whole prompt of a relation."""
        before = [(self.fields(example), self._answer(example)) for example in self._shots(relation.document)]
        return self.wording.write(self.fields(relation), before)

    def rounds(self) -> Rounds:
        """One round; a record to a relation."""
        questions = [self.question(relation) for relation in self.relations]
        each: list[list[Request]] = [
            requests_of(question, self.choices(relation), self.form, self.wording)
            for question, relation in zip(questions, self.relations, strict=True)
        ]
        answers = yield [request for requests in each for request in requests]
        records, first = [], 0
        for relation, question, requests in zip(self.relations, questions, each, strict=True):
            found = answers[first : first + len(requests)]
            first += len(requests)
            option = chosen(found, self.choices(relation))
            place = 0 if self.form == "generate" else option or 0
            nats = {
                sense: round(a.nats, 4) for sense, a in zip(SENSES, found, strict=False) if isinstance(a, Likelihood)
            }
            record = Record(
                relation.id, question, relation.senses[0], None, extras={"senses": list(relation.senses), "nats": nats},
                group=relation.document, asked=((requests[place], found[place]),),
            )  # fmt: skip
            records.append(_scored(record, None if option is None else SENSES[option]))
        return records

    def baselines(self, records: Sequence[Record]) -> Mapping[str, Sequence[Record]]:
        """The class that is most frequent among these relations, always."""
        most = Counter(str(record.target) for record in records).most_common(1)[0][0]
        return {f"always {most}": [_scored(record.but(asked=()), most) for record in records]}

    def example(self, relation: Relation) -> str:
        """A relation with its answer, to learn from."""
        return self.wording.write(self.fields(relation)) + self.wording.written(self._answer(relation)) + "\n\n"

    def _answer(self, relation: Relation) -> str:
        return self.choices(relation).written(SENSES.index(relation.senses[0]), self.form)

    def _shots(self, document: str) -> list[Relation]:
        """`shots` of every class, in an order that mixes classes."""
        if not self.shots:
            return []
        found = [example for sense in SENSES for example in self._drawn[sense].before(document, self.shots)]
        return sorted(found, key=lambda relation: self._place[relation.id])

    @cached_property
    def _place(self) -> Mapping[str, int]:
        mixed = Examples(self.pool or self.relations, _document, self.seed, "discourse", "order").order
        return {relation.id: place for place, relation in enumerate(mixed)}

    @cached_property
    def _drawn(self) -> dict[Sense, Examples[Relation]]:
        pool = self.pool or self.relations
        return {
            sense: Examples([r for r in pool if r.senses[0] == sense], _document, self.seed, "discourse", sense)
            for sense in SENSES
        }


def _document(relation: Relation) -> str:
    return relation.document


def _scored(record: Record, sense: str | None) -> Record:
    right = float(sense in record.extras["senses"])
    return record.but(response=sense, scores={"acc": right, "invalid": float(sense is None)})


def _macro_f1(records: Sequence[Record]) -> float:
    """Of an answer that is right by its second sense, that sense is the gold one."""
    names = [*SENSES, None]
    gold = [r.response if r.response in r.extras["senses"] else r.target for r in records]
    given = [record.response for record in records]
    return macro_f1(np.array([names.index(g) for g in gold]), np.array([names.index(g) for g in given]))
