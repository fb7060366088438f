"""The datasheet, its Croissant metadata and the difference of two versions: numbers recounted, and nothing injected."""

import hashlib
import json
import os
import re
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from glasshouse.cli.describe import datasheet as command
from glasshouse.data.curation.curate import Curation, curate
from glasshouse.data.curation.rules import Rule, RuleSet
from glasshouse.data.description.croissant import croissant_problems
from glasshouse.data.description.datasheet import datasheet, write_datasheet
from glasshouse.data.description.datasheet_answers import (
    QUESTIONS,
    AnswersError,
    answers_from,
    answers_template,
    load_answers,
)
from glasshouse.data.description.datasheet_facts import FileFact, merkle_root
from glasshouse.data.description.datasheet_text import Section, Table, markdown, plain
from glasshouse.data.description.difference import difference, difference_markdown
from glasshouse.data.document import Document, Origin, batches
from glasshouse.data.signals.families import family
from glasshouse.data.tokens.shards import write_shards

EVIL = "<script>alert('x')</script> | [a](javascript:b) `c`\n# d"
STATED = {
    "name": "Winter", "version": "1.0.0", "description": "Prose.", "license": "https://spdx.org/licenses/CC-BY-4.0.html",
    "url": "https://example.org/winter", "creators": ["A", "B"], "date_published": "2026-01-01",
    "motivation": {"purpose": "To be read."}, "maintenance": {"contact": "winter@example.org"},
}  # fmt: skip


def prose(name, words=120):
    return "It was to be the end of the story. " + "".join(f" s{name}x{word}" for word in range(words))


def corpus(changed=()):
    found = []
    for i in range(40):
        text = prose(i, 20 if i % 8 == 5 else 120) + (" And more of it." if i in changed else "")
        text += " Write to jane@example.com." if i == 3 else ""
        licence = {"license": "CC-BY-4.0"} if i % 2 else {"licence": EVIL} if i == 2 else {}
        source = EVIL if i == 6 else ("web", "books")[i % 2]
        row = Document(
            f"d{i}", text, source, Origin("f", i, i + 1), created=f"20{i:02d}-01-01", metadata=json.dumps(licence)
        )
        found.append(row)
    found.append(Document("copy", prose(0), "web", Origin("f", 0, 1)))
    return found


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    place = tmp_path_factory.mktemp("corpus")
    curate(batches(corpus(), 2000), place, shard_bytes=20_000)
    return place


def table_after(text, title):
    """The cells of the Markdown table under a heading."""
    part = text.split(f"### {title}\n", 1)[1].split("\n#", 1)[0]
    lines = [line for line in part.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines[:1] + lines[2:]]


def test_numbers_are_those_of_the_corpus(home):
    text = datasheet(home).markdown
    kept = [row for file in sorted(home.glob("documents-*")) for row in pq.read_table(file).to_pylist()]
    head, *rows = table_after(text, "Documents by source")
    assert head[:3] == ["source", "documents in", "documents kept"]
    counts = {row[0]: (int(row[1]), int(row[2])) for row in rows}
    for source in ("web", "books"):
        came = sum(document.source == source for document in corpus())
        assert counts[source] == (came, sum(row["source"] == source for row in kept))
    assert counts["all"] == (41, len(kept))
    rules = {row[0]: row for row in table_after(text, "Rules")[1:]}
    short = rules[plain("word_count < 50")]
    assert (short[3], short[4]) == ("5", "12.20 %")
    assert rules[plain("word_count > 100000")][7] == "never fires"
    assert [row[0] for row in table_after(text, "What each stage removed")[1:]] == ["rules", "exact", "kept"]
    assert table_after(text, "Personal information masked")[1:] == [["EMAIL\\_ADDRESS", "1"]]
    licences = table_after(text, "Licences named by the documents")
    assert ["books", "CC-BY-4.0", str(sum(row["source"] == "books" for row in kept))] in licences
    assert table_after(text, "Dates in the kept documents")[1][:3] == ["created", "2000-01-01", "2039-01-01"]


def test_what_nobody_stated_is_marked_and_nothing_is_invented(home):
    text = datasheet(home).markdown
    questions = [question for part in QUESTIONS.values() for question in part.values()]
    assert text.count("*not stated*") == len(questions)
    stated = datasheet(home, answers_from(STATED))
    assert stated.markdown.count("*not stated*") == len(questions) - 2
    assert "**For what purpose was the corpus created?** To be read." in stated.markdown
    assert "Not checked: no report of contamination was given." in text
    assert "license" not in datasheet(home).metadata


class Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.attributes = set(), set()

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}


def test_documents_and_answers_cannot_write_into_the_pages(home):
    answers = answers_from({"name": EVIL + "{{body}}", "legal": {"review": EVIL}, "description": EVIL})
    sheet = datasheet(home, answers, contamination=[{"benchmark": EVIL, "hits": 1}])
    page = Tags()
    page.feed(sheet.html)
    assert "script" not in page.tags
    assert "a" in page.tags
    assert page.attributes <= {"lang", "charset", "name", "content", "http-equiv", "id", "href", "class", "style"}
    assert "{{body}}" in sheet.html
    text = sheet.markdown
    assert "<script" not in text
    assert not re.search(r"^# d", text, re.M)
    assert not re.search(r"(?<!\\)\[a", text)
    for title in ("Documents by source", "Licences named by the documents", "Evaluation data in the corpus"):
        assert len({len(row) for row in table_after(text, title)}) == 1


def test_markdown_escapes_are_complete():
    cells = ["a|b", "<b>", "a\r\n\n# x", "![i](u)", "http://e", "\\|", "*_`~"]
    text = markdown("t", [Section("s", [Table("T", ["c"], [[cell] for cell in cells])])])
    assert len(table_after(text, "T")) == len(cells) + 1
    assert plain("a_b|c<d&lt;") == "a\\_b\\|c&lt;d&amp;lt;"


def test_the_same_corpus_gives_the_same_bytes(home, tmp_path):
    for name in ("a", "b"):
        write_datasheet(datasheet(home), tmp_path / name)
    names = ["croissant.json", "datasheet.html", "datasheet.md"]
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == names
    assert all((tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes() for name in names)


def test_tokens_are_counted_by_source(home, tmp_path):
    from glasshouse.data.tokens.tokenizer import train_bpe

    documents = [batch for file in sorted(home.glob("documents-*")) for batch in pq.ParquetFile(file).iter_batches()]
    texts = [text for batch in documents for text in batch.column("text").to_pylist()]
    tokenizer = train_bpe(texts, 300)
    write_shards(documents, tokenizer, tmp_path / "shards", holdout=0.3)
    sheet = datasheet(home, shards=[tmp_path / "shards"])
    head, *rows = table_after(sheet.markdown, "Documents by source")
    counted = {row[0]: int(row[-1].replace(",", "")) for row in rows}
    expected = 0
    for batch in documents:
        for source, text in zip(batch.column("source").to_pylist(), batch.column("text").to_pylist(), strict=True):
            expected += (len(tokenizer.encode(text).ids) + 1) * (source == "web")
    assert head[-1] == "tokens"
    assert counted["web"] == expected > 0
    assert counted["all"] == sum(count for name, count in counted.items() if name != "all")


def test_answers_are_checked(tmp_path):
    (tmp_path / "a.yaml").write_text("name: Winter\nuses:\n  intended: |\n    Reading.\n")
    assert load_answers(tmp_path / "a.yaml").to("uses", "intended") == "Reading."
    (tmp_path / "a.json").write_text('{"creators": ["A"]}')
    assert load_answers(tmp_path / "a.json").creators == ("A",)
    (tmp_path / "empty.yaml").write_text(answers_template())
    assert load_answers(tmp_path / "empty.yaml") == answers_from({})
    for content, message in (
        ("licence: x", "did you mean license"), ("uses:\n  intendd: x", "did you mean intended"), ("- a", "got a list"),
        ("name: [1, 2]", "must be text"), ("uses: x", "must hold names"), ("a: [", "is not readable: line 1"),
        ("!!python/object/apply:os.system ['true']", "is not readable"),
    ):  # fmt: skip
        (tmp_path / "bad.yaml").write_text(content)
        with pytest.raises(AnswersError, match=message):
            load_answers(tmp_path / "bad.yaml")


def test_croissant_is_whole_once_a_person_has_spoken(home):
    sheet = datasheet(home, answers_from(STATED))
    assert croissant_problems(sheet.metadata) == []
    assert json.loads(json.dumps(sheet.metadata)) == sheet.metadata
    files = {one["@id"]: one for one in sheet.metadata["distribution"] if one["@type"] == "cr:FileObject"}
    for path in home.glob("documents-*.parquet"):
        assert files[path.name]["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
        assert files[path.name]["contentSize"] == f"{path.stat().st_size} B"
    assert len(files) == len(list(home.glob("documents-*.parquet"))) > 1
    documents, signals = sheet.metadata["recordSet"]
    assert [field["source"]["extract"]["column"] for field in documents["field"]] == pq.read_schema(
        home / "documents-00000.parquet"
    ).names
    assert [sub["name"] for sub in documents["field"][-1]["subField"]] == [
        f"documents/origin/{n}" for n in ("file", "start", "end")
    ]
    assert [field["source"]["extract"]["column"] for field in signals["field"]] == pq.read_schema(
        home / "signals-00000.parquet"
    ).names


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (lambda m: m.pop("license"), "'license' is missing"),
        (lambda m: m["distribution"][0].pop("sha256"), "has no 'sha256'"),
        (lambda m: m["distribution"][0].update(sha256="abc"), "is not one"),
        (lambda m: m["distribution"].pop(-1), "refers to 'signals-files'"),
        (lambda m: m["recordSet"][0]["field"][0].pop("dataType"), "has no 'dataType'"),
        (lambda m: m["recordSet"][0]["field"][0].pop("source"), "has no 'source'"),
        (lambda m: m["recordSet"][0]["field"][6]["subField"][0].update({"@id": "documents/id"}), "comes twice"),
        (lambda m: m.update(conformsTo="1.0"), "conformsTo must be"),
        (lambda m: m.update(recordSet=[]), "there is no recordSet"),
        (lambda m: m["@context"].pop("cr"), "must bind cr:"),
    ],
)
def test_the_check_of_croissant_finds_what_is_wrong(home, damage, problem):
    metadata = json.loads(json.dumps(datasheet(home, answers_from(STATED)).metadata))
    damage(metadata)
    assert any(problem in said for said in croissant_problems(metadata)), croissant_problems(metadata)


