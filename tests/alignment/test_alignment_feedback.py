"""Simulated answers against the probabilities they are drawn from."""

import math

import pytest
import torch

from glasshouse.alignment.feedback import FeedbackSimulator, preference_probability


def simulator(**options) -> FeedbackSimulator[torch.Tensor, torch.Tensor]:
    return FeedbackSimulator(lambda prompts, responses: prompts * responses, **options)


@pytest.mark.parametrize(("temperature", "flip"), [(1.0, 0.0), (0.5, 0.0), (2.0, 0.2), (0.0, 0.1)])
def test_bits_come_at_the_stated_rate(temperature, flip):
    asked = simulator(temperature=temperature, flip_probability=flip)
    prompts = torch.full((40_000,), 0.7)
    answers = asked.answer(prompts, torch.ones(40_000), torch.zeros(40_000))
    sure = 1.0 if temperature == 0 else 1 / (1 + math.exp(-0.7 / temperature))
    wanted = sure * (1 - flip) + (1 - sure) * flip
    assert set(answers.tolist()) == {0.0, 1.0}
    assert abs(answers.mean().item() - wanted) < 0.01
    assert abs(asked.probability(prompts[:1], torch.ones(1), torch.zeros(1)).item() - wanted) < 1e-6


def test_only_answers_are_counted_and_they_go_on_where_they_were():
    prompts, first, second = torch.randn(3, 64, generator=torch.Generator().manual_seed(1))
    whole = simulator(seed=5)
    early, late = whole.answer(prompts, first, second), whole.answer(prompts, first, second)
    whole.probability(prompts, first, second)
    assert whole.answered == 128
    assert not torch.equal(early, late)
    resumed = simulator(seed=5)
    resumed.answered = 64
    assert torch.equal(resumed.answer(prompts, first, second), late)
    assert not torch.equal(simulator(seed=6).answer(prompts, first, second), early)


def test_a_tie_without_temperature_is_a_coin():
    assert preference_probability(torch.ones(1), torch.ones(1), temperature=0).item() == 0.5


def test_a_reward_that_is_not_finite_is_no_preference():
    with pytest.raises(ValueError, match="second response is not finite"):
        preference_probability(torch.zeros(2), torch.tensor([0.0, float("nan")]))


@pytest.mark.parametrize("options", [{"temperature": -1.0}, {"flip_probability": 0.7}])
def test_settings_out_of_range_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        simulator(**options)
