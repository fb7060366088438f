"""Running graphs: engines, retries, budgets, partial re-runs, traces, replay, recordings and programs."""

import json
import re
import subprocess
import sys
import threading
import time

import pytest

from glasshouse.symbolic.answers import Choice
from glasshouse.symbolic.call import Budget, Engine, Reply, Usage
from glasshouse.symbolic.engines.function import FunctionEngine, Rule, RuleEngine
from glasshouse.symbolic.engines.recorded import Recorded
from glasshouse.symbolic.errors import (
    AnswerError,
    BudgetError,
    ContractError,
    EngineTimeoutError,
    MissingKeyError,
    NoEngineError,
    RateLimitError,
    RefusalError,
    ReplayError,
    UnrecordedError,
    ViolationError,
)
from glasshouse.symbolic.graph import Graph
from glasshouse.symbolic.program import Program, program
from glasshouse.symbolic.runtime import Runtime
from glasshouse.symbolic.spending import Meter, Retry
from glasshouse.symbolic.sym import Sym
from glasshouse.symbolic.trace import read_trace, replay


def shout(call):
    """A language model that repeats what the operands were, with the operation's name."""
    return f"{call.op}({', '.join(map(str, call.inputs))})"


@pytest.fixture
def engine():
    return FunctionEngine(shout)


def scripted(*answers, kinds=("text",), name="scripted"):
    """An engine that gives these answers in order; an exception is raised."""
    left = list(answers)

    def answer(call):
        one = left.pop(0)
        if isinstance(one, Exception):
            raise one
        return one

    return FunctionEngine(answer, kinds, name)


def test_an_engine_made_of_a_function_is_an_engine(engine):
    assert isinstance(engine, Engine)


def test_a_graph_runs_plain_python_and_engines_together(engine):
    joined = (Sym("a").sem & "b") + "!"
    result = Runtime(engine).run(joined)
    assert result.value == "both(a, b)!"
    assert (result.cost.calls, result.valid, result.verified) == (1, True, None)
    assert len(result.graph) == 5
    assert joined.pending


def test_the_model_reads_context_instruction_type_examples_and_operands(engine):
    made = Sym("from {x}").sem(context="Dates are British.").extract("{0}", as_=Choice(["1 May", "2 May"]))
    call = Runtime(engine, context="Be brief.").call_of(made.node, "from {x}")
    system, user = call.messages
    places = [
        system.content.index(words)
        for words in ("Be brief.", "Dates are British.", "word for word", "exactly one of: 1 May, 2 May", "=> 3 May")
    ]
    assert places == sorted(places)
    assert user == ("user", "from from {x} extract {0} =>")
    assert re.fullmatch(call.constraint.text, "2 May")
    assert engine.calls == []


def test_a_parameter_may_be_a_symbol_with_its_own_history(engine):
    question = Sym("who?").sem.translate("French")
    made = Sym("text").sem.query(question)
    assert [node.op for node in made.graph.nodes.values()] == ["value", "value", "translate", "query"]
    runtime = Runtime(engine)
    assert runtime.run(made).value == "query(text)"
    call = engine.calls[-1]
    assert (call.inputs, call.params["question"]) == (("text",), "translate(who?)")
    assert call.messages[-1].content == "data: text question: translate(who?) =>"
    both = Sym("x").sem.choose(["a", Sym("b") + "c"])
    runtime.run(both)
    assert engine.calls[-1].params["cases"] == ["a", "bc"]


def test_values_inside_a_runtime_are_computed_when_they_are_needed():
    runtime = Runtime(scripted("yes", "no"))
    with runtime:
        assert Sym("1").sem == "one"
        if Sym("1").sem == "two":
            raise AssertionError
        assert "three" not in Sym([1]).value
    assert [record.value for record in runtime.known.values() if record.asked] == [True, False]


