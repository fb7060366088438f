"""RLOO against gradients by enumeration, token by token scores, and a run that was killed."""

from __future__ import annotations

import copy
import json
import warnings
from itertools import product

import numpy as np
import pytest
import torch
from torch import nn

from glasshouse.alignment.policies import Answers, LanguagePolicy, PromptRows, scored_rows
from glasshouse.alignment.rloo import LeaveOneOut, Rloo, ScaleWarning, leave_one_out
from glasshouse.alignment.transforms import RewardError
from glasshouse.nn.configuration import olmo
from glasshouse.nn.loss import IGNORE
from glasshouse.nn.transformer import Transformer
from glasshouse.store.configuration import ConfigurationError
from glasshouse.training.configuration import Training
from glasshouse.training.data import DataError, TensorRows
from glasshouse.training.objective import Objective, Step
from glasshouse.training.trainer import train

torch.set_num_threads(1)
STEP = Step(1, 1, 0, torch.Generator())
UTILITY = torch.tensor([[0.3, -1.2, 2.0], [1.0, 0.5, -0.7]])


class Table(nn.Module):
    """Two prompts, three answers of one token each."""

    def __init__(self, seed):
        super().__init__()
        self.logits = nn.Parameter(torch.randn(2, 3, generator=torch.Generator().manual_seed(seed)))


class Given:
    """A policy over a table that draws what it is told to."""

    def __init__(self, drawn=None):
        self.drawn = drawn

    def draw(self, module, prompts, answers, generator):
        chances = module.logits[prompts["prompt"]].softmax(-1)
        drawn = self.drawn
        drawn = torch.multinomial(chances, answers, True, generator=generator) if drawn is None else drawn
        return Answers(prompts["prompt"], drawn[..., None], torch.ones_like(drawn))

    def score(self, module, prompts, answers):
        return module.logits[prompts["prompt"]].log_softmax(-1).gather(1, answers.tokens[..., 0])


def utility(prompts, answers):
    return UTILITY[prompts["prompt"]].gather(1, answers.tokens[..., 0])


@pytest.mark.parametrize("gamma", [0.0, 0.4])
@pytest.mark.parametrize("answers", [2, 3])
def test_the_expected_gradient_is_that_of_utility_less_kl(gamma, answers):
    table, reference = Table(0), Table(1)
    expected = torch.zeros(2, 3)
    for prompt in (0, 1):
        batch = {"prompt": torch.tensor([prompt])}
        for drawn in product(range(3), repeat=answers):
            chance = table.logits[prompt].softmax(-1).detach()[list(drawn)].prod()
            objective = LeaveOneOut(
                Given(torch.tensor([drawn])), table, reference, utility, Rloo(gamma=gamma, answers=answers)
            )
            (gradient,) = torch.autograd.grad(objective.loss(batch, STEP).value, table.logits)
            expected += chance * gradient
    p, q = table.logits.softmax(-1), reference.logits.softmax(-1)
    exact = -(p * UTILITY).sum() + gamma * (p * (p / q).log()).sum()
    torch.testing.assert_close(expected, torch.autograd.grad(exact, table.logits)[0], atol=1e-6, rtol=1e-5)


def test_one_loss_by_hand():
    drawn = torch.tensor([[0, 2, 2], [1, 0, 1]])
    table, reference = Table(0), Table(1)
    objective = LeaveOneOut(Given(drawn), table, reference, utility, Rloo(gamma=0.3, answers=3))
    found = objective.loss({"prompt": torch.tensor([0, 1])}, STEP)
    logs, references = table.logits.log_softmax(-1).detach(), reference.logits.log_softmax(-1).detach()
    total, kl = 0.0, 0.0
    for row in (0, 1):
        rewards = [float(UTILITY[row, y] - 0.3 * (logs[row, y] - references[row, y])) for y in drawn[row]]
        for place, y in enumerate(drawn[row]):
            others = [reward for other, reward in enumerate(rewards) if other != place]
            total -= (rewards[place] - sum(others) / 2) * float(logs[row, y]) / 6
            kl += float(logs[row, y] - references[row, y]) / 6
    assert found.value.item() == pytest.approx(total, abs=1e-6)
    assert float(found.metrics["kl"]) == pytest.approx(kl, abs=1e-6)
    assert float(found.metrics["utility"]) == pytest.approx(float((0.3 + 2 + 2 + 0.5 + 1 + 0.5) / 6), abs=1e-6)
    assert float(found.metrics["length"]) == 1
    assert isinstance(objective, Objective)


def test_advantages():
    rewards = torch.tensor([[1.0, 2.0, 6.0]])
    torch.testing.assert_close(leave_one_out(rewards), torch.tensor([[-3.0, -1.5, 4.5]]))
    scaled = leave_one_out(rewards, standardise=True)
    torch.testing.assert_close(scaled, torch.tensor([[-2.0, -1.0, 3.0]]) / (7**0.5 + 1e-4))
    assert not leave_one_out(torch.full((2, 4), 3.0), standardise=True).any()
    with pytest.raises(RewardError, match="leaving one out of 1"):
        leave_one_out(torch.ones(3, 1))
    with pytest.raises(ConfigurationError, match="answers"):
        Rloo(answers=1)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_a_reward_that_is_no_number_stops_the_run(bad):
    def broken(prompts, answers):
        found = utility(prompts, answers).clone()
        found[1, 2] = bad
        return found

    objective = LeaveOneOut(Given(), Table(0), Table(1), broken, Rloo(answers=4))
    with pytest.raises(RewardError, match="answer 2 to prompt 1 is"):
        objective.loss({"prompt": torch.tensor([0, 1])}, STEP)


