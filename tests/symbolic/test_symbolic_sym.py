"""Symbols behave as plain Python, errors included, and ask no engine; `.sem` builds nodes and runs nothing."""

import copy
import enum
import math
import operator
import time
from typing import Literal

import pytest
from pydantic import BaseModel

from glasshouse.symbolic.answers import Choice, Grammar, Regex, constraint_of, read, specification
from glasshouse.symbolic.errors import AnswerError, PendingError, RefusalError
from glasshouse.symbolic.examples import EXAMPLES
from glasshouse.symbolic.graph import Graph, Node
from glasshouse.symbolic.operations import OPERATIONS, OPERATORS
from glasshouse.symbolic.plain import compute
from glasshouse.symbolic.sym import ACTIVE, Sym, apply, plain


class Spy:
    """A runtime that must never be asked."""

    def value_of(self, node):
        raise AssertionError(f"plain Python asked a runtime for {node}")


@pytest.fixture(autouse=True)
def spy():
    token = ACTIVE.set(Spy())
    yield
    ACTIVE.reset(token)


def inplace(name):
    return lambda a, b: getattr(operator, name)(a, b)


def setitem(a, key, item):
    a[key] = item
    return a


def delitem(a, key):
    del a[key]
    return a


CASES = [
    (operator.add, 2, 3),
    (operator.add, "a", "b"),
    (operator.add, [1], [2]),
    (operator.add, "a", 1),
    (operator.add, "a", [1]),
    (operator.add, (1,), [1]),
    (operator.sub, 5, 7.5),
    (operator.sub, "abc", "b"),
    (operator.sub, {1, 2}, {2}),
    (operator.mul, 3, "ab"),
    (operator.mul, "ab", 3),
    (operator.mul, [0], 3),
    (operator.mul, "a", "b"),
    (operator.truediv, 1, 4),
    (operator.truediv, 1, 0),
    (operator.truediv, "a,b", ","),
    (operator.floordiv, -7, 2),
    (operator.floordiv, 1.0, 0.0),
    (operator.mod, 7, 3),
    (operator.mod, "%s-%s", ("a", 1)),
    (operator.mod, 7, 0),
    (operator.pow, 2, 10),
    (operator.pow, 0, -1),
    (operator.pow, -8, 1 / 3),
    (operator.matmul, 1, 2),
    (operator.lshift, 1, 10),
    (operator.lshift, 1, -1),
    (operator.rshift, 1024, 3),
    (operator.rshift, "a", "b"),
    (operator.and_, 12, 10),
    (operator.and_, "A", "B"),
    (operator.and_, {1, 2}, {2, 3}),
    (operator.or_, 12, 10),
    (operator.or_, {"a": 1}, {"b": 2}),
    (operator.or_, True, 4),
    (operator.xor, 12, 10),
    (operator.xor, "A", 1),
    (operator.eq, 1, 1.0),
    (operator.eq, "1", 1),
    (operator.ne, [1], [1]),
    (operator.ne, math.nan, math.nan),
    (operator.lt, 10, 5),
    (operator.lt, "abc", 3),
    (operator.le, "a", "b"),
    (operator.gt, (1, 2), (1, 1)),
    (operator.gt, "10", 5),
    (operator.ge, {1, 2}, {1}),
    (operator.ge, None, None),
    (operator.neg, 5),
    (operator.neg, "a"),
    (operator.pos, -5),
    (operator.invert, 5),
    (operator.invert, 1.5),
    (operator.abs, -3 + 4j),
    (operator.abs, "a"),
    (operator.not_, []),
    (operator.not_, "a"),
    (operator.getitem, "hello", 1),
    (operator.getitem, [1, 2, 3], slice(None, None, -1)),
    (operator.getitem, {"a": 1}, "b"),
    (operator.getitem, [1], 5),
    (operator.getitem, [1], "a"),
    (operator.getitem, 5, 0),
    (operator.contains, "abc", "b"),
    (operator.contains, [1, 2], 3),
    (operator.contains, "abc", 1),
    (operator.contains, 5, 1),
    (setitem, [1, 2], 0, 9),
    (setitem, {"a": 1}, "b", 2),
    (setitem, (1, 2), 0, 9),
    (setitem, [1], 5, 1),
    (delitem, [1, 2, 3], slice(0, 2)),
    (delitem, {"a": 1}, "z"),
    (inplace("iadd"), [1], (2, 3)),
    (inplace("iadd"), 1, "a"),
    (inplace("iand"), {1, 2}, {2}),
    (inplace("ior"), {"a": 1}, [("b", 2)]),
    (inplace("imul"), [1], 2),
    (inplace("ipow"), 2, 3),
    (inplace("ifloordiv"), 1, 0),
    (divmod, 17, 5),
    (divmod, 1, 0),
    (round, 2.5),
    (round, 2.567, 1),
    (round, "a"),
    (pow, 3, 4, 5),
    (pow, 2, -1, 4),
    (math.floor, -1.5),
    (math.ceil, 1.2),
    (math.trunc, -1.7),
    (math.floor, "a"),
    (len, "abc"),
    (len, 5),
    (int, "12"),
    (int, "x"),
    (float, "1e3"),
    (complex, 2),
    (str, [1, "a"]),
    (bool, 0.0),
    (hash, (1, 2)),
    (hash, [1]),
    (operator.index, 5),
    (operator.index, 5.0),
    (list, "abc"),
    (list, 5),
    (sorted, [3, 1, 2]),
    (sorted, [1, "a"]),
    (sum, [1, 2, 3]),
    (sum, ["a"]),
    (max, [1, 5, 2]),
    (max, []),
    (lambda a: list(reversed(a)), [1, 2]),
    (lambda a: list(reversed(a)), {1}),
    (lambda a: f"{a:>5}", "ab"),
    (lambda a: f"{a:.2f}", 1.239),
    (lambda a: f"{a:d}", "x"),
    (lambda a: a.upper(), "abc"),
    (lambda a: a.split(","), "a,b"),
    (lambda a, b: a.replace(b, ""), "abcb", "b"),
    (lambda a: a.nothing, "abc"),
    (lambda a: a.index(7), [1]),
    (lambda a: a.get("z", 3), {"a": 1}),
    (lambda a: sorted(a.items()), {"a": 1}),
    (lambda a: a.imag, 3 + 4j),
    (lambda a: [*a, 1], (1, 2)),
    (lambda a: a if a else 0, ""),
    (lambda a, b: a and b, 1, 2),
    (lambda a: (-a, +a, abs(a))[0], -2),
]


