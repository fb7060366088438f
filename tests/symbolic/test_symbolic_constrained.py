"""Constrained decoding with an untrained model as adversary: every text valid at every budget, or refused by name."""

from __future__ import annotations

import hashlib
import json
from typing import Literal

import jsonschema
import pytest
import regex
import torch
from pydantic import BaseModel
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

pytest.importorskip("llguidance", reason="masks come from the extra `symbolic`")

from glasshouse.language.generation import Sampling, generate
from glasshouse.language.model import LanguageModel, LoadedModel
from glasshouse.nn.configuration import olmo
from glasshouse.nn.huggingface import save_huggingface
from glasshouse.nn.transformer import Transformer
from glasshouse.symbolic.answers import Grammar, Regex, read, specification
from glasshouse.symbolic.call import Budget, Call, Constraint, Message
from glasshouse.symbolic.closing import Closer
from glasshouse.symbolic.completion import complete, least_tokens
from glasshouse.symbolic.constrain import Vocabulary, constraint_for
from glasshouse.symbolic.engines.local import LocalEngine
from glasshouse.symbolic.errors import BadRequestError, EngineTimeoutError, RefusalError
from glasshouse.symbolic.runtime import Runtime
from glasshouse.symbolic.sym import Sym

torch.set_num_threads(1)

PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "minLength": 2, "maxLength": 8},
        "age": {"type": "integer", "minimum": -9, "maximum": 42},
        "kind": {"enum": ["cat", "dog"]},
    },
    "required": ["name", "age", "kind"],
    "additionalProperties": False,
}
TREE = {
    "$ref": "#/$defs/node",
    "$defs": {
        "node": {
            "type": "object",
            "properties": {
                "value": {"type": "number"},
                "children": {"type": "array", "items": {"$ref": "#/$defs/node"}},
            },
            "required": ["value", "children"],
            "additionalProperties": False,
        }
    },
}
EITHER = {
    "type": "array",
    "minItems": 2,
    "maxItems": 3,
    "items": {
        "anyOf": [
            {"type": "object", "properties": {"a": {"type": "boolean"}}, "required": ["a"]},
            {"type": "integer", "multipleOf": 5, "minimum": 10},
        ]
    },
}
TAGGED = {
    name: {
        "type": "object",
        "properties": {"tag": {"enum": values}},
        "required": ["tag"],
        "additionalProperties": False,
    }
    for name, values in (("a", ["a"]), ("b", ["b", "c"]), ("either", ["a", "b"]))
}
SCHEMAS = {"person": PERSON, "tree": TREE, "either": EITHER}


def trained_tokenizer() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    text = '{"name": "Ann", "children": [{"value": 1.5, "children": []}], "kind": "cat"}, Max is a cat.'
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=320, special_tokens=["<end>"], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator([text] * 4, trainer)
    return tokenizer


@pytest.fixture(scope="module")
def loaded() -> LoadedModel:
    tokenizer = trained_tokenizer()
    size = {"vocabulary": 336, "width": 32, "layers": 1, "heads": 2, "feed_forward": 64, "context": 1024}
    transformer = Transformer(olmo("7B").but(**size), seed=3).eval()
    return LoadedModel(transformer, tokenizer, tokenizer.token_to_id("<end>"))


@pytest.fixture(scope="module")
def vocabulary(loaded) -> Vocabulary:
    return Vocabulary(loaded.tokenizer, 336, loaded.end_of_sequence)


@pytest.fixture(scope="module")
def engine(loaded) -> LocalEngine:
    return LocalEngine(loaded, Sampling(temperature=1.0, tokens=200))


def asked(constraint: Constraint | None, seed: int = 0, **budget) -> Call:
    return Call("text", "apply", messages=(Message("user", "Max is"),), constraint=constraint, seed=seed).but(
        budget=Budget(**budget)
    )


