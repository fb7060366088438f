"""Dialogue state tracking: answers that are to be read, joint goal accuracy, gold and predicted states, readers."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glasshouse.evaluation.context.dialogue_state.accuracy import exactly, nearly
from glasshouse.evaluation.context.dialogue_state.camrest import read_camrest
from glasshouse.evaluation.context.dialogue_state.dialogues import Dialogue, Slot, Turn, apply_update, gold_update
from glasshouse.evaluation.context.dialogue_state.schema_guided import read_schema_guided
from glasshouse.evaluation.context.dialogue_state.task import DialogueState, Step, named_values
from glasshouse.evaluation.context.dialogue_state.updates import read_update, write_update
from glasshouse.evaluation.context.sources import DataError
from glasshouse.evaluation.requests import Written

DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "evaluation"
AREA = Slot("hotel-area", "part of town", "hotel", ("north", "south"))
NAME = Slot("hotel-name", "name of the hotel", "hotel")
FOOD = Slot("food-kind", "what is eaten", "food")


def dialogue(name, *states, schema=(AREA, NAME)):
    turns = tuple(Turn("Yes?", f"turn {n}", {s: (v,) for s, v in state.items()}) for n, state in enumerate(states))
    return Dialogue(name, turns, schema)


FIRST = dialogue(
    "first", {"hotel-area": "north"}, {"hotel-area": "north"}, {"hotel-area": "north", "hotel-name": "Vanex"},
    {"hotel-area": "south", "hotel-name": "Vanex"}, {"hotel-name": "Vanex"},
)  # fmt: skip
SECOND = dialogue("second", {}, {"hotel-area": "south"})


def play(task, answer):
    """The records of a task whose turns are answered by a function of the step's name and prompt."""
    rounds = task.rounds()
    requests = next(rounds)
    turn, sizes = 0, []
    while True:
        alive = [one for one in task.dialogues if turn < len(one.turns)]
        sizes.append(len(requests))
        texts = [answer(Step(one, turn), request.prompt) for one, request in zip(alive, requests, strict=True)]
        turn += 1
        try:
            requests = rounds.send([Written(text, 1) for text in texts])
        except StopIteration as finished:
            return finished.value, sizes


def test_gold_updates_keep_the_predicted_state_right():
    task = DialogueState("t", (FIRST, SECOND), shots=0)
    records, sizes = play(task, lambda step, prompt: write_update(step.update))
    assert sizes == [2, 2, 1, 1, 1]
    assert {name: metric(records) for name, metric in task.metrics.items()} == {
        "joint": 1.0, "joint_fuzzy": 1.0, "update": 1.0, "invalid": 0.0,
    }  # fmt: skip


@pytest.mark.parametrize(("previous", "right"), [("predicted", [1, 1, 0, 0, 0]), ("gold", [1, 1, 0, 1, 1])])
def test_an_error_stays_only_in_the_predicted_state(previous, right):
    def answer(step, prompt):
        return (
            '{"hotel-name": "Wrong"}' if (step.dialogue.id, step.number) == ("first", 2) else write_update(step.update)
        )

    task = DialogueState("t", (FIRST, SECOND), shots=0, previous=previous)
    records, _ = play(task, answer)
    of_first = sorted((r for r in records if r.group == "first"), key=lambda record: record.extras["turn"])
    assert [record.scores["joint"] for record in of_first] == right
    assert [record.scores["update"] for record in of_first] == [1, 1, 0, 1, 1]
    assert all(record.scores["joint"] for record in records if record.group == "second")


def test_the_prompt_shows_the_state_that_the_model_has_and_the_slots_of_its_domains():
    seen = {}

    def answer(step, prompt):
        seen[step.dialogue.id, step.number] = prompt
        return '{"hotel-area": "east"}'

    play(DialogueState("t", (FIRST, dialogue("other", {}, {}, schema=(FOOD,))), shots=0), answer)
    assert 'Previous state: {"hotel-area": "east"}' in seen["first", 1]
    assert "food-kind" not in seen["first", 1]
    assert "hotel-area" not in seen["other", 0]
    assert '"categorical": {"hotel-area": ["north", "south"]}' in seen["first", 0]


