"""`--scale language` of the recipes of alignment: their graphs, and what they refuse."""

import pytest
from transformers import AutoModelForCausalLM

from glasshouse.alignment.algebra import Good
from glasshouse.alignment.exploration import Rule
from glasshouse.alignment.interaction import Interaction
from glasshouse.alignment.language_policy import PolicyTuning
from glasshouse.alignment.language_steps import (
    answer_pool,
    collected,
    compare_policies,
    explore_answers,
    optimise_policy,
)
from glasshouse.alignment.online import NeuralAgent
from glasshouse.alignment.own_model import preferred_answers
from glasshouse.alignment.reward_model_steps import train_reward_model
from glasshouse.alignment.reward_models import RewardTraining
from glasshouse.alignment.rloo import Rloo
from glasshouse.data.steps import tokenize, train_tokenizer
from glasshouse.language.adaptation import finetune, prefer
from glasshouse.language.dpo import PreferenceTuning
from glasshouse.language.finetune import FineTuning
from glasshouse.language.letter_steps import letter_preferences, letter_prose
from glasshouse.language.steps import pretrain
from glasshouse.nn.configuration import olmo
from glasshouse.nn.epistemic import EpistemicConfig
from glasshouse.recipes import exploration, rewards
from glasshouse.store.claims import check_claims
from glasshouse.store.configuration import ConfigurationError
from glasshouse.store.execution import execute
from glasshouse.store.step import order
from glasshouse.store.store import Store
from glasshouse.training.configuration import Training


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
    assert (steps.count("pretrain"), steps.count("train_reward_model"), steps.count("optimise_policy")) == (2, 4, 2)
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


def test_every_step_runs_on_a_model_of_seconds(tmp_path):
    store, settings = Store(tmp_path), {"epochs": 1, "learning_rate": 1e-3, "batch_size": 4, "precision": "fp32"}
    prose, pairs = letter_prose(documents=300), letter_preferences(train=40, holdout=8)
    shards = tokenize(prose, train_tokenizer(prose, vocabulary=300), holdout=0.1)
    training = Training(steps=6, batch_size=4, precision="fp32", compile=False)
    base = pretrain(shards, olmo(depth=2).but(context=128), training)
    model = finetune(base, preferred_answers(pairs), FineTuning(**settings))
    judge = train_reward_model(model, pairs, RewardTraining(head=EpistemicConfig(kind="point", hidden=(8,)), epochs=1))

    pool = answer_pool(model, judge, pairs, prompts=8, answers=6, tokens=6)
    interaction = Interaction(epochs=2, prompts=4, candidates=5, assessed_prompts=6)
    agent = NeuralAgent(head=EpistemicConfig(hidden=(8,), particles=3), updates=2, batch_size=4)
    asked = explore_answers(pool, Rule(name="double_ts"), interaction, agent, seeds=2)
    tuned = prefer(model, collected(asked), PreferenceTuning(**settings))
    small = PolicyTuning(
        rloo=Rloo(answers=4), steps=4, batch_size=4, tokens=6, base_answers=3, held_out=4, validate_every=2
    )
    found = execute(compare_policies(tuned, model, pairs, {"reward": judge}, small), store).values
    assert set(found) == {"kl", "length", "win/judge/reward"}
    queries = execute(asked, store).queries().to_pylist()
    prompts = {item.prompt[0].content for item in execute(pairs, store).train}
    assert len(queries) == 2 * 2 * 4
    assert {row["prompt"] for row in queries} <= prompts
    assert len(execute(collected(asked), store).train) <= len(queries)

    policy = optimise_policy(model, pairs, {"reward": judge}, {"reward": judge}, Good("reward"), small)
    made = execute(policy, store)
    assert made.values["win/judge/reward"] == made.values["win/other judge/reward"]
    assert next(panel.title for panel in made.panels()) == "Answers that beat those of the model before, by KL"
    weights = made.load().transformer.state_dict()["blocks.0.attention.query.weight"]
    loaded = AutoModelForCausalLM.from_pretrained(made.path).state_dict()
    assert any(weights.shape == other.shape and weights.equal(other) for other in loaded.values())
    assert not weights.equal(execute(model, store).load().transformer.state_dict()["blocks.0.attention.query.weight"])


@pytest.mark.parametrize("recipe", [exploration.exploration, rewards.rewards])
def test_no_seeds_are_refused(tmp_path, recipe):
    with pytest.raises(ConfigurationError, match="there are no seeds"):
        execute(recipe(seeds=0), Store(tmp_path))