def check_budgets(engine, vocabulary, schema, seeds) -> None:
    constraint = constraint_for(schema)
    least = least_tokens(vocabulary.compile(constraint))
    with pytest.raises(RefusalError, match=f"fits into {least - 1} tokens"):
        engine.run(asked(constraint, tokens=least - 1))
    for budget in (least, least + 8, 48):
        for seed in seeds:
            reply = engine.run(asked(constraint, seed, tokens=budget))
            jsonschema.validate(json.loads(reply.text), schema)
            assert 0 < reply.usage.output_tokens <= budget
            assert all(0 <= share <= 1.000001 for share in reply.evidence["kept_probability"])


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_text_is_valid_at_every_budget_that_holds_the_shortest(engine, vocabulary, name):
    check_budgets(engine, vocabulary, SCHEMAS[name], range(5))


@pytest.mark.slow
@pytest.mark.parametrize("name", SCHEMAS)
def test_the_same_with_fifty_seeds(engine, vocabulary, name):
    check_budgets(engine, vocabulary, SCHEMAS[name], range(50))


def test_the_budget_is_what_makes_them_valid(loaded, vocabulary, engine):
    """The adversary is one: its own text, cut off at the budget, is never of the schema."""
    for seed in range(10):
        text = engine.run(asked(None, seed, tokens=48)).text
        with pytest.raises((ValueError, jsonschema.ValidationError)):
            jsonschema.validate(json.loads(text), TREE)


def test_the_shortest_regular_text_is_exact(vocabulary):
    """Where every token is one byte of a known text, the least budget can be counted by hand."""
    for pattern, shortest in (("a{3,9}z", 4), (r"[a-c]+@[0-9]", 3), ("(xyyy|qqqq|xz)", 2), ("[0-7]{5}", 5)):
        assert least_tokens(vocabulary.compile(Constraint("regex", pattern))) == shortest
    word = vocabulary.compile(constraint_for(Literal["true", "no"]))
    assert least_tokens(word) == 2


class Rule(BaseModel):
    subject: str
    positive: bool


DSL = 'start: clause ("," clause)*\nclause: NAME "(" NAME ")"\nNAME: /[a-z]{1,6}/'


@pytest.mark.parametrize(
    "kind", [Rule, Literal["cat", "dog"], bool, Regex("[a-c]{2,5}-[0-9]+"), Grammar(DSL), list[int]]
)
def test_types_are_constraints_and_their_texts_are_read_back(engine, vocabulary, kind):
    least = least_tokens(vocabulary.compile(constraint_for(kind)))
    for seed in range(5):
        for budget in (least, 60):
            reply = engine.run(asked(constraint_for(kind), seed, tokens=budget))
            read(specification(kind), reply.text)


