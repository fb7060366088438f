"""A parser trained in a test: what it writes is of its grammar, names words of the sentence, and is solved as read."""

import copy
from pathlib import Path

import lark
import pytest

from glasshouse.data.tokens.tokenizer import VocabularyError
from glasshouse.store.configuration import ConfigurationError
from glasshouse.symbolic.call import Call, Reply
from glasshouse.symbolic.engines.function import FunctionEngine
from glasshouse.symbolic.errors import BadRequestError
from glasshouse.symbolic.learnt_forms import Form
from glasshouse.symbolic.paraphrases import Pair, Templates, read_templates
from glasshouse.symbolic.parser_training import (
    ParserTraining,
    parser_rows,
    parser_tokenizer,
    train_parser,
    training_pairs,
    untrained_parser,
)
from glasshouse.symbolic.parsing import Parser, copied
from glasshouse.symbolic.rule_problems import Problem, generated_problems, read_problems
from glasshouse.symbolic.runtime import Runtime
from glasshouse.symbolic.self_training import SelfTraining, self_train
from glasshouse.symbolic.solved_problems import Solve, accuracy, solve
from glasshouse.training.data import DataError

LOGIC = Path(__file__).parents[3] / "shared/data/logic/sets/ProntoQA.json"
KINDS = read_templates("kinds")
SMALL = Templates(
    **KINDS.model_dump()
    | {"words": {"kind": KINDS.words["kind"][:4], "quality": KINDS.words["quality"][:4], "person": ["Max", "Sam"]}}
)
PAIRS = training_pairs(SMALL, ("plain",), 3000, invented=0)
SETTINGS = ParserTraining(vocabulary=300, width=48, steps=120, batch_size=32, learning_rate=5e-3)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    model = untrained_parser(parser_tokenizer(PAIRS, SETTINGS.vocabulary), SETTINGS)
    result = train_parser(model, PAIRS, SETTINGS, tmp_path_factory.mktemp("parser") / "run")
    assert result.loss < 0.1
    return model


def asked(parser, text):
    return parser.run(Call("parse", "parse", (text,))).value


def oracle(problems):
    """An engine that looks up the gold programs."""
    known = {pair.text: pair.program for problem in problems for pair in problem.pairs}
    return FunctionEngine(lambda call: known[call.inputs[0]], ("parse",))


def test_what_is_learnt_is_the_program_and_its_end_alone():
    model = untrained_parser(parser_tokenizer(PAIRS, 300), SETTINGS)
    rows = parser_rows([Pair("Max is red.", "Red(Max)")], model)
    example = rows.examples[0]
    learnt = [int(token) for token in example.targets if token >= 0]
    assert model.tokenizer.decode(learnt[:-1]) == "Red(Max)"
    assert learnt[-1] == model.end_of_sequence
    assert model.tokenizer.decode(example.tokens.tolist()[: -len(learnt)]) == "Max is red.\n"
    with pytest.raises(DataError, match=r"'Max is red.* tokens; the context holds 96"):
        parser_rows([Pair("Max is red. " * 30, "Red(Max)")], model)
    with pytest.raises(VocabularyError, match="ask for fewer"):
        parser_tokenizer(PAIRS[:3], 5000)


def test_half_of_the_pairs_are_about_made_up_words_when_these_are_asked_for():
    known = {word["name"] for several in KINDS.words.values() for word in several}
    pairs = training_pairs(KINDS, ("plain",), 200, invented=20)
    about = [any(name in pair.program for name in known) for pair in pairs]
    assert sum(about) == 100
    assert set(about[:20]) == {True, False}


def test_a_trained_parser_solves_problems_that_it_has_not_seen(trained):
    problems = generated_problems(SMALL, 12, ("plain",), deepest=2, around=0, seed=9)
    solved = solve(problems, Parser(trained, SMALL.grammar, SMALL.copies))
    assert accuracy(solved) == 1.0
    assert all(one.proved for one in solved)
    assert all(one.programs == one.problem.programs for one in solved)
    gold = {pair.text: pair.program for one in problems for pair in one.pairs}
    assert all(gold[pair.text] == pair.program for one in solved for pair in one.shown)


def test_untrained_text_is_of_the_grammar_and_names_only_words_of_the_sentence():
    model = untrained_parser(parser_tokenizer(PAIRS, 300), SETTINGS)
    grammar, parser = lark.Lark(SMALL.grammar, start="start"), Parser(model, SMALL.grammar, SMALL.copies)
    for pair in PAIRS[:8]:
        tree = grammar.parse(asked(parser, pair.text))
        names = {str(token) for token in tree.scan_values(lambda token: token.type == "NAME")}
        assert names <= set(copied(pair.text, ("s", "es")))
    free = asked(Parser(model, None), "Max is red.")
    with pytest.raises(lark.exceptions.LarkError):
        grammar.parse(free)


