"""Questions with options: letters, orders, answers in words; coreference, Winograd schemas and discourse relations."""

import importlib.util
import json
import re
from pathlib import Path

import numpy as np
import pytest

from glasshouse.evaluation.context.choices import arrange, chosen, letters, read_choice
from glasshouse.evaluation.context.coreference.documents import Document, Mention
from glasshouse.evaluation.context.coreference.task import NONE, Coreference
from glasshouse.evaluation.context.coreference.winograd import Schema, Winograd, read_winograd
from glasshouse.evaluation.context.discourse.disrpt import read_disrpt
from glasshouse.evaluation.context.discourse.pdtb import read_pdtb
from glasshouse.evaluation.context.discourse.relations import SENSES, Relation, top_sense
from glasshouse.evaluation.context.discourse.task import Discourse
from glasshouse.evaluation.context.generated.coreference import generate_documents
from glasshouse.evaluation.context.sources import DataError
from glasshouse.evaluation.requests import Generate, Likelihood, LogLikelihood, Written

DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "evaluation"
DOCUMENTS = generate_documents(6)


def records_of(task, answer):
    """The records of a task of one round whose requests are answered one by one."""
    rounds = task.rounds()
    requests = next(rounds)
    with pytest.raises(StopIteration) as finished:
        rounds.send([answer(request) for request in requests])
    return finished.value.value


def shown(prompt):
    """The options under their letters, of the last question of a prompt."""
    return dict(re.findall(r"^([A-Z]+)\. (.*)$", prompt[prompt.rindex("Choice:") :], re.MULTILINE))


def by_text(value):
    """A model that looks only at the text of an option, never at its letter or place."""
    return lambda request: Likelihood(value(shown(request.context)[request.continuation.strip()]), False, 1)


def test_letters_go_on_after_z():
    assert [letters(n) for n in (0, 25, 26, 27, 51, 52, 701, 702)] == ["A", "Z", "AA", "AB", "AZ", "BA", "ZZ", "AAA"]


def test_options_keep_an_order_of_their_item():
    options = [f"option {n}" for n in range(8)]
    mixed = arrange(options, 0, "task", "item", last=7)
    assert sorted(mixed.order) == list(range(8))
    assert mixed.order[-1] == 7
    assert mixed == arrange(options, 0, "task", "item", last=7)
    assert mixed.order != arrange(options, 0, "task", "other", last=7).order
    assert arrange(options, None).order == tuple(range(8))
    assert mixed.listed().split("\n")[0] == f"A. option {mixed.order[0]}"
    assert mixed.letter(7) == "H"


@pytest.mark.parametrize(
    ("text", "option"),
    [
        (" B", 1), ("b)", 1), ("(C)", 2), ("B. the cat", 1), ("**A**", 0), ("A dog", 2), ("a dog.", 2),
        ("D", None), ("", None), ("Bana", None), ("Answer", None), ("*C*", 2), ("The cat", 1),
    ],
)  # fmt: skip
def test_answers_in_words(text, option):
    assert read_choice(text, arrange(["a bird", "the cat", "A dog"], None)) == option


def gold_letters(document, task):
    """The oracle: by prompt, the letters of all right options."""
    return {task.question(asked): {task.choices(asked).letter(n) for n in asked.right or {len(asked.options)}}
            for asked in task.asked(document)}  # fmt: skip


@pytest.mark.parametrize("none_first", [False, True])
@pytest.mark.parametrize("shuffle", [None, 3])
@pytest.mark.parametrize("form", ["letter", "generate"])
def test_an_oracle_is_perfect_wherever_options_stand(none_first, shuffle, form):
    task = Coreference("t", DOCUMENTS, shots=0, form=form, none_first=none_first, shuffle=shuffle)
    right = {prompt: good for document in DOCUMENTS for prompt, good in gold_letters(document, task).items()}

    def oracle(request):
        if isinstance(request, Generate):
            return Written(f" {min(right[request.prompt])}.", 2)
        return Likelihood(float(request.continuation.strip() in right[request.context]), False, 1)

    records = records_of(task, oracle)
    values = {name: metric(records) for name, metric in task.metrics.items()}
    assert values == pytest.approx({**dict.fromkeys(values, 1.0), "invalid": 0.0})
    listed = shown(next(iter(right)))
    assert listed["A" if none_first else max(listed)] == NONE
    baselines = {name: task.metrics["average"](found) for name, found in task.baselines(records).items()}
    assert baselines["singletons"] < baselines["exact string"] < 0.9
    assert task.metrics["choice"](task.baselines(records)["exact string"]) < 1


