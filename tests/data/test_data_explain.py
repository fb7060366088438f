"""Why a document is in a corpus or is not, for every way a document can go."""

import json

import pytest
from click.testing import CliRunner

from glasshouse.cli.describe import explain as command
from glasshouse.data.corpus import CorpusDirectory
from glasshouse.data.curation.configuration import RESERVED
from glasshouse.data.curation.curate import curate
from glasshouse.data.curation.rules import OPERATORS, dolma_rules
from glasshouse.data.description.explain import AmbiguousDocumentError, UnknownDocumentError, explain
from glasshouse.data.description.explain_text import explanation_text, printable
from glasshouse.data.quarantine import Quarantine
from glasshouse.data.sources.reading import read_documents

ESCAPE = "evil\x1b[2J"


def prose(name):
    return "It was to be the end of the story. " + "".join(f" s{name}x{word}" for word in range(120))


def rows():
    near = prose("a") + " So it ends."
    found = [
        ("a", "web", prose("a")),
        ("b", "web", near),
        ("c", "docs", near),
        ("short", "web", "too short"),
        ("mail", "web", prose("m") + " Write to jane@example.com or 206-555-0100."),
        ("many", "web", prose("n") + "".join(f" user{i}@example.com" for i in range(7))),
        ("twice", "web", prose("p")),
        ("twice", "docs", prose("q")),
        (ESCAPE, "web", prose("r")),
    ]
    return [{"id": i, "source": s, "text": t, "metadata": {}} for i, s, t in found]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    place = tmp_path_factory.mktemp("explain")
    lines = [json.dumps(row) for row in rows()]
    lines += ['{"id": "textless"}', json.dumps({"id": "a", "source": "web", "text": prose("again")})]
    (place / "in.jsonl").write_text("\n".join(lines))
    out = place / "corpus"
    out.mkdir()
    with Quarantine(out / "quarantine.jsonl") as quarantine:
        curate(read_documents(place / "in.jsonl", quarantine), out, quarantine=quarantine)
    return out


def test_a_kept_document(home):
    found = explain(home, "mail")
    assert found.verdict == "kept"
    assert found.place.startswith("documents-00000.parquet row ")
    raw = (home.parent / "in.jsonl").read_bytes()[found.origin["start"] : found.origin["end"]]
    assert json.loads(raw)["id"] == "mail"
    assert (found.masked_spans, found.masked) == (2, {"EMAIL_ADDRESS": 1, "PHONE_NUMBER": 1})
    assert found.removals == found.duplicates == found.quarantine == []
    assert "jane@example.com" not in json.dumps(found.as_json())


def test_every_signal_and_rule_is_there_with_its_source(home):
    found = explain(home, "short")
    schema = CorpusDirectory(home).signals().schema
    assert [signal.name for signal in found.signals] == [n for n in schema.names if n not in RESERVED]
    values = {signal.name: signal.value for signal in found.signals}
    words = next(signal for signal in found.signals if signal.name == "word_count")
    assert (words.value, words.unit) == (2, "words")
    assert "2112.11446" in words.citation
    rules = dolma_rules.of("web").rules
    assert [check.rule for check in found.rules] == [rule.name for rule in rules]
    for check, rule in zip(found.rules, rules, strict=True):
        assert check.fired == OPERATORS[rule.operator](values[rule.signal], rule.threshold)
    fired = {check.rule for check in found.rules if check.fired}
    assert fired == {removal.rule for removal in found.removals} >= {"word_count < 50"}
    assert (found.verdict, found.place) == ("rules", "")
    raw = (home.parent / "in.jsonl").read_bytes()[found.origin["start"] : found.origin["end"]]
    assert json.loads(raw)["id"] == "short"


def test_too_much_personal_information(home):
    found = explain(home, "many")
    assert (found.verdict, found.removals[0].value, found.removals[0].threshold) == ("pii", 7.0, 5.0)
    assert not any(check.fired for check in found.rules)


def test_a_chain_of_duplicates_is_followed_to_the_keeper(home):
    found = explain(home, "c")
    assert found.verdict == "exact"
    assert [(link.id, link.source, link.verdict) for link in found.duplicates] == [
        ("b", "web", "minhash"),
        ("a", "web", "kept"),
    ]
    assert found.duplicates[-1].place.startswith("documents-00000.parquet row ")
    assert found.duplicates[0].place == ""


def test_what_never_became_a_document(home):
    found = explain(home, "textless")
    assert (found.verdict, found.quarantine[0]["reason"], found.quarantine[0]["line"]) == (
        "quarantined",
        "missing_text",
        10,
    )
    kept = explain(home, "a")
    assert kept.verdict == "kept"
    assert [record["reason"] for record in kept.quarantine] == ["duplicate_id"]
    assert explain(home, "b").quarantine == []


def test_unknown_and_ambiguous_ids(home):
    with pytest.raises(UnknownDocumentError, match="'short'"):
        explain(home, "shrot")
    with pytest.raises(UnknownDocumentError, match="'many'"):
        explain(home, "MANY")
    with pytest.raises(UnknownDocumentError, match="source 'books' has no document 'mail', but web has"):
        explain(home, "mail", "books")
    with pytest.raises(AmbiguousDocumentError, match="docs, web"):
        explain(home, "twice")
    assert explain(home, "twice", "docs").source == "docs"


def test_a_document_cannot_move_the_cursor(home):
    text = explanation_text(explain(home, ESCAPE))
    assert "\x1b" not in text
    assert "evil\\x1b[2J" in text
    assert printable("é 漢\u202e\u0007") == "é 漢\\u202e\\x07"


def test_the_command(home):
    said = CliRunner().invoke(command, [str(home), "c"])
    assert said.exit_code == 0, said.output
    assert "removed by exact" in said.output
    assert "duplicate of a (web), kept in documents-00000.parquet" in said.output
    machine = json.loads(CliRunner().invoke(command, [str(home), "short", "--json"]).output)
    assert machine == json.loads(json.dumps(explain(home, "short").as_json()))
    assert "FIRED   word_count < 50" in CliRunner().invoke(command, [str(home), "short"]).output