def test_what_is_known_is_not_asked_again_and_an_edit_runs_exactly_its_descendants(engine):
    a, b, c = Sym("a"), Sym("b"), Sym("c")
    left, right = a.sem & b, b.sem | c
    top = (left.sem + right).sem.summarize() + "."
    runtime = Runtime(engine)
    first = runtime.run(top)
    assert first.cost.calls == 4
    assert runtime.run(top).cost.calls == 0
    edited = Sym.of(first.graph.replace({a.node.id: "A"}).roots[0])
    second = runtime.run(edited)
    changed = second.changed_from(first)
    assert {record.node.op for record in changed} == {"value", "both", "combine", "summarize", "python.add"}
    assert len(changed) == 1 + len(first.graph.descendants(a.node.id)) == 5
    assert second.cost.calls == 3
    assert [record.cached for record in second.records.values() if record.node == right.node] == [True]
    assert second.value == "summarize(combine(both(A, b), either(b, c)))."
    runtime.forget()
    assert runtime.run(top).cost.calls == 4


def test_replay_is_byte_identical_and_calls_nobody(engine, tmp_path):
    runtime = Runtime(engine, trace=tmp_path / "run.jsonl")
    result = runtime.run([Sym("a").sem & "b", (Sym("a").sem.translate("French")).split("(")])
    calls = len(engine.calls)
    again = result.replay()
    assert [json.dumps(one["value"]) for one in again.trace] == [json.dumps(one["value"]) for one in result.trace]
    assert again.cost.calls == 0
    records = read_trace(tmp_path / "run.jsonl")
    assert replay(records.values())[result.node.id].value == result.value
    assert Graph(records[result.node.id].node).to_json() == result.graph.to_json()
    assert len(engine.calls) == calls


def test_a_trace_that_was_changed_is_found_out(engine, tmp_path):
    path = tmp_path / "run.jsonl"
    Runtime(engine, trace=path).run((Sym("a").sem & "b") + "!")
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:-1], lines[-1].replace("both(a, b)!", "both(a, b)?")]))
    with pytest.raises(ReplayError, match=r"python.add gave 'both\(a, b\)\?'.*gives 'both\(a, b\)!'"):
        replay(read_trace(path).values())
    path.write_text("\n".join([lines[0].replace('"a"', '"b"'), *lines[1:]]))
    with pytest.raises(ValueError, match=r"line 1: .*was changed"):
        read_trace(path)
    path.write_text("\n".join(lines)[:-20])
    with pytest.raises(ValueError, match="line 5"):
        read_trace(path)


def test_traces_and_cassettes_survive_any_text(tmp_path):
    nasty = "a\u2028b\x85c\x1e\r\n\ud800"
    runtime = Runtime(FunctionEngine(lambda call: nasty), trace=tmp_path / "run.jsonl")
    made = Sym(nasty + "?").sem.clean()
    with runtime.record(tmp_path / "cassette.jsonl"):
        result = runtime.run(made)
    assert replay(read_trace(tmp_path / "run.jsonl").values())[made.node.id].value == result.value
    assert Runtime(Recorded(tmp_path / "cassette.jsonl")).run(made).value == result.value


def test_a_trace_carries_the_names_of_open_telemetry(tmp_path):
    path = tmp_path / "run.jsonl"
    engine = FunctionEngine(
        lambda call: Reply("x", "x", usage=Usage(7, 2), model="sha256:abc", finish="stop"), name="lm"
    )
    Runtime(engine, trace=path).run(Sym("a").sem.summarize())
    record = json.loads(path.read_text().splitlines()[-1])
    assert {name: value for name, value in record.items() if name.startswith("gen_ai.")} == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "lm",
        "gen_ai.response.model": "sha256:abc",
        "gen_ai.usage.input_tokens": 7,
        "gen_ai.usage.output_tokens": 2,
        "gen_ai.response.finish_reasons": ["stop"],
    }
    assert (record["model"], record["valid"], record["value"]) == ("sha256:abc", True, "x")
    assert read_trace(path)[record["node"]].usage == Usage(7, 2)


