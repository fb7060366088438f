"""Estimates of KL against the number itself, from every answer that two small models can give."""

import itertools

import pytest
import torch

from glasshouse.language.divergence import ESTIMATORS, divergence, sampled_answers
from glasshouse.nn.configuration import TransformerConfig
from glasshouse.nn.transformer import Transformer

VOCABULARY, LONGEST, END = 5, 3, 0


def small(seed):
    shape = {"vocabulary": VOCABULARY, "width": 16, "layers": 1, "heads": 2, "feed_forward": 32, "context": 8}
    return Transformer(TransformerConfig(**shape), seed=seed).eval()


@torch.no_grad()
def log_probability(model, prompt, answer):
    scores = model(torch.tensor([[*prompt, *answer]])).logits[0].double().log_softmax(-1)
    return sum(float(scores[len(prompt) - 1 + place, token]) for place, token in enumerate(answer))


def every_answer():
    for length in range(1, LONGEST + 1):
        for answer in itertools.product(range(VOCABULARY), repeat=length):
            if END not in answer[:-1] and (answer[-1] == END or length == LONGEST):
                yield answer


def true_divergence(policy, reference, prompt):
    total = mass = 0.0
    for answer in every_answer():
        ours, theirs = (log_probability(model, prompt, answer) for model in (policy, reference))
        p = torch.tensor(ours).exp().item()
        total, mass = total + p * (ours - theirs), mass + p
    assert mass == pytest.approx(1, abs=1e-5)
    return total


def test_every_estimator_finds_the_divergence():
    policy, reference, prompts = small(1), small(2), [[0, 3], [0, 1, 2], [4]]
    truth = sum(true_divergence(policy, reference, prompt) for prompt in prompts) / len(prompts)
    found = divergence(policy, reference, prompts, end=END, tokens=LONGEST, per_prompt=600, batch=150)
    assert found.answers == 1800
    for name in ESTIMATORS:
        assert found.value[name] == pytest.approx(truth, rel=0.15 if name == "exact" else 0.3), name
    assert abs(found.value["exact"] - truth) < 0.1 * truth


def test_the_exact_form_varies_least_and_the_same_model_is_at_zero():
    policy, reference = small(1), small(2)
    prompts = [[0, token] for token in range(1, 5)] * 20
    spread = {name: [] for name in ESTIMATORS}
    for seed in range(8):
        found = divergence(policy, reference, prompts[:4], end=END, tokens=LONGEST, per_prompt=8, seed=seed)
        for name in ESTIMATORS:
            spread[name].append(found.value[name])
    deviation = {name: torch.tensor(values).std() for name, values in spread.items()}
    assert deviation["exact"] < deviation["k1"]
    same = divergence(policy, policy, prompts, end=END, tokens=LONGEST)
    assert all(abs(value) < 1e-6 for value in same.value.values())


def test_answers_keep_their_end_and_are_cut_at_the_limit():
    answers = sampled_answers(small(1), [[1], [2], [3]] * 20, end=END, tokens=LONGEST, seed=0)
    assert all(len(answer) == LONGEST or answer[-1] == END for answer in answers)
    assert all(END not in answer[:-1] for answer in answers)
    assert any(len(answer) < LONGEST for answer in answers)
