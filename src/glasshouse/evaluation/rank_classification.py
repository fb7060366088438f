"""Rank classification: a model answers by the choice it finds likeliest, and is right when that is the gold one.

With c a choice after the context x, and |c| its length without the leading space, a choice is ranked by

    acc        log p(c | x)
    len_norm   log p(c | x) / characters
    per_token  log p(c | x) / tokens
    per_byte   log p(c | x) / UTF-8 bytes
    pmi_dc     log p(c | x) - log p(c | domain prompt)      [Holtzman et al., arXiv 2104.08315, eq. 3]

and, of the gold choice alone, `bpb` = - log p / (ln 2 bytes) and `ce_loss` = - log p / characters (OLMo's name and
unit) are means over questions. `f1` is the mean over labels of the F1 of the answers by `acc`. The names are those of
OLMo's evaluation in the loop (arXiv 2402.00838, section 2.4; allenai/OLMo, `olmo/eval/downstream.py`).

Deviations from OLMo's code: its `pmi_dc` divides the two log-likelihoods. Both are negative, so the largest quotient
belongs to the choice that the question makes *less* likely, and the worse answer wins; the difference above is the
right one. Its `f1` is of one label, here it is the mean over all. Its tokens are those of context and choice
encoded apart (see `likelihood` for the border). Ties go to the first choice, as there.

Its baselines are `chance` (a guess: 1 / choices), `majority` (the choice that is right most often, by its place) and
`prior`: what the same model answers without reading the question, by log p(c | domain prompt).
"""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cached_property

import numpy as np
import numpy.typing as npt

from glasshouse.evaluation.few_shot import draw_examples
from glasshouse.evaluation.questions import Judged, Question, QuestionSource
from glasshouse.evaluation.records import Metric, MetricError, Record, mean_of
from glasshouse.evaluation.requests import Answer, Likelihood, LogLikelihood, Request
from glasshouse.evaluation.running import Rounds
from glasshouse.evaluation.scoreboard import Scoreboard, scoreboard
from glasshouse.store.configuration import fingerprint

RANKINGS = ("acc", "len_norm", "per_token", "per_byte", "pmi_dc")


def ranked_by(given: Sequence[Likelihood], prior: Sequence[Likelihood], texts: Sequence[str]) -> dict[str, list[float]]:
    """What the choices of a question are compared by, for every ranking.

    Args:
        given, prior: the choices after the question, and after the domain prompt.
        texts: the choices without their leading space.
    """
    nats = [answer.nats for answer in given]
    return {
        "acc": nats,
        "len_norm": [value / max(1, len(text)) for value, text in zip(nats, texts, strict=True)],
        "per_token": [answer.nats / answer.tokens for answer in given],
        "per_byte": [value / max(1, len(text.encode())) for value, text in zip(nats, texts, strict=True)],
        "pmi_dc": [one.nats - other.nats for one, other in zip(given, prior, strict=True)],
        "prior": [answer.nats for answer in prior],
    }


