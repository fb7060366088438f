"""The worlds are what their pages say: rates, variances, rewards from features, answers in words."""

import pytest
import torch

from glasshouse.alignment.worlds.linear import Linear
from glasshouse.alignment.worlds.modes import MODES, WIDTH, Modes
from glasshouse.alignment.worlds.sparse import FEATURES, Sparse


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("world", [Modes(3), Linear(3)])
def test_rewards_have_variance_one(world):
    rewards = world.draw(400, 100, generator()).rewards
    assert abs(rewards.std().item() - 1) < 0.02


def test_rewards_are_linear_in_the_exact_view_of_modes():
    world = Modes(1)
    drawn = world.draw(20, 50, generator())
    weights = torch.cat([world.level[:, None], world.slope], dim=-1).flatten()
    torch.testing.assert_close(drawn.features @ weights, drawn.rewards)
    assert world.features == drawn.features.shape[-1] == weights.numel() == MODES * (1 + WIDTH)


def test_the_precision_of_modes_is_that_of_the_weights():
    """Weights times the root of their precision are standard normal, over worlds."""
    whitened = []
    for seed in range(200):
        world = Modes(seed)
        weights = torch.cat([world.level[:, None], world.slope], dim=-1).flatten()
        whitened.append(weights * world.precision.sqrt())
    assert abs(torch.stack(whitened)[:, ::7].var().item() - 1) < 0.05  # levels
    assert abs(torch.stack(whitened).var().item() - 1) < 0.02


def test_modes_come_at_their_rates_and_are_named():
    world = Modes(2)
    drawn = world.draw(200, 100, generator())
    mode = drawn.features[..., :: 1 + WIDTH].argmax(-1)
    torch.testing.assert_close(mode.flatten().bincount(minlength=MODES) / 20_000, world.rates, atol=0.01, rtol=0)
    ranks = world.rates.sort(descending=True).values
    torch.testing.assert_close(ranks / ranks[0], torch.arange(1.0, MODES + 1) ** -0.8)
    assert drawn.text(3, 4).startswith(f"mode {int(mode[3, 4])} at ")


def test_both_views_show_the_same_answers():
    exact, seen = Modes(2).draw(5, 6, generator(1)), Modes(2, "embedding").draw(5, 6, generator(1))
    assert torch.equal(exact.rewards, seen.rewards)
    assert exact.text(1, 2) == seen.text(1, 2)
    assert seen.features.shape[-1] == Modes(2, "embedding").features


def test_the_linear_world_is_linear():
    world = Linear(4)
    drawn = world.draw(30, 20, generator())
    solved = torch.linalg.lstsq(drawn.features.flatten(0, 1), drawn.rewards.flatten()[:, None]).solution[:, 0]
    torch.testing.assert_close(solved, world.weights, atol=1e-4, rtol=1e-3)
    assert torch.allclose(world.precision, torch.tensor(world.scale**2))


def test_the_sparse_world_has_rare_features_whose_worth_depends_on_the_prompt():
    world = Sparse(5)
    drawn = world.draw(300, 50, generator())
    there = torch.zeros(300, 50, FEATURES)
    for row in range(300):
        for candidate in range(50):
            there[row, candidate, [int(word) for word in drawn.text(row, candidate).split()]] = 1
    torch.testing.assert_close(there.mean((0, 1)), world.rates, atol=0.02, rtol=0)
    prompt = drawn.features[:, 0, :4]
    for row in (0, 7):
        weights = world.weights + world.by_prompt @ torch.tanh(prompt[row])
        torch.testing.assert_close(there[row] @ weights, drawn.rewards[row], atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(there[row] @ world.seen, drawn.features[row, :, 4:], atol=1e-4, rtol=1e-4)