def test_the_merkle_root_commits_to_names_order_and_content():
    def reference(leaves):
        if len(leaves) == 1:
            return leaves[0]
        split = 1 << (len(leaves) - 1).bit_length() - 1
        return hashlib.sha256(b"\1" + reference(leaves[:split]) + reference(leaves[split:])).digest()

    files = [FileFact(f"documents-{i:05d}.parquet", 1, 1, hashlib.sha256(bytes([i])).hexdigest()) for i in range(11)]
    for count in range(1, 12):
        leaves = [
            hashlib.sha256(b"\0" + f.name.encode() + b"\0" + bytes.fromhex(f.sha256)).digest() for f in files[:count]
        ]
        assert merkle_root(files[:count]) == reference(leaves).hex()
    roots = {
        merkle_root(files),
        merkle_root(files[:-1]),
        merkle_root(files[::-1]),
        merkle_root([files[0]._replace(name="x"), *files[1:]]),
    }
    assert len(roots) == 4


def test_the_difference_of_two_versions(home, tmp_path):
    rules = RuleSet(name="stricter", rules=(Rule(signal="random", operator=">", threshold=0.7),))
    documents = [document for document in corpus(changed=(1, 9)) if document.id not in ("d0", "d7")]
    documents.append(Document("new", prose("new"), "web", Origin("f", 0, 1)))
    curate(batches(documents), tmp_path, Curation(keep=rules))
    found = difference(home, tmp_path)

    def kept(place):
        rows = [row for file in sorted(place.glob("documents-*")) for row in pq.read_table(file).to_pylist()]
        return {(row["source"], row["id"]): row["text"] for row in rows}

    old, new = kept(home), kept(tmp_path)
    assert found.added == len(new.keys() - old.keys()) > 0
    assert found.removed == len(old.keys() - new.keys()) > 2
    assert found.changed == sum(old[key] != new[key] for key in old.keys() & new.keys()) > 0
    assert found.same == sum(old[key] == new[key] for key in old.keys() & new.keys()) > 0
    assert sum(found.fates["removed"].values()) == found.removed
    assert found.fates["removed"]["not among its documents"] == 2
    assert found.fates["added"]["rules"] >= 1
    assert {(one.source, one.id) for one in found.examples["changed"]} <= {("books", "d1"), ("books", "d9")}
    why = {one.id: one.why for one in found.examples["removed"]}
    assert why["d7"] == "not among its documents"
    assert "rules" in why.values()
    settings = {change.name: (change.old, change.new) for change in found.configuration}
    assert settings["keep.rules[random >]"] == (None, 0.7)
    assert any(change.name == "word_count < 50" and change.new is None for change in found.rules)
    same = difference(home, home)
    assert (same.added, same.removed, same.changed, same.same) == (0, 0, 0, len(old))
    assert same.configuration == same.rules == same.stages == []
    text = difference_markdown(found)
    assert text.startswith("# What changed from ")
    assert "<script" not in text


