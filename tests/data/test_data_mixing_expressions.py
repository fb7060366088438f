"""The filter language: parsing, checking by bounds, evaluation; against brute force on small worlds."""

from __future__ import annotations

import itertools
import math
import pickle

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glasshouse.data.mixing import expression as ex
from glasshouse.data.mixing.checking import (
    ColumnTypeError,
    UnitMismatchError,
    UnknownColumnError,
    UnreachableRuleError,
    check,
    signals_of_schema,
)
from glasshouse.data.mixing.evaluating import EvaluationError, evaluate
from glasshouse.data.mixing.expression import And, Comparison, Constant, Flag, Measure, Membership, Not, Or, Presence
from glasshouse.data.mixing.filters import Filter, decide
from glasshouse.data.mixing.intervals import Bounds, satisfiable, tautology
from glasshouse.data.mixing.parsing import ExpressionSyntaxError, parse
from glasshouse.data.signals.families import default_families, schema_of, signals_of
from glasshouse.data.signals.signal import SPANS, label, measure, spans
from glasshouse.store.configuration import ConfigurationError

SCHEMA = signals_of(default_families()) | {
    "email_spans": spans("email_spans", "", ""),
    "language": label("language", "", ""),
    "quality": measure("quality", "score", "", ""),
}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("word_count<50 or fraction_of_duplicate_lines>30 % and not has_javascript", None),
        ("((word_count < 50))", "word_count < 50"),
        ("not (a or b) and c", "not (a or b) and c"),
        ("50 > word_count", "word_count < 50"),
        ("language in ('en', \"fr\",)", 'language in ("en", "fr")'),
        ("language not in ('e\\'n \"x\"')", 'language not in ("e\'n \\"x\\"")'),
        ("byte_count >= 1_000.5e3", "byte_count >= 1000500"),
        ("byte_count > 10 kB", "byte_count > 10 kB"),
        ("`lang.en=1` is missing", "`lang.en=1` is missing"),
        ("metadata.length is present", "metadata.length is present"),
        ("max_score(email_spans) >= .4", "max_score(email_spans) >= 0.4"),
        ("x == true and y == -3", "x == true and y == -3"),
    ],
)
def test_what_is_read_is_what_was_written(text: str, shown: str | None) -> None:
    tree = parse(text)
    if shown is not None:
        assert ex.render(tree) == shown
    assert parse(ex.render(tree)) == tree
    assert pickle.loads(pickle.dumps(tree)) == tree


def test_not_binds_before_and_before_or() -> None:
    a, b, c = Flag("a"), Flag("b"), Flag("c")
    assert parse("not a and b or c") == Or((And((Not(a), b)), c))
    assert parse("a or b and not c") == Or((a, And((b, Not(c)))))


@pytest.mark.parametrize(
    ("text", "words", "column"),
    [
        ("word_count <", "expected a number", 12),
        ("word_count = 5", "write '=='", 11),
        ("a && b", "write 'and'", 2),
        ("(a or b", "expected ')'", 0),
        ("a or b)", "expected 'and', 'or' or the end", 6),
        ("language == en", 'written in quotation marks, "en"', 12),
        ("1 < x < 3", "one comparison at a time", 6),
        ("x in (1, 'a')", "one type", 9),
        ("mean(x) > 3", "no function 'mean'", 0),
        ("count(x)", "is a number", 0),
        ("x == 'abc", "no end", 5),
        ("__import__('os').system('ls')", "has no meaning", 16),
        ("x is nothing", "is missing", 5),
        ("", "expected the name", 0),
        ("x > 1e999", "too large", 4),
        ("x ~ 3", "has no meaning", 2),
    ],
)
def test_errors_point_at_the_place(text: str, words: str, column: int) -> None:
    with pytest.raises(ExpressionSyntaxError) as caught:
        parse(text)
    message, shown, caret = str(caught.value).split("\n")
    assert words in message
    assert shown == f"  {text}"
    assert caret.index("^") - 2 == column


