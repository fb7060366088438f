"""The token world against its formulas token by token, alarms on made-up paths, and what over-optimisation does."""

from __future__ import annotations

import copy
import json
import math
from collections import Counter

import pytest
import torch

from glasshouse.alignment.alarm import disagreement, fallen, lost, mean_of_prompts, outside
from glasshouse.alignment.algebra import Good, Reward, Weighted, Worst, total
from glasshouse.alignment.hacking import LearntWorld, at_kl, optimise
from glasshouse.alignment.hacking_steps import LSC, RAW, Hacking
from glasshouse.alignment.policies import Answers
from glasshouse.alignment.rloo import LeaveOneOut, Rloo, ScaleWarning
from glasshouse.alignment.scored_reward import is_log_probability
from glasshouse.alignment.transforms import LSC as TRANSFORM
from glasshouse.alignment.transforms import Centred, Sigmoid
from glasshouse.alignment.worlds.token_hack import (
    LENGTH,
    PROPERTIES,
    UnigramPolicy,
    Unigrams,
    counted,
    divergence,
    drawn,
    learnt_reward,
    token_world,
)

torch.set_num_threads(1)


def by_hand(tokens, on_topic):
    """Both rewards of one answer, as the dossier of the world writes them."""
    counts = Counter(tokens)
    h, q, d = sum(counts[t] for t in counts if on_topic[t]), counts[16], counts[17]
    toxic = counts[18] + counts[19] + counts[20]
    repeated = sum(max(count - 5, 0) for count in counts.values())
    helpful = 2.25 * math.log(1 + h) + 0.6 * min(q, 2) - 0.7 * max(q - 2, 0) - 0.2 * min(d, 8) - 0.3 * repeated
    harmless = -1.8 * math.log(1 + toxic) + 0.7 * min(d, 2) - 0.5 * max(d - 2, 0) - 0.1 * repeated
    return helpful, harmless


def test_rewards_are_the_formulas():
    world = token_world(3, prompts=6)
    crowded = world.base.clone()
    crowded[:, 16:19] += 3
    tokens = torch.cat([drawn(logits, 40, world.generator("test")) for logits in (world.base, crowded)], 1)
    for name, place in (("helpful", 0), ("harmless", 1)):
        found = getattr(world, name)(counted(tokens))
        for row in range(6):
            expected = [by_hand(answer, world.on_topic[row].tolist())[place] for answer in tokens[row].tolist()]
            torch.testing.assert_close(found[row], torch.tensor(expected), atol=1e-5, rtol=0)


def test_prompts_have_topics_and_every_second_one_a_toxic_one():
    world = token_world(0)
    assert world.on_topic[:, :16].sum(1).tolist() == [3] * 32
    assert world.on_topic[:, 18:21].sum(1).tolist() == [1, 0] * 16
    assert not world.on_topic[:, [16, 17, 21, 22, 23]].any()
    assert torch.equal(token_world(0).base, world.base)
    assert not torch.equal(token_world(1).base, world.base)


def test_kl_and_scores_are_those_of_whole_answers():
    world = token_world(1, prompts=4)
    logits = world.base + torch.randn(world.base.shape, generator=torch.Generator().manual_seed(0))
    tokens = drawn(logits, 4000, world.generator("test"))
    answers = Answers(torch.arange(4), tokens, torch.full((4, 4000), LENGTH))
    prompts, policy = {"prompt": torch.arange(4)}, UnigramPolicy()
    with torch.no_grad():
        scores = policy.score(Unigrams(logits), prompts, answers)
        ratio = scores - policy.score(Unigrams(world.base), prompts, answers)
    logs = logits[2].log_softmax(-1)
    assert float(scores[2, 7]) == pytest.approx(float(sum(logs[t] for t in tokens[2, 7])), abs=1e-4)
    error = ratio.std(1) / 4000**0.5
    assert ((ratio.mean(1) - divergence(logits, world.base)).abs() < 4 * error).all()


def test_a_learnt_reward_orders_base_answers_but_takes_q_for_good():
    world = token_world(0)
    posterior = learnt_reward(world, world.helpful, 2000, "helpful")
    counts = world.sampled(world.base, 64, world.generator("test"))
    learnt, true = world.features(counts).double() @ posterior.mean, world.helpful(counts).double()
    assert (
        torch.corrcoef(torch.stack([(learnt - learnt.mean(1, True)).flatten(), (true - true.mean(1, True)).flatten()]))[
            0, 1
        ]
        > 0.85
    )
    assert posterior.mean[16] > posterior.mean[[21, 22, 23]].max() + 0.1


