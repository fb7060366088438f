"""The rules of exploration against exhaustive search and exact probabilities."""

import itertools
import math
from collections import Counter

import numpy as np
import pytest
import torch
from scipy import stats

from glasshouse.alignment.exploration import Rule, bai_ts, boltzmann, double_ts, infomax, passive
from glasshouse.store.configuration import ConfigurationError

N, M, CASES = 12, 7, 200


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def drawn(particles: int = M, batch: int = CASES, candidates: int = N, seed: int = 0) -> torch.Tensor:
    return 3 * torch.randn(particles, batch, candidates, generator=generator(seed), dtype=torch.float64)


def test_infomax_attains_the_largest_variance_of_all_pairs():
    rewards = drawn()
    found = infomax(rewards, generator())
    for b in range(CASES):
        variances = {
            (i, j): np.var([1 / (1 + math.exp(r[j] - r[i])) for r in rewards[:, b].tolist()], ddof=1)
            for i, j in itertools.permutations(range(N), 2)
        }
        pair = found.first[b].item(), found.second[b].item()
        assert math.isclose(variances[pair], max(variances.values()), rel_tol=1e-9)
        assert math.isclose(found.why["variance"][b].item(), variances[pair], rel_tol=1e-9)


def test_bai_ts_takes_the_least_certain_difference_to_a_best():
    rewards = drawn(seed=1)
    found = bai_ts(rewards, generator())
    for b in range(CASES):
        first, second = found.first[b].item(), found.second[b].item()
        values = rewards[:, b].numpy()
        assert first in set(values.argmax(-1).tolist())
        variances = [np.var(values[:, first] - values[:, j], ddof=1) for j in range(N)]
        assert second == int(np.argmax(variances))


@pytest.mark.parametrize("retries", [0, 1, 30])
@pytest.mark.parametrize("particles", [1, M])
@pytest.mark.parametrize("candidates", [2, N])
def test_double_ts_never_asks_about_one_answer_twice(retries, particles, candidates):
    for rewards in (drawn(particles, CASES, candidates), torch.zeros(particles, CASES, candidates)):
        found = double_ts(rewards, generator(retries), retries)
        best = rewards.argmax(-1)
        assert not (found.first == found.second).any()
        assert ((best == found.first).any(0)).all()
        came_from_a_particle = (best == found.second).any(0)
        assert (came_from_a_particle | (found.why["tries"] == retries + 1)).all()


def test_double_ts_has_the_law_of_its_box():
    """Five particles with the bests a a a b c: the second is b or c by 1:1 after an a, and so on; 20,000 draws."""
    rewards = torch.zeros(5, 1, 4)
    for particle, best in enumerate([0, 0, 0, 1, 2]):
        rewards[particle, 0, best] = 1
    found = double_ts(rewards.expand(-1, 20_000, -1), generator(), retries=1)
    chance = {0: 0.6, 1: 0.2, 2: 0.2, 3: 0.0}
    wanted = {
        (i, j): chance[i] * (chance[j] + chance[i] / 3) for i, j in itertools.permutations(range(4), 2) if chance[i]
    }
    seen = Counter(zip(found.first.tolist(), found.second.tolist(), strict=True))
    assert set(seen) == set(wanted)
    assert _agrees([seen[pair] for pair in wanted], list(wanted.values()))


@pytest.mark.parametrize("temperature", [0.2, 1.0, 5.0])
def test_boltzmann_draws_without_replacement(temperature):
    rewards = drawn(particles=3, batch=1, candidates=4, seed=2)
    found = boltzmann(rewards.expand(-1, 20_000, -1), generator(4), temperature)
    weights = [math.exp(value / temperature) for value in rewards.mean(0)[0].tolist()]
    total = sum(weights)
    wanted = {
        (i, j): weights[i] / total * weights[j] / (total - weights[i]) for i, j in itertools.permutations(range(4), 2)
    }
    seen = Counter(zip(found.first.tolist(), found.second.tolist(), strict=True))
    common = [pair for pair in wanted if wanted[pair] * 20_000 >= 5]
    rest = max(1e-9, 1 - sum(wanted[pair] for pair in common)), 20_000 - sum(seen[pair] for pair in common)
    assert _agrees([*(seen[pair] for pair in common), rest[1]], [*(wanted[pair] for pair in common), rest[0]])


def test_a_cold_boltzmann_takes_the_two_best_and_does_not_overflow():
    rewards = drawn(particles=1)
    found = boltzmann(100 * rewards, generator(), 1e-3)
    best = rewards[0].topk(2, dim=-1).indices
    assert torch.equal(torch.stack([found.first, found.second], -1), best)


def test_passive_is_uniform_over_ordered_pairs():
    found = passive(torch.zeros(1, 20_000, 4), generator(1))
    seen = Counter(zip(found.first.tolist(), found.second.tolist(), strict=True))
    assert _agrees([seen[pair] for pair in itertools.permutations(range(4), 2)], [1 / 12] * 12)


def _agrees(seen: list[int], wanted: list[float]) -> bool:
    """Chi-squared at 1 %."""
    expected = np.array(wanted) / sum(wanted) * sum(seen)
    return bool(stats.chisquare(seen, expected).pvalue > 0.01)


def test_the_reasons_are_shares_and_means_over_particles():
    rewards = torch.tensor([[[0.0, 1.0, 2.0]], [[3.0, 1.0, 2.0]]])
    found = infomax(rewards, generator())
    assert (found.first.item(), found.second.item()) == (0, 2)  # 3 apart between the particles; 0 and 1 are 3 apart too
    chances = [1 / (1 + math.exp(2)), 1 / (1 + math.exp(-1))]
    assert math.isclose(found.why["first_preferred"].item(), sum(chances) / 2, rel_tol=1e-6)
    assert (found.why["first_best"].item(), found.why["second_best"].item()) == (0.5, 0.5)


@pytest.mark.parametrize("rule", [passive, boltzmann, infomax, double_ts, bai_ts])
def test_what_cannot_be_chosen_from_is_refused(rule):
    with pytest.raises(ValueError, match="needs two candidates"):
        rule(torch.zeros(2, 3, 1), generator())
    with pytest.raises(ValueError, match="not finite"):
        rule(torch.tensor([[[0.0, float("nan")]], [[0.0, 1.0]]]), generator())
    with pytest.raises(ValueError, match="got the shape"):
        rule(torch.zeros(3, 4), generator())


@pytest.mark.parametrize("rule", [infomax, bai_ts])
def test_disagreement_needs_two_particles(rule):
    with pytest.raises(ValueError, match="at least 2 particles"):
        rule(torch.zeros(1, 3, 4), generator())
    with pytest.raises(ConfigurationError, match="at least 2"):
        Rule(name=rule.__name__, particles=1)


@pytest.mark.parametrize("name", ["passive", "boltzmann", "infomax", "double_ts", "bai_ts"])
def test_a_rule_by_name_is_a_function_of_its_generator(name):
    rewards = drawn(seed=3)
    one, again, other = (Rule(name=name).choose(rewards, generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(one.first, again.first)
    assert torch.equal(one.second, again.second)
    assert name == "infomax" or not torch.equal(one.first, other.first)