ORDER = (operator.lt, operator.le, operator.gt, operator.ge)
REFLECTED = (
    *(operator.add, operator.sub, operator.mul, operator.truediv, operator.floordiv, operator.mod, operator.pow),
    *(operator.matmul, operator.lshift, operator.rshift, operator.and_, operator.or_, operator.xor),
    *(operator.eq, operator.ne, *ORDER, divmod),
)


def outcome(function, arguments):
    try:
        result = function(*arguments)
    except Exception as error:
        return type(error), None if isinstance(error, AttributeError) else str(error)
    return bare(result)


def bare(result):
    result = plain(result)
    if isinstance(result, list | tuple):
        return type(result), [bare(item) for item in result]
    return type(result), repr(result)


def copied(arguments):
    return [list(one) if type(one) is list else dict(one) if type(one) is dict else one for one in arguments]


def test_there_are_at_least_sixty_operator_cases():
    assert len(CASES) >= 60


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{getattr(case[0], '__name__', '')}-{case[1:]!r:.40}")
def test_a_symbol_does_what_plain_python_does(case):
    function, *arguments = case
    expected = outcome(function, copied(arguments))
    assert outcome(function, [Sym(copied(arguments)[0]), *copied(arguments[1:])]) == expected
    assert outcome(function, [Sym(one) for one in copied(arguments)]) == expected


