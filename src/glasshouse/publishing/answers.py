"""What only a person can say about a model: the questions of a model card (Mitchell et al., arXiv 1810.03993), answered
in a YAML or JSON file. What is not answered is marked "not stated"; nothing is invented.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from glasshouse.data.description import datasheet_answers as answers
from glasshouse.data.description.datasheet_answers import Said

MODEL_QUESTIONS: dict[str, dict[str, str]] = {
    "uses": {
        "intended": "What is the model meant for?",
        "users": "Who is meant to use it?",
        "unsuitable": "What should it not be used for?",
    },
    "limits": {
        "failures": "Which failures and biases are known?",
        "advice": "What should people who use it do about them?",
    },
    "legal": {
        "data": "On what basis was the training data used?",
        "review": "Was there an ethical or legal review?",
    },
    "contact": {
        "maintainer": "Who maintains it?",
        "contact": "How can they be reached?",
        "funding": "Who funded it?",
    },
}
"""Section -> name of an answer -> the question."""


class ModelAnswers(Said):
    """What a person says about a model.

    Attributes:
        name: its title; the name of the folder it is published into when not given.
        license: best the Hub's identifier, such as apache-2.0.
        language: codes such as en.
        datasets: the Hub's names of its data, if they are there.
        base_model: the Hub's name of the model it was made from.
        repository: its own name on the Hub, used in the examples.
        grid: where its energy came from, as `glasshouse carbon --grid` takes it.
    """

    questions: ClassVar[Mapping[str, Mapping[str, str]]] = MODEL_QUESTIONS

    name: str | None = None
    version: str | None = None
    description: str | None = None
    license: str | None = None
    license_link: str | None = None
    language: tuple[str, ...] = ()
    datasets: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    base_model: str | None = None
    repository: str | None = None
    url: str | None = None
    creators: tuple[str, ...] = ()
    date_published: str | None = None
    citation: str | None = None
    grid: str | None = None


def load_model_answers(path: str | Path) -> ModelAnswers:
    """Answers from a YAML or JSON file. Raises `AnswersError` as `load_answers` does."""
    return answers.load_answers(path, ModelAnswers)


def model_answers_template() -> str:
    """An empty YAML file of answers, with every question as a comment."""
    return answers.answers_template(ModelAnswers, "a model")
