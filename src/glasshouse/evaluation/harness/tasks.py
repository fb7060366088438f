"""Tasks of lm-evaluation-harness inside this house: its prompts, filters and metrics, our scorers and baselines.

Beside every score stands what trivial answers reach by the harness's own metrics: of questions with choices `chance`
and `majority` (the place that is right most often), of written answers `nothing` (an empty text) and `majority` (the
most frequent right answer).
"""

from __future__ import annotations

import importlib.metadata
import statistics
import warnings
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from glasshouse.evaluation.harness.finding import HarnessError, load_tasks
from glasshouse.evaluation.records import Metric, MetricError, Record, mean_of
from glasshouse.evaluation.requests import Answer, Likelihood, LogLikelihood, Request
from glasshouse.evaluation.running import Rounds
from glasshouse.store.configuration import fingerprint, named_seed

EXAMPLES_SEED = 1234
"""The harness's own for examples, which seed 0 stands for."""
PERFECT = {"acc", "acc_norm", "acc_bytes", "acc_mutual_info", "exact_match", "f1", "em", "mcc", "likelihood_diff"}
"""Metrics of which 1 is the best."""


def harness_tasks(name: str, *, limit: int | None = None, seed: int = 0, shots: int | None = None) -> list[HarnessTask]:
    """The tasks behind a name or a YAML file; a group has several.

    Args:
        limit: a seeded sample of this many items of each.
        seed: of the sample and of examples; 0 draws the examples that the harness draws by default.
        shots: examples before every item, where the task does not fix them at 0; by default what it says itself.

    Raises:
        ImportError, HarnessError: as of `load_tasks`; a task that asks for what a scorer cannot answer.
    """
    return [HarnessTask(task, limit=limit, seed=seed, shots=shots) for task in load_tasks(name).values()]


