"""Sampling for policies: what it gives against the model asked token by token, and against exact probabilities."""

from __future__ import annotations

from collections import Counter
from itertools import product

import pytest
import torch

from glasshouse.language.generation import GenerationError
from glasshouse.language.sampling import sample
from glasshouse.nn.configuration import llama, olmo
from glasshouse.nn.transformer import Transformer

torch.set_num_threads(1)
SHAPE = {"vocabulary": 11, "width": 16, "layers": 2, "heads": 2, "feed_forward": 32, "context": 24}
PROMPTS = [[5, 6, 7, 8, 9], [1], [3, 10, 2]]


def model(config=None, sharpness=3.0):
    found = Transformer(config or olmo("7B").but(**SHAPE), seed=1)
    with torch.no_grad():
        found.head_weight.mul_(sharpness)
    return found.eval()


def drawn(seed=0, *, of=None, prompts=PROMPTS, answers=4, tokens=8, **options):
    return sample(
        of or model(), prompts, answers, tokens, end=0, generator=torch.Generator().manual_seed(seed), **options
    )


@pytest.mark.parametrize("config", [olmo("7B").but(**SHAPE), llama().but(**SHAPE, key_value_heads=1)])
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_log_probabilities_are_the_models_token_by_token(config, temperature):
    made = drawn(of=model(config), temperature=temperature)
    for row, prompt in enumerate(PROMPTS):
        for answer in range(4):
            length = int(made.lengths[row, answer])
            tokens = made.tokens[row, answer].tolist()
            whole = model(config)(torch.tensor([prompt + tokens[:length]])).logits[0] / temperature
            expected = [whole[len(prompt) - 1 + i].log_softmax(-1)[tokens[i]] for i in range(length)]
            found = made.log_probabilities[row, answer]
            torch.testing.assert_close(found[:length], torch.stack(expected), atol=2e-5, rtol=1e-4)
            assert not found[length:].any()


def test_an_answer_ends_with_its_first_end_token_or_is_cut_off():
    made = drawn(answers=64)
    assert made.tokens.shape[:2] == made.lengths.shape == (3, 64)
    for tokens, length in zip(made.tokens.flatten(0, 1).tolist(), made.lengths.flatten().tolist(), strict=True):
        first = tokens.index(0) + 1 if 0 in tokens else len(tokens)
        assert length == first
        assert not any(tokens[length:])
    assert {1, 8} < set(made.lengths.flatten().tolist())


def test_answers_come_as_often_as_they_are_likely():
    small = model(olmo("7B").but(**SHAPE | {"vocabulary": 3}), sharpness=2.0)
    made = drawn(of=small, prompts=[[1, 2], [2]], answers=4000, tokens=2)
    for row, prompt in enumerate([[1, 2], [2]]):
        counts = Counter(
            tuple(tokens[:length])
            for tokens, length in zip(made.tokens[row].tolist(), made.lengths[row].tolist(), strict=True)
        )
        chances = {}
        for answer in [(0,), *product((1, 2), range(3))]:
            scores = small(torch.tensor([[*prompt, *answer]])).logits[0].log_softmax(-1)
            chances[answer] = float(sum(scores[len(prompt) - 1 + i, t] for i, t in enumerate(answer)).exp())
        assert sum(chances.values()) == pytest.approx(1, abs=1e-5)
        assert set(counts) <= set(chances)
        chi = sum((counts[key] - 4000 * chance) ** 2 / (4000 * chance) for key, chance in chances.items())
        assert chi < 22.5  # p = 0.001 with 6 degrees of freedom


def test_the_same_generator_gives_the_same_answers_and_the_mode_is_kept():
    policy = model().train()
    assert torch.equal(drawn(3, of=policy).tokens, drawn(3, of=policy).tokens)
    assert not torch.equal(drawn(3).tokens, drawn(4).tokens)
    assert policy.training


def test_the_context_limits_an_answer():
    made = drawn(prompts=[[1] * 20], tokens=50, answers=32)
    assert made.tokens.shape[2] == 4


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"prompts": []}, "0 prompts"),
        ({"prompts": [[]]}, "prompt 0 is empty"),
        ({"answers": 0}, "0 answers"),
        ({"tokens": 0}, "0 tokens"),
        ({"temperature": 0.0}, "temperature 0.0"),
        ({"prompts": [[99]]}, "vocabulary"),
        ({"prompts": [[1] * 24]}, "context is 24"),
    ],
)
def test_refusals(changed, message):
    with pytest.raises(GenerationError, match=message):
        drawn(**changed)