def test_permuting_options_does_not_change_what_a_model_of_texts_predicts():
    value = {text: number for number, text in enumerate(sorted({d.text(m) for d in DOCUMENTS for m in d.mentions}))}
    predictions = []
    for settings in ({}, {"shuffle": 0}, {"shuffle": 1, "none_first": True}):
        task = Coreference("t", DOCUMENTS, shots=0, **settings)
        records = records_of(task, by_text(lambda text: float(value.get(text, -1))))
        predictions.append([sorted(map(sorted, record.response)) for record in records])
    # options of the same text are as likely as each other, but they are of the same cluster in these documents
    assert predictions[0] == predictions[1] == predictions[2]


def test_an_unreadable_answer_is_no_link_and_is_counted():
    task = Coreference("t", DOCUMENTS[:1], shots=0, form="generate")
    records = records_of(task, lambda request: Written("I cannot tell", 3))
    assert task.metrics["invalid"](records) == 1.0
    assert task.metrics["average"](records) == task.metrics["average"](task.baselines(records)["singletons"])


def test_documents_without_mentions_count_nothing():
    empty = Document("empty", ("Nothing", "here"), ())
    task = Coreference("t", (empty, DOCUMENTS[0]), shots=0)
    records = records_of(task, by_text(lambda text: float(len(text))))
    alone = records_of(Coreference("t", DOCUMENTS[:1], shots=0), by_text(lambda text: float(len(text))))
    assert [record.id for record in records] == ["empty", DOCUMENTS[0].id]
    assert {n: m(records) for n, m in task.metrics.items()} == {n: m(alone) for n, m in task.metrics.items()}
    assert task.metrics["average"](records[:1]) == 0


def test_windows_and_later_mentions():
    cluster = frozenset(Mention(n, n + 1) for n in (0, 10, 19))
    document = Document("d", tuple(f"w{n}" for n in range(21)), (cluster,), sentences=(0, 12, 16))
    near = Coreference("t", (document,), shots=0, window=9)
    (last,) = near.asked(document)
    assert (last.mention.start, [m.start for m in last.options]) == (19, [10])
    assert near.fields(last)["context"] == "w10 w11 w12 w13 w14 w15 w16 w17 w18 *w19* w20"
    every = Coreference("t", (document,), shots=0, earlier=False)
    assert [len(asked.options) for asked in every.asked(document)] == [2, 2, 2]
    assert every.asked(document)[0].gold == 0


def test_examples_are_of_other_documents():
    task = Coreference("t", DOCUMENTS, shots=2)
    prompt = task.question(task.asked(DOCUMENTS[0])[-1])
    assert prompt.count("Question:") == 3
    own = " ".join(DOCUMENTS[0].tokens[:4])
    assert own not in prompt[: prompt.rindex("Context:")].replace("*", "")


SCHEMA = Schema("s", "Ann met the boss. Then ", "she", " was late.", ("The boss", "Ann"), 0, "g")


def test_partial_scoring_replaces_the_pronoun():
    requests = Winograd("t", (SCHEMA,)).requests(SCHEMA)
    before, after = "Ann met the boss. Then", " was late."
    assert requests == [LogLikelihood(f"{before} the boss", after), LogLikelihood(f"{before} Ann", after)]
    start = Schema("s", "It rained. ", "His", " hat fell.", ("The boss", "Tom"), 0, "g")
    assert [start.substitute(n) for n in (0, 1)] == ["The boss's", "Tom's"]
    full = Winograd("t", (SCHEMA,), scoring="full").requests(SCHEMA)
    assert full[1] == LogLikelihood("Ann met the boss. Then", " Ann was late.")


def test_winograd_answers_by_likelihood_and_in_words():
    task = Winograd("t", (SCHEMA,))
    records = records_of(task, lambda request: Likelihood(-float(len(request.context)), False, 3))
    assert (records[0].response, task.metrics["acc"](records)) == (1, 0.0)
    asked = Winograd("t", (SCHEMA,), scoring="generate")
    found = records_of(asked, lambda request: Written(" A", 1))
    assert "*she* was late" in found[0].prompt
    assert asked.metrics["acc"](found) == 1.0
    assert {name: asked.metrics["acc"](r) for name, r in asked.baselines(found).items()} == {
        "first option": 1.0, "last option": 0.0,
    }  # fmt: skip