class HarnessTask:
    """A task object of the harness."""

    def __init__(self, task: Any, *, limit: int | None = None, seed: int = 0, shots: int | None = None) -> None:
        self._task, self._limit, self._seed = task, limit, seed
        stated = task.get_config("num_fewshot")
        if stated is None or (shots is not None and stated != 0):
            task.set_config(key="num_fewshot", value=shots or 0)
        task.set_fewshot_seed(seed=EXAMPLES_SEED + seed)
        self.shots = int(task.get_config("num_fewshot"))
        if task.OUTPUT_TYPE == "loglikelihood_rolling":
            raise HarnessError(f"{self.name} measures perplexity of whole texts: use --perplexity with its documents")

    @property
    def name(self) -> str:
        """The harness's."""
        return str(self._task.task_name)

    @cached_property
    def _instances(self) -> dict[int, list[Any]]:
        """What the harness asks, by document."""
        chosen = None
        if self._limit is not None and self._limit < (size := len(self._task.eval_docs)):
            order = np.random.default_rng(named_seed(self._seed, "items", self.name)).permutation(size)
            chosen = sorted(order[: self._limit].tolist())
        self._task.build_all_requests(samples=chosen)
        found = defaultdict(list)
        for instance in self._task.instances:
            found[instance.doc_id].append(instance)
        return {number: sorted(group, key=lambda one: int(one.idx)) for number, group in found.items()}

    @cached_property
    def hashes(self) -> Mapping[str, str]:
        """Of documents, of prompts, and the version of the harness."""
        every = list(self._instances.values())
        return {
            "data": fingerprint([plain(group[0].doc) for group in every]),
            "prompts": fingerprint([[plain(instance.args) for instance in group] for group in every]),
            "lm_eval": importlib.metadata.version("lm_eval"),
        }

    @cached_property
    def metrics(self) -> Mapping[str, Metric]:
        """The task's, by its own aggregation; `<metric>,<filter>` where it has several filters."""
        found = {}
        for name, aggregate in self._task.aggregation().items():
            for key in self._named(name):
                best = 1.0 if name in PERFECT else None
                mean = getattr(aggregate, "__name__", "") == "mean"
                found[key] = mean_of(key, best) if mean else Metric(_aggregated(key, aggregate), best)
        return found

    def _named(self, metric: str) -> list[str]:
        filters = [one.name for one in self._task._filters]
        return [metric] if len(filters) < 2 else [f"{metric},{one}" for one in filters]

    def rounds(self) -> Rounds:
        """One round.

        Raises:
            HarnessError: a metric needs something that is not here; told before the model is asked anything.
        """
        self._try_metrics()
        every = [instance for group in self._instances.values() for instance in group]
        answers = yield [_request(instance) for instance in every]
        for instance, answer in zip(every, answers, strict=True):
            value = (answer.nats, answer.greedy) if isinstance(answer, Likelihood) else answer.text
            instance.resps, instance.filtered_resps = [value] * (instance.repeats or 1), {}
        self._task.apply_filters()
        by_instance = {id(instance): answer for instance, answer in zip(every, answers, strict=True)}
        return [self._record(number, group, by_instance) for number, group in self._instances.items()]

    def _try_metrics(self) -> None:
        """Score an empty answer to the first item: many metrics want a download only when they are computed."""
        group = next(iter(self._instances.values()))
        written = self._task.OUTPUT_TYPE == "generate_until"
        answers = [""] if written else [(-1.0 - place, False) for place in range(len(group))]
        try:
            self._scores(group[0].doc, {"none": answers})
        except (OSError, ImportError) as error:
            raise HarnessError(
                f"the metrics of {self.name} cannot be computed here ({type(error).__name__}: {error}); nothing is "
                "downloaded, and nothing was asked of the model"
            ) from error
        except Exception:  # a metric may refuse a made-up answer; looked for is only what is missing on this machine
            return

    def _record(self, number: int, group: Sequence[Any], answers: Mapping[int, Answer]) -> Record:
        doc, filters = group[0].doc, list(group[0].filtered_resps)
        given = {one: [instance.filtered_resps[one] for instance in group] for one in filters}
        scores, items = self._scores(doc, given)
        asked = tuple((_request(instance), answers[id(instance)]) for instance in group)
        target = plain(self._task.doc_to_target(doc))
        extras = {"doc": plain(doc), "items": items}
        return Record(str(number), str(group[0].args[0]), target, plain(given[filters[0]]), scores, extras, asked=asked)

    def _scores(self, doc: Any, given: Mapping[str, Sequence[Any]]) -> tuple[dict[str, float], dict[str, Any]]:
        """Numbers of a document, and what its corpus metrics are made of."""
        scores, items = dict[str, float](), dict[str, Any]()
        for one, answers in given.items():
            for name, value in self._task.process_results(doc, list(answers)).items():
                key = name if len(given) < 2 else f"{name},{one}"
                if isinstance(value, bool | int | float | np.number):
                    scores[key] = float(value)
                items[key] = plain(value)
        return scores, items

    def baselines(self, records: Sequence[Record]) -> Mapping[str, Sequence[Record]]:
        """Trivial answers by the harness's metrics; none of tasks that score one continuation.

        A task whose metrics fail on a trivial answer has none, with a warning: the model's answers are worth keeping.
        """
        try:
            return self._baselines(records)
        except Exception as error:
            warnings.warn(f"{self.name} has no trivial baselines: its metrics fail on them ({error!r})", stacklevel=2)
            return {}

    def _baselines(self, records: Sequence[Record]) -> Mapping[str, Sequence[Record]]:
        docs = {str(number): group[0].doc for number, group in self._instances.items()}
        if self._task.OUTPUT_TYPE == "generate_until":
            most = Counter(str(record.target) for record in records).most_common(1)[0][0]
            texts = {"nothing": "", "majority": most}
            return {name: [self._answered(r, docs[r.id], [text]) for r in records] for name, text in texts.items()}
        if self._task.OUTPUT_TYPE != "multiple_choice":
            return {}
        picked = {record.id: self._picks(record, docs[record.id]) for record in records}
        chance = [record.but(response=None, scores=_means(picked[record.id]), extras={}) for record in records]
        if len({len(found) for found in picked.values()}) > 1:
            return {"chance": chance}
        first = next(iter(self.metrics))
        places = range(len(picked[records[0].id]))
        best = max(places, key=lambda place: sum(found[place].scores.get(first, 0) for found in picked.values()))
        return {"chance": chance, "majority": [picked[record.id][best] for record in records]}

    def _picks(self, record: Record, doc: Any) -> list[Record]:
        """What the record would be for each choice, if a model were sure of that one."""
        choices = len(self._task.doc_to_choice(doc)) or len(record.asked)
        rows = [[0.0 if place == pick else -1e6 for place in range(choices)] for pick in range(choices)]
        times = max(1, len(record.asked) // choices)
        return [self._answered(record, doc, [(nats, nats == 0) for nats in row] * times) for row in rows]

    def _answered(self, record: Record, doc: Any, answers: Sequence[Any]) -> Record:
        filters = [one.name for one in self._task._filters] or ["none"]
        scores, items = self._scores(doc, dict.fromkeys(filters, answers))
        return record.but(response=plain(answers), scores=scores, extras={"items": items})


def _aggregated(key: str, aggregate: Any) -> Any:
    def corpus(records: Sequence[Record]) -> float:
        items = [record.extras["items"][key] for record in records if key in record.extras.get("items", {})]
        if len(items) < len(records):
            raise MetricError(f"{len(records) - len(items)} of {len(records)} records have nothing for {key}")
        return float(aggregate(items))

    return corpus


def _means(records: Sequence[Record]) -> dict[str, float]:
    return {name: statistics.fmean(r.scores[name] for r in records) for name in records[0].scores}


def _request(instance: Any) -> Request:
    from glasshouse.evaluation.harness.model import greedy_request

    if instance.request_type == "generate_until":
        return greedy_request(*instance.args)
    return LogLikelihood(*instance.args)


def plain(value: Any) -> Any:
    """A value as JSON data; what is none, as its text."""
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple | set):
        return [plain(one) for one in value]
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)
