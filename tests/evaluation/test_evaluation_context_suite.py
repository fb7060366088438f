"""The benchmark's tasks by name, generated ones most of all: exact gold, parts that share no names, whole runs."""

import re
from pathlib import Path

import pytest

from glasshouse.evaluation.catalogue import NoSuchTaskError, metrics_of, tasks_named
from glasshouse.evaluation.context.dialogue_state.task import Step
from glasshouse.evaluation.context.generated.coreference import generate_documents
from glasshouse.evaluation.context.generated.dialogue_state import generate_dialogues
from glasshouse.evaluation.context.generated.discourse import generate_relations
from glasshouse.evaluation.context.generated.names import Difficulty, part_of
from glasshouse.evaluation.context.generated.rewriting import generate_queries
from glasshouse.evaluation.context.generated.suite import GENERATED, TrainingTexts, generated_task
from glasshouse.evaluation.context.generated.winograd import generate_schemas
from glasshouse.evaluation.context.prompts import PromptError, load_prompt, prompt_names
from glasshouse.evaluation.context.sources import SOURCES, DataError
from glasshouse.evaluation.context.suite import SETS, named, names, open_sets
from glasshouse.evaluation.running import run
from glasshouse.evaluation.scorers import LocalScorer

DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "evaluation"
GENERATORS = {
    "coreference": generate_documents,
    "winograd": generate_schemas,
    "dialogue_state": generate_dialogues,
    "discourse": generate_relations,
    "rewriting": generate_queries,
}


def parts_in(text):
    return {part_of(word) for word in re.findall(r"[A-Z][a-z]+", text)} - {None}


@pytest.mark.parametrize("kind", GENERATED)
def test_the_parts_of_a_task_share_no_names(kind):
    texts = TrainingTexts((kind,), brief=False)
    assert parts_in(" ".join(texts.text(n) for n in range(40))) == {"train"}
    assert parts_in(repr(GENERATORS[kind](40, "test"))) == {"test"}


@pytest.mark.parametrize("kind", GENERATED)
def test_generated_items_depend_on_seed_and_difficulty_alone(kind):
    make = GENERATORS[kind]
    assert make(8) == make(12)[:8]
    assert make(8) != make(8, seed=1)
    assert len(repr(make(8, "test", Difficulty(3, 4)))) > len(repr(make(8, "test", Difficulty(0, 0))))
    assert generated_task(kind, count=5).hashes == generated_task(kind, count=5).hashes
    assert generated_task(kind, count=5).hashes != generated_task(kind, count=5, seed=1).hashes
    assert TrainingTexts((kind,)).text(7) == TrainingTexts((kind,)).text(7)


def test_difficulty_and_names_that_cannot_be():
    with pytest.raises(ValueError, match="0 to 6 distractors"):
        Difficulty(distractors=9)
    with pytest.raises(ValueError, match="no generated task 'x'"):
        generated_task("x")
    with pytest.raises(ValueError, match=r"no task 'x' of understanding context; there are coreference"):
        named("x")


@pytest.mark.parametrize("difficulty", [Difficulty(0, 0), Difficulty(1, 1), Difficulty(4, 3)])
def test_generated_pronouns_have_one_possible_antecedent(difficulty):
    for document in generate_documents(60, "test", difficulty):
        people = {document.text(c) for cluster in document.clusters for c in cluster if part_of(document.text(c))}
        women = [name for name in people if name[-1] in "ai"]
        said = {document.text(m).lower(): document.cluster_of[m] for m in document.mentions}
        assert "she" not in said or len(women) == 1
        assert "he" not in said or len(people) - len(women) == 1
        if "she" in said:
            assert said["she"] == said[women[0].lower()]
        introduced = {w: n for n, w in re.findall(r"(\w+) is a (\w+) \.", " ".join(document.tokens))}
        for text, cluster in said.items():
            trade = text.removeprefix("the ")
            if text.startswith("the ") and trade in introduced:
                assert cluster == said[introduced[trade].lower()]
        assert all(len(cluster) > 1 for cluster in document.clusters)


def test_generated_schemas_come_in_twins_of_opposite_answers():
    schemas = generate_schemas(40)
    assert [schema.label for schema in schemas] == [0, 1] * 20
    for one, other in zip(schemas[::2], schemas[1::2], strict=True):
        assert (one.before, one.options, one.group) == (other.before, other.options, other.group)
        assert one.after != other.after


def test_generated_relations_need_both_sentences():
    relations = generate_relations(400, "test", Difficulty(0, 0))
    assert {sense: sum(r.senses == (sense,) for r in relations) for sense in ("Temporal", "Comparison")} == {
        "Temporal": 100, "Comparison": 100,
    }  # fmt: skip
    outcomes = {}
    for relation in relations:
        if relation.senses[0] in ("Contingency", "Comparison"):
            outcome = re.sub(r"^(She|He) ", "", relation.second)
            outcomes.setdefault(outcome, set()).add(relation.senses[0])
    assert all(len(senses) == 2 for senses in outcomes.values())