@pytest.mark.parametrize("text", [f"{'count(' * 5000}a{')' * 5000} > 1", 'source == "\\ud800"'])
def test_what_would_end_in_a_traceback_is_pointed_at(text: str) -> None:
    with pytest.raises(ExpressionSyntaxError, match=r"takes the name of one column|half of a surrogate pair"):
        parse(text)


def test_a_very_long_rule_is_not_held_against_itself() -> None:
    (warning,) = check(" and ".join(["word_count < 5"] * 3000), SCHEMA)
    assert warning.kind == "unchecked"


def test_deep_nesting_is_refused_not_a_crash() -> None:
    with pytest.raises(ExpressionSyntaxError, match="deep"):
        parse("(" * 5000 + "a" + ")" * 5000)
    with pytest.raises(ExpressionSyntaxError, match="deep"):
        parse("not " * 5000 + "a")


@given(st.text(max_size=40))
def test_no_text_breaks_the_parser(text: str) -> None:
    try:
        tree = parse(text)
    except ExpressionSyntaxError:
        return
    assert parse(ex.render(tree)) == tree


_NAMES = st.sampled_from(["word_count", "a.b", "and", "count", "strange name", "x"])
_FLOATS = st.floats(allow_nan=False, allow_infinity=False, width=32)
_NUMBERS = st.one_of(st.integers(-(10**6), 10**6).map(float), _FLOATS)
_LISTS = st.lists(_NUMBERS.map(Constant), min_size=1).map(tuple)
_EQUALITY = st.sampled_from(["==", "!="])
_CONSTANTS = st.one_of(
    _NUMBERS.map(Constant),
    st.integers(0, 1000).map(lambda n: Constant(ex.scaled(n, "%"), "%")),
    st.integers(0, 1000).map(lambda n: Constant(ex.scaled(n, "MiB"), "MiB")),
    st.text(st.characters(codec="utf-8"), max_size=5).map(Constant),
    st.booleans().map(Constant),
)
_ATOMS = st.one_of(
    st.builds(Comparison, st.builds(Measure, _NAMES, st.sampled_from(["", "count", "max_score"])),
              st.sampled_from(["<", "<=", ">", ">=", "==", "!="]), _CONSTANTS),
    st.builds(Membership, st.builds(Measure, _NAMES), _LISTS, st.booleans()),
    st.builds(Presence, _NAMES, st.booleans()),
    st.builds(Flag, _NAMES),
)  # fmt: skip
_TREES = st.recursive(
    _ATOMS,
    lambda inner: st.one_of(
        st.builds(Not, inner),
        st.lists(inner, min_size=2, max_size=3).map(lambda parts: And(tuple(parts))),
        st.lists(inner, min_size=2, max_size=3).map(lambda parts: Or(tuple(parts))),
    ),
    max_leaves=8,
)


