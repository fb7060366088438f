"""The commands that make a corpus, as a person types them."""

import json
import random

import click
import pytest
from click.testing import CliRunner

from glasshouse.cli import cli
from glasshouse.cli.parts import families_of, methods_of
from glasshouse.data.corpus import CorpusDirectory
from glasshouse.data.deduplication.bloom import Bloom
from glasshouse.data.deduplication.methods import exact, minhash, ngrams, paragraphs, url
from glasshouse.data.signals.families import family

WORDS = "the of and that river window market garden letter engine village summer winter doctor".split()  # noqa: SIM905


def prose(seed):
    draw = random.Random(seed)
    return " ".join(draw.choice(WORDS) + str(draw.randrange(50)) * draw.randrange(2) for _ in range(90)) + " to be."


@pytest.fixture
def raw(tmp_path):
    rows = [{"id": f"d{i}", "text": prose(i), "source": "web"} for i in range(12)]
    rows[3]["text"] = rows[1]["text"]
    rows[7]["text"] = "too short"
    (tmp_path / "raw.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n{broken\n")
    return tmp_path / "raw.jsonl"


def invoke(*arguments):
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


def test_signals_then_curate_with_them(raw, tmp_path):
    done = invoke("signals", raw, "--out", tmp_path / "s", "--workers", 1)
    assert done.exit_code == 0, done.output
    assert "12 documents" in done.output
    assert "1 records in quarantine" in done.output
    done = invoke("curate", raw, "--out", tmp_path / "c", "--signals", tmp_path / "s", "--json")
    summary = json.loads(done.stdout)
    assert summary["kept"]["documents"] == 10
    assert {name: tally["documents"] for name, tally in summary["stages"].items()} == {"exact": 1, "rules": 1}
    assert summary["quarantine_reasons"] == {"invalid_json": 1}


def test_rules_from_a_file_and_from_the_line(raw, tmp_path):
    (tmp_path / "mine.rules").write_text("# short ones\nword_count < 5\n\n")
    done = invoke("curate", raw, "--out", tmp_path / "c", "--rules", tmp_path / "mine.rules", "--dedupe", "none",
                  "--remove", "word_count > 100000", "--json")  # fmt: skip
    assert json.loads(done.stdout)["rules"].keys() == {"word_count < 5"}


def test_dedupe_does_nothing_else(raw, tmp_path):
    done = invoke("dedupe", raw, "--out", tmp_path / "c", "--by", "exact", "--json")
    assert {name: tally["documents"] for name, tally in json.loads(done.stdout)["stages"].items()} == {"exact": 1}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("curate", "RAW", "--remove", "word_cuont < 5"), "word_count"),
        (("curate", "RAW", "--remove", "word_count less 5"), "is not a rule"),
        (("curate", "RAW", "--rules", "dolmo"), "no rules are called 'dolmo'"),
        (("curate", "RAW", "--dedupe", "exakt"), "exact"),
        (("curate", "RAW", "--families", "cor"), "did you mean core"),
        (("curate", "RAW", "--cut", "word_count"), "not a measured column of spans"),
        (("curate", "nowhere/*.jsonl",), "matches no file"),
        (("signals", "RAW", "--families", "core,core"), "both make a column"),
    ],
)  # fmt: skip
def test_mistakes_are_told_before_anything_is_written(raw, tmp_path, arguments, told):
    given = [raw if argument == "RAW" else argument for argument in arguments]
    done = invoke(*given, "--out", tmp_path / "c")
    assert done.exit_code != 0
    assert told in f"{done.output} {done.exception}"
    assert not (tmp_path / "c" / "summary.json").exists()


def test_families_are_listed_with_their_columns():
    done = invoke("signals", "--list")
    assert done.exit_code == 0, done.output
    assert "core" in done.output
    assert "fraction_of_words_with_alpha_character" in done.output


def test_nothing_in_a_document_reaches_the_terminal_as_a_command(tmp_path):
    text = f"{prose(3)} needle \x1b]0;owned\x07 and \x1b[31mred"
    rows = [{"id": "an\x1b[2J id", "text": text, "source": "so\nurce"}]
    (tmp_path / "raw.jsonl").write_text("\n".join(map(json.dumps, rows)))
    invoke("curate", tmp_path / "raw.jsonl", "--rules", "none", "--out", tmp_path / "c")
    done = invoke("search", tmp_path / "c", "needle")
    assert done.exit_code == 0, done.output
    assert "needle" in done.output
    assert "\x1b" not in done.output
    assert "so\nurce" not in done.output