@pytest.mark.parametrize("case", [case for case in CASES if case[0] in REFLECTED and type(case[1]) is not str])
def test_a_symbol_on_the_right_does_what_plain_python_does(case):
    function, left, right = case
    found = outcome(function, [left, Sym(right)])
    expected = outcome(function, [left, right])
    # Python hands `1 < symbol` over as `symbol > 1`; the words of the error then name the other operator.
    assert found[0] is expected[0] if function in ORDER else found == expected


def test_conditions_and_loops_are_plain():
    assert [1 if Sym(number) > 1 else 0 for number in (1, 2)] == [0, 1]
    assert {Sym(1): "a"}[1] == "a"
    assert Sym(2) in [1, 2]
    assert 2 in Sym([1, 2])
    assert [item.value for item in Sym({"a": 1, "b": 2})] == ["a", "b"]
    assert range(5)[Sym(2)] == 2


def test_a_symbol_knows_how_it_was_made():
    a, b, c = Sym(1), Sym(2), Sym(4)
    total = a + b + c
    assert (len(total.graph), len(total.graph.edges)) == (5, 4)
    assert total.node == Node("python.add", (Node("python.add", (a.node, b.node)), c.node))
    assert Sym(total).node is total.node


def test_values_computed_again_from_the_graph_are_the_same():
    text = Sym("one, two, three")
    words = text.split(", ")
    words[1] = words[0].upper() + "!"
    made = Sym({"words": words, "count": len(words), "each": [word[:2] for word in words]})
    values = {}
    for identity, node in made.graph.nodes.items():
        values[identity] = (
            node.value if node.op == "value" else compute(node.op, [values[one.id] for one in node.inputs])
        )
    assert (
        values[made.node.id]
        == made.value
        == {
            "words": ["one", "ONE!", "three"],
            "count": 3,
            "each": ["on", "ON", "th"],
        }
    )


def test_setting_an_item_leaves_the_callers_list_and_other_symbols_alone():
    given = [1, 2]
    first = Sym(given)
    second = Sym(first)
    first[0] = 9
    assert (given, second.value, first.value) == ([1, 2], [1, 2], [9, 2])


@pytest.mark.parametrize("name", ["append", "sort", "pop"])
def test_methods_that_change_in_place_say_what_to_do_instead(name):
    with pytest.raises(AttributeError, match="would change the value in place"):
        getattr(Sym([1]), name)


def test_no_attribute_is_reached_by_a_name_inside_a_value():
    for name in ("format", "format_map", "__class__x", "_private"):
        with pytest.raises(AttributeError):
            getattr(Sym("{0.__class__}"), name)
    with pytest.raises(AttributeError):
        compute("python.method", ["__class__", "a"])


def test_ten_thousand_operations_in_a_row():
    total = Sym(0)
    for _ in range(10_000):
        total = total + 1
    assert total.value == 10_000
    assert len(total.graph) == 10_002
    assert apply("add", total, 0).node != total.node


def test_semantic_operations_run_nothing_and_build_one_node():
    a, b = Sym("Each yumpus is aggressive."), Sym("Max is a yumpus.")
    q = a.sem & b
    assert q.pending
    assert (len(q.graph), len(q.graph.edges), q.node.op) == (3, 2, "both")
    assert (q + "!").pending


def test_a_pending_symbol_without_a_runtime_says_what_to_do():
    token = ACTIVE.set(None)
    q = Sym("a").sem & "b"
    with pytest.raises(PendingError, match=r"runtime\.run"):
        bool(q)
    with pytest.raises(TypeError, match="has no value yet"):
        hash(q)
    more = q + "c"
    assert more.pending
    assert more.node.op == "python.add"
    assert more.upper().node.op == "python.method"
    with pytest.raises(AttributeError, match="has no value yet"):
        more.uper()
    with pytest.raises(AttributeError, match="has no value yet"):
        more.append()
    ACTIVE.reset(token)