@pytest.mark.parametrize(
    ("schema", "keyword"),
    [
        ({"type": "array", "uniqueItems": True}, "uniqueItems"),
        ({"not": {"type": "string"}}, "not"),
        ({"type": "array", "contains": {"type": "integer"}}, "contains"),
        ({"type": "object", "dependentRequired": {"a": ["b"]}}, "dependentRequired"),
        ({"oneOf": [{"type": "integer"}, {"type": "number"}]}, "oneOf"),
        ({"oneOf": [TAGGED["a"], TAGGED["either"]]}, "oneOf"),
        ({"type": "array", "uniqueItems": True, "x-guidance": {"lenient": True}}, "uniqueItems"),
        ({"type": "number", "multipleOf": 0.1}, "multipleOf"),
        ({"type": "integer", "exclusiveMinimum": True}, "exclusiveMinimum"),
        ({"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 0.001}, "exclusiveMinimum 0"),
        ({"type": "string", "format": "idn-email"}, "idn-email"),
        ({"properties": {"format": {"type": "string", "format": "uri-template"}}}, "uri-template"),
        ({"$ref": "https://example.org/schema"}, "example.org"),
    ],
)
def test_what_cannot_be_enforced_is_refused_by_name_before_any_token(vocabulary, schema, keyword):
    def never(tokens):
        raise AssertionError("a model was asked")

    constraint = Constraint("json_schema", json.dumps(schema))
    with pytest.raises(RefusalError, match=keyword):
        complete(never, [1], vocabulary.compile(constraint), Sampling(tokens=50))


def test_a_format_that_the_standard_does_not_know_is_a_remark(vocabulary):
    """As for `jsonschema`: the text is any text; a property called `format` keeps its schema."""
    schema = {
        "type": "object",
        "properties": {"format": {"type": "string", "format": "shoe-size"}, "n": {"enum": [{"format": "x"}]}},
        "required": ["format"],
        "additionalProperties": False,
    }
    compiled = vocabulary.compile(Constraint("json_schema", json.dumps(schema)))
    for value in ({"format": "43"}, {"format": "a b", "n": {"format": "x"}}, {"format": 43}, {"n": {"format": "x"}}):
        right = jsonschema.Draft202012Validator(schema).is_valid(value)
        assert vocabulary.accepts(compiled, json.dumps(value)) == right


@pytest.mark.parametrize(
    "schema",
    [
        {
            "type": "object",
            "patternProperties": {"^x": {"type": "integer"}},
            "additionalProperties": {"type": "string"},
        },
        {"type": "object", "minProperties": 2, "maxProperties": 3},
        {"allOf": [{"type": "integer"}, {"exclusiveMinimum": -3, "exclusiveMaximum": 9}]},
        {"type": "array", "prefixItems": [{"type": "integer"}, {"const": {"a": None}}], "items": False, "minItems": 1},
        {"type": "string", "format": "date-time"},
        {"type": "number", "exclusiveMaximum": 5},
        {"oneOf": [{"type": "integer"}, {"type": ["string", "null"]}, {"type": "array", "items": {"oneOf": [True]}}]},
        {"oneOf": [TAGGED["a"], {"$ref": "#/$defs/b"}], "$defs": TAGGED},
        {"type": "string", "pattern": "^[a-z]+-[0-9]{2}$"},
        {},
    ],
)
def test_more_of_json_schema_holds_when_the_budget_is_short(engine, vocabulary, schema):
    """Unbounded repetitions, counted properties and formats: what a greedy way to the end could run round in."""
    constraint = constraint_for(schema)
    least = least_tokens(vocabulary.compile(constraint))
    for seed in range(4):
        for budget in (least, least + 5):
            reply = engine.run(asked(constraint, seed, tokens=budget))
            jsonschema.validate(json.loads(reply.text), schema)


def test_broken_constraints_are_refused(vocabulary):
    for form, text in (("regex", "(a"), ("regex", "a(?=b)"), ("lark", "start: nope"), ("json_schema", "{")):
        with pytest.raises(RefusalError, match=form):
            vocabulary.compile(Constraint(form, text))


def test_a_text_without_end_is_refused(vocabulary):
    endless = vocabulary.compile(Constraint("lark", 'start: "a" start'))
    with pytest.raises(RefusalError):
        complete(lambda tokens: torch.zeros(336), [1], endless, Sampling(tokens=50))


def test_a_sure_model_is_left_alone(vocabulary, loaded):
    """A model that wants a valid text gets it whole, at any budget that holds it, whitespace and all."""
    wanted = '{"name": "Anna", "age": 7, "kind": "dog"}'
    tokens = [*loaded.tokenizer.encode(wanted).ids, loaded.end_of_sequence]
    given = iter(tokens)

    def scores(_):
        return torch.nn.functional.one_hot(torch.tensor(next(given)), 336) * 40.0

    compiled = vocabulary.compile(constraint_for(PERSON))
    made = complete(scores, [1], compiled, Sampling(tokens=len(tokens) - 1))
    assert (made.text, made.tokens) == (wanted, tokens[:-1])
    assert min(made.kept) > 0.999


def test_free_text_is_that_of_generate(engine, loaded):
    prompt = loaded.tokenizer.encode("Max is").ids
    reply = engine.run(asked(None, seed=4, tokens=20))
    sampling = Sampling(temperature=1.0, tokens=20, seed=4)
    (expected,) = generate(loaded.transformer, [prompt], sampling, end=loaded.end_of_sequence)
    assert reply.text == loaded.tokenizer.decode(expected)
    assert reply.usage == (len(prompt), len(expected))


def test_the_seed_decides_and_the_weights_are_named(engine, loaded):
    constraint = constraint_for(PERSON)
    texts = [engine.run(asked(constraint, seed)).text for seed in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]
    other = LoadedModel(Transformer(loaded.transformer.config, seed=4), loaded.tokenizer, loaded.end_of_sequence)
    names = [LocalEngine(one).run(asked(None, tokens=1)).model for one in (loaded, loaded, other)]
    assert names[0] == names[1] != names[2]
    assert regex.fullmatch("sha256:[0-9a-f]{64}", names[0])


@pytest.fixture(scope="module")
def folder(loaded, tmp_path_factory):
    """A checkpoint as the store keeps it; `transformers` opens it too."""
    path = tmp_path_factory.mktemp("model") / "checkpoint"
    save_huggingface(loaded.transformer, path, end=loaded.end_of_sequence)
    loaded.tokenizer.save(str(path / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<end>"}
    (path / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    (path / "training.json").write_text(json.dumps({"end_of_sequence": loaded.end_of_sequence}), encoding="utf-8")
    return path


def test_a_checkpoint_answers_as_the_model_in_memory_and_names_its_file(engine, folder):
    stored = LocalEngine(LanguageModel(folder), Sampling(temperature=1.0, tokens=200))
    call = asked(constraint_for(PERSON), seed=5)
    reply = stored.run(call)
    assert reply.text == engine.run(call).text
    assert reply.model == "sha256:" + hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()


def test_transformers_gives_the_same_texts(folder, loaded):
    pytest.importorskip("transformers", reason="the engine of transformers' models")
    from glasshouse.symbolic.engines.huggingface import HuggingFaceEngine

    greedy = Sampling(tokens=60)
    ours, theirs = LocalEngine(LanguageModel(folder), greedy), HuggingFaceEngine(folder, sampling=greedy)
    for constraint in (None, constraint_for(PERSON), constraint_for(Literal["cat", "dog"]), constraint_for(TREE)):
        mine, other = ours.run(asked(constraint)), theirs.run(asked(constraint))
        assert (mine.text, mine.usage, mine.model) == (other.text, other.usage, other.model)
    with pytest.raises(RefusalError, match="uniqueItems"):
        theirs.run(asked(constraint_for({"type": "array", "uniqueItems": True})))


def test_budgets_of_time_and_room(engine):
    with pytest.raises(EngineTimeoutError):
        engine.run(asked(constraint_for(PERSON), seconds=0.0))
    with pytest.raises(EngineTimeoutError):
        engine.run(asked(None, seconds=0.0))
    with pytest.raises(BadRequestError, match="shorten the prompt"):
        engine.run(asked(None).but(messages=(Message("user", "x" * 2000),)))
    with pytest.raises(BadRequestError, match="allow more tokens"):
        engine.run(asked(None, tokens=0))


def test_a_runtime_asks_it_under_the_answer_s_constraint(engine):
    result = Runtime(engine, repairs=0).run(Sym("Max is a cat.").sem.is_a("animal"))
    assert result.value in (True, False)
    rule = Runtime(engine, repairs=0).run(Sym("Max is a cat.").sem.extract("the rule", as_=Rule))
    assert set(rule.value) >= {"subject", "positive"}


def test_closings_are_allowed_by_the_matcher(vocabulary):
    closer = Closer(vocabulary)
    for schema in SCHEMAS.values():
        compiled = vocabulary.compile(constraint_for(schema))
        walked, shortest = closer.walk(compiled.start), closer.shortest(compiled.start)
        assert len(shortest) <= len(walked)
        for tokens in (walked, shortest):
            jsonschema.validate(json.loads(vocabulary.text(tokens)), schema)
