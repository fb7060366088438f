"""Generated tasks: every answer is right, and one seed gives one task."""

import re
from collections import Counter

import pytest

from glasshouse.evaluation.generated import COLOURS, GeneratedTask, generated_tasks


def answer(question):
    return question.requests[question.label].continuation.strip()


def test_arithmetic_is_right_and_its_wrong_answers_are_wrong():
    for question in GeneratedTask("arithmetic", 300).questions:
        one, sign, other = re.fullmatch(r"(\d+) ([+-]) (\d+) =", question.requests[0].context).groups()
        right = int(one) + int(other) if sign == "+" else int(one) - int(other)
        choices = [int(request.continuation) for request in question.requests]
        assert int(answer(question)) == right
        assert choices.count(right) == 1
        assert len(set(choices)) == 4
        assert min(choices) >= 0


def test_the_bracket_that_is_open_is_closed():
    for question in GeneratedTask("brackets", 300).questions:
        text = (question.requests[0].context + answer(question)).replace(" ", "")
        before = text[:-1]
        while before != (before := re.sub(r"\(\)|\[\]|\{\}|<>", "", before)):
            pass
        assert before[-1] + text[-1] in ("()", "[]", "{}", "<>")


def test_the_colour_that_was_named():
    found = Counter()
    for question in GeneratedTask("colours", 300).questions:
        named = [colour for colour in COLOURS if f"is {colour}." in question.requests[0].context]
        assert named == [answer(question)]
        assert len(question.requests) == 10
        found[named[0]] += 1
    assert min(found.values()) > 10


def test_a_seed_gives_the_same_task_and_texts_are_not_its_questions():
    for task in generated_tasks(50):
        again = GeneratedTask(task.kind, 80)
        assert again.questions[:50] == task.questions
        assert GeneratedTask(task.kind, 50, seed=1).questions != task.questions
        assert task.text(0) != task.text(1)
        assert task.text(3).strip() == task.text(3)[:-1]
    for kind in ("arithmetic", "brackets"):
        labels = Counter(question.label for question in GeneratedTask(kind, 400).questions)
        assert set(labels) == {0, 1, 2, 3}
        assert max(labels.values()) < 150


def test_reading_the_answer_off_the_text():
    task = GeneratedTask("arithmetic")
    one, sign, other, right = re.fullmatch(r"(\d+) ([+-]) (\d+) = (\d+)\n", task.text(7)).groups()
    assert int(one) + (1 if sign == "+" else -1) * int(other) == pytest.approx(int(right))
