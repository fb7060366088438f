"""Coreference as multiple choice over the mentions of a document (arXiv 2402.00858, section 3.1.1).

For each gold mention the model is asked which of the other mentions it refers to, or whether "no antecedent" does. The
links that it chooses are merged into clusters, which are scored over all documents as in CoNLL-2012.

The paper leaves open whether mentions that come later are options. Here only earlier ones are (`earlier=False` takes
all); where a document is too long, `window` keeps the words before the mention, and the mentions among them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property

from glasshouse.evaluation.context.choices import Choices, Form, arrange, chosen, requests_of
from glasshouse.evaluation.context.coreference.baselines import BASELINES
from glasshouse.evaluation.context.coreference.documents import Clusters, Document, Mention, merge_links
from glasshouse.evaluation.context.coreference.metrics import METRICS
from glasshouse.evaluation.context.coreference.questions import (
    Asked,
    corpus_metric,
    plain,
    scored_clusters,
    share_of,
)
from glasshouse.evaluation.context.examples import Examples
from glasshouse.evaluation.context.prompts import Prompt, load_prompt
from glasshouse.evaluation.context.sources import hash_items, hash_settings
from glasshouse.evaluation.records import Metric, Record
from glasshouse.evaluation.requests import Answer, Likelihood, Request
from glasshouse.evaluation.running import Rounds

NONE = "no antecedent"


@dataclasses.dataclass(frozen=True)
class Coreference:
    """The task.

    Attributes:
        documents: to be answered.
        pool: documents that examples are taken from; the documents themselves when empty.
        shots: examples before a question, one mention each.
        form: how answers are given, see `choices`.
        earlier: whether only mentions that begin earlier are options.
        window: words before a mention that are shown, and after it up to the end of its sentence; all when `None`.
        none_first: whether "no antecedent" is the first option instead of the last.
        shuffle: seed of an order of options for each mention; in the order of the text when `None`.
    """

    name: str
    documents: tuple[Document, ...]
    pool: tuple[Document, ...] = ()
    shots: int = 1
    form: Form = "letter"
    earlier: bool = True
    window: int | None = None
    none_first: bool = False
    shuffle: int | None = None
    seed: int = 0
    prompt: str = "coreference"

    @cached_property
    def wording(self) -> Prompt:
        """The prompt."""
        return load_prompt(self.prompt)

    @cached_property
    def hashes(self) -> Mapping[str, str]:
        """Of documents, prompt and settings."""
        return {
            "data": hash_items(self.documents, self.pool),
            "prompts": self.wording.sha256,
            "settings": hash_settings(self, "documents", "pool"),
        }

    @property
    def metrics(self) -> Mapping[str, Metric]:
        """The CoNLL average, its parts, CEAF-m, and the share of mentions that were answered right and unreadably."""
        measured = {name: corpus_metric(name) for name in ("average", *METRICS)}
        return measured | {"choice": share_of("right"), "invalid": share_of("invalid", best=None)}

    def asked(self, document: Document) -> list[Asked]:
        """The questions of a document: of its mentions that have one before them."""
        found = []
        for mention in document.mentions:
            first = self._first(mention)
            others = (m for m in document.mentions if m != mention and m.start >= first)
            options = tuple(m for m in others if not self.earlier or (m.start, -m.end) < (mention.start, -mention.end))
            if options:
                found.append(Asked(document, mention, options))
        return found

    def choices(self, asked: Asked) -> Choices:
        """The options of a question as they are shown."""
        texts = [*(asked.document.text(option) for option in asked.options), NONE]
        names = (asked.document.id, *asked.mention)
        found = arrange(texts, self.shuffle, "coreference", *names, last=len(texts) - 1)
        if not self.none_first:
            return found
        return dataclasses.replace(found, order=(found.order[-1], *found.order[:-1]))

    def fields(self, asked: Asked) -> dict[str, str]:
        """What the prompt shows of a question."""
        document, (start, end) = asked.document, asked.mention
        tokens = list(document.tokens)
        tokens[start], tokens[end - 1] = f"*{tokens[start]}", f"{tokens[end - 1]}*"
        if end - start == 1:
            tokens[start] = f"*{document.tokens[start]}*"
        until = next((at for at in document.sentences if at >= end), len(tokens)) if self.window else len(tokens)
        context = " ".join(tokens[self._first(asked.mention) : until])
        return {
            "context": context,
            "mention": document.text(asked.mention),
            "choices": self.choices(asked).listed(),
        }

    def question(self, asked: Asked) -> str:
        """The whole prompt of a question."""
        before = [(self.fields(example), self._answer(example)) for example in self._examples_of(asked)]
        return self.wording.write(self.fields(asked), before)

    def rounds(self) -> Rounds:
        """One round; a record to a document."""
        every = [self.asked(document) for document in self.documents]
        requests: list[Request] = []
        ends: list[list[int]] = []
        for questions in every:
            ends.append([])
            for one in questions:
                requests += requests_of(self.question(one), self.choices(one), self.form, self.wording)
                ends[-1].append(len(requests))
        answers = yield requests
        records, first = [], 0
        for document, questions, borders in zip(self.documents, every, ends, strict=True):
            records.append(self._record(document, questions, requests, answers, [first, *borders]))
            first = borders[-1] if borders else first
        return records

    def baselines(self, records: Sequence[Record]) -> Mapping[str, Sequence[Record]]:
        """Clusters of equal strings, equal last words, all in one and each alone."""
        documents = {document.id: document for document in self.documents}
        return {
            name: [self._without_model(record, documents[record.id], make) for record in records]
            for name, make in BASELINES.items()
        }

    def _without_model(self, record: Record, document: Document, make: Callable[[Document], Clusters]) -> Record:
        clusters = make(document)
        place = {mention: number for number, cluster in enumerate(clusters) for mention in cluster}
        questions = self.asked(document)
        joined = [[n for n, option in enumerate(a.options) if place[option] == place[a.mention]] for a in questions]
        given = [options[-1] if options else len(a.options) for options, a in zip(joined, questions, strict=True)]
        return scored_clusters(record.but(extras={}, asked=()), document, clusters, questions, given)

    def example(self, document: Document, number: int) -> str:
        """A question of a document with its answer, to learn from."""
        questions = self.asked(document)
        asked = questions[number % len(questions)]
        return self.wording.write(self.fields(asked)) + self.wording.written(self._answer(asked)) + "\n\n"

    def _first(self, mention: Mention) -> int:
        return max(0, mention.start - self.window) if self.window else 0

    def _answer(self, asked: Asked) -> str:
        return self.choices(asked).written(asked.gold, self.form)

    @cached_property
    def _examples(self) -> Examples[Asked]:
        pool = [asked for document in self.pool or self.documents for asked in self.asked(document)]
        return Examples(pool, lambda asked: asked.document.id, self.seed, "coreference")

    def _examples_of(self, asked: Asked) -> list[Asked]:
        return self._examples.before(asked.document.id, self.shots) if self.shots else []

    def _record(
        self,
        document: Document,
        questions: Sequence[Asked],
        requests: Sequence[Request],
        answers: Sequence[Answer],
        borders: Sequence[int],
    ) -> Record:
        links, answered, pairs, given = [], [], [], []
        for asked, first, last in zip(questions, borders, borders[1:], strict=False):
            option = chosen(answers[first:last], self.choices(asked))
            given.append(option)
            if option is not None and option < len(asked.options):
                links.append((asked.mention, asked.options[option]))
            place = first if self.form == "generate" else first + (option or 0)
            pairs.append((requests[place], answers[place]))
            nats = [round(answer.nats, 4) for answer in answers[first:last] if isinstance(answer, Likelihood)]
            answered.append({"mention": list(asked.mention), "option": option, "gold": asked.gold, "nats": nats})
        prompt = self.question(questions[-1]) if questions else ""
        record = Record(
            document.id, prompt, plain(document.clusters), [], extras={"answers": answered}, group=document.id,
            asked=tuple(pairs),
        )  # fmt: skip
        return scored_clusters(record, document, merge_links(document.mentions, links), questions, given)