def test_the_commands(home, tmp_path):
    (tmp_path / "answers.yaml").write_text("description: Prose.\n")
    arguments = [str(home), "--out", str(tmp_path / "sheet"), "--answers", str(tmp_path / "answers.yaml")]
    said = CliRunner().invoke(command, arguments)
    assert said.exit_code == 0, said.output
    assert "Merkle root of" in said.output
    assert "'license' is missing" in said.output
    machine = json.loads(CliRunner().invoke(command, [*arguments, "--json"]).output)
    assert machine["merkle_root"] == datasheet(home).merkle_root
    differ = CliRunner().invoke(command, ["--diff", str(home), str(home), "--out", str(tmp_path / "diff")])
    assert differ.exit_code == 0, differ.output
    assert json.loads((tmp_path / "diff" / "difference.json").read_text())["added"] == 0
    assert CliRunner().invoke(command, ["--questions"]).output == answers_template()
    assert CliRunner().invoke(command, []).exit_code == 2
    assert CliRunner().invoke(command, [str(home)]).exit_code == 2


def test_dates_that_are_none_are_counted_apart(tmp_path):
    dates = ["2020", "1999-05-06T10:00:00Z", "May 2021", "1600000000", "2020-13", ""]
    rows = [Document(f"d{n}", prose(n), "web", Origin("f", n, n + 1), created=date) for n, date in enumerate(dates)]
    curate(batches(rows), tmp_path / "corpus", Curation(keep=None, deduplicate=()))
    text = datasheet(tmp_path / "corpus").markdown
    assert table_after(text, "Dates in the kept documents")[1] == ["created", "1999-05-06T10:00:00Z", "2020", "2"]
    assert "left out: 3 of created" in text


def test_a_report_of_contamination_is_shown_whatever_its_shape(home):
    title = "Evaluation data in the corpus"
    report = {"cut": 0, "sets": [{"contaminated": 3, "examples": [1], "name": "quiz"}]}
    assert table_after(datasheet(home, contamination=report).markdown, title) == [
        ["name", "contaminated"],
        ["quiz", "3"],
    ]
    for odd in (5, [1, 2], []):
        assert "there is nothing in it to show" in datasheet(home, contamination=odd).markdown


@pytest.mark.slow
def test_mlcroissant_validates_the_metadata_and_reads_the_records(tmp_path):
    """MLCommons' own reader, in an environment of its own with `mlcroissant` and `pyarrow`."""
    python = Path(os.environ.get("GLASSHOUSE_PEERS", "/nowhere")) / "croissant-env" / "bin" / "python"
    if not python.exists():
        pytest.skip("no environment with mlcroissant: set GLASSHOUSE_PEERS to a directory with croissant-env")
    families = (family("core"), family("random"), family("c4_lines"))
    curate(batches(corpus(), 2000), tmp_path, Curation(families=families), shard_bytes=20_000)
    write_datasheet(datasheet(tmp_path, answers_from(STATED | {"citation": "none"})), tmp_path)
    code = (
        "import json, mlcroissant, sys; found = mlcroissant.Dataset(jsonld=sys.argv[1]); "
        "issues = found.metadata.ctx.issues; rows = {name: list(found.records(record_set=name)) for name in "
        "('documents', 'signals')}; print(json.dumps([sorted(issues.errors), sorted(issues.warnings), "
        "[row['documents/text'].decode() for row in rows['documents']], [[row['signals/word_count'], "
        "len(row['signals/c4_lines_with_no_ending_punctuation'])] for row in rows['signals']]]))"
    )
    done = subprocess.run([python, "-W", "ignore", "-c", code, tmp_path / "croissant.json"],
                          capture_output=True, text=True, check=True)  # fmt: skip
    assert "not standard" not in done.stderr
    errors, warnings, texts, signals = json.loads(done.stdout.splitlines()[-1])
    assert (errors, warnings) == ([], [])
    kept = [text for file in sorted(tmp_path.glob("documents-*")) for text in pq.read_table(file)["text"].to_pylist()]
    assert texts == kept
    measured = [pq.read_table(file) for file in sorted(tmp_path.glob("signals-*"))]
    spans = "c4_lines_with_no_ending_punctuation"
    assert signals == [
        [words, len(found)]
        for table in measured
        for words, found in zip(table["word_count"].to_pylist(), table[spans].to_pylist(), strict=True)
    ]