@pytest.mark.parametrize(("symbol", "name"), [(k, v) for k, v in OPERATORS.items() if k not in ("-x", "~x", "[]")])
def test_every_operator_of_the_view_works_from_both_sides(symbol, name):
    functions = {
        "==": operator.eq, "!=": operator.ne, "<": operator.lt, ">": operator.gt, "<=": operator.le, ">=": operator.ge,
        "+": operator.add, "-": operator.sub, "&": operator.and_, "|": operator.or_, "^": operator.xor,
        "<<": operator.lshift, ">>": operator.rshift, "/": operator.truediv, "@": operator.matmul,
    }  # fmt: skip
    a, b = Sym("a"), Sym("b")
    made = functions[symbol](a.sem, b)
    assert (made.node.op, [one.value for one in made.node.inputs]) == (name, ["a", "b"])
    mirrored = {"<": "greater", ">": "less", "<=": "at_least", ">=": "at_most"}
    for left in (a, "a"):
        made = functions[symbol](left, b.sem)
        if symbol in mirrored or symbol in ("==", "!="):
            assert (made.node.op, [one.value for one in made.node.inputs]) == (mirrored.get(symbol, name), ["b", "a"])
        else:
            assert (made.node.op, [one.value for one in made.node.inputs]) == (name, ["a", "b"])


def test_unary_and_item_operators_of_the_view():
    a = Sym("a")
    assert ((-a.sem).node.op, (~a.sem).node.op, a.sem["first"].node.op) == ("negate", "invert", "item")
    a.sem["first"] = "b"
    assert (a.node.op, len(a.node.inputs)) == ("set_item", 3)
    del a.sem["last"]
    assert a.node.op == "delete_item"


def test_every_operation_can_be_built_and_is_told_apart():
    ids = set()
    for operation in OPERATIONS.values():
        rest = ["x"] * ((operation.operands or 2) - 1)
        made = Sym("a").sem.ask(operation.name, *rest, **dict.fromkeys(operation.params, "p"))
        assert made.node.op == operation.name
        ids.add(made.node.id)
    assert len(ids) == len(OPERATIONS) >= 60


def test_every_text_operation_is_told_and_shown():
    for operation in OPERATIONS.values():
        if operation.kind != "text" or operation.name in ("apply", "chat"):
            continue
        assert operation.instruction
        assert operation.examples, operation.name
        fixed = operation.form.split("=>")[0]
        for example in operation.examples:
            assert " => " in example
            for word in fixed.replace("{", " {").split():
                assert "{" in word or "}" in word or word.strip(":") in example, (operation.name, example)
    assert set(EXAMPLES) <= set(OPERATIONS)


def test_wrong_uses_of_operations_are_explained():
    a = Sym("a")
    with pytest.raises(AttributeError, match=r"no operation 'summarise'.*summarize"):
        a.sem.summarise()
    with pytest.raises(TypeError, match="takes 2 operands, got 1"):
        a.sem.ask("equals")
    with pytest.raises(TypeError, match="extract takes no 'colour' here; parameters: what"):
        a.sem.extract(colour=1)
    with pytest.raises(TypeError, match=r"takes the parameters \('what',\), got 2"):
        a.sem.extract("a", "b")
    with pytest.raises(TypeError, match=r"unknown option 'speed'; options: as_"):
        a.sem(speed=3)
    with pytest.raises(TypeError, match="neither true nor false"):
        bool(a.sem)


def test_options_make_another_node():
    a = Sym("a")
    nodes = {
        a.sem.extract("x").node,
        a.sem.extract("x", seed=1).node,
        a.sem(context="c").extract("x").node,
        a.sem.extract("x", as_=int).node,
        a.sem(tokens=5).extract("x").node,
    }
    assert len(nodes) == 5
    assert len(Graph(*nodes)) == 6


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Rule(BaseModel):
    subject: str
    positive: bool


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (str, " hello ", "hello"),
        (bool, "Yes.", True),
        (bool, "false", False),
        (int, "-12", -12),
        (float, "1.5e3", 1500.0),
        (Choice(["a b", "c"]), "a b", "a b"),
        (Literal["x", "y"], "y", "y"),
        (Colour, "blue", "blue"),
        (Regex("a+b"), "aab", "aab"),
        ("strings", '["a"]', ["a"]),
        ("mapping", '```json\n{"a": 1}\n```', {"a": 1}),
        (Rule, '{"subject": "cat", "positive": true}', {"subject": "cat", "positive": True}),
        (list[int], "[1, 2]", [1, 2]),
        (Grammar('start: "a"+ "b"'), "aab", "aab"),
    ],
)
def test_answers_are_read_as_their_type(kind, text, value):
    assert read(specification(kind), text) == value


