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
from glasshouse.evaluation.rank_classification import (
    RANKINGS,
    RankClassification,
    Scored,
    macro_f1,
    rank_classification,
    score_questions,
    summarise,
)
from glasshouse.evaluation.requests import LogLikelihood
from glasshouse.evaluation.tasks import Question, Task


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


def test_every_ranking_and_mean_by_its_definition(model):
    scored = score_questions(model, QUESTIONS)
    values = summarise(scored, "len_norm")
    right = dict.fromkeys(RANKINGS, 0)
    bits, prior_bits, loss, place = [], [], [], 0
    for question in QUESTIONS:
        options = {name: [] for name in RANKINGS}
        for number, request in enumerate(question.requests):
            nats, tokens = brute_force(model, request.context, request.continuation)
            prior, _ = brute_force(model, question.domain_prompt, request.continuation)
            assert scored.given[place] == pytest.approx(nats, rel=1e-5)
            text = request.continuation[1:]
            size = len(text.encode())
            by = (nats, nats / len(text), nats / tokens, nats / size, nats - prior, prior)
            for name, value in zip(RANKINGS, by, strict=True):
                options[name].append(value)
                assert scored.ranked_by(name)[place] == pytest.approx(value, rel=1e-4, abs=1e-4)
            if number == question.label:
                bits.append(-nats / math.log(2) / size)
                prior_bits.append(-prior / math.log(2) / size)
                loss.append(-nats / len(text))
            place += 1
        for name in RANKINGS:
            right[name] += int(np.argmax(options[name])) == question.label
    for name in RANKINGS:
        assert values[name] == right[name] / 3
        assert values[f"{name}/low"] <= values[name] <= values[f"{name}/high"]
    assert values["bpb"] == pytest.approx(np.mean(bits), rel=1e-5)
    assert values["bpb_prior"] == pytest.approx(np.mean(prior_bits), rel=1e-5)
    assert values["ce_loss"] == pytest.approx(np.mean(loss), rel=1e-5)
    assert values["chance"] == pytest.approx((1 / 2 + 1 / 3 + 1 / 2) / 3)
    assert values["score"] == values["len_norm"]
    assert (values["questions"], values["cut_contexts"]) == (3, 0)


def scored(given, prior, label):
    count = len(given)
    one = np.ones(count)
    first = np.array([0, count])
    return Scored(first, np.array([label]), np.array(given), np.array(prior), one, one, one)


def test_olmos_quotient_prefers_the_worse_answer_and_the_difference_does_not():
    # Equally likely without the question; the question makes the first choice e^3 times likelier, the second less so.
    given, prior = [-2.0, -9.0], [-5.0, -5.0]
    olmo = int(np.argmax([g / p for g, p in zip(given, prior, strict=True)]))  # olmo/eval/downstream.py, `pmi_dc`
    assert olmo == 1
    assert scored(given, prior, 0).answers("pmi_dc").tolist() == [0]
    assert scored(given, prior, 0).correct("pmi_dc").tolist() == [True]


def test_pmi_undoes_what_a_choice_is_worth_without_the_question():
    # "fish" is common anywhere; the question makes "frog" likelier than it was, and "fish" less likely.
    found = scored([-2.0, -4.0], [-1.0, -8.0], 1)
    assert found.correct("acc").tolist() == [False]
    assert found.correct("prior").tolist() == [False]
    assert found.correct("pmi_dc").tolist() == [True]


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
    values = summarise(score_questions(model, asked), "acc")
    assert values["acc/low"] < 0.5 < values["acc/high"]
    assert values["acc/high"] - values["acc/low"] < 0.08


def test_the_measure_reports_every_task_and_their_mean(model):
    tasks = generated_tasks(count=8)
    outcome = rank_classification(*tasks).measure(model, bar)
    values = outcome["values"]
    scores = [values[f"tasks/{task.name}/score"] for task in tasks]
    assert values["tasks/macro"] == pytest.approx(np.mean(scores))
    assert values["tasks/macro/chance"] == pytest.approx((0.1 + 0.25 + 0.25) / 3)
    json.dumps(outcome, allow_nan=False)
    for task in tasks:
        record = outcome["tasks"][task.name]
        right = np.mean(np.array(record["answers"]["acc"]) == record["labels"])
        assert right == values[f"tasks/{task.name}/acc"]
    table, bars = RankClassification.panels({"measure": "RankClassification", **outcome})
    assert [row[0] for row in table.rows] == [task.name for task in tasks]
    assert all(len(row) == len(table.columns) for row in table.rows)
    assert bars.levels["colours"] == pytest.approx(0.1)
    low, high = bars.intervals["colours"]["score"]
    assert low <= bars.groups["colours"]["score"] <= high


def test_cut_contexts_are_counted(model):
    long = Question(
        "long", (LogLikelihood("the gate " * 60, " is"), LogLikelihood("the gate " * 60, " door")), 0, "gate"
    )
    assert score_questions(model, [*QUESTIONS, long]).cut == 1


def test_task_names_must_differ():
    with pytest.raises(ValueError, match="different names, got brackets, brackets"):
        rank_classification(GeneratedTask("brackets", 1), GeneratedTask("brackets", 2))
    with pytest.raises(ValueError, match="got none"):
        rank_classification()
    assert rank_classification(Task("mine", QUESTIONS)).tasks[0].questions == QUESTIONS