def test_examples_are_of_other_dialogues_and_of_the_same_domains_first():
    others = tuple(dialogue(f"food{n}", {"food-kind": "soup"}, schema=(FOOD,)) for n in range(4))
    near = dialogue("near", {"hotel-area": "south"})
    task = DialogueState("t", (FIRST,), (FIRST, *others, near), shots=2)
    prompt = task.question(Step(FIRST, 0), {})
    assert prompt.count("Output:") == 3
    assert '{"hotel-area": "south"}' in prompt
    assert prompt.count("soup") == 1
    assert '{"hotel-area": "north"}' not in prompt


def test_no_update_and_named_values_are_the_baselines():
    told = Dialogue("d", (Turn("", "in the North please", {"hotel-area": ("north",)}),), (AREA,))
    for previous, expected in (("predicted", 1 / 7), ("gold", 2 / 7)):
        task = DialogueState("t", (FIRST, SECOND), shots=0, previous=previous)
        records, _ = play(task, lambda step, prompt: "{}")
        assert task.metrics["joint"](task.baselines(records)["no update"]) == pytest.approx(expected)
        assert task.metrics["joint"](records) == pytest.approx(expected)
    task = DialogueState("t", (told,), shots=0)
    records, _ = play(task, lambda step, prompt: "nothing that is JSON")
    assert task.metrics["invalid"](records) == 1.0
    assert task.metrics["joint"](task.baselines(records)["values named"]) == 1.0
    assert named_values("northern lights", (AREA,)) == {}


@pytest.mark.parametrize(
    ("text", "update"),
    [
        ('{"a": "b"}', {"a": "b"}), (' {"a": "b"}\nUser: and {"c": "d"}', {"a": "b"}), ("{'a': 'b'}", {"a": "b"}),
        ("{'a': \"it's\"}", {"a": "it's"}), ("{'a': 'rosa's place', 'b': 'c'}", {"a": "rosa's place", "b": "c"}),
        ("[]", {}), ("{}", {}), ("```json\n{\"a\": 1}\n```", {"a": "1"}), ('{"a": "b",}', {"a": "b"}),
        ('{"a": "b"', {"a": "b"}), ('{"a": "b', {"a": "b"}), ('{"hotel": {"area": "north"}}', {"hotel-area": "north"}),
        ('[{"a": "b"}, {"c": "d"}]', {"a": "b", "c": "d"}), ('{"a": None, "b": ""}', {}), ('{"a": ["x"]}', {"a": "x"}),
        ('{"a": true, "b": False}', {"a": "yes", "b": "no"}), ('{"a": "he said \\"hi\\""}', {"a": 'he said "hi"'}),
        ("", None), ("none", None), ("{", None), ("{a: b}", None), ('{"a" "b"}', None), ("[" * 5000, None),
        ('["a"]', None), ("3", None), ("}{", None), ('{"a": [}', None),
    ],
)  # fmt: skip
def test_answers_that_mean_to_be_json(text, update):
    assert read_update(text) == update


@given(st.text(alphabet="{}[]\"':,ab1 \n\\", max_size=40))
def test_no_answer_is_a_crash(text):
    found = read_update(text)
    assert found is None or all(isinstance(k, str) and isinstance(v, str) for k, v in found.items())


@given(st.dictionaries(st.text(min_size=1, max_size=5), st.text(min_size=1, max_size=8), max_size=4))
def test_what_is_written_is_read(update):
    assert read_update(f"{write_update(update)} and more") == update


def test_exact_and_fuzzy_accuracy():
    gold = {"hotel-name": ("the  Vanex House", "Vanex"), "hotel-area": ("north",)}
    assert exactly({"hotel-name": "The Vanex house", "hotel-area": "north"}, gold)
    assert exactly({"hotel-name": "vanex", "hotel-area": "North"}, gold)
    near = {"hotel-name": "the Vanex House hotel", "hotel-area": "north"}
    assert not exactly(near, gold)
    assert nearly(near, gold)  # partial_ratio 100
    assert not nearly({"hotel-name": "the Vanex House", "hotel-area": "south"}, gold)
    assert not nearly({"hotel-name": "the Vanex House"}, gold)
    assert not nearly({**near, "hotel-day": "monday"}, gold)