@pytest.mark.skipif(not (DATA / "winograd").is_dir(), reason="the Winograd schemas are not here")
def test_wsc273_is_read():
    schemas = read_winograd(DATA / "winograd")
    assert len(schemas) == 273
    assert {len(schema.options) for schema in schemas} == {2}
    assert schemas[1].before + schemas[1].pronoun + schemas[1].after == (
        "The city councilmen refused the demonstrators a permit because they advocated violence."
    )
    assert schemas[1].substitute(0) == "the city councilmen"
    assert (schemas[0].label, schemas[1].label) == (0, 1)
    # every possessive pronoun of the set is followed by what is possessed, so `her` always becomes `...'s`
    assert sum(schema.pronoun.lower() in ("his", "her") for schema in schemas) == 28
    assert len(read_winograd(DATA / "winograd", "fr")) == 83
    with pytest.raises(DataError, match="no schemas of xx original; it has en original"):
        read_winograd(DATA / "winograd", "xx")


def test_a_damaged_schema_is_told_with_its_line(tmp_path):
    options = json.dumps([["Ann", [0, 1], ["Ann"], True], ["Bea", [2, 3], ["Bea"], False]])
    good = ["en", "original", "?", "Ann saw Bea as she ran.", '["Ann", "saw", "Bea", "as", "she", "ran", "."]']
    rows = [[*good, '["she", [4, 5], ["she"]]', options], [*good, '["he", [4, 5], ["he"]]', options]]
    (tmp_path / "dataset.tsv").write_text("\n".join("\t".join(row) for row in rows), encoding="utf-8")
    with pytest.raises(DataError, match=r"dataset\.tsv, line 2: not a Winograd schema \('he' is not where"):
        read_winograd(tmp_path)


RELATIONS = tuple(Relation(f"r{n}", f"First {n}.", f"Second {n}.", (SENSES[n % 4],), f"d{n // 2}") for n in range(16))


@pytest.mark.parametrize("shuffle", [None, 0])
def test_discourse_relations_are_answered_by_letters(shuffle):
    task = Discourse("t", RELATIONS, shots=1, shuffle=shuffle)
    right = {task.question(r): task.choices(r).letter(SENSES.index(r.senses[0])) for r in RELATIONS}
    oracle = lambda request: Likelihood(float(request.continuation.strip() == right[request.context]), False, 1)  # noqa: E731
    records = records_of(task, oracle)
    assert {name: metric(records) for name, metric in task.metrics.items()} == {
        "acc": 1.0,
        "macro_f1": 1.0,
        "invalid": 0.0,
    }
    for relation in RELATIONS:
        prompt = task.question(relation)
        assert prompt.count("Answer:") == 5
        assert not any(o.first in prompt for o in RELATIONS if o.document == relation.document and o != relation)
    ((name, most),) = task.baselines(records).items()
    assert name.startswith("always ")
    assert task.metrics["acc"](most) == 0.25


def test_either_sense_of_a_relation_of_two_is_right():
    two = Relation("r", "a", "b", ("Temporal", "Contingency"), "d")
    task = Discourse("t", (two,), shots=0)
    for sense, acc in (("Contingency", 1.0), ("Temporal", 1.0), ("Expansion", 0.0)):
        letter = f" {'ABCD'[SENSES.index(sense)]}"
        records = records_of(
            task, lambda request, letter=letter: Likelihood(float(request.continuation == letter), False, 1)
        )
        assert task.metrics["acc"](records) == acc


def test_labels_are_read_by_their_top_class():
    assert top_sense("Contingency.Cause+Belief.Reason") == "Contingency"
    assert top_sense("cmparison.concession") == "Comparison"  # a slip in GDTB
    with pytest.raises(DataError, match=r"'EntRel' begins with none of the classes Temporal"):
        top_sense("EntRel")