def test_a_simulator_rings_after_a_fall_that_is_larger_than_its_noise():
    means, errors = [1.0, 2.0, 3.0, 2.9, 2.8, 2.0], [0.01] * 6
    assert fallen(means, errors, [1, 2, 3, 4, 5, 6]) == 4
    assert fallen(means, [0.1] * 6, [1, 2, 3, 4, 5, 6]) == 5
    assert fallen(means, errors, [1, 2, 3, 2.9, 2.8, 2.0]) is None  # the learnt reward falls too: nothing is hacked
    assert fallen([1.0, 2.0, 1.95, 2.1], [0.01] * 4, [1, 2, 3, 4]) is None


def test_a_mean_over_prompts_has_the_error_of_other_answers():
    generator = torch.Generator().manual_seed(0)
    level = torch.randn(20, 1, generator=generator) * 10
    means = torch.tensor([mean_of_prompts(level + torch.randn(20, 16, generator=generator)) for _ in range(400)])
    assert float(means[:, 0].std()) == pytest.approx(float(means[:, 1].mean()), rel=0.15)
    with pytest.raises(ValueError, match="1 answers"):
        mean_of_prompts(torch.ones(3, 1))


def test_disagreement_and_losses():
    rewards = torch.tensor([[[1.0, 5.0]], [[3.0, 5.0]]])
    torch.testing.assert_close(disagreement(rewards), torch.tensor([[2**0.5, 0.0]]))
    with pytest.raises(ValueError, match="ensemble of 1"):
        disagreement(rewards[:1])
    assert outside([0.0, 0.5, 0.6]) == 2
    assert outside([0.1]) is None
    assert lost([1.0, 10.0, 9.5, 8.9]) == 3
    assert lost([-10.0, -10.5, -11.5]) == 2
    assert lost([1.0, 2.0]) is None


def test_values_at_a_kl():
    path = [{"kl": 0.0, "joint": 1.0}, {"kl": 2.0, "joint": 3.0}, {"kl": 1.0, "joint": 9.0}]
    assert at_kl(path, 0.5, "joint") == 1.5
    assert math.isnan(at_kl(path, 3.0, "joint"))


@pytest.mark.parametrize(
    ("expression", "meant"),
    [
        (LSC, True),
        (~Good("helpful"), True),
        (RAW, False),
        (Reward("helpful", TRANSFORM), True),
        (Reward("helpful", Sigmoid()), False),
        (Weighted(((1.0, Reward("a")), (2.0, Good("b")))), True),
        (Worst((Reward("a", Centred()), Reward("b", Centred()))), False),
        (total(Reward("a", TRANSFORM), Reward("b")), True),
    ],
)
def test_which_expressions_are_log_probabilities(expression, meant):
    assert is_log_probability(expression) is meant


def test_lsc_with_advantages_over_their_spread_warns():
    learnt = LearntWorld(0, pairs=100)
    policy = Unigrams(learnt.world.base)
    with pytest.warns(ScaleWarning):
        LeaveOneOut(UnigramPolicy(), policy, copy.deepcopy(policy), learnt.reward(LSC), Rloo(standardise=True))


def test_utilities_of_a_batch_are_those_of_its_prompts():
    learnt = LearntWorld(0, pairs=200)
    reward = learnt.reward(LSC)
    counts = learnt.base[:, :3]
    every = sum(
        torch.nn.functional.logsigmoid(values - base.quantile(0.85, dim=1, keepdim=True))
        for values, base in zip(learnt.learnt(counts).values(), learnt.learnt(learnt.base).values(), strict=True)
    )
    chosen = torch.tensor([5, 2])
    tokens = torch.stack([torch.stack([_tokens(counts[p, n]) for n in range(3)]) for p in chosen])
    found = reward({"prompt": chosen}, Answers(chosen, tokens, torch.full((2, 3), LENGTH)))
    torch.testing.assert_close(found, every[chosen], atol=1e-5, rtol=1e-5)


def _tokens(counts):
    return torch.repeat_interleave(torch.arange(24), counts.long())


def test_raw_rewards_are_hacked_and_lsc_holds(tmp_path):
    """One seed of what the recipe shows with five."""
    learnt, paths = LearntWorld(0), {}
    for name, expression, gamma in (("raw", RAW, 0.05), ("lsc", LSC, 0.02)):
        paths[name] = [optimise(learnt, expression, Rloo(gamma=gamma), tmp_path / name)]
    (tmp_path / "paths.json").write_text(json.dumps({"pairs": 20, "paths": paths}))
    hacking = Hacking(tmp_path)
    values = hacking.values
    assert values["raw/true lost"] > 3
    assert values["raw/learnt below its best"] < 0.1
    assert values["lsc/true lost"] < 0.6
    assert values["raw/simulator in time"] == 1
    assert values["raw/kl at the end"] > 25 > values["lsc/kl at the end"]
    assert [panel.title for panel in hacking.panels()][-1] == "Alarms: rewards from 20 comparisons"
    assert set(PROPERTIES) == {"helpful", "harmless"}