@given(_TREES)
def test_every_tree_has_a_text(tree: ex.Expression) -> None:
    assert parse(ex.render(tree)) == tree


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        ("wrd_count < 5", UnknownColumnError, "did you mean word_count"),
        ("fraction_of_characters_in_most_common_2gram > 20%", UnknownColumnError, "most_common_2grams"),
        ("word_count == 'a'", ColumnTypeError, "is a number"),
        ("language > 'a'", ColumnTypeError, "no order"),
        ("word_count", ColumnTypeError, "compare it"),
        ("email_spans > 3", ColumnTypeError, "count(email_spans)"),
        ("count(word_count) > 3", ColumnTypeError, "takes a column of spans"),
        ("word_count > 30%", UnitMismatchError, "words"),
        ("word_count > 30 lines", UnitMismatchError, "'lines'"),
        ("word_count > 3 kB", UnitMismatchError, "'bytes'"),
        ("quality > 3 words", UnitMismatchError, "write: %"),
        ("fraction_of_duplicate_lines > 30", UnreachableRuleError, "did you mean 30%?"),
        ("word_count < 0", UnreachableRuleError, "[0, ∞)"),
        ("word_count == 0.5", UnreachableRuleError, "whole numbers"),
        ("word_count is missing", UnreachableRuleError, "always has a value"),
        ("word_count < 5 and word_count > 10", UnreachableRuleError, "exclude each other"),
        ("word_count > 5 and word_count < 6", UnreachableRuleError, "exclude each other"),
        ("quality > 0.5 and quality <= 0.5", UnreachableRuleError, "exclude each other"),
        ("language == 'en' and language == 'fr'", UnreachableRuleError, "exclude each other"),
        ("has_javascript and not has_javascript", UnreachableRuleError, "exclude each other"),
        ("(word_count < 5 or word_count > 9) and word_count in (6, 7)", UnreachableRuleError, "exclude each other"),
        ("language == 'en' or (word_count < 5 and word_count > 10)", UnreachableRuleError, "exclude each other"),
        ("not word_count >= 0", UnreachableRuleError, "never holds"),
    ],
)
def test_senseless_rules_are_refused_before_data_is_read(text: str, error: type[ValueError], words: str) -> None:
    with pytest.raises(error) as caught:
        check(text, SCHEMA)
    assert words in str(caught.value)
    assert "^" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        ("word_count > 5 and word_count < 7", []),
        ("quality > 50%", []),
        ("quality > 0.5 and quality < 0.6", []),
        ("byte_count > 3 kB", []),
        ("word_count < 50 words", []),
        ("word_count >= 0", ["always"]),
        ("fraction_of_duplicate_lines <= 100%", ["always"]),
        ("word_count < 5 or word_count >= 5", ["always"]),
        ("word_count > 5 and word_count > 3", ["redundant"]),
        ("word_count < 5 or word_count < 3", ["redundant"]),
        ("metadata.length < 5 or metadata.length >= 5", []),  # not where it is missing
        ("not metadata.length < 5 and not metadata.length >= 5", []),  # exactly where it is missing
        ("symbol_to_word_ratio > 0.1", []),
        ("fraction_of_characters_in_most_common_2grams > 30", []),  # a ratio may exceed 1
    ],
)
def test_idle_rules_are_warned_of(text: str, kinds: list[str]) -> None:
    assert [warning.kind for warning in check(text, SCHEMA)] == kinds


def test_an_analysis_that_would_explode_says_so() -> None:
    text = " and ".join(f"(metadata.a{n} < 1 or metadata.b{n} < 1)" for n in range(20))
    assert [warning.kind for warning in check(text, {})] == ["unchecked"]


def test_a_schema_is_read_back_from_a_table() -> None:
    found = signals_of_schema(schema_of(default_families()))
    for name, signal in signals_of(default_families()).items():
        assert (found[name].unit, found[name].low, found[name].high) == (signal.unit, signal.low, signal.high)


# --- evaluation against a reference that goes value by value ------------------------------------------------------