@dataclasses.dataclass(frozen=True)
class RankedTask:
    """Questions as a task: a request per choice, with and without the question."""

    source: QuestionSource

    @property
    def name(self) -> str:
        """Of the source."""
        return self.source.name

    @property
    def shots(self) -> int:
        """Examples before every question."""
        return self.source.shots if isinstance(self.source, WithExamples) else 0

    @property
    def hashes(self) -> Mapping[str, str]:
        """Of the questions with their choices and labels."""
        return {"data": fingerprint([dataclasses.asdict(question) for question in self.source.questions])}

    @property
    def metrics(self) -> Mapping[str, Metric]:
        """What the task is judged by first, then the other rankings, `f1`, `bpb` and `ce_loss`."""
        every = {ranking: mean_of(ranking) for ranking in RANKINGS}
        every |= {"f1": Metric(_f1), "bpb": mean_of("bpb", best=0), "ce_loss": mean_of("ce_loss", best=0)}
        return {self.source.metric: every[self.source.metric]} | every

    def rounds(self) -> Rounds:
        """One round."""
        questions = self.source.questions
        asked: dict[Request, None] = {}
        for question in questions:
            asked.update((request, None) for request in (*question.requests, *_apart(question)))
        found: dict[Request, Answer] = dict(zip(asked, (yield list(asked)), strict=True))
        return [self._record(question, found) for question in questions]

    def _record(self, question: Question, found: Mapping[Request, Answer]) -> Record:
        given, prior = _likelihoods(question.requests, found), _likelihoods(_apart(question), found)
        texts = [request.continuation.removeprefix(" ") for request in question.requests]
        by = ranked_by(given, prior, texts)
        answers = {ranking: int(np.argmax(values)) for ranking, values in by.items()}
        label, judged = question.label, "acc" if self.source.metric == "f1" else self.source.metric
        size, gold = max(1, len(texts[label].encode())), given[label].nats
        scores = {ranking: float(answers[ranking] == label) for ranking in RANKINGS} | {
            "bpb": -gold / (math.log(2) * size),
            "ce_loss": -gold / max(1, len(texts[label])),
        }
        extras = {
            "answers": answers,
            "log_likelihoods": [round(answer.nats, 5) for answer in given],
            "bpb_prior": -prior[label].nats / (math.log(2) * size),
        }
        asked = tuple((request, found[request]) for request in question.requests)
        prompt = question.requests[0].context
        return Record(question.id, prompt, label, answers[judged], scores, extras, asked=asked)

    def baselines(self, records: Sequence[Record]) -> Mapping[str, Sequence[Record]]:
        """`chance`, `majority` and `prior`."""
        most = Counter(record.target for record in records).most_common(1)[0][0]
        chance = [
            record.but(response=None, scores=dict.fromkeys(RANKINGS, 1 / len(record.asked)), extras={})
            for record in records
        ]
        prior = [
            _answered(record, record.extras["answers"]["prior"], bpb=record.extras["bpb_prior"]) for record in records
        ]
        return {"chance": chance, "majority": [_answered(record, most) for record in records], "prior": prior}


def _answered(record: Record, answer: int, **scores: float) -> Record:
    right = dict.fromkeys(RANKINGS, float(answer == record.target))
    return record.but(response=answer, scores=right | scores, extras={"answers": {"acc": answer}})


def _apart(question: Question) -> list[LogLikelihood]:
    """The choices after the domain prompt."""
    return [LogLikelihood(question.domain_prompt, request.continuation) for request in question.requests]


def _likelihoods(requests: Sequence[LogLikelihood], found: Mapping[Request, Answer]) -> list[Likelihood]:
    return [answer for request in requests if isinstance(answer := found[request], Likelihood)]


def _f1(records: Sequence[Record]) -> float:
    if any("answers" not in record.extras for record in records):
        raise MetricError("F1 needs an answer to every question")
    answers = np.array([record.extras["answers"]["acc"] for record in records])
    return macro_f1(np.array([record.target for record in records]), answers)


def macro_f1(labels: npt.NDArray[np.int64], answers: npt.NDArray[np.int64]) -> float:
    """Mean over the labels that occur, as answer or as gold, of 2 hits / (answers + golds)."""
    kinds = np.union1d(labels, answers)
    hits = [int(((labels == kind) & (answers == kind)).sum()) for kind in kinds]
    counts = [int((labels == kind).sum() + (answers == kind).sum()) for kind in kinds]
    return float(np.mean([2 * hit / count for hit, count in zip(hits, counts, strict=True)]))


@dataclasses.dataclass(frozen=True)
class WithExamples:
    """Questions with solved ones of the same source before them, each followed by an empty line.

    Every question has examples of its own, drawn by seed and name; it is never among them itself.
    """

    source: QuestionSource
    shots: int
    seed: int = 0

    @property
    def name(self) -> str:
        """Of the source."""
        return self.source.name

    @property
    def metric(self) -> Judged:
        """Of the source."""
        return self.source.metric

    @cached_property
    def questions(self) -> tuple[Question, ...]:
        """The questions with their examples. Raises `FewShotError` where there are too few."""
        pool = self.source.questions
        return tuple(self._with(question, pool) for question in pool)

    def _with(self, question: Question, pool: Sequence[Question]) -> Question:
        drawn = draw_examples(
            pool, self.shots, self.seed, self.name, question.id, allowed=lambda one: one.id != question.id
        )
        golds = [one.requests[one.label] for one in drawn]
        before = "".join(f"{gold.context}{gold.continuation}\n\n" for gold in golds)
        requests = tuple(LogLikelihood(before + one.context, one.continuation) for one in question.requests)
        return dataclasses.replace(question, requests=requests)


def rank_classification(*sources: QuestionSource, seed: int = 0) -> Scoreboard:
    """Measure how many questions of each task a model answers right.

    Raises `ValueError` when there is no task, or two have the same name.
    """
    return scoreboard(*map(RankedTask, sources), seed=seed)