def test_no_control_character_of_a_document_is_in_json_or_in_a_difference(tmp_path):
    """JSON lets U+007F to U+009F pass, among them the one that begins a terminal's command."""
    rows = [{"id": "an\x9b2J id", "text": f"{prose(3)} needle \x9b31m\x7f", "source": "so\nurce"}]
    (tmp_path / "raw.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "other.jsonl").write_text(json.dumps({"id": "b", "text": prose(5)}))
    invoke("curate", tmp_path / "raw.jsonl", "--rules", "none", "--out", tmp_path / "c")
    invoke("curate", tmp_path / "other.jsonl", "--rules", "none", "--out", tmp_path / "d")
    found = invoke("search", tmp_path / "c", "needle", "--json")
    assert json.loads(found.stdout)["occurrences"][0]["document"] == rows[0]["id"]
    difference = invoke("datasheet", "--diff", tmp_path / "c", tmp_path / "d")
    assert difference.exit_code == 0, difference.output
    explained = invoke("explain", tmp_path / "c", rows[0]["id"], "--json")
    assert json.loads(explained.stdout)["id"] == rows[0]["id"]
    values = invoke("datasheet", "--diff", tmp_path / "c", tmp_path / "d", "--json")
    assert json.loads(values.stdout)["examples"]["removed"][0]["id"] == rows[0]["id"]
    for said in (found.output, difference.output, explained.output, values.output):
        assert not [letter for letter in said if letter in "\x7f\x9b\x1b"]


def test_a_contamination_report_that_is_none_is_refused(raw, tmp_path):
    invoke("curate", raw, "--rules", "none", "--out", tmp_path / "c")
    (tmp_path / "report.json").write_bytes(b"\xff\xfe no report")
    done = invoke("datasheet", tmp_path / "c", "--contamination", tmp_path / "report.json", "--out", tmp_path / "sheet")
    assert done.exit_code == 2
    assert "is not a JSON report" in done.output


@pytest.mark.parametrize(
    ("written", "made"),
    [
        ("exact,minhash:bands=20,rows=5", (exact(), minhash(bands=20, rows=5))),
        ("minhash:bands=20:rows=5,exact", (minhash(bands=20, rows=5), exact())),
        ("ngrams:ngram_length=6,overlap_threshold=0.5", (ngrams(6, overlap_threshold=0.5),)),
        ("url:selector=$.metadata['a, b:c'],normalise=true", (url("$.metadata['a, b:c']", normalise=True),)),
        ("paragraphs:minimum_length=30,separator=\n\n", (paragraphs(minimum_length=30).but(separator="\n\n"),)),
        ("paragraphs:filter.expected=5000,filter.false_positive_rate=1e-4",
         (paragraphs().but(filter=Bloom(expected=5000, false_positive_rate=1e-4)),)),
        ("none", ()),
    ],
)  # fmt: skip
def test_methods_are_written_with_their_settings(written, made):
    assert methods_of(written) == made


def test_families_are_written_with_their_settings():
    assert families_of("language:languages=en,core") == (family("language", languages=("en",)), family("core"))
    assert families_of("language:languages=en+fr:paragraphs=true") == (
        family("language", languages=("en", "fr"), paragraphs=True),
    )
    with pytest.raises(click.UsageError, match=r"memory:/x:1/y,z\.d holds no classifier"):
        families_of("toxicity:model=memory://x:1/y,z.d,threshold=0.4")


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("minhash:band=20", "no setting 'band'; did you mean bands?"),
        ("minhash:bands=many", "got 'many': input should be a valid integer"),
        ("minhash:bands=0", "greater than or equal to 1"),
        ("minhash:bands=2,bands=3", "bands is given twice"),
        ("minhash:name=x", "no setting 'name'"),
        ("minhash:", "write NAME or NAME:SETTING=VALUE"),
        ("minhash:bands", "write NAME or NAME:SETTING=VALUE"),
        ("bands=20", "write NAME or NAME:SETTING=VALUE"),
        ("exact:width=3", "it takes none"),
        (" ,", "an empty list of names"),
    ],
)
def test_a_setting_that_there_is_not_is_refused_before_anything_is_read(raw, tmp_path, written, told):
    done = invoke("dedupe", raw, "--by", written, "--out", tmp_path / "c")
    assert done.exit_code == 2
    assert told in done.output
    assert not (tmp_path / "c").exists()