@pytest.mark.parametrize(
    ("kind", "text", "words"),
    [
        (bool, "o", "is not true or false"),
        (bool, "not true", "is not true or false"),
        (int, "12.0", "whole number"),
        (int, "", "whole number"),
        (float, "nan", "number"),
        (Choice(["a", "b"]), "c", "exactly one of: a, b"),
        (Regex("a+"), "ab", "matches"),
        ("strings", '["a", 1]', "accept 1"),
        ("strings", "['a']", "not JSON"),
        ("mapping", '{"a": NaN}', "NaN is no JSON number"),
        ("mapping", "[" * 100_000, "not JSON"),
        (Rule, '{"subject": "cat"}', "'positive' is a required property"),
        (Grammar('start: "a"+ "b"'), "ba", "not a text of the grammar"),
    ],
)
def test_an_answer_of_another_type_is_refused_with_the_reason(kind, text, words):
    with pytest.raises(AnswerError, match=words) as caught:
        read(specification(kind), text)
    assert caught.value.text == text


def test_constraints_say_what_reading_accepts():
    import re

    assert constraint_of(specification(str)) is None
    choice = constraint_of(specification(Choice(["a.b", "c|d", "(e)", "f g-h"])))
    assert [text for text in ("a.b", "axb", "c|d", "c", "(e)", "f g-h") if re.fullmatch(choice.text, text)] == [
        "a.b",
        "c|d",
        "(e)",
        "f g-h",
    ]
    for kind, good in ((bool, "true"), (int, "-10"), (float, "0.5")):
        assert re.fullmatch(constraint_of(specification(kind)).text, good)
    with pytest.raises(TypeError, match="no type of answer"):
        specification(open)


def test_types_that_nothing_can_meet_are_refused_when_they_are_given():
    with pytest.raises(TypeError, match="at least one case"):
        specification(Choice([]))
    with pytest.raises(TypeError, match="is no regular expression: missing"):
        specification(Regex("("))
    with pytest.raises(TypeError, match="not a JSON Schema: 'nonsense' is not valid"):
        specification({"type": "nonsense"})


def test_reading_never_leaves_the_schema_for_the_network(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("the network was asked")

    monkeypatch.setattr("urllib.request.urlopen", refuse)
    for reference in ("http://localhost/schema.json", "#/nowhere"):
        with pytest.raises(RefusalError, match="refers to what is not in it"):
            read(specification({"$ref": reference}), "1")
    assert read(specification({"$ref": "#/$defs/a", "$defs": {"a": {"type": "integer"}}}), "1") == 1


@pytest.mark.parametrize("kind", [Regex("(a+)+b"), {"type": "string", "pattern": "^(a+)+b$"}])
def test_patterns_that_try_too_many_ways_are_given_up(kind):
    text = "a" * 60
    start = time.monotonic()
    with pytest.raises(AnswerError, match=r"took over|not a text|does not match"):
        read(specification(kind), text if isinstance(kind, Regex) else f'"{text}"')
    assert time.monotonic() - start < 20
    assert read(specification(kind), "aab" if isinstance(kind, Regex) else '"aab"') == "aab"


def test_symbols_can_be_copied():
    made = Sym([1]) * 2
    for other in (copy.copy(made), copy.deepcopy(made)):
        assert other.node is made.node
        assert other.value == [1, 1]


def test_a_value_nested_too_deeply_is_refused():
    value = []
    for _ in range(5000):
        value = [value]
    with pytest.raises(TypeError, match="nested too deeply"):
        _ = Sym(value).node.id
    value = []
    value.append(value)
    with pytest.raises(TypeError, match="nested too deeply"):
        _ = Sym(value).node.id