def test_a_chain_of_ten_thousand_nodes_runs_explains_and_replays():
    total = Sym("a").sem(as_=int) + "b"
    for number in range(10_000):
        total = total + number
    result = Runtime(FunctionEngine(lambda call: "7")).run(total)
    assert result.value == 7 + sum(range(10_000))
    assert result.explain().count("\n") == 20_002
    assert result.replay().value == result.value
    assert result.to_mermaid().count("-->") == 20_002


def test_an_answer_of_another_type_is_asked_for_again_with_the_reason():
    engine = scripted("perhaps", "yes")
    result = Runtime(engine).run(Sym("a").sem == "b")
    assert result.value is True
    turns = engine.calls[1].messages[-2:]
    assert turns[0] == ("assistant", "perhaps")
    assert "not accepted: 'perhaps' is not true or false" in turns[1].content
    assert result.record.attempts == ("scripted: 'perhaps' is not true or false",)
    assert "after: scripted: 'perhaps'" in result.explain()
    engine = scripted("o", "o", "o")
    with pytest.raises(AnswerError, match="'o' is not true or false") as caught:
        Runtime(engine, repairs=2).run(Sym("a").sem == "b")
    assert "at the node equals" in caught.value.__notes__[-1]


def test_engines_of_one_kind_are_each_others_reserve():
    first = scripted(RefusalError("the keyword uniqueItems"), name="first")
    result = Runtime(first, scripted("x", name="second")).run(Sym("a").sem.summarize())
    assert (result.value, result.record.engine) == ("x", "second")
    assert result.record.attempts == ("first: RefusalError: the keyword uniqueItems",)
    with pytest.raises(MissingKeyError, match="no key") as caught:
        Runtime(scripted(RefusalError("why"), name="first"), scripted(MissingKeyError("no key"), name="second")).run(
            Sym("a").sem.summarize()
        )
    assert "tried before: first: RefusalError: why" in caught.value.__notes__


def test_engines_that_enforce_a_constraint_come_first_and_names_choose():
    plain = scripted("true", "true", name="plain")
    strict = scripted("false", kinds=("text", "regex"), name="strict")
    runtime = Runtime(plain, strict)
    assert runtime.run(Sym("a").sem == "b").record.engine == "strict"
    assert runtime.run(Sym("a").sem(engine="plain") == "b").record.engine == "plain"
    assert runtime.run(Sym("a").sem.ask("contains", "c", as_=str)).record.engine == "plain"
    with pytest.raises(NoEngineError, match=r"no engine called 'x' answers 'text'.*plain answers text"):
        runtime.run(Sym("a").sem(engine="x").summarize())
    with pytest.raises(NoEngineError, match=r"no engine answers 'entail', which 'entails' needs; engines: none"):
        Runtime().run(Sym("a").sem.entails("b"))


def test_errors_that_pass_are_waited_out():
    slept = []
    engine = scripted(RateLimitError("slow down", 7.5), EngineTimeoutError("late"), "x")
    result = Runtime(engine, sleep=slept.append, retry=Retry(base=1, jitter=0)).run(Sym("a").sem.summarize())
    assert (result.value, slept, result.cost.calls) == ("x", [7.5, 2.0], 3)
    slept.clear()
    engine = scripted(*[EngineTimeoutError("late")] * 3)
    with pytest.raises(EngineTimeoutError):
        Runtime(engine, sleep=slept.append).run(Sym("a").sem.summarize())
    assert len(slept) == 2
    assert all(0.45 <= one / 2**place <= 0.55 for place, one in enumerate(slept))
    slept.clear()
    with pytest.raises(RateLimitError):
        Runtime(scripted(RateLimitError("tomorrow", 86_400)), sleep=slept.append).run(Sym("a").sem.summarize())
    assert slept == []