_COLUMNS = {
    "n": st.one_of(st.none(), st.integers(0, 4)),
    "f": st.one_of(st.none(), st.sampled_from([0.0, 0.25, 0.5, math.nan, 1.0])),
    "t": st.one_of(st.none(), st.sampled_from(["en", "fr", ""])),
    "b": st.one_of(st.none(), st.booleans()),
    "s": st.one_of(st.none(), st.lists(st.sampled_from([0.1, 0.4, 0.9]), max_size=3)),
}
_TYPES = {"n": pa.int64(), "f": pa.float64(), "t": pa.string(), "b": pa.bool_(), "s": SPANS}
_ORDER = st.sampled_from(["<", "<=", ">", ">=", "==", "!="])
_TYPED_ATOMS = st.one_of(
    st.builds(Comparison, st.sampled_from([Measure("n"), Measure("f")]), _ORDER,
              st.sampled_from([0.0, 0.25, 1.0, 1.5, 3.0]).map(Constant)),
    st.builds(Comparison, st.sampled_from([Measure("s", name) for name in ex.FUNCTIONS]), _ORDER,
              st.sampled_from([0.0, 0.1, 0.4, 0.5, 1.0, 2.0]).map(Constant)),
    st.builds(Comparison, st.just(Measure("t")), _EQUALITY, st.sampled_from(["en", "x"]).map(Constant)),
    st.builds(Membership, st.just(Measure("n")), st.just((Constant(1.0), Constant(3.0))), st.booleans()),
    st.builds(Membership, st.just(Measure("t")), st.just((Constant("en"), Constant("de"))), st.booleans()),
    st.builds(Presence, st.sampled_from(sorted(_COLUMNS)), st.booleans()),
    st.just(Flag("b")),
)  # fmt: skip
_TYPED_TREES = st.recursive(
    _TYPED_ATOMS,
    lambda inner: st.one_of(
        st.builds(Not, inner),
        st.lists(inner, min_size=2, max_size=3).map(lambda parts: And(tuple(parts))),
        st.lists(inner, min_size=2, max_size=3).map(lambda parts: Or(tuple(parts))),
    ),
    max_leaves=6,
)


def _reference(tree: ex.Expression, row: dict[str, object]) -> bool:
    if isinstance(tree, Not):
        return not _reference(tree.body, row)
    if isinstance(tree, And):
        return all(_reference(part, row) for part in tree.parts)
    if isinstance(tree, Or):
        return any(_reference(part, row) for part in tree.parts)
    if isinstance(tree, Presence):
        return (row[tree.column] is None) == tree.missing
    if isinstance(tree, Flag):
        return row[tree.column] is True
    value = _measured(tree.left, row)
    if value is None or value != value:
        return False
    if isinstance(tree, Membership):
        return (value in [constant.value for constant in tree.values]) != tree.negated
    limit = tree.right.value
    if tree.operator in ("==", "!="):
        return (value == limit) == (tree.operator == "==")
    assert isinstance(value, int | float)
    assert isinstance(limit, float)
    above = value > limit if tree.operator[0] == ">" else value < limit
    return above or (value == limit and tree.operator[-1] == "=")


def _measured(left: Measure, row: dict[str, object]) -> object:
    value = row[left.column]
    if not left.function or value is None:
        return value
    assert isinstance(value, list)
    if left.function == "count":
        return len(value)
    if not value:
        return None
    return {"first_score": value[0], "max_score": max(value), "min_score": min(value)}[left.function]


@settings(max_examples=200, deadline=None)
@given(_TYPED_TREES, st.lists(st.fixed_dictionaries(_COLUMNS), max_size=12), st.integers(0, 3))
def test_whole_columns_agree_with_one_value_at_a_time(
    tree: ex.Expression, rows: list[dict[str, object]], skipped: int
) -> None:
    columns = {name: [row[name] for row in rows] for name in _COLUMNS if name != "s"}
    columns["s"] = [
        None if row["s"] is None else [{"start": 0, "end": 1, "score": score} for score in row["s"]]  # type: ignore[attr-defined]
        for row in rows
    ]
    table = pa.table({name: pa.array(values, _TYPES[name]) for name, values in columns.items()})
    wanted = [_reference(tree, row) for row in rows]
    assert evaluate(tree, table).tolist() == wanted
    # Slices and chunks are the same values at other offsets.
    assert evaluate(tree, table.slice(skipped)).tolist() == wanted[skipped:]
    chunked = pa.concat_tables([table.slice(0, skipped), table.slice(skipped)])
    assert evaluate(tree, chunked).tolist() == wanted


def test_single_precision_scores_are_not_above_themselves() -> None:
    table = pa.table({"s": pa.array([[{"start": 0, "end": 1, "score": 0.4}]], SPANS)})
    assert evaluate(parse("max_score(s) >= 0.4"), table).tolist() == [True]
    assert evaluate(parse("max_score(s) > 0.4"), table).tolist() == [False]