def test_a_sentence_without_words_and_a_terminal_that_is_not_there_are_refused(trained):
    assert copied("Impuses aren't red.", ("s", "es")) == ["Impuses", "Impuse", "Impus", "Aren", "T", "Red"]
    parser = Parser(trained, SMALL.grammar, SMALL.copies)
    assert 'NAME: "Impuses" | "Impuse" | "Impus" | "Aren" | "Red"' in parser.grammar_for("Impuses aren't red.")
    several = Parser(trained, 'start: NAME "." WORD\nNAME: "a"\n    | "b"\nWORD: "c"\n', {"NAME": ()})
    assert several.grammar_for("It is") == 'start: NAME "." WORD\nNAME: "It" | "Is"\nWORD: "c"\n'
    for sentence in ("", "  ", "12!"):
        with pytest.raises(BadRequestError):
            asked(parser, sentence)
    with pytest.raises(ConfigurationError, match="no terminal 'WORD'"):
        Parser(trained, SMALL.grammar, {"WORD": ()})


def test_a_problem_is_solved_as_it_was_read_and_the_proof_names_its_sentences():
    problems = generated_problems(KINDS, 30, ("plain",), seed=4)
    engine = oracle(problems)
    solved = solve(problems, engine)
    assert all(one.right and one.proved for one in solved)
    depth = len(solved[0].shown)
    assert 3 <= depth <= len(problems[0].sentences)
    assert solved[0].shown[-1].text == problems[0].statement
    distinct = {text for problem in problems for text in (*problem.sentences, problem.statement)}
    assert len(engine.calls) == len(distinct)  # a sentence is read once for all problems
    wrong = solve(problems, FunctionEngine(lambda call: "Cat(Max)", ("parse",)))
    assert all(one.programs and one.found is True for one in wrong)
    broken = solve(problems, FunctionEngine(lambda call: Reply("import os"), ("parse",)))
    assert accuracy(broken) == 0
    assert all("ProgramError" in one.error for one in broken)
    with pytest.raises(ValueError, match="no problems"):
        accuracy([])


def test_a_trace_of_a_solved_problem_names_the_parser_and_the_proof(trained):
    (problem,) = generated_problems(SMALL, 1, ("plain",), deepest=1, around=0)
    from glasshouse.symbolic.solvers.horn import Horn

    result = Runtime(Parser(trained, SMALL.grammar, SMALL.copies), Horn()).run(
        Solve(), *problem.sentences, problem.statement
    )
    parsed = [record for record in result.records.values() if record.node.op == "parse"]
    assert len(parsed) == len(problem.sentences) + 1
    assert all(record.model.startswith("sha256:") and record.engine == "parser" for record in parsed)
    assert result.record.verified is True
    assert result.replay().value == result.value


def test_a_parser_teaches_itself_new_wording_from_answers_alone(trained, tmp_path):
    """Some sentences say "all impuses" for "every impus"; nobody tells the parser what that means."""
    plain = SMALL.but(meanings=[one.but(texts={"plain": one.texts["plain"]}) for one in SMALL.meanings])
    said = plain.model_dump()
    said["meanings"][1]["texts"]["reworded"] = ["all {kind1.many} are {quality}."]
    problems = generated_problems(Templates(**said), 24, ("plain", "reworded"), deepest=1, around=0, seed=3)
    hidden = [Problem(one.name, one.sentences, one.statement, one.answer) for one in problems]
    settings = SelfTraining(rounds=1, pairs=200, steps=30, support=1)
    (done,) = self_train(copy.deepcopy(trained), PAIRS, plain, hidden, SETTINGS, settings, tmp_path / "rounds")
    assert list(done.forms) == [Form("all {kind1.many} are {quality1}.", "{kind1.name}($x) >>> {quality1.name}($x)")]
    assert done.result.finished
    assert done.proved > 0.5


@pytest.mark.slow
@pytest.mark.skipif(not LOGIC.exists(), reason="needs ../shared/data/logic")
def test_prontoqa_is_answered_after_less_than_a_minute_of_training(tmp_path):
    """Bar 2. The word list of the set is from its first hundred problems; these are not asked."""
    settings = ParserTraining()
    problems = read_problems(LOGIC)[100:]
    pairs = training_pairs(KINDS, ("plain",), 40_000)
    model = untrained_parser(parser_tokenizer(pairs, settings.vocabulary), settings)
    result = train_parser(model, pairs, settings, tmp_path / "run")
    assert result.cpu_seconds <= 60
    assert accuracy(solve(problems, Parser(model, KINDS.grammar, KINDS.copies))) >= 0.99
