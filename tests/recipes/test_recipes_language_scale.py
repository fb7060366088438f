"""`--scale language` of the recipes of alignment: their graphs, and what they refuse."""

import pytest

from glasshouse.recipes import exploration, rewards
from glasshouse.store.claims import check_claims
from glasshouse.store.configuration import ConfigurationError
from glasshouse.store.step import order


def steps_of(node):
    return [item._definition.name for item in order(node)]


def test_exploration_asks_about_a_model_of_our_own_and_tunes_it(tmp_path):
    steps = steps_of(exploration.exploration(scale="language", pairs=str(tmp_path / "pairs.jsonl")))
    assert (steps.count("pretrain"), steps.count("finetune"), steps.count("answer_pool")) == (2, 2, 1)
    assert steps.count("explore_answers") == 4 + 1
    assert steps.index("explore_answers") < steps.index("collected") < steps.index("prefer")
    assert steps[-1] == "conclude"


def test_rewards_trains_policies_against_two_learnt_rewards(tmp_path):
    node = rewards.rewards(scale="language", helpful="help.jsonl", harmless="harm.jsonl")
    steps = steps_of(node)
    assert (steps.count("pretrain"), steps.count("reward_model"), steps.count("optimise_policy")) == (2, 4, 2)
    settings = [item._arguments["settings"] for item in order(node) if item._definition.name == "optimise_policy"]
    assert [item.rloo.standardise for item in settings] == [False, False]


@pytest.mark.parametrize(
    ("recipe", "options", "message"),
    [
        (exploration.exploration, {"scale": "language"}, "give pairs"),
        (exploration.exploration, {"scale": "galaxy"}, "exact or language"),
        (rewards.rewards, {"scale": "language", "helpful": "x.jsonl"}, "give harmless"),
        (rewards.rewards, {"scale": "galaxy"}, "exact or language"),
    ],
)
def test_refusals(recipe, options, message):
    with pytest.raises(ConfigurationError, match=message):
        recipe(**options)


def test_the_worse_property_decides():
    values = {"LSC/win/other judge/helpful": 0.7, "LSC/win/other judge/harmless": 0.45}
    (decided,) = check_claims([rewards.a_language_model_gains_in_both], values)
    assert (decided["status"], decided["measured"]) == ("does not hold", "0.45 win rate")
