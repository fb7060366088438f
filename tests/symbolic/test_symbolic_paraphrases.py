"""Templates give the pairs that a person would write; what a proof showed leads back to the template it came from."""

import json
import random
import re

import lark
import pytest

from glasshouse.store.configuration import ConfigurationError
from glasshouse.symbolic.invented import invented_words, spellings, with_invented_words
from glasshouse.symbolic.learnt_forms import Form, form_of, known_texts, learnt_forms, with_forms
from glasshouse.symbolic.paraphrases import Meaning, Pair, Templates, read_templates
from glasshouse.symbolic.rule_problems import generated_problems, read_problems
from glasshouse.symbolic.solved_problems import Solved

KINDS = read_templates("kinds")


def written(**changes):
    plain = {
        "name": "colours",
        "grammar": 'start: NAME "=" NAME\nNAME: /[A-Z][a-z]+/\n',
        "meanings": [{"name": "is", "program": "{one.name}={two.name}", "texts": {"plain": ["the {one} is {two}."]}}],
        "words": {"one": ["door", "wall"], "two": ["red", "blue"]},
    }
    return plain | changes


def test_a_pair_says_what_its_template_says():
    door = {"word": "door", "name": "Door"}
    pair = Templates(**written()).pair(
        "is", "plain", random.Random(0), {"one": door, "two": {"word": "s", "name": "S"}}
    )
    assert pair == Pair("The door is s.", "Door=S", "is", "plain")


def test_every_pair_of_the_set_is_of_its_grammar_and_has_its_article():
    parser = lark.Lark(KINDS.grammar, start="start")
    for pair in KINDS.pairs(400, KINDS.styles, seed=3):
        parser.parse(pair.program)
        for article, word in re.findall(r"\b([Aa]n?) (\w+)", pair.text):
            assert article.lower() == ("an" if word[0] in "aeiou" else "a"), pair
        assert re.fullmatch(r"[A-Z].*\.", pair.text)


def test_two_words_of_a_class_differ_and_draws_repeat():
    pairs = list(KINDS.pairs(300, ("plain",), seed=1))
    rules = [pair.program for pair in pairs if pair.meaning == "kind is kind"]
    assert {len(set(re.findall(r"[A-Z]\w+", rule))) for rule in rules} == {2}
    assert pairs == list(KINDS.pairs(300, ("plain",), seed=1)) != list(KINDS.pairs(300, ("plain",), seed=2))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"meanings": [{"name": "is", "program": "{one.name}", "texts": {"plain": ["{one}."]}}]}, "not of the grammar"),
        ({"words": {"one": ["door"]}}, "no word is left for a slot {two}"),
        ({"words": {"one": ["door"], "two": [{"name": "Red"}]}}, "a word is a text, or a mapping with its form `word`"),
        ({"meanings": []}, "at least 1 item"),
        ({"meaning": 1}, "meaning"),
    ],
)
def test_templates_that_cannot_work_are_refused_with_the_reason(tmp_path, changes, said):
    file = tmp_path / "templates.json"
    file.write_text(json.dumps(written(**changes)))
    with pytest.raises(ConfigurationError, match=said):
        read_templates(file)


def test_a_file_that_is_no_json_and_an_unknown_style_are_named(tmp_path):
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(ConfigurationError, match=r"bad\.json holds no templates"):
        read_templates(tmp_path / "bad.json")
    with pytest.raises(ConfigurationError, match="no text in sung; it has plain, reworded"):
        list(KINDS.pairs(1, ("sung",)))
    with pytest.raises(ConfigurationError, match="no meaning 'was'; it has kind is kind"):
        KINDS.pair("was", "plain", random.Random(0))


def test_made_up_words_are_new_and_have_every_form(monkeypatch):
    known = spellings(KINDS)
    made_up = with_invented_words(KINDS, 50, seed=1, without=known)
    assert len(spellings(made_up) - known) == 150
    assert all(word["word"].istitle() for word in made_up.words["person"])
    kind = made_up.words["kind"][0]
    assert set(kind) == {"word", "many", "a", "name"}
    made_up.check()
    monkeypatch.setattr("glasshouse.symbolic.invented.SYLLABLES", (1,))
    with pytest.raises(ConfigurationError, match="only 450 words could be made up, not 500: ask for fewer"):
        invented_words(500)


