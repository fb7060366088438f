"""Steps that measure: each value is found again in another way, at a small size."""

import itertools
import json

import pytest

from glasshouse.store.configuration import ConfigurationError
from glasshouse.store.execution import execute
from glasshouse.store.store import Store
from glasshouse.symbolic import steps
from glasshouse.symbolic.adversary import SCHEMAS, trial
from glasshouse.symbolic.recorded_programs import wilson
from glasshouse.symbolic.suite.case import Case, Outcome
from glasshouse.symbolic.suite.run import permutation_p, separation
from glasshouse.symbolic.vertex import NodeScore


def test_an_untrained_model_writes_valid_texts_and_masks_alone_are_cut_off():
    tree = trial(SCHEMAS["recursive tree"], texts=6, budget=30)
    assert (tree.texts, tree.valid, tree.refused) == (6, 6, "")
    assert tree.masked < 6
    refused = trial(SCHEMAS["uniqueItems"], texts=3, budget=30)
    assert "uniqueItems" in refused.refused
    assert refused.valid == refused.masked == 0


def test_the_step_of_constraints_adds_the_trials_up(tmp_path, monkeypatch):
    few = {name: SCHEMAS[name] for name in ("enum and boolean", "uniqueItems")}
    monkeypatch.setattr(steps, "SCHEMAS", few)
    found = execute(steps.constrain_untrained(texts=2, budget=60), Store(tmp_path))
    assert found.values["texts"] == found.values["valid"] == 2
    assert found.values["refused schemas"] == found.values["refused with the keyword"] == 1
    assert [row[0] for row in found.panels()[0].rows] == list(few)


def outcome(*scores):
    nodes = tuple(NodeScore("n", 0, 1, 0, score, 0) for score in scores)
    return Outcome(Case("logic", "c", None, ()), nodes)


def test_the_p_value_is_that_of_all_ways_to_give_the_labels():
    good, bad = [outcome(0.9), outcome(0.8, 0.7), outcome(0.6)], [outcome(0.5), outcome(0.65)]
    both, reached = [*good, *bad], 0
    ways = list(itertools.combinations(range(5), 3))
    for chosen in ways:
        one = [both[n] for n in chosen]
        other = [both[n] for n in range(5) if n not in chosen]
        reached += separation(one, other) >= separation(good, bad)
    exact = reached / len(ways)
    assert permutation_p(good, bad, draws=4000) == pytest.approx(exact, abs=0.02)
    assert permutation_p(good, good, draws=200) > 0.3


def test_stand_ins_are_scored_beside_what_is_true(tmp_path, monkeypatch):
    from glasshouse.symbolic.suite.associations import CASES

    pytest.importorskip("z3")
    monkeypatch.setattr("glasshouse.symbolic.suite.run.every_case", lambda: CASES[:4])
    monkeypatch.setattr(steps, "every_case", lambda: CASES[:4])
    monkeypatch.setattr(steps, "AREAS", ("all",))
    found = execute(steps.score_stand_ins("ngrams", draws=20), Store(tmp_path))
    values = found.values
    assert values["reference/vertex"] == values["reference/sound"] == values["reference/true"] == 1.0
    assert values["mock/vertex"] == values["mock/true"] == values["wrong/sound"] == 0.0
    assert 1 / 21 <= values["p/all/sound"] <= 1
    assert [panel.title for panel in found.panels()] == ["VERTEX by part", "VERTEX and truth"]


def test_an_embedder_that_is_not_installed_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("glasshouse.symbolic.engines.minilm.installed_folder", lambda: None)
    with pytest.raises(ConfigurationError, match="minilm is not installed"):
        execute(steps.score_stand_ins("minilm"), Store(tmp_path))


def test_recorded_programs_are_replayed_from_a_folder(tmp_path):
    for name in ("sets", "programs"):
        (tmp_path / "logic" / name).mkdir(parents=True)
    sets = [{"id": "1", "answer": "A"}, {"id": "2", "answer": "B"}]
    text = "Facts:\nCat(Max, True)\nRules:\nCat($x, True) >>> Small($x, True)\nQuery:\nSmall(Max, True)"
    recorded = [{"id": one["id"], "raw_logic_programs": [text]} for one in sets]
    (tmp_path / "logic/sets/ProntoQA.json").write_text(json.dumps(sets))
    for model in steps.MODELS:
        (tmp_path / f"logic/programs/ProntoQA_{model}.json").write_text(json.dumps(recorded))
    found = execute(steps.replay_programs(str(tmp_path / "logic"), ("ProntoQA",)), Store(tmp_path / "store"))
    assert found.values["ProntoQA/gpt-4/accuracy"] == 0.5
    assert found.values["programs"] == 6
    assert found.panels()[0].rows[0][:4] == ["ProntoQA", "gpt-4", 2, 0.5]


def test_the_interval_is_wilsons():
    """Newcombe (1998), table I: 81 of 263 gives 0.2553 to 0.3662."""
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
