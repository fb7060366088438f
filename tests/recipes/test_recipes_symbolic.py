"""The recipe `symbolic`: its claims on made-up values, its graph, and the whole of it at a small size."""

from __future__ import annotations

import json

import pytest

from glasshouse.evaluation.steps import Evaluation
from glasshouse.recipes import symbolic as room
from glasshouse.store.claims import check_claims
from glasshouse.store.execution import execute
from glasshouse.store.report import write_report
from glasshouse.store.step import order
from glasshouse.store.store import Store

GOOD = {
    "problems/accuracy": 1.0,
    "problems/proved": 0.9,
    "parser/training/cpu_seconds": 40.0,
    "60 updates/proved": 0.2,
    "120 updates/proved": 0.5,
    "untrained/proved": 0.01,
    "60 updates/sentences": 0.5,
    "60 updates, without the grammar/sentences": 0.4,
    "new words/sentences": 0.9,
    "new words, nothing copied/sentences": 0.5,
    "reworded, taught/sentences": 0.7,
    "reworded/sentences": 0.1,
    "VERTEX/mock/vertex": 0.0,
    "VERTEX/area/all/vertex": 0.6,
    "VERTEX/area/all/sound": 0.95,
    "VERTEX/p/all/sound": 0.002,
    "constraints/valid": 90.0,
    "constraints/masked": 80.0,
    "constraints/texts": 90.0,
    "constraints/refused schemas": 1.0,
    "constraints/refused with the keyword": 1.0,
}
CLAIMS = {
    room.the_parser_solves: {"problems/accuracy": 0.98},
    room.training_takes_less_than_a_minute: {"parser/training/cpu_seconds": 61.0},
    room.more_training_solves_more: {"120 updates/proved": 0.95},
    room.an_untrained_parser_does_not: {"untrained/proved": 0.1},
    room.the_grammar_pays_early: {"60 updates, without the grammar/sentences": 0.5},
    room.copying_pays_on_new_words: {"new words, nothing copied/sentences": 0.8},
    room.answers_alone_teach_new_wording: {"reworded/sentences": 0.5},
    room.the_random_column_is_zero: {"VERTEX/mock/vertex": 0.1},
    room.vertex_alone_takes_false_for_true: {"VERTEX/area/all/vertex": 0.8},
    room.verification_tells_them_apart: {"VERTEX/p/all/sound": 0.02},
    room.every_text_is_valid: {"constraints/valid": 89.0},
    room.what_cannot_be_kept_is_refused: {"constraints/refused with the keyword": 0.0},
}


@pytest.mark.parametrize(("claim", "worse"), CLAIMS.items(), ids=lambda value: getattr(value, "name", ""))
def test_a_claim_holds_and_fails_and_is_open(claim, worse) -> None:
    (name,) = worse
    found = [
        check_claims([claim], values)[0]["status"]
        for values in (GOOD, GOOD | worse, {key: value for key, value in GOOD.items() if key != name})
    ]
    assert found == ["holds", "does not hold", "not measured"]


def test_claims_about_recorded_programs_are_decided_by_them() -> None:
    replayed = {f"recorded/LogicalDeduction/{model}/accuracy": told for model, told in room.REPORTED.items()}
    replayed |= {
        f"recorded/{name}/{model}/accuracy": floor + 0.01
        for name, floors in room.FLOORS.items()
        for model, floor in zip(room.REPORTED, floors, strict=True)
    }
    values = {**replayed, "recorded/problems with evidence": 0.0, "ProntoQA/accuracy": 1.0}
    values |= {"ProntoQA, its sentences left out/accuracy": 0.95}
    claims = [
        room.prontoqa_is_solved,
        room.its_sentences_need_not_be_generated,
        room.prontoqa_beats_the_recorded_models,
        room.parity_on_logical_deduction,
        room.recorded_programs_reach_their_floors,
    ]
    assert [item["status"] for item in check_claims(claims, values)] == ["holds"] * 5
    worse = values | {
        "ProntoQA/accuracy": 0.8,
        "ProntoQA, its sentences left out/accuracy": 0.5,
        "recorded/problems with evidence": 1.0,
        "recorded/LogicalDeduction/gpt-4/accuracy": 0.8764,
    }
    assert [item["status"] for item in check_claims(claims, worse)] == ["does not hold"] * 5
    assert [item["status"] for item in check_claims(claims, GOOD)] == ["not measured"] * 5


def test_one_parser_is_trained_without_what_is_asked(tmp_path) -> None:
    """With a folder of programs, a second parser has its problems taken out of its pairs."""
    names = [node._definition.name for node in order(room.symbolic())]
    assert "given_problems" not in names
    assert "replay_programs" not in names
    with_folder = order(room.symbolic(programs=str(tmp_path)))
    pairs = [node for node in with_folder if node._definition.name == "parsing_pairs"]
    made_from = [[node._definition.name for node in order(one)] for one in pairs]
    assert sorted(made_from, key=len) == [["parsing_pairs"], ["given_problems", "parsing_pairs"]]


@pytest.mark.slow
def test_the_recipe_at_a_small_size(tmp_path) -> None:
    store = Store(tmp_path)
    found = execute(room.symbolic(updates=130, problems=4, texts=1), store)
    assert isinstance(found, Evaluation)
    open_claims = {item["name"] for item in found.claims if item["status"] == "not measured"}
    assert open_claims == {
        "prontoqa_is_solved",
        "its_sentences_need_not_be_generated",
        "prontoqa_beats_the_recorded_models",
        "parity_on_logical_deduction",
        "recorded_programs_reach_their_floors",
    }
    assert found.values["VERTEX/mock/vertex"] <= 0.02
    assert found.values["constraints/valid"] == found.values["constraints/texts"] == 9
    page = write_report(store, found.id, "symbolic", "").read_text()
    assert "Learnt from answers alone" in page
    assert json.loads(found.file("claims.json").read_text())