def test_problems_are_answered_by_walking_their_chain():
    """The answer is found again from the gold programs by following arrows, without the solver."""
    for problem in generated_problems(KINDS, 60, ("plain", "reworded"), seed=2):
        rules = [re.fullmatch(r"(\w+)\(\$x\) >>> (\w+)\(\$x(, False)?\)", line) for line in problem.programs[:-2]]
        kind, person = re.fullmatch(r"(\w+)\((\w+)\)", problem.programs[-2]).groups()
        quality, who, denied = re.fullmatch(r"(\w+)\((\w+)(, False)?\)", problem.programs[-1]).groups()
        assert who == person
        reached, holds = {kind}, {}
        for _ in rules:
            for rule in rules:
                if rule[1] in reached and rule[3] is None:
                    reached.add(rule[2])
                if rule[1] in reached:
                    holds[rule[2]] = rule[3] is None
        assert (holds[quality] == (denied is None)) == problem.answer
        assert len(problem.sentences) == len(problem.programs) - 1


def test_too_few_words_for_a_problem_are_told():
    few = KINDS.but(words=KINDS.words | {"kind": KINDS.words["kind"][:5]})
    with pytest.raises(ConfigurationError, match=r"has 5 kinds or qualities; problems of 5 steps .* take 8"):
        generated_problems(few, 1, ("plain",))


def test_problems_are_read_in_the_form_of_prontoqa_and_nothing_else(tmp_path):
    item = {
        "id": "P1",
        "context": "Each cat is small. Max is a cat.",
        "question": "Is the following statement true or false? Max is not small.",
        "answer": "B",
    }
    file = tmp_path / "set.json"
    file.write_text(json.dumps([item]))
    (problem,) = read_problems(file)
    assert problem.sentences == ("Each cat is small.", "Max is a cat.")
    assert (problem.statement, problem.answer) == ("Max is not small.", False)
    for broken, said in (
        ([], "no list"),
        ([{"id": 1}], "item 0: a problem has"),
        ([item | {"answer": "C"}], "A .true."),
    ):
        file.write_text(json.dumps(broken))
        with pytest.raises(ValueError, match=said):
            read_problems(file)


def test_every_pair_leads_back_to_its_template():
    known = known_texts(KINDS)
    for pair in KINDS.pairs(500, KINDS.styles, seed=5):
        form = form_of(pair, KINDS)
        assert form is None or form.text in known, (pair, form)
        assert form is not None, pair
    text = "If something is an impus, then it is a zumpus."
    assert form_of(Pair(text, "Impus($x) >>> Zumpus($x)"), KINDS) == Form(
        "if something is {kind1.a} {kind1}, then it is {kind2.a} {kind2}.", "{kind1.name}($x) >>> {kind2.name}($x)"
    )
    assert form_of(Pair(text, "Something($x) >>> Zumpus($x)"), KINDS) is None


def test_only_what_several_proofs_show_alike_is_learnt():
    plain = KINDS.but(
        meanings=tuple(Meaning(**one.model_dump() | {"texts": {"plain": one.texts["plain"]}}) for one in KINDS.meanings)
    )
    (problem,) = generated_problems(plain, 1, ("plain",))

    def proof(*pairs, right=True):
        return Solved(problem, problem.answer == right, shown=tuple(Pair(*pair) for pair in pairs))

    good = ("All impuses are red.", "Impus($x) >>> Red($x)"), ("All rompuses are shy.", "Rompus($x) >>> Shy($x)")
    bad = ("All zumpuses are shy.", "Zumpus($x) >>> Shy($x, False)")
    taught = ("Every impus is red.", "Impus($x) >>> Red($x)")
    form = Form("all {kind1.many} are {quality1}.", "{kind1.name}($x) >>> {quality1.name}($x)")
    assert learnt_forms([proof(good[0]), proof(good[1], taught)], plain, 2) == {form: 2}
    assert learnt_forms([proof(good[0]), proof(good[0], right=False)], plain, 2) == {}
    assert learnt_forms([proof(one) for one in (*good, bad, bad)], plain, 2) == {}
    learnt = list(with_forms(plain, [form]).pairs(20, ("learnt",)))
    assert all(re.fullmatch(r"All \w+es are \w+\.", pair.text) for pair in learnt)
