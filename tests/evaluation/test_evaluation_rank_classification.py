"""Rank classification against its definitions, read question by question; OLMo's quotient against the difference."""

import contextlib
import json
import math
import types

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score

from glasshouse.evaluation.generated import GeneratedTask, generated_tasks
from glasshouse.evaluation.questions import Question, QuestionSet
from glasshouse.evaluation.rank_classification import RANKINGS, RankedTask, macro_f1, rank_classification, ranked_by
from glasshouse.evaluation.requests import Likelihood, LogLikelihood
from glasshouse.evaluation.running import run
from glasshouse.evaluation.scoreboard import Scoreboard, TaskNameError, scored
from glasshouse.evaluation.scorers import LocalScorer


@contextlib.contextmanager
def bar(description, total):
    yield types.SimpleNamespace(advance=lambda amount=1: None)


QUESTIONS = (
    Question(
        "a",
        (LogLikelihood("the old gate is", " green"), LogLikelihood("the old gate is", " open by the river")),
        1,
        "is",
    ),
    Question(
        "b",
        (LogLikelihood("it", " is after rain"), LogLikelihood("it", " stands"), LogLikelihood("it", " döor")),
        0,
        "Answer:",
    ),
    Question("c", (LogLikelihood("", " the door"), LogLikelihood("", " the gate")), 1, ""),
)


@torch.no_grad()
def brute_force(model, context, continuation):
    """log p of the continuation: all tokens of the whole but those of the context, one at a time."""
    ids = model.tokenizer.encode(context + continuation).ids
    known = len(model.tokenizer.encode(context).ids)
    given = ids[:known] or [model.end_of_sequence]
    total = 0.0
    for token in ids[known:]:
        total += float(model.transformer(torch.tensor([given])).logits[0, -1].double().log_softmax(-1)[token])
        given = [*given, token]
    return total, len(ids) - known


def done(model, questions, metric="acc"):
    task = RankedTask(QuestionSet("mine", tuple(questions), metric))
    return scored(task, run(task, LocalScorer(model)))


def test_every_ranking_and_mean_by_its_definition(model):
    found = done(model, QUESTIONS, "len_norm")
    names = (*RANKINGS, "prior")
    right = dict.fromkeys(names, 0)
    bits, prior_bits, loss = [], [], []
    for question, record in zip(QUESTIONS, found.records, strict=True):
        options = {name: [] for name in names}
        for number, request in enumerate(question.requests):
            nats, tokens = brute_force(model, request.context, request.continuation)
            prior, _ = brute_force(model, question.domain_prompt, request.continuation)
            assert record.asked[number][1].nats == pytest.approx(nats, rel=1e-5)
            text = request.continuation[1:]
            size = len(text.encode())
            by = (nats, nats / len(text), nats / tokens, nats / size, nats - prior, prior)
            for name, value in zip(names, by, strict=True):
                options[name].append(value)
            if number == question.label:
                bits.append(-nats / math.log(2) / size)
                prior_bits.append(-prior / math.log(2) / size)
                loss.append(-nats / len(text))
        for name in names:
            assert record.extras["answers"][name] == int(np.argmax(options[name]))
            right[name] += int(np.argmax(options[name])) == question.label
        assert record.response == record.extras["answers"]["len_norm"]
    for name in RANKINGS:
        reached = found.scores[name]
        assert reached.value == right[name] / 3
        assert reached.low <= reached.value <= reached.high
        assert reached.baselines["chance"] == pytest.approx((1 / 2 + 1 / 3 + 1 / 2) / 3)
        assert reached.baselines["majority"] == 2 / 3
        assert reached.baselines["prior"] == right["prior"] / 3
    assert found.scores["bpb"].value == pytest.approx(np.mean(bits), rel=1e-5)
    assert found.scores["bpb"].baselines == {"prior": pytest.approx(np.mean(prior_bits), rel=1e-5)}
    assert found.scores["ce_loss"].value == pytest.approx(np.mean(loss), rel=1e-5)
    assert next(iter(found.scores)) == "len_norm"
    assert found.cut == 0