def test_a_budget_stops_before_the_call_that_would_exceed_it(engine):
    a = Sym("a")
    three = a.sem.summarize().sem.clean().sem.compose()
    with pytest.raises(BudgetError, match="budget of 2 calls is spent; compose"):
        Runtime(engine).run(three, budget=Budget(calls=2))
    assert len(engine.calls) == 2
    assert Runtime(engine).run(three, budget=Budget(calls=3)).cost.calls == 3
    with pytest.raises(BudgetError, match="budget of 0 calls"):
        Runtime(engine).run(three, budget=Budget(calls=0))
    assert Runtime(engine).run(a + "b", budget=Budget(calls=0)).value == "ab"


def test_a_call_is_told_how_many_tokens_and_seconds_are_left():
    seen = []

    def writer(call):
        seen.append(call.budget)
        return Reply("x", "x", usage=Usage(5, 4))

    graph = Sym("a").sem.summarize().sem(tokens=3).clean().sem.compose().sem.clean()
    with pytest.raises(BudgetError, match="12 tokens is spent"):
        Runtime(FunctionEngine(writer), workers=4).run(graph, budget=Budget(tokens=12, seconds=60))
    assert [one.tokens for one in seen] == [12, 3, 4]
    assert all(0 < one.seconds <= 60 for one in seen)
    clock = iter([0.0, 1.0, 5.0, 9.0])
    meter = Meter(Budget(seconds=4), lambda: next(clock))
    assert meter.begin("a").seconds == 3.0
    with pytest.raises(BudgetError, match="4 seconds is spent; b was not asked"):
        meter.begin("b")


def test_calls_that_do_not_need_each_other_run_at_the_same_time():
    together = threading.Barrier(3, timeout=10)

    def meet(call):
        together.wait()
        return shout(call)

    parts = [Sym(letter).sem.summarize() for letter in "abc"]
    result = Runtime(FunctionEngine(meet), workers=3).run(parts)
    assert result.value == ["summarize(a)", "summarize(b)", "summarize(c)"]
    assert result.replay().value == result.value
    with pytest.raises(ZeroDivisionError) as caught:
        Runtime(FunctionEngine(lambda call: 1 / 0), workers=3).run(parts)
    assert "at the node summarize" in caught.value.__notes__[-1]


def test_what_other_calls_answered_is_kept_when_one_fails():
    failed = threading.Event()

    def answer(call):
        if call.inputs[0] == "bad" and not failed.is_set():
            failed.set()
            raise MissingKeyError("no key")
        failed.wait(10)
        time.sleep(0.2)
        return "fine"

    engine = FunctionEngine(answer)
    runtime = Runtime(engine, workers=2)
    graph = [Sym("good").sem.clean(), Sym("bad").sem.clean()]
    with pytest.raises(MissingKeyError):
        runtime.run(graph)
    assert runtime.run(graph).cost.calls == 1


def test_an_answer_that_was_cut_at_its_limit_says_so():
    engine = FunctionEngine(lambda call: Reply("The sh", "The sh", finish="length"))
    assert "cut at its limit of tokens" in Runtime(engine).run(Sym("x").sem.summarize()).explain()


def test_results_cannot_be_changed_from_outside():
    runtime = Runtime()
    graph = Sym([1]) * 2
    result = runtime.run(graph)
    result.value.append(3)
    assert result.value == [1, 1] == runtime.run(graph).value


def test_verified_follows_the_solver_and_what_is_computed_from_it():
    def solver(call):
        return Reply(call.inputs[1] == "yes", verified=call.inputs[1] == "yes", evidence={"proof": ["given"]})

    runtime = Runtime(FunctionEngine(solver, ("entail",), "horn"), FunctionEngine(shout))
    good, bad = Sym("t").sem.entails("yes"), Sym("t").sem.entails("no")
    assert runtime.run(good).verified is True
    assert runtime.run(good == True).verified is True  # noqa: E712
    assert runtime.run([good, bad]).verified is False
    assert runtime.run([good, Sym("a").sem.summarize()]).verified is None
    assert runtime.run([good, Sym(1) + 1]).verified is True
    assert runtime.run(Sym(1) + 1).verified is None
    assert "horn, " in runtime.run(bad).explain()
    assert "found wrong" in runtime.run(bad).explain()


