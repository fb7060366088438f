"""Query rewriting: BLEU and ROUGE of what a model makes of a query, and which errors it makes (arXiv 2402.00858,
sections 3.1.4 and 4.4).

BLEU is of all rewrites at once, ROUGE a mean; both are between 0 and 1 here. Copying the query is a strong baseline: a
score below it says that a model does harm.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from functools import cached_property

from glasshouse.evaluation.context.examples import Examples
from glasshouse.evaluation.context.prompts import Prompt, load_prompt
from glasshouse.evaluation.context.rewriting.errors import error_kind
from glasshouse.evaluation.context.rewriting.queries import Query
from glasshouse.evaluation.context.rewriting.scores import ROUGE, bleu_counts, bleu_of, rouge
from glasshouse.evaluation.context.sources import hash_items, hash_settings
from glasshouse.evaluation.records import Metric, Record, mean_of
from glasshouse.evaluation.requests import Generate, Request, Written
from glasshouse.evaluation.running import Rounds

ERRORS = ("repeat", "answer", "other")


@dataclasses.dataclass(frozen=True)
class Rewriting:
    """The task.

    Attributes:
        queries: to be rewritten.
        pool: queries that examples are taken from; the queries themselves when empty, of other conversations.
        shots: examples before a query; the paper takes five or ten.
        tokens: most that are written.
    """

    name: str
    queries: tuple[Query, ...]
    pool: tuple[Query, ...] = ()
    shots: int = 5
    seed: int = 0
    prompt: str = "rewriting"
    tokens: int = 64

    @cached_property
    def wording(self) -> Prompt:
        """The prompt."""
        return load_prompt(self.prompt)

    @cached_property
    def hashes(self) -> Mapping[str, str]:
        """Of queries, prompt and settings."""
        data = hash_items(self.queries, self.pool)
        return {"data": data, "prompts": self.wording.sha256, "settings": hash_settings(self, "queries", "pool")}

    @property
    def metrics(self) -> Mapping[str, Metric]:
        """BLEU, ROUGE, and the shares of right rewrites and of each kind of error."""
        scores = {name: mean_of(name) for name in (*ROUGE, "right")}
        return {"bleu": Metric(_bleu)} | scores | {name: mean_of(name, best=None) for name in ERRORS}

    @staticmethod
    def fields(query: Query) -> dict[str, str]:
        """What the prompt shows of a query."""
        return {"history": "\n".join(f"{speaker}: {text}" for speaker, text in query.history), "query": query.text}

    def question(self, query: Query) -> str:
        """The whole prompt of a query."""
        before = [(self.fields(one), one.rewrite) for one in self._examples.before(query.group, self.shots)]
        return self.wording.write(self.fields(query), before)

    def rounds(self) -> Rounds:
        """One round; a record to a query."""
        requests: list[Request] = [
            Generate(self.question(query), self.wording.stop, self.tokens) for query in self.queries
        ]
        answers = yield requests
        records = []
        for query, request, answer in zip(self.queries, requests, answers, strict=True):
            text = answer.text.strip() if isinstance(answer, Written) else ""
            prompt = request.prompt if isinstance(request, Generate) else ""
            record = Record(
                query.id, prompt, query.rewrite, text, extras={"query": query.text}, group=query.group,
                asked=((request, answer),),
            )  # fmt: skip
            records.append(_scored(record, text))
        return records

    def baselines(self, records: Sequence[Record]) -> Mapping[str, Sequence[Record]]:
        """The query as it is."""
        return {"copy": [_scored(record.but(asked=()), str(record.extras["query"])) for record in records]}

    def example(self, query: Query) -> str:
        """A query with its rewrite, to learn from."""
        return f"{self.wording.write(self.fields(query))}{self.wording.written(query.rewrite)}\n\n"

    @cached_property
    def _examples(self) -> Examples[Query]:
        return Examples(self.pool or self.queries, lambda query: query.group, self.seed, "rewriting")


def _scored(record: Record, text: str) -> Record:
    right = str(record.target)
    kind = error_kind(text, str(record.extras["query"]), right)
    scores = {name: value / 100 for name, value in rouge(text, right).items()}
    scores |= {f"bleu/{part}": value for part, value in bleu_counts(text, right).items()}
    return record.but(response=text, scores=scores | {name: float(name == kind) for name in ("right", *ERRORS)})


def _bleu(records: Sequence[Record]) -> float:
    parts = [name for name in records[0].scores if name.startswith("bleu/")]
    return bleu_of({name.removeprefix("bleu/"): sum(r.scores[name] for r in records) for name in parts}) / 100
