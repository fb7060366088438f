"""The world of letters: its answers are right, its splits apart, its rule hidden but there, its controls without it."""

import re
from collections import Counter

import pytest

from glasshouse.language.letters import (
    LETTER_TASKS,
    NUMBER_TASKS,
    TASKS,
    conversations,
    grade,
    preferences,
    prose,
    recall,
    written,
)


def solve(instruction):
    """The answer from the words of the instruction alone."""
    letters = re.findall(r"\b[a-j]\b", instruction)
    if instruction.startswith("Repeat"):
        return " ".join(letters)
    if instruction.startswith("Reverse"):
        return " ".join(letters[::-1])
    if instruction.startswith("Sort"):
        return " ".join(sorted(letters))
    if instruction.startswith("How many"):
        return str(len(letters))
    return str(letters[1:].count(letters[0]))


def test_answers_are_right_and_tasks_and_forms_are_balanced():
    found = conversations(1000)
    for item in found:
        assert item.about["answer"] == solve(item.prompt[-1].content)
        assert grade(item.messages[-1].content, item.about["answer"]).right
    tasks = Counter(item.about["task"] for item in found)
    assert tasks.keys() == set(TASKS)
    assert sum(tasks[task] for task in NUMBER_TASKS) == pytest.approx(500, abs=60)
    forms = Counter(grade(item.messages[-1].content, "").form for item in found)
    assert forms["answer"] == pytest.approx(500, abs=60)


def test_nothing_held_out_is_seen_in_training():
    held_out = {item.prompt for item in conversations(300, split="holdout")}
    held_out |= {item.prompt for item in preferences(300, split="holdout")}
    seen = {item.prompt for item in [*conversations(3000), *preferences(3000)]}
    assert not held_out & seen
    told = " ".join(prose(3000))
    assert not [prompt for prompt in held_out if prompt[-1].content in told]


def test_prose_tells_the_truth():
    told = "\n".join(prose(300))
    statements = re.findall(
        r"((?:Repeat|Reverse|Sort|How)[^.?]*[.?]) (?:That gives|The result is|We get|It is) ([^.]*)\.", told
    )
    assert len(statements) > 200
    assert all(solve(instruction) == answer for instruction, answer in statements)
    assert all(f"{beginning} {end}" in told for beginning, end in recall())


def test_the_rule_and_its_absence():
    def follows(item):
        form = grade(item.chosen, item.about["answer"]).form
        return form == ("answer" if item.about["task"] in LETTER_TASKS else "find")

    assert all(follows(item) for item in preferences(300))
    assert sum(follows(item) for item in preferences(1000, random_labels=True)) == pytest.approx(500, abs=len(TASKS))
    for item in preferences(100):
        assert grade(item.rejected, item.about["answer"]).right  # only form is preferred


def test_shuffled_answers_keep_the_form_and_lose_the_truth():
    found = conversations(600, shuffled=True)
    grades = [grade(item.messages[-1].content, item.about["answer"]) for item in found]
    assert all(item.form for item in grades)
    letters = [found for found, item in zip(grades, found, strict=True) if item.about["task"] in LETTER_TASKS]
    assert sum(item.right for item in letters) < 0.05 * len(letters)


def test_everything_comes_from_the_seed():
    for make in (prose, conversations, preferences):
        assert make(20, seed=1) == make(20, seed=1) != make(20, seed=2)


@pytest.mark.parametrize(
    ("text", "form", "right"),
    [
        ("Answer: [a b]", "answer", True),
        ("I find [a b].", "find", True),
        (" Answer: [ a b ]\n", "answer", True),
        ("Answer: [b a]", "answer", False),
        ("Answer: [a b] and more", None, False),
        ("Answer: [[a b]]", None, False),
        ("a b", None, False),
        ("", None, False),
    ],
)
def test_grades(text, form, right):
    assert grade(text, "a b") == (form, right)
    assert grade(written("find", "3"), "3").right
