"""The steps of exploration in a store: what they keep, that threads change nothing, and that one failure ends them."""

import pytest
import torch

from glasshouse.alignment import online
from glasshouse.alignment.exact_agent import LaplaceAgent
from glasshouse.alignment.exploration import Rule
from glasshouse.alignment.exploration_steps import Explored, explore, side_by_side
from glasshouse.alignment.interaction import Curve, Interaction, interact
from glasshouse.alignment.online import NeuralAgent
from glasshouse.alignment.online_steps import _Epochs, explore_with_a_network
from glasshouse.alignment.rule_comparison import RuleComparison, compare_rules
from glasshouse.alignment.worlds.modes import Modes
from glasshouse.nn.epistemic import EpistemicConfig
from glasshouse.store.execution import execute
from glasshouse.store.store import Store

SHORT = Interaction(epochs=4, prompts=6, candidates=8, assessed_prompts=40, seed=5)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    store = Store(tmp_path_factory.mktemp("store"))
    runs = {name: explore("modes", Rule(name=name), SHORT, seeds=3) for name in ("passive", "double_ts")}
    return store, runs, execute(compare_rules("Modes", runs), store)


def test_curves_are_those_of_single_interactions(made):
    store, runs, _ = made
    explored = execute(runs["double_ts"], store)
    assert isinstance(explored, Explored)
    assert list(explored.curves) == [5, 6, 7]
    world = Modes(6)
    assert explored.curves[6] == interact(world, LaplaceAgent(world.precision), Rule(), SHORT.but(seed=6))


def test_every_query_of_every_seed_is_kept(made):
    store, runs, _ = made
    rows = execute(runs["passive"], store).queries().to_pylist()
    assert len(rows) == 3 * 4 * 6
    assert {row["seed"] for row in rows} == {5, 6, 7}
    assert {row["answered_by"] for row in rows} == {"Modes reward"}
    assert all(row["first"].startswith("mode ") and dict(row["why"]) for row in rows)


def test_the_comparison_has_values_and_panels(made):
    _, _, comparison = made
    assert isinstance(comparison, RuleComparison)
    found = comparison.values
    assert found["passive/queries"] == 72
    assert found["passive/untraced"] == 0
    each = [found[f"double_ts/mean/seed {seed}"] for seed in (5, 6, 7)]
    assert found["double_ts/mean"] == pytest.approx(sum(each) / 3)
    assert comparison.panels()[0].title == "Modes: win rate against queries"


def test_networks_side_by_side_are_those_of_one_after_the_other(tmp_path):
    agent = NeuralAgent(head=EpistemicConfig(hidden=(8,), particles=3), updates=2)
    made = execute(explore_with_a_network("modes", Rule(), SHORT, agent, seeds=3), Store(tmp_path / "store"))
    assert isinstance(made, Explored)
    for seed in (6, 7):
        alone = online.explore(Modes(seed, "embedding"), Rule(), SHORT.but(seed=seed), agent, tmp_path / str(seed))
        assert made.curves[seed] == alone
    assert len(made.queries()) == 3 * 4 * 6


def test_the_bar_of_a_network_counts_epochs():
    counted: list[int] = []
    bar = _Epochs(5, counted.append)
    for updates in (3, 3, 14, 1, 4):
        bar.advance(updates)
    assert counted == [1, 3, 1]


def test_one_failed_seed_ends_the_others():
    reached: list[int] = []

    def one(seed, advance):
        for epoch in range(1000):
            if seed == 0 and epoch == 2:
                raise RuntimeError("seed 0 failed")
            torch.randn(2000).sort()
            advance(1)
            reached.append(seed)
        return Curve([0], [0.5], 0.9)

    with pytest.raises(RuntimeError, match="seed 0 failed"):
        side_by_side(one, range(6), lambda count: None)
    assert len(reached) < 1500