def test_whole_numbers_beyond_double_precision_are_exact() -> None:
    table = pa.table({"n": pa.array([2**53, 2**53 + 1])})
    assert evaluate(parse(f"n > {2**53}"), table).tolist() == [False, True]


def test_a_table_that_is_not_what_was_checked() -> None:
    table = pa.table({"n": [1], "t": ["a"]})
    with pytest.raises(EvaluationError, match="no column 'x'; it has: n, t"):
        evaluate(parse("x < 3"), table)
    for text in ("n == 'a'", "t < 3", "n == true", "count(n) > 1"):
        with pytest.raises(EvaluationError):
            evaluate(parse(text), table)


# --- interval analysis against all values of a small world --------------------------------------------------------

_WORLD: dict[str, list[object]] = {"n": [0, 1, 2, 3, 4], "t": ["en", "fr", "other", None], "m": [None, -1.0, 0.5, 2.0]}
_SMALL_ATOMS = st.one_of(
    st.builds(
        Comparison, st.just(Measure("n")), _ORDER, st.sampled_from([-1.0, 0.0, 1.0, 2.5, 4.0, 5.0]).map(Constant)
    ),
    st.builds(Comparison, st.just(Measure("t")), _EQUALITY, st.sampled_from(["en", "fr"]).map(Constant)),
    st.builds(Membership, st.just(Measure("n")), st.just((Constant(0.0), Constant(4.0))), st.booleans()),
    # The values of `m` are any number: its thresholds leave room around the world's values.
    st.builds(
        Comparison, st.just(Measure("m")), st.sampled_from(["<", ">"]), st.sampled_from([0.0, 1.0]).map(Constant)
    ),
    st.builds(Presence, st.sampled_from(["t", "m"]), st.booleans()),
)  # fmt: skip
_SMALL_TREES = st.recursive(
    _SMALL_ATOMS,
    lambda inner: st.one_of(
        st.builds(Not, inner),
        st.lists(inner, min_size=2, max_size=3).map(lambda parts: And(tuple(parts))),
        st.lists(inner, min_size=2, max_size=3).map(lambda parts: Or(tuple(parts))),
    ),
    max_leaves=6,
)


def _bounds(measure: Measure) -> Bounds:
    return Bounds(0, 4, whole=True, optional=False) if measure.column == "n" else Bounds()


@settings(max_examples=300, deadline=None)
@given(_SMALL_TREES)
def test_reachability_is_exact(tree: ex.Expression) -> None:
    held = [_reference(tree, dict(zip(_WORLD, values, strict=True))) for values in itertools.product(*_WORLD.values())]
    assert satisfiable(tree, _bounds) == any(held)
    assert tautology(tree, _bounds) == all(held)


# --- filters ------------------------------------------------------------------------------------------------------


def test_a_filter_keeps_what_is_included_and_not_excluded() -> None:
    table = pa.table({"n": [1, 2, 3, 4, None]})
    rules = Filter(include=("n < 4", "n is missing"), exclude=("n == 2",))
    decision = decide(rules, table)
    assert decision.keep.tolist() == [True, False, True, False, True]
    assert decision.matched == [3, 1, 1]
    assert decide(Filter(), table).keep.all()


def test_a_filter_that_does_not_parse_is_refused_when_it_is_written() -> None:
    with pytest.raises(ConfigurationError, match="one comparison at a time"):
        Filter(exclude=("1 < x < 2",))


def test_many_rows_are_filtered_whole() -> None:
    random = np.random.default_rng(0)
    table = pa.table({"a": random.random(100_000), "n": random.integers(0, 100, 100_000)})
    keep = decide(Filter(include=("a < 0.5",), exclude=("n >= 90",)), table).keep
    a, n = table.column("a").to_numpy(), table.column("n").to_numpy()
    assert np.array_equal(keep, (a < 0.5) & (n < 90))