def test_drawings_hold_every_node_and_survive_hostile_text(engine):
    nasty = 'x"] --> n1; <b>&</b>\n|`'
    result = Runtime(engine).run(Sym(nasty).sem & "b")
    assert result.to_mermaid().splitlines()[0] == "graph TD"
    assert len(result.to_mermaid().splitlines()) == 1 + 3 + 2
    for line in result.to_mermaid().splitlines()[1:4]:
        assert re.fullmatch(r'  n\d[\[(]"[^"\]<>|`]*(<br/>[^"\]<>|`]*)?"[\])]', line)
    assert "<b>" not in result.to_dot()
    assert result.to_dot().count("->") == 2


# Recordings


def test_what_was_recorded_is_replayed_without_the_engine(engine, tmp_path):
    path = tmp_path / "cassette.jsonl"
    graph = (Sym("a").sem & "b").sem.translate("French")
    runtime = Runtime(engine)
    with runtime.record(path):
        live = runtime.run(graph)
    runtime.run(Sym("not recorded").sem.clean())
    replayed = Runtime(Recorded(path)).run(graph)
    assert replayed.value == live.value
    with pytest.raises(UnrecordedError, match=r"holds no reply to both.*'expr :a: and :c: =>'; the nearest of 2: both"):
        Runtime(Recorded(path)).run(Sym("a").sem & "c")
    path.write_text(path.read_text()[:-30])
    with pytest.raises(ValueError, match=r"line 2: not a recorded call.*record it again"):
        Recorded(path)


def test_rules_answer_what_they_match_and_refuse_the_rest():
    rules = RuleEngine(
        {
            "combine": [
                Rule(r"(\d+)\n(\d+)", lambda found: int(found[1]) + int(found[2])),
                Rule(r"(.*)\n(.*)", r"\2 \1"),
            ],
            "equals": [Rule(r"(.*)\n\1", "true"), Rule(r".*", "false")],
        }
    )
    runtime = Runtime(rules)
    assert runtime.run(Sym("17").sem(as_=int) + "20").value == 37
    assert runtime.run(Sym("tea").sem + "green").value == "green tea"
    assert runtime.run(Sym("a").sem == "b").value is False
    with pytest.raises(RefusalError, match="no rule of 'rules' for 'clean' matches 'x'"):
        runtime.run(Sym("x").sem.clean())


# Programs


class Initials(Program):
    def __init__(self, wanted=None):
        self.wanted = wanted

    def forward(self, name):
        return name.sem.extract("initials").upper()

    def require(self, result):
        if result.value == "RAISE":
            raise ViolationError("that is a command")
        return True if len(result.value) == 2 else f"{result.value} has {len(result.value)} letters, not 2."


class Lowest(Program):
    def forward(self, *symbols):
        return symbols[0].sem.clean()


def test_a_contract_that_holds_costs_one_call():
    result = Runtime(scripted("ab")).run(Initials(), "Ann Bo")
    assert (result.value, result.cost.calls) == ("AB", 1)


def test_a_refused_result_is_asked_for_again_with_the_complaint():
    engine = scripted("abc", "raise", "ab")
    result = Runtime(engine).run(Initials(), "Ann Bo")
    assert (result.value, result.cost.calls) == ("AB", 3)
    last = engine.calls[-1].messages
    assert [turn.content for turn in last if turn.role == "assistant"] == ["abc", "raise"]
    assert "ABC has 3 letters, not 2." in last[-3].content
    assert "that is a command" in last[-1].content
    asked = next(node for node in result.graph.nodes.values() if node.op == "extract")
    assert [text for text, _ in asked.params["repairs"]] == ["abc", "raise"]
    assert result.replay().value == "AB"