@pytest.mark.skipif(not (DATA / "gdtb").is_dir(), reason="GDTB is not here")
def test_gdtb_has_the_implicit_relations_it_should():
    relations = read_disrpt(DATA / "gdtb")
    counts = {sense: sum(relation.senses == (sense,) for relation in relations) for sense in SENSES}
    assert counts == {"Expansion": 2458, "Contingency": 1291, "Temporal": 825, "Comparison": 205}
    assert counts["Expansion"] / len(relations) == pytest.approx(0.514, abs=5e-4)
    assert len({relation.id for relation in relations}) == len(relations) == 4779


def test_pdtb_relations_are_cut_out_of_the_raw_text(tmp_path):
    text = "Ann was — as\never — late. She had missed the bus. Bea was not."

    def line(kind, sense, first, second, other=""):
        fields = [""] * 34
        fields[0], fields[8], fields[11], fields[14], fields[20] = kind, sense, other, first, second
        return "|".join(fields)

    start, second = text.index("She"), text.index("Bea")
    for part in ("gold", "raw"):
        (tmp_path / part / "23").mkdir(parents=True)
    rows = [
        line(
            "Implicit", "Contingency.Cause.Reason", f"0..7;{text.index('late')}..{text.index('.')}",
            f"{start}..{second - 1}", "Temporal.Asynchronous.Succession",
        ),
        line("Explicit", "Comparison.Contrast", "0..7", "0..7"),
        line("EntRel", "", "0..7", "0..7"),
    ]  # fmt: skip
    (tmp_path / "gold" / "23" / "wsj_2300").write_text("\n".join(rows), encoding="utf-8")
    (tmp_path / "raw" / "23" / "wsj_2300").write_text(text, encoding="utf-8")
    (relation,) = read_pdtb(tmp_path)
    assert (relation.first, relation.second) == ("Ann was ... late", "She had missed the bus.")
    assert relation.senses == ("Contingency", "Temporal")
    with pytest.raises(DataError, match=r"Penn Discourse Treebank.*LDC user agreement"):
        read_pdtb(tmp_path, sections=("00",))
    (tmp_path / "raw" / "23" / "wsj_2300").write_bytes(text.replace("—", "\xe9").encode("latin-1"))
    assert read_pdtb(tmp_path)[0].second == "She had missed the bus."
    (tmp_path / "gold" / "23" / "wsj_2300").write_text("Implicit|1", encoding="utf-8")
    with pytest.raises(DataError, match="line 1: not a relation of PDTB-3"):
        read_pdtb(tmp_path)


def test_a_file_that_is_no_rels_file_is_told(tmp_path):
    (tmp_path / "x.rels").write_text("a\tb\n1\t2\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"x\.rels has the columns \['a', 'b'\]"):
        read_disrpt(tmp_path)
    head = "doc\tunit1_txt\tunit2_txt\trel_type\tlabel\n"
    (tmp_path / "x.rels").write_text(
        f"{head}d\t____\t____\timplicit\tx\nd\tone <*> two\tthree\timplicit\tfoo\n", encoding="utf-8"
    )
    with pytest.raises(DataError, match=r"x\.rels, line 3: 'foo' begins with none"):
        read_disrpt(tmp_path)


def test_the_first_shown_of_equals_is_chosen():
    choices = arrange(["x", "y", "z"], 5, "task")
    assert chosen([Likelihood(0.0, False, 1)] * 3, choices) == choices.order[0]
    best = int(np.argmax([choices.order.index(n) for n in range(3)]))
    assert chosen([Likelihood(float(n == best), False, 1) for n in range(3)], choices) == best


@pytest.mark.skipif(not (DATA / "winograd").is_dir(), reason="the Winograd schemas are not here")
def test_options_take_the_place_of_pronouns_as_in_the_harness():
    found = importlib.util.find_spec("lm_eval")
    if found is None or found.origin is None:
        pytest.skip("lm-evaluation-harness is not installed")
    spec = importlib.util.spec_from_file_location("wsc273", Path(found.origin).parent / "tasks" / "wsc273" / "utils.py")
    harness = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(harness)

    class Rows(list):
        def map(self, change):
            return Rows(map(change, self))

    schemas = read_winograd(DATA / "winograd")
    rows = harness.process_doc(
        Rows(
            {"text": s.before + s.pronoun + s.after, "pronoun": s.pronoun, "pronoun_loc": len(s.before)}
            | {"options": list(s.options)}
            for s in schemas
        )
    )
    assert [[s.substitute(0), s.substitute(1)] for s in schemas] == [row["options"] for row in rows]
