"""The command line on a finished store: what every command says, and that no mistake ends in a traceback."""

import json
import os
import re
import resource
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

sys.path.insert(0, str(Path(__file__).parent / "recipes"))
from mini_recipe import mini, write_corpus
from mini_store import Mini, environment

from glasshouse.cli import cli, main, recipe_command
from glasshouse.store.store import Store

SCRIPT = [sys.executable, "-c", "from glasshouse.cli import main; main()"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    home = tmp_path_factory.mktemp("cli")
    one = Mini(write_corpus(home / "corpus.jsonl"), Store(home / "store"))
    one.run(seed=1)
    one.store.pin("mini", "first")
    one.run()
    return one


@pytest.fixture
def copy(made, tmp_path):
    return made.copied(tmp_path)


def call(made, *arguments, status=0, **options):
    result = CliRunner().invoke(cli, [*arguments, "--store", made.location], **options)
    assert result.exit_code == status, (result.output, result.exception)
    return result.output


def fails(capsys, monkeypatch, made, *arguments):
    """The one line that the entry point prints on standard error."""
    command = ["glasshouse", *map(os.fsdecode, arguments), *(["--store", made.location] if made else [])]
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(SystemExit) as end:  # any other exception would be a traceback
        main()
    assert end.value.code not in (0, None)
    told = capsys.readouterr().err
    lines = [line for line in told.splitlines() if re.match("error:", line, re.IGNORECASE)]
    assert len(lines) == 1, told
    assert lines[0] == told.splitlines()[-1]
    return lines[0]


def test_help_is_quick_and_imports_nothing_heavy():
    best = 9.0
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([*SCRIPT, "--help"], check=True, capture_output=True, env=environment())
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        best = min(best, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert best < 0.3
    code = "import sys\nfrom glasshouse.cli import cli\ncli(['--help'], standalone_mode=False)\n"
    code += "heavy = {'torch', 'pyarrow', 'numba', 'transformers', 'numpy', 'pydantic'} & set(sys.modules)\n"
    code += "assert not heavy, heavy"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def every_command(group, path=()):
    for name in group.list_commands(click.Context(group)):
        command = group.get_command(click.Context(group), name)
        yield (*path, name), command
        if isinstance(command, click.Group):
            yield from every_command(command, (*path, name))


@pytest.mark.parametrize(("path", "command"), [pytest.param(p, c, id=" ".join(p)) for p, c in every_command(cli)])
def test_every_command_has_real_help(path, command):
    text = CliRunner().invoke(cli, [*path, "--help"]).output
    assert len((command.help or "").split()) >= 5
    undescribed = [
        o.name
        for o in command.params
        if isinstance(o, click.Option) and not o.hidden and not o.help and o.name != "help"
    ]
    assert undescribed == []
    assert "Usage" in text
    assert "Traceback" not in text


def test_a_recipe_parameter_without_default_is_required():
    result = CliRunner().invoke(recipe_command(mini), [])
    assert result.exit_code == 2
    assert "--corpus" in result.output
    assert "_empty" not in CliRunner().invoke(recipe_command(mini), ["--help"]).output


def test_ls_names_every_artifact_with_run_and_pin(made):
    lines = call(made, "ls").splitlines()
    assert len(lines) == len(made.store.names()) == 8
    assert sum("run mini" in line for line in lines) == 1
    assert sum("pin first" in line for line in lines) == 1


def test_show_in_words_and_as_json(made):
    text = call(made, "show", "mini")
    assert "made by   evaluate" in text
    manifest = json.loads(call(made, "show", "mini", "--json"))
    assert manifest["type"] == "Evaluation"
    assert manifest["id"] in text
    assert json.loads(call(made, "show", manifest["id"][:8], "--json")) == manifest


def test_lineage_in_every_form(made, tmp_path):
    steps = ("read_text", "curate", "train_tokenizer", "tokenize", "pretrain", "evaluate")
    tree = call(made, "lineage", "mini")
    assert all(f"← {step}," in tree for step in steps)
    mermaid = call(made, "lineage", "mini", "--format", "mermaid")
    assert mermaid.startswith("flowchart LR")
    assert all(f"|{step}|" in mermaid for step in steps[1:])
    target = tmp_path / "prov.json"
    call(made, "lineage", "mini", "--format", "prov", "--output", str(target))
    document = json.loads(target.read_text())
    assert len(document["entity"]) == len(document["activity"]) == 6
    assert {activity["prov:label"] for activity in document["activity"].values()} == set(steps)


def test_diff_names_the_seed(made):
    text = call(made, "diff", "first", "mini")
    assert "configuration.training.seed: 1 → 0" in text
    assert "tokenize" not in text
    assert call(made, "diff", "mini", "mini").strip() == "they are the same artifact"


def test_verify_and_damage(copy):
    assert "8 checked, 0 damaged" in call(copy, "verify")
    name = next(name for name in copy.store.names() if name.startswith("shards-"))
    target = copy.store.root / "artifacts" / name / "train" / "tokens-00000.bin"
    target.chmod(0o644)
    content = bytearray(target.read_bytes())
    content[10] ^= 1
    target.write_bytes(content)
    text = call(copy, "verify", status=1)
    assert f"DAMAGED  {name}" in text
    assert "train/tokens-00000.bin has changed" in text
    assert "8 checked, 1 damaged" in text


@pytest.mark.parametrize("content", ["", "{", "{}", "[]"])
def test_verify_tells_a_damaged_manifest_and_goes_on(copy, content):
    target = copy.store.root / "artifacts" / copy.store.names()[0] / "manifest.json"
    target.chmod(0o644)
    target.write_text(content)
    text = call(copy, "verify", status=1)
    assert text.count("ok  ") >= 5
    assert "8 checked" in text


def test_claims_export_and_check(made, tmp_path):
    target = tmp_path / "claims.json"
    text = call(made, "claims", "--export", str(target), "--check")
    assert text.count("holds") == 2
    record = json.loads(target.read_text())["mini"]
    assert record["arguments"]["seed"] == 0
    assert [item["status"] for item in record["claims"]] == ["holds", "holds"]


def test_claims_check_fails_when_one_does_not_hold(copy):
    folder = copy.store.root / "artifacts" / copy.store.latest_run("mini")["artifact"]
    target = folder / "claims.json"
    target.chmod(0o644)
    target.write_text(target.read_text().replace('"holds"', '"does not hold"', 1))
    call(copy, "claims", "--check", status=1)


def test_gc_keeps_what_is_needed(copy):
    everything = copy.store.names()
    assert "0 folders" in call(copy, "gc")
    call(copy, "unpin", "first")
    text = call(copy, "gc")
    assert "2 folders" in text
    assert "--delete" in text
    assert copy.store.names() == everything
    call(copy, "gc", "--delete")
    assert len(copy.store.names()) == 6
    assert "6 checked, 0 damaged" in call(copy, "verify")
    assert copy.run()[1].ran == []
    assert copy.run(seed=1)[1].ran == ["pretrain", "evaluate"]
    call(copy, "gc", "--delete", "--keep-runs", "0")
    assert copy.store.names() == []


def test_pins_are_plain_names(copy):
    for name in ("a/b", "..", "", ".hidden"):
        result = CliRunner().invoke(cli, ["pin", "mini", name, "--store", copy.location])
        assert result.exit_code == 1
        assert "plain name" in str(result.exception)
    call(copy, "pin", "mini", "kept.v1")
    assert "kept.v1" in copy.store.pins()


def test_report_is_one_file_with_the_counts(made):
    page = Path(call(made, "report", "mini").strip()).read_text()
    assert "documents in" in page
    assert not re.search(r"<(script|link|img)[^>]+(src|href)=['\"]http", page)


def test_the_same_seed_writes_the_same_text(made):
    first = call(made, "generate", "mini", "The glass ", "--tokens", "12", "--seed", "5")
    assert first.startswith("The glass ")
    assert call(made, "generate", "mini", "The glass ", "--tokens", "12", "--seed", "5") == first
    others = {call(made, "generate", "mini", "The glass ", "--tokens", "12", "--seed", str(s)) for s in (6, 7)}
    assert others != {first}


def test_chat_with_a_script(made):
    script = "hello\n\n/new\n" + "and the glass house once more\n" * 6 + "/quit\n"
    text = call(made, "chat", "mini", "--tokens", "4", input=script)
    assert "context 32 tokens" in text
    assert call(made, "chat", "mini", "--tokens", "4", input="hello\n")
    assert call(made, "chat", "mini", "--tokens", "4", input=script) == text


def test_trace_step_and_document_agree(made):
    rows = [json.loads(line) for line in call(made, "trace", "step", "mini", "3", "--json").splitlines()]
    assert rows
    text = call(made, "trace", "step", "mini", "3")
    assert len(text.splitlines()) == len(rows) + 1
    corpus = made.corpus.read_bytes()
    for row in rows:
        start, end = row["bytes"]
        assert json.loads(corpus[start:end])["id"] == row["document"]
    seen = [json.loads(x) for x in call(made, "trace", "document", "mini", rows[0]["document"], "--json").splitlines()]
    assert rows[0] in seen
    assert rows[0]["document"] in call(made, "trace", "document", "mini", rows[0]["document"])


LONG = "x " * 100


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (["run", "nope"], "nope"),
        (["run", "quickstart", "--depth", "0"], "depth got 0"),
        (["run", "quickstart", "--tokens", "-5"], "tokens got -5"),
        (["run", "quickstart", "--depth", "banana"], "'banana' is not a valid integer"),
        (["run", "quickstart", "--bogus", "1"], "--bogus"),
        (["show", "nope"], "glasshouse ls"),
        (["generate", "nope", "a"], "glasshouse ls"),
        (["generate", "mini", LONG], "context is 32"),
        (["generate", "mini", "a", "--temperature", "-1"], "Sampling.temperature"),
        (["generate", "mini", b"\xff"], "UTF-8"),
        (["chat", "nope"], "glasshouse ls"),
        (["trace", "step", "mini", "99"], "updates 1 to"),
        (["trace", "step", "mini", "1", "--world", "0"], "--world"),
        (["trace", "document", "mini", "doc-9999"], "close ones"),
        (["unpin", "nope"], "no pin"),
        (["lineage", "mini", "--output", "/nope/x"], "/nope/x"),
    ],
    ids=lambda value: " ".join(map(str, value))[:40] if isinstance(value, list) else "",
)
def test_mistakes_end_in_one_clear_line(capsys, monkeypatch, made, arguments, wanted):
    assert wanted in fails(
        capsys, monkeypatch, None if arguments[0] == "run" and "nope" in arguments else made, *arguments
    )


def test_generate_prints_nothing_before_a_bad_prompt_is_refused(made):
    command = [*SCRIPT, "generate", "mini", LONG, "--store", made.location]
    done = subprocess.run(command, capture_output=True, env=environment(), text=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: prompt 0 has")
    assert done.stderr.count("\n") == 1