def test_settings_of_a_method_reach_it(tmp_path):
    """Paragraphs of fewer characters than `minimum_length` stay."""
    rows = [{"id": str(i), "text": f"{prose(i)}\nshort line\n{prose(99)}"} for i in range(2)]
    (tmp_path / "raw.jsonl").write_text("\n".join(map(json.dumps, rows)))
    for name, settings, spans in (("a", "", 2), ("b", ":minimum_length=20", 1)):
        done = invoke(
            "dedupe", tmp_path / "raw.jsonl", "--by", f"paragraphs{settings}", "--out", tmp_path / name, "--json"
        )
        assert json.loads(done.stdout)["cut_spans"] == {"paragraphs": spans}


RULES = {
    "mine.yaml": """
default: none
web:
  rules: dolma_web          # as published, but for the length
  without: ["word_count < 50"]
  remove: ["word_count < 2"]
forum: ["word_count < 200"]
""",
    "mine.toml": """
default = "none"
forum = ["word_count < 200"]
[web]
rules = "dolma_web"
without = ["word_count < 50"]
remove = ["word_count < 2"]
""",
}


@pytest.mark.parametrize("name", RULES)
def test_rules_per_source_from_a_file(tmp_path, name):
    rows = [{"id": f"{source}{i}", "text": text, "source": source} for source in ("web", "chat")
            for i, text in enumerate((prose(1), prose(2)[:200], "one"))]  # fmt: skip
    (tmp_path / "raw.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / name).write_text(RULES[name])
    done = invoke("curate", tmp_path / "raw.jsonl", "--rules", tmp_path / name, "--dedupe", "none", "--out",
                  tmp_path / "c")  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "sources that no document is of: forum" in done.output
    removed = {(row["id"], row["rule"]) for row in CorpusDirectory(tmp_path / "c").removed().to_pylist()}
    assert ("web2", "word_count < 2") in removed
    assert {identifier for identifier, _ in removed} == {"web2"}


@pytest.mark.parametrize(
    ("name", "written", "told"),
    [
        ("r.yaml", "default: none\nforum: dolma_wbe\n", "r.yaml line 2, forum: no rules for one source are called"),
        ("r.yaml", "default: none\nforum:\n  rule: none\n", "line 3, forum.rule: there is no such key: did you mean"),
        ("r.yaml", "default: none\nforum:\n- a < 5\n- b < five\n", "line 4, forum.1: 'b < five' is not a rule"),
        ("r.yaml", "default: none\na: none\na: none\n", "line 3: 'a' is there twice"),
        ("r.yaml", "default: {rules: dolma_web, without: [word_count < 5]}", "did you mean word_count < 50?"),
        ("r.yaml", "forum: none\n", "has no 'default'"),
        ("r.yaml", "", "write 'default:'"),
        ("r.yaml", "a: &x [*x]\ndefault: none", "line 1: nested too deep"),
        ("r.yaml", "default: [", "is not YAML"),
        ("r.yaml", "default: none\nforum: ['word_cuont < 5']", "'word_cuont < 5' of 'r: forum' names an"),
        ("r.toml", "default = 3", "r.toml, default: write a list of rules"),
        ("r.toml", "default = ", "is not TOML"),
        ("r.toml", f"default = {'[' * 5000}", "is not TOML"),
    ],
)  # fmt: skip
def test_a_mistake_in_a_file_of_rules_is_told_with_its_place(raw, tmp_path, name, written, told):
    (tmp_path / name).write_text(written)
    done = invoke("curate", raw, "--rules", tmp_path / name, "--out", tmp_path / "c")
    assert done.exit_code != 0
    assert told in f"{done.output} {done.exception}"
    assert not (tmp_path / "c").exists()