def test_a_reward_of_another_shape_is_refused():
    objective = LeaveOneOut(Given(), Table(0), Table(1), lambda *_: torch.ones(2), Rloo(answers=4))
    with pytest.raises(RewardError, match=r"gave \(2,\)"):
        objective.loss({"prompt": torch.tensor([0, 1])}, STEP)


def test_dividing_a_log_probability_by_its_spread_warns():
    class Meant:
        scale_matters = True
        __call__ = staticmethod(utility)

    with pytest.warns(ScaleWarning, match="standardise=True"):
        LeaveOneOut(Given(), Table(0), Table(1), Meant(), Rloo(standardise=True))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        LeaveOneOut(Given(), Table(0), Table(1), Meant(), Rloo())
        LeaveOneOut(Given(), Table(0), Table(1), utility, Rloo(standardise=True))


def test_the_reference_must_not_be_the_policy():
    table = Table(0)
    with pytest.raises(ValueError, match="a copy"):
        LeaveOneOut(Given(), table, table, utility, Rloo())


def test_training_finds_the_tilted_policy(tmp_path):
    """The optimum is pi_0 exp(u / gamma), which a table can reach."""
    table, reference = Table(0), Table(0)
    settings = Rloo(gamma=0.8, answers=64)
    training = Training(
        steps=300, batch_size=2, learning_rate=0.05, weight_decay=0, betas=(0.9, 0.99), schedule="linear",
        final_fraction=0, clip_norm=None, precision="fp32", compile=False, checkpoint_every=None,
    )  # fmt: skip
    objective = LeaveOneOut(Given(), table, reference, utility, settings)
    train(objective, TensorRows({"prompt": torch.arange(2)}), training, tmp_path)
    exact = (reference.logits + UTILITY / 0.8).softmax(-1)
    assert float((table.logits.detach().softmax(-1) - exact).abs().max()) < 0.02


# -- language models ---------------------------------------------------------------------------------------------------

SHAPE = olmo("7B").but(vocabulary=11, width=16, layers=2, heads=2, feed_forward=32, context=24)
ROWS = PromptRows([[5, 6, 7, 8, 9], [1], [3, 10, 2], [4, 4]])


def test_a_language_model_scores_whole_answers():
    model, policy, batch = Transformer(SHAPE, seed=1), LanguagePolicy(tokens=6, end=0), ROWS.batch(np.array([0, 1, 2]))
    answers = policy.draw(model, batch, 3, torch.Generator().manual_seed(1))
    scores = policy.score(model, batch, answers)
    for row, prompt in enumerate(ROWS.prompts[:3]):
        for number in range(3):
            goal = answers.tokens[row, number, : answers.lengths[row, number]].tolist()
            logs = model(torch.tensor([prompt + goal])).logits[0].log_softmax(-1)
            expected = sum(logs[len(prompt) - 1 + place, token] for place, token in enumerate(goal))
            assert float(scores[row, number]) == pytest.approx(float(expected), abs=1e-4)


def test_scored_rows_hold_prompt_then_answer_then_padding():
    batch = {
        "prompt": torch.tensor([0, 1]),
        "tokens": torch.tensor([[7, 8, 9], [0, 0, 5]]),
        "length": torch.tensor([3, 1]),
    }
    answers = Answers(batch["prompt"], torch.tensor([[[1, 2, 0]], [[3, 0, 0]]]), torch.tensor([[3], [2]]))
    rows = scored_rows(batch, answers)
    assert rows["tokens"][0].tolist() == [7, 8, 9, 1, 2]
    assert rows["tokens"][1, :2].tolist() == [5, 3]
    assert rows["targets"].tolist() == [[IGNORE, IGNORE, 1, 2, 0], [3, 0, IGNORE, IGNORE, IGNORE]]


def run(directory, *, stop=None, steps=8):
    model = Transformer(SHAPE, seed=1)
    objective = LeaveOneOut(
        LanguagePolicy(tokens=6, end=0), model, copy.deepcopy(model), sevens, Rloo(gamma=0.01, answers=6)
    )
    training = Training(
        steps=steps, batch_size=4, micro_batch_size=2, learning_rate=0.02, precision="fp32", compile=False,
        checkpoint_every=2, log_every=1,
    )  # fmt: skip
    return train(objective, ROWS, training, directory, stop=stop)


def sevens(prompts, answers):
    return (answers.tokens == 7).float().mean(-1)


def test_a_run_that_was_ended_goes_on_bit_for_bit(tmp_path):
    whole = run(tmp_path / "whole")
    run(tmp_path / "parts", stop=lambda step: step == 3)
    again = run(tmp_path / "parts")
    assert again.resumed_from == 3
    assert again.weights_hash == whole.weights_hash
    assert (tmp_path / "parts/metrics.jsonl").read_bytes() == (tmp_path / "whole/metrics.jsonl").read_bytes()


def test_a_language_model_learns_what_is_rewarded(tmp_path):
    found = run(tmp_path, steps=40)
    records = [json.loads(line) for line in found.metrics.read_text().splitlines()]
    assert records[-1]["utility"] > records[0]["utility"] + 0.3
    assert records[0]["kl"] == pytest.approx(0, abs=1e-6)
    assert records[-1]["kl"] > 1
    assert all(1 <= record["length"] <= 6 and record["entropy"] > 0 for record in records)


def test_prompts_are_checked():
    with pytest.raises(DataError, match="empty"):
        PromptRows([[1], []])
    with pytest.raises(DataError, match="0 were given"):
        PromptRows([])
    with pytest.raises(DataError, match="1 names"):
        PromptRows([[1], [2]], ["a"])
    assert PromptRows([[1, 2], [3]]).fingerprint != PromptRows([[1], [2, 3]]).fingerprint