def answers_of(given, prior, label):
    """What is answered, by every ranking, when these are the log-likelihoods."""
    by = ranked_by(
        [Likelihood(v, False, 1) for v in given], [Likelihood(v, False, 1) for v in prior], ["a"] * len(given)
    )
    return {name: int(np.argmax(values)) == label for name, values in by.items()}


def test_olmos_quotient_prefers_the_worse_answer_and_the_difference_does_not():
    # Equally likely without the question; the question makes the first choice e^3 times likelier, the second less so.
    given, prior = [-2.0, -9.0], [-5.0, -5.0]
    olmo = int(np.argmax([g / p for g, p in zip(given, prior, strict=True)]))  # olmo/eval/downstream.py, `pmi_dc`
    assert olmo == 1
    assert answers_of(given, prior, 0)["pmi_dc"]


def test_pmi_undoes_what_a_choice_is_worth_without_the_question():
    # "fish" is common anywhere; the question makes "frog" likelier than it was, and "fish" less likely.
    found = answers_of([-2.0, -4.0], [-1.0, -8.0], 1)
    assert (found["acc"], found["prior"], found["pmi_dc"]) == (False, False, True)


def test_macro_f1_is_scikit_learns():
    draw = np.random.default_rng(0)
    labels, answers = draw.integers(0, 3, 200), draw.integers(0, 4, 200)
    assert macro_f1(labels, answers) == pytest.approx(f1_score(labels, answers, average="macro"))
    assert macro_f1(labels, labels) == 1


def test_a_task_of_equal_choices_is_answered_at_chance(model):
    """Seven hundred questions whose labels were drawn blindly: the interval holds chance."""
    draw = np.random.default_rng(1)
    asked = [
        Question(
            str(n),
            (LogLikelihood("the", f" {n} gate"), LogLikelihood("the", f" {n} door")),
            int(draw.integers(2)),
            "the",
        )
        for n in range(700)
    ]
    reached = done(model, asked).scores["acc"]
    assert reached.low < 0.5 < reached.high
    assert reached.high - reached.low < 0.08
    assert abs(reached.normalised) < 0.2


def test_the_measure_reports_every_task_and_their_mean(model):
    tasks = generated_tasks(count=8)
    outcome = rank_classification(*tasks).measure(model, bar)
    values = outcome["values"]
    gained = [values[f"tasks/{task.name}/acc/normalised"] for task in tasks]
    assert values["tasks/macro/normalised"] == pytest.approx(np.mean(gained))
    assert [values[f"tasks/{t.name}/acc/baseline/chance"] for t in tasks] == pytest.approx([0.1, 0.25, 0.25])
    json.dumps(outcome, allow_nan=False)
    for task in tasks:
        records = outcome["tasks"][task.name]["records"]
        right = np.mean([record["response"] == record["target"] for record in records])
        assert right == values[f"tasks/{task.name}/acc"]
    table, bars = Scoreboard.panels(outcome)
    assert [row[0] for row in table.rows if row[1] == "acc"] == [task.name for task in tasks]
    assert all(len(row) == len(table.columns) for row in table.rows)
    assert "chance 0.100" in table.rows[0][7]
    low, high = bars.intervals["colours (acc)"]["score"]
    assert low <= bars.groups["colours (acc)"]["score"] <= high


def test_cut_contexts_are_counted(model):
    long = Question(
        "long", (LogLikelihood("the gate " * 60, " is"), LogLikelihood("the gate " * 60, " door")), 0, "gate"
    )
    assert done(model, [*QUESTIONS, long]).cut == 1


def test_task_names_must_differ():
    with pytest.raises(TaskNameError, match="different names are needed, got brackets, brackets"):
        rank_classification(GeneratedTask("brackets", 1), GeneratedTask("brackets", 2))
    with pytest.raises(TaskNameError, match="got none"):
        rank_classification()
    assert rank_classification(QuestionSet("mine", QUESTIONS)).tasks[0].source.questions == QUESTIONS