def test_generated_rewrites_have_what_their_queries_leave_out():
    for query in generate_queries(40, "test", Difficulty(2, 2)):
        said = " ".join(text for _, text in query.history)
        name = next(word for word in re.findall(r"[A-Z][a-z]+", query.rewrite) if part_of(word))
        assert name in said + query.text
        assert query.text != query.rewrite
    assert any(query.text.startswith("And ") for query in generate_queries(4))


def test_every_generated_task_runs_on_a_model(model):
    scorer = LocalScorer(model)
    for kind in GENERATED:
        written = {"tokens": 8} if kind in ("dialogue_state", "rewriting") else {}
        task = generated_task(kind, count=2, brief=True, **written)
        records = run(task, scorer)
        assert {name: 0 <= metric(records) <= 1 for name, metric in task.metrics.items()}
        for baseline in task.baselines(records).values():
            assert [record.id for record in baseline] == [record.id for record in records]
            assert 0 <= next(iter(task.metrics.values()))(baseline) <= 1


def test_missing_data_names_licence_and_origin_for_every_set(tmp_path):
    assert set(names()) == {*GENERATED, *SETS}
    for name, data in SETS.items():
        source = SOURCES[data.source]
        for folder in (None, tmp_path):
            with pytest.raises(DataError) as told:
                named(name, folder=folder)
            assert source.licence in str(told.value)
            assert source.origin in str(told.value)
    assert {"ontonotes", "pdtb"}.isdisjoint(open_sets())


def test_prompts_are_files_that_can_be_changed(tmp_path):
    assert {"coreference", "dialogue_state", "discourse", "rewriting", "winograd"} <= set(prompt_names())
    own = tmp_path / "own.yaml"
    own.write_text("item: 'Q {query} {x}'\nanswer: ' {answer}'\n", encoding="utf-8")
    with pytest.raises(PromptError, match=r"field \{x\} that this task does not fill; it has \{history\}"):
        generated_task("rewriting", count=1, prompt=str(own)).question(generate_queries(1)[0])
    own.write_text("item: 'Q {query} {} {1'\nanswer: ' {answer}'\n", encoding="utf-8")
    task = generated_task("rewriting", count=1, prompt=str(own), shots=1)
    assert re.fullmatch(r"Q .+ \{\} \{1 .+\n\nQ .+ \{\} \{1", task.question(task.queries[0]))
    assert task.hashes["prompts"] != generated_task("rewriting", count=1).hashes["prompts"]
    own.write_text("question: x", encoding="utf-8")
    with pytest.raises(PromptError, match="needs item and answer"):
        load_prompt(own)
    with pytest.raises(PromptError, match="there is no prompt 'absent'; there are coreference"):
        load_prompt("absent")


@pytest.mark.skipif(not (DATA / "sgd").is_dir(), reason="the data sets are not here")
def test_every_data_set_that_is_here_becomes_a_task():
    here = [name for name in open_sets() if (DATA / SETS[name].source).is_dir() and name not in ("multiwoz", "qrecc")]
    assert len(here) == 9
    for name in here:
        task = named(name, folder=DATA, limit=3, seed=1)
        assert task.name == f"context/{name}"
        requests = next(task.rounds())
        assert requests
    assert named("wsc273", folder=DATA, limit=3, seed=1) == named("wsc273", folder=DATA / "winograd", limit=3, seed=1)


def test_settings_behind_a_name():
    task = named("dialogue_state?previous=gold&shots=0&distance=3", limit=2)
    assert task.name == "context/dialogue_state/previous-gold/shots-0/distance-3"
    assert (task.previous, task.shots, len(task.dialogues[0].turns)) == ("gold", 0, 7)
    plain = named("dialogue_state", limit=2, shots=0, distance=3)
    assert plain.hashes["data"] == task.hashes["data"]
    assert plain.hashes["settings"] != task.hashes["settings"]
    gold, predicted = (named(f"dialogue_state?previous={state}", limit=1) for state in ("gold", "predicted"))
    shown = [one.question(Step(one.dialogues[0], 0), {}) for one in (gold, predicted)]
    assert shown[0] == shown[1]  # the same examples
    assert named("coreference?brief=true&shuffle=7", limit=1).form == "text"
    for name, said in {
        "winograd?shots=3": "the task winograd has no setting 'shots'; it has brief, distance",
        "dialogue_state?previous=golden": "previous='golden' of dialogue_state: Input should be 'predicted' or 'gold'",
        "discourse?shots=two": "shots='two' of discourse: Input should be a valid integer",
        "gdtb?distance=2": "the task gdtb has no setting 'distance'",
    }.items():
        with pytest.raises(ValueError, match=re.escape(said)):
            named(name, folder="anywhere")
    with pytest.raises(NoSuchTaskError, match="context:wsc273: the task wsc273 has no setting 'shots'"):
        tasks_named(["context:wsc273"], shots=2, data="anywhere")
    (task,) = tasks_named(["context:winograd?scoring=generate"])
    assert set(metrics_of(task.name)) == {"acc"}
