"""The recipe `exploration`: its graph, its claims on made-up values, and the whole of it where nothing is learnt."""

from functools import partial

import pytest

from glasshouse.alignment.doubt import HeadTraining
from glasshouse.evaluation.steps import Evaluation
from glasshouse.recipes import exploration as room
from glasshouse.store.claims import check_claims
from glasshouse.store.execution import execute
from glasshouse.store.step import order
from glasshouse.store.store import Store


def test_the_whole_recipe_runs(tmp_path, monkeypatch):
    monkeypatch.setattr(room, "HeadTraining", partial(HeadTraining, updates=5))
    made = execute(room.exploration(seeds=2, epochs=3, network_seeds=1), Store(tmp_path))
    assert isinstance(made, Evaluation)
    decided = {item["name"]: item["status"] for item in made.claims}
    assert decided["every_query_can_be_traced"] == "holds"
    assert set(decided.values()) <= {"holds", "does not hold", "not measured"}
    assert decided["double_ts_learns_from_fewer_queries"] != "not measured"


def test_every_rule_meets_the_same_worlds():
    explored = [node for node in order(room.exploration()) if node._definition.name == "explore"]
    assert {node._arguments["interaction"] for node in explored} == {explored[0]._arguments["interaction"]}
    assert {node._arguments["seeds"] for node in explored} == {10}
    assert len(explored) == len(room.RULES) + len(room.TEMPERATURES) + 2 * len(room.PRIORS) + 2


def decided(claim, values):
    return check_claims([claim], values)[0]["status"]


@pytest.mark.parametrize(("lost", "status"), [(1, "holds"), (2, "does not hold")])
def test_one_seed_in_ten_may_lose(lost, status):
    values = {f"modes/passive/mean/seed {seed}": 0.7 for seed in range(10)}
    values |= {f"modes/double TS/mean/seed {seed}": 0.69 if seed < lost else 0.75 for seed in range(10)}
    assert decided(room.double_ts_learns_from_fewer_queries, values) == status


def test_a_rule_that_never_came_there_is_not_measured():
    assert decided(room.passive_needs_more_labels, {"modes/double TS/queries to 85%": 500.0}) == "not measured"
    values = {"modes/double TS/queries to 85%": 500.0, "modes/passive/queries to 85%": 800.0}
    assert decided(room.passive_needs_more_labels, values) == "does not hold"


@pytest.mark.parametrize(("gain", "status"), [(0.02, "does not hold"), (-0.02, "does not hold"), (0.005, "holds")])
def test_the_control_fails_to_either_side_and_against_the_best_passive(gain, status):
    values = {"linear/passive/mean": 0.6, "linear/double TS/mean": 0.7 + gain}
    values |= {f"linear/passive, prior x {scale}/mean": 0.7 for scale in room.PRIORS}
    assert decided(room.no_rule_helps_where_all_pairs_tell_the_same, values) == status


@pytest.mark.parametrize(
    ("dyadic", "marginal", "status"),
    [(6.0, 0.69, "holds"), (6.4, 0.69, "does not hold"), (6.0, 0.75, "does not hold"), (6.0, 0.6, "does not hold")],
)
def test_joint_log_loss_counts_only_at_the_same_marginal(dyadic, marginal, status):
    values = {"heads/point/marginal_nll": 0.69, "heads/ensemble/marginal_nll": marginal}
    for seed in range(3):
        values[f"heads/point/dyadic_nll/seed {seed}"] = 6.5
        values[f"heads/ensemble/dyadic_nll/seed {seed}"] = dyadic if seed == 1 else 5.0
    assert decided(room.an_ensemble_knows_its_doubt, values) == status


def test_the_best_passive_network_counts():
    values = {"networks/double TS/last quarter": 0.8} | {f"points/{name}/last quarter": 0.7 for name in room.TUNED}
    assert decided(room.tuning_a_passive_network_is_not_enough, values) == "holds"
    last = list(room.TUNED)[-1]
    values[f"points/{last}/last quarter"] = 0.79
    assert decided(room.tuning_a_passive_network_is_not_enough, values) == "does not hold"


def test_real_pairs_are_another_part(tmp_path):
    steps = [node._definition.name for node in order(room.exploration(pairs=str(tmp_path / "pairs.jsonl")))]
    assert steps.count("compare_heads") == 2
    assert "preferences" in steps


def test_one_untraced_query_is_one_too_many():
    values = {"modes/passive/queries": 100.0, "modes/passive/untraced": 0.0, "linear/passive/untraced": 1.0}
    assert decided(room.every_query_can_be_traced, values) == "does not hold"
    assert decided(room.every_query_can_be_traced, values | {"linear/passive/untraced": 0.0}) == "holds"