def test_a_contract_that_cannot_be_fulfilled_says_what_was_tried():
    engine = scripted("abc", "abcd", "abcde")
    with pytest.raises(
        ContractError, match="Initials: not fulfilled after 3 attempts; the last complaint: ABCDE has 5"
    ) as e:
        Runtime(engine).run(Initials(), "Ann Bo")
    assert [value for value, _ in e.value.attempts] == ["ABC", "ABCD", "ABCDE"]
    with pytest.raises(BudgetError):
        Runtime(scripted("abc", "abcd")).run(Initials(), "Ann Bo", budget=Budget(calls=1))

    class Never(Program):
        def forward(self, x):
            return x + 1

        def require(self, result):
            return False

    with pytest.raises(ContractError, match=r"2 does not meet the contract of Never.*none is asked again"):
        Runtime().run(Never(), 1)


def test_only_what_depends_on_the_repaired_answer_runs_again():
    class Two(Program):
        def forward(self, x):
            first = x.sem.clean()
            return first.sem.summarize() + "!"

        def require(self, result):
            return result.value == "good!"

    engine = scripted("cleaned", "bad", "good")
    assert Runtime(engine).run(Two(), "x").value == "good!"
    assert [call.op for call in engine.calls] == ["clean", "summarize", "summarize"]


def test_contracts_of_inner_programs_and_conditions_are_kept():
    class Outer(Program):
        def forward(self, name):
            initials = Initials()(name)
            if initials.sem == "AB":
                return "found " + initials
            return Sym("nothing")

    engine = scripted("abc", "ab", "yes")
    result = Runtime(engine).run(Outer(), "Ann Bo")
    assert result.value == "found AB"
    assert result.cost.calls == 3


def test_a_condition_is_decided_again_after_a_repair():
    class Branch(Program):
        def forward(self, x):
            kind = x.sem.extract("kind")
            if kind == "a":
                return kind.sem.clean()
            return Sym("other branch: ") + kind

        def require(self, result):
            return not result.value.startswith("other") or result.value.endswith("b")

    engine = scripted("c", "b")
    assert Runtime(engine).run(Branch(), "x").value == "other branch: b"


def test_a_function_can_be_a_program():
    @program
    def initials(name):
        """The initials."""
        return name.sem.extract("initials").upper()

    assert Runtime(scripted("ab")).run(initials, "Ann Bo").value == "AB"
    assert (initials.__name__, initials.__doc__) == ("initials", "The initials.")
    short = program(initials.forward, require=lambda result: len(result.value) == 2)
    assert Runtime(scripted("abc", "ab")).run(short, "Ann Bo").value == "AB"
    with pytest.raises(ContractError, match="initials: not fulfilled"):
        Runtime(scripted("a", "b", "c")).run(short, "Ann Bo")


def test_wrong_programs_are_explained():
    with pytest.raises(NotImplementedError, match=r"Program defines no forward\(\)"):
        Runtime().run(Program(), 1)
    with pytest.raises(TypeError, match="inputs are for programs; a int takes none"):
        Runtime().run(1, 2)

    class Odd(Lowest):
        def require(self, result):
            return 1

    with pytest.raises(TypeError, match=r"Odd.require gave 1"):
        Runtime(scripted("x")).run(Odd(), "a")


def test_importing_the_core_is_light_and_writes_nothing(tmp_path):
    code = (
        "import sys\n"
        "import glasshouse.symbolic.runtime, glasshouse.symbolic.composition, glasshouse.symbolic.conversation\n"
        "heavy = {'torch', 'numpy', 'pydantic', 'jsonschema', 'lark', 'sympy', 'z3'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    best = 9.0
    for _ in range(3):
        done = subprocess.run(
            [sys.executable, "-B", "-c", "import resource\n" + code + "print(resource.getrusage(0).ru_utime)"],
            cwd=tmp_path, capture_output=True, text=True, check=False, env={"PYTHONPATH": ":".join(sys.path)},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        best = min(best, float(done.stdout))
    assert best <= 0.15
    assert list(tmp_path.iterdir()) == []
