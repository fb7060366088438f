"""The steps of a parser in a store, and the way back from a line of a trace to the pairs that were trained on."""

import json

import pytest

from glasshouse.language.generation import Sampling
from glasshouse.store.execution import execute
from glasshouse.store.files import StoreError, hash_file
from glasshouse.store.store import Store
from glasshouse.symbolic.engines.function import FunctionEngine
from glasshouse.symbolic.engines.local import LocalEngine
from glasshouse.symbolic.paraphrases import read_templates
from glasshouse.symbolic.parser_steps import (
    given_problems,
    make_problems,
    parsing_pairs,
    solve_problems,
    teach_itself,
    train_parser,
)
from glasshouse.symbolic.parser_training import ParserTraining
from glasshouse.symbolic.parsing import Parser
from glasshouse.symbolic.provenance import origin_of, origins_of_trace
from glasshouse.symbolic.runtime import Runtime
from glasshouse.symbolic.self_training import SelfTraining
from glasshouse.symbolic.solvers.horn import Horn
from glasshouse.symbolic.sym import Sym
from glasshouse.symbolic.trace import read_trace

KINDS = read_templates("kinds")
SMALL = KINDS.but(words={name: words[:6] for name, words in KINDS.words.items()})
SETTINGS = ParserTraining(vocabulary=300, width=48, context=512, steps=120, batch_size=32, learning_rate=5e-3)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return Store(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def pairs():
    return parsing_pairs(SMALL, ("plain",), count=1500, invented=0)


@pytest.fixture(scope="module")
def parser(store, pairs):
    return execute(train_parser(pairs, SETTINGS), store)


def test_the_pairs_are_documents_and_come_back_as_pairs(store, pairs):
    made = execute(pairs, store)
    document = json.loads(made.file("pairs.jsonl").read_text().splitlines()[0])
    assert set(document) == {"id", "source", "text", "metadata"}
    assert document["text"] == made.pairs[0].text
    assert document["metadata"]["program"] == made.pairs[0].program
    assert len(made.pairs) == 1500
    assert made.templates == SMALL


def test_sentences_of_problems_can_be_left_out_of_the_pairs(store):
    problems = make_problems(SMALL, 6, ("plain",), deepest=2)
    asked = {text for one in execute(problems, store).problems for text in (*one.sentences, one.statement)}
    sizes = {"count": 1500, "invented": 0}
    whole, part = (
        {pair.text for pair in execute(parsing_pairs(SMALL, ("plain",), without=without, **sizes), store).pairs}
        for without in (None, problems)
    )
    assert whole & asked
    assert part == whole - asked


def test_a_stored_parser_solves_and_its_controls_do_not(store, parser, pairs):
    problems = make_problems(SMALL, 6, ("plain",), deepest=1, around=0, seed=5)
    solved = {
        control: execute(solve_problems(train_parser(pairs, SETTINGS), problems, control), store).values
        for control in ("", "untrained", "without the grammar", "without copying")
    }
    assert solved[""]["accuracy"] == solved[""]["sentences"] == 1.0
    assert solved[""]["accuracy/low"] < 1 == solved[""]["accuracy/high"]
    assert solved["untrained"]["sentences"] < 0.2
    assert parser.values["training/cpu_seconds"] > 0
    for control in ("without the grammar", "without copying"):
        assert 0 <= solved[control]["accuracy"] <= 1
    assert execute(solve_problems(train_parser(pairs, SETTINGS), problems, "untrained"), store).panels()


def test_problems_of_a_file_leave_out_those_that_words_are_from(store, tmp_path):
    asked = "Is the following statement true or false? Max is red."
    items = [{"id": f"{n}", "context": "Max is red.", "question": asked, "answer": "A"} for n in range(3)]
    (tmp_path / "set.json").write_text(json.dumps(items))
    found = execute(given_problems(str(tmp_path / "set.json"), skip=1), store).problems
    assert [problem.name for problem in found] == ["1", "2"]
    assert found[0].programs == ()


def test_a_parser_that_taught_itself_is_a_parser_with_what_it_learnt_in_its_record(store, pairs):
    plain = [one.but(texts={"plain": one.texts["plain"]}) for one in SMALL.meanings]
    said = SMALL.but(meanings=tuple(plain)).model_dump()
    said["meanings"][1]["texts"]["reworded"] = ["all {kind1.many} are {quality}."]
    problems = make_problems(type(SMALL)(**said), 24, ("plain", "reworded"), deepest=1, around=0, seed=3)
    settings = SelfTraining(rounds=1, pairs=200, steps=10, support=1)
    taught = execute(teach_itself(train_parser(pairs, SETTINGS), pairs, problems, settings), store)
    assert taught.values["round 1/forms"] == len(taught.learnt[0]["forms"]) > 0
    assert all(form["problems"] >= 1 for form in taught.learnt[0]["forms"])
    assert taught.panels()[-1].title == "Learnt from answers alone"
    assert set(taught.manifest["inputs"]) == {"parser", "pairs", "problems"}


def test_a_line_of_a_trace_leads_to_the_documents_of_its_model(store, parser, tmp_path):
    """By artifact and by hash: the weights' hash is that of the file, the sources are the steps that were run."""
    trace = tmp_path / "trace.jsonl"
    runtime = Runtime(Parser(parser, SMALL.grammar, SMALL.copies), Horn(), trace=trace)
    result = runtime.run(Sym("Alex is angry.").sem.parse())
    assert result.record.artifact == parser.id
    assert result.record.model == f"sha256:{hash_file(parser.path / 'model.safetensors')}"
    origin = origin_of(result.record, store)
    assert origin.model.name == parser.path.name
    assert [source.step.rpartition(".")[2].rpartition(":")[2] for source in origin.sources] == ["parsing_pairs"]
    pairs = store.open(origin.sources[0].name)
    assert "Alex is angry." in {pair.text for pair in pairs.pairs}
    assert set(origins_of_trace(trace, store).values()) == {origin}
    again = list(read_trace(trace).values())[-1]
    assert again.artifact == parser.id


def test_what_does_not_lead_back_is_told(store, parser):
    words = FunctionEngine(lambda call: "yes")
    record = Runtime(words).run(Sym("a").sem.summarize()).record
    with pytest.raises(StoreError, match=r"no model out of a store answered; engine 'function|lambda"):
        origin_of(record, store)
    line = {"node": "n" * 64, "op": "parse", "artifact": parser.id, "model": "sha256:0", "engine": "parser"}
    with pytest.raises(StoreError, match=r"answered by weights sha256:0; .* holds sha256:"):
        origin_of(line, store)
    with pytest.raises(StoreError, match="no artifact"):
        origin_of(line | {"artifact": "f" * 64}, store)


def test_a_cassette_keeps_which_artifact_answered(parser, tmp_path):
    from glasshouse.symbolic.engines.recorded import Recorded

    question = Sym("Max").sem.chat()
    with (runtime := Runtime(LocalEngine(parser, Sampling(tokens=4)))).record(tmp_path / "calls.jsonl"):
        said = runtime.run(question).record
    played = Runtime(Recorded(tmp_path / "calls.jsonl")).run(question).record
    assert played.artifact == said.artifact == parser.id


@pytest.mark.parametrize("as_", ["text", "boolean", {"type": "string", "maxLength": 5}])
def test_a_streamed_text_is_the_text_and_its_record_says_who_answered(parser, as_):
    """Free and constrained: the pieces are the text, and the record is that of a run without streaming."""
    engine = LocalEngine(parser, Sampling(temperature=1.0, tokens=24))
    question = Sym("Max is ünder.").sem.extract("it", as_=as_)
    runtime = Runtime(engine)
    pieces = list(runtime.stream(question))
    streamed = runtime.run(question).record
    whole = Runtime(engine).run(question).record
    assert "".join(pieces) == whole.text == streamed.text
    for field in ("model", "artifact", "usage", "finish", "evidence", "value"):
        assert getattr(streamed, field) == getattr(whole, field)
    assert as_ != "text" or len(pieces) > 1
