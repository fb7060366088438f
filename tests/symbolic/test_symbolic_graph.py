"""Nodes, ids, graphs and calls: content decides identity, depth does not matter, edits keep what they do not touch."""

import hashlib
import json
import math
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glasshouse.symbolic.call import Budget, Call, Constraint, Message, Reply, Usage, reply_from_json
from glasshouse.symbolic.graph import Graph, Node, leaf, node_from_record, node_record, substitute
from glasshouse.symbolic.values import decode, encode, written

scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary()
hashables = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3).map(tuple), max_leaves=5)
values = st.recursive(
    scalars | st.complex_numbers(allow_nan=False) | st.frozensets(hashables, max_size=3) | st.just(slice(1, None, 2)),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(hashables, inner, max_size=3)
    ),
    max_leaves=8,
)


def chain(depth):
    node = leaf("start")
    for number in range(depth):
        node = Node("add", (node, leaf(number)))
    return node


@given(values)
def test_a_value_comes_back_from_its_written_form_with_its_type(value):
    back = decode(json.loads(written(value)))
    assert repr(back) == repr(value) or (back == value and type(back) is type(value))


def test_values_that_json_confuses_are_written_apart():
    alike = [
        (1, 2),
        [1, 2],
        {1, 2},
        frozenset({1, 2}),
        1,
        1.0,
        True,
        "1",
        b"1",
        {"1": 1},
        {1: 1},
        {"$tuple": [1]},
        (1,),
    ]
    assert len({written(value) for value in alike}) == len(alike)
    assert math.isnan(decode(encode(math.nan)))
    assert math.copysign(1, decode(json.loads(written(-0.0)))) == -1


@pytest.mark.parametrize("value", [len, object(), [open]])
def test_a_value_without_a_written_form_is_refused_with_its_type(value):
    with pytest.raises(TypeError, match="no written form"):
        encode(value)


def test_an_unknown_mark_is_refused():
    with pytest.raises(ValueError, match=r"\$gun.*known marks"):
        decode({"$gun": [1]})


def test_an_id_is_the_hash_of_operation_parameters_and_inputs_ids():
    one, two = leaf(1), leaf([2])
    node = Node("add", (one, two), {"seed": 3})
    text = '["add",{"seed":3},["' + one.id + '","' + two.id + '"]]'
    assert node.id == hashlib.sha256(text.encode()).hexdigest()
    assert node == Node("add", (leaf(1), leaf([2])), {"seed": 3})
    assert len({node, Node("add", (two, one), {"seed": 3}), Node("add", (one, two)), Node("sub", (one, two))}) == 4


def test_a_node_cannot_be_changed():
    with pytest.raises(AttributeError, match="cannot change"):
        leaf(1).op = "other"


def test_three_symbols_added_have_five_nodes_and_four_edges():
    a, b, c = leaf("a"), leaf("b"), leaf("c")
    graph = Graph(Node("add", (Node("add", (a, b)), c)))
    assert (len(graph), len(graph.edges)) == (5, 4)


def test_equal_expressions_are_one_node():
    twice = Node("add", (Node("add", (leaf(1), leaf(2))), Node("add", (leaf(1), leaf(2)))))
    graph = Graph(twice)
    assert (len(graph), len(graph.edges)) == (4, 4)


def test_a_chain_of_ten_thousand_operations_is_an_ordinary_graph():
    depth = 10_000
    assert depth > sys.getrecursionlimit()
    node = chain(depth)
    graph = Graph(node)
    assert len(graph) == 2 * depth + 1
    first = leaf("start").id
    assert len(graph.descendants(first)) == depth
    changed = graph.replace({first: "other"})
    assert changed.roots[0] != node
    assert changed.roots[0] == Graph.from_json(changed.to_json()).roots[0]
    del node, graph, changed


def test_replacing_a_leaf_rebuilds_its_descendants_and_nothing_else():
    a, b, c = leaf("a"), leaf("b"), leaf("c")
    left, right = Node("f", (a, b)), Node("g", (b, c))
    top = Node("h", (left, right))
    new = substitute(top, {a.id: leaf("A")})
    assert new.inputs[1] is right
    assert new.inputs[0].inputs[1] is b
    assert new == Node("h", (Node("f", (leaf("A"), b)), right))
    assert Graph(top).descendants(a.id) == {left.id, top.id}
    assert substitute(top, {"not there": leaf(0)}) is top


def test_replacing_a_node_that_is_not_there_names_it():
    with pytest.raises(KeyError, match="no node 00ff in this graph of 1 nodes"):
        Graph(leaf(1)).replace({"00ff": 2})


def test_a_record_that_was_changed_or_cut_is_refused():
    node = Node("add", (leaf(1), leaf(2)))
    nodes = {one.id: one for one in node.inputs}
    assert node_from_record(node_record(node), nodes) == node
    with pytest.raises(ValueError, match="was changed"):
        node_from_record(node_record(node) | {"op": "sub"}, nodes)
    with pytest.raises(ValueError, match="is cut"):
        node_from_record(node_record(node), {})


def test_building_a_node_costs_microseconds():
    one, two = leaf(1), leaf(2)
    best = math.inf
    for _ in range(5):
        start = time.process_time()
        for _ in range(10_000):
            Node("add", (one, two))
        best = min(best, time.process_time() - start)
    assert best / 10_000 < 5e-6


def test_a_call_is_known_by_what_may_change_its_answer():
    call = Call("text", "extract", ("a",), {"what": "b"}, (Message("user", "hello"),))
    assert call.key == call.but(budget=Budget(tokens=3)).key
    others = [
        call.but(kind="embed"),
        call.but(op="rank"),
        call.but(inputs=("b",)),
        call.but(params={"what": "c"}),
        call.but(messages=(Message("system", "hello"),)),
        call.but(constraint=Constraint("regex", "a+")),
        call.but(seed=1),
    ]
    assert len({call, *others}) == 8
    assert hash(call) == hash(call.but(params={"what": "b"}))


def test_a_reply_comes_back_from_json():
    reply = Reply((1, 2), "1 2", True, {"proof": [(1, "given")]}, Usage(3, 4), "abc", "stop")
    assert reply_from_json(json.loads(json.dumps(reply.to_json()))) == reply
    assert Reply("x").to_json() == {"value": "x"}
    with pytest.raises(ValueError, match="unknown fields colour"):
        reply_from_json({"value": 1, "colour": 2})
    with pytest.raises(ValueError, match="no value"):
        reply_from_json({"text": "x"})


def test_wrong_budgets_and_constraints_are_refused():
    with pytest.raises(ValueError, match=r"Budget.tokens got -1"):
        Budget(tokens=-1)
    with pytest.raises(ValueError, match=r"Constraint.form got 'xml'.*json_schema"):
        Constraint("xml", "")