def test_updates_widened_values_removed_slots_and_questions():
    before = {"time": ("half past 11",), "day": ("monday",)}
    turn = Turn("", "", {"time": ("11:30", "half past 11")}, requested=("phone",))
    assert gold_update(before, turn) == {"day": "none"}
    assert apply_update({"day": "monday", "time": "11:30"}, {"day": "none", "phone": "?"}) == {"time": "11:30"}
    step = Step(Dialogue("d", (Turn("", "", before), turn), ()), 1)
    assert step.update == {"day": "none", "phone": "?"}
    assert exactly(apply_update(step.before, step.update), turn.state)


def schema_guided(folder, name):
    """Two services, MultiWOZ's form: a frame of each service in each turn, slots named after their service."""
    slots = [{"name": "hotel-area", "description": "", "is_categorical": True, "possible_values": ["north"]}]
    schema = [{"service_name": "hotel", "slots": slots}, {"service_name": "taxi", "slots": [{"name": "to"}]}]
    state = {"requested_slots": ["to"], "slot_values": {"to": ["the moon"]}}
    turns = [
        {"speaker": "USER", "utterance": "A hotel.", "frames": [
            {"service": "hotel", "state": {"requested_slots": [], "slot_values": {"hotel-area": ["north"]}}}]},
        {"speaker": "SYSTEM", "utterance": "Here.", "frames": []},
        {"speaker": "USER", "utterance": "A taxi.", "frames": [{"service": "taxi", "state": state}]},
    ]  # fmt: skip
    (folder / "schema.json").write_text(json.dumps(schema), encoding="utf-8")
    rows = [{"dialogue_id": "one", "services": ["hotel"], "turns": turns}]
    (folder / name).write_text(json.dumps(rows), encoding="utf-8")


def test_schema_guided_dialogues_carry_states_over(tmp_path):
    schema_guided(tmp_path, "dialogues_001.json")
    (found,) = read_schema_guided(tmp_path, "multiwoz")
    first, second = found.turns
    assert (first.system, first.user, first.state) == ("", "A hotel.", {"hotel-area": ("north",)})
    assert (second.system, second.state) == ("Here.", {"hotel-area": ("north",), "taxi-to": ("the moon",)})
    assert second.requested == ("taxi-to",)
    assert [slot.name for slot in found.schema] == ["hotel-area", "taxi-to"]


def test_damaged_and_missing_dialogues_are_told(tmp_path):
    with pytest.raises(DataError, match=r"MultiWOZ 2\.2 is not in .*MIT"):
        read_schema_guided(tmp_path, "multiwoz")
    schema_guided(tmp_path, "dialogues_001.json")
    (tmp_path / "dialogues_001.json").write_text('[{"dialogue_id": "x", "turns": [{}]}]', encoding="utf-8")
    with pytest.raises(DataError, match=r"dialogues_001\.json, dialogue x: not the form"):
        read_schema_guided(tmp_path)
    (tmp_path / "dialogues_001.json").write_text("[", encoding="utf-8")
    with pytest.raises(DataError, match="is not JSON"):
        read_schema_guided(tmp_path)
    with pytest.raises(DataError, match=r"GECOR.*CC BY 4\.0"):
        read_camrest(tmp_path / "none")


@pytest.mark.skipif(not (DATA / "gecor").is_dir(), reason="CamRest676 is not here")
def test_camrest_and_the_share_of_turns_without_an_update():
    dialogues = read_camrest(DATA / "gecor")
    steps = [Step(one, n) for one in dialogues for n in range(len(one.turns))]
    assert (len(dialogues), len(steps)) == (676, 2744)
    quiet = sum(gold_update({s: (v,) for s, v in step.before.items()}, step.turn) == {} for step in steps)
    assert quiet / len(steps) == pytest.approx(0.53, abs=0.005)


@pytest.mark.skipif(not (DATA / "sgd").is_dir(), reason="Schema-Guided Dialogue is not here")
def test_gold_updates_give_every_state_of_schema_guided_dialogue():
    for found in read_schema_guided(DATA / "sgd"):
        state: dict[str, str] = {}
        for number, turn in enumerate(found.turns):
            state = apply_update(state, Step(found, number).update)
            assert exactly(state, turn.state), (found.id, number)
