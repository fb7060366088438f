"""`verify --steps` and `retrain` on a finished store: one line when all is well, status 1 and the cause when not."""

import json
import re
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

sys.path += [str(Path(__file__).parent / "recipes"), str(Path(__file__).parent / "language")]
from forging import forge
from mini_store import Mini

from glasshouse.cli import cli, main
from glasshouse.language.model import LanguageModel


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return Mini.finished(tmp_path_factory.mktemp("reruns"))


@pytest.fixture
def copy(made, tmp_path):
    return made.copied(tmp_path)


def call(made, *arguments, status=0):
    result = CliRunner().invoke(cli, [*arguments, "--store", made.location])
    assert result.exit_code == status, (result.output, result.exception)
    return result.output


def error(capsys, monkeypatch, made, *arguments):
    monkeypatch.setattr(sys, "argv", ["glasshouse", *arguments, "--store", made.location])
    with pytest.raises(SystemExit) as end:
        main()
    told = capsys.readouterr().err
    assert "Traceback" not in told
    return end.value.code, told


def model_of(made):
    found = [made.store.open(name) for name in made.store.names()]
    return next(item for item in found if isinstance(item, LanguageModel))


def test_a_part_of_the_training_is_executed_again(made):
    (line,) = call(made, "verify", "mini", "--steps", "4").splitlines()
    assert re.search(r"languagemodel-\w+: updates 1 to 4 executed again from the seed in .* update 2, 4 met$", line)
    line = call(made, "verify", "mini", "--steps", "3", "--from", "0")
    assert "(3 updates were asked for, the next receipt is 4 away)" in line


def test_what_was_changed_is_named_with_exit_status_1(copy, capsys, monkeypatch):
    def change(directory):
        lines = [json.loads(line) for line in (directory / "receipts.jsonl").read_text().splitlines()]
        lines[1]["weights"] = "0" * 64
        (directory / "receipts.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))

    forged = forge(copy.store, model_of(copy), change)
    status, told = error(capsys, monkeypatch, copy, "verify", forged.path.name, "--steps", "8")
    assert status == 1
    assert re.search(
        r"error: the first receipt that differs is that of update 4 \(weights 000.*Causes to look at", told
    )


@pytest.mark.parametrize(
    ("arguments", "status", "wanted"),
    [
        (["verify", "mini", "--from", "2"], 2, "--from says where --steps begins"),
        (["verify", "--steps", "2"], 2, "of one model again, got 0"),
        (["verify", "mini", "--steps", "0"], 2, "--steps"),
        (["verify", "mini", "--steps", "2", "--from", "3"], 1, "keeps no checkpoint of update 3; it can start from 0 "),
        (["verify", "nothing", "--steps", "2"], 1, "no artifact, pin or run called 'nothing'"),
        (["retrain", "mini"], 2, "--without"),
        (["retrain", "mini", "--without", "doc-999"], 1, "no document 'doc-999' in the data of"),
    ],
)
def test_mistakes_are_told(made, capsys, monkeypatch, arguments, status, wanted):
    code, told = error(capsys, monkeypatch, made, *arguments)
    assert code == status
    assert wanted in told


def test_a_document_is_forgotten_certified_and_named(copy):
    rows = [json.loads(line) for line in call(copy, "trace", "step", "mini", "9", "--json").splitlines()]
    document, original = rows[0]["document"], model_of(copy)
    text = call(copy, "retrain", "mini", "--without", document, "--certify")
    assert re.search(r"first seen at update \d+ of 16; training again from the seed", text)
    assert "certified: a run that never had them meets every receipt" in text
    name = copy.store.latest_run("retrain")["artifact"]
    assert name in text
    manifest = copy.store.manifest(name)
    assert manifest["identity"]["configuration"]["without"] == [document]
    assert manifest["inputs"]["model"]["artifact"] == original.path.name
    assert manifest["measurements"]["updates_made"] == 16
    asked = CliRunner().invoke(cli, ["trace", "document", "retrain", document, "--store", copy.location])
    assert "left out of this run" in str(asked.exception)
    assert "retrain" in call(copy, "ls")
    text = call(copy, "retrain", "retrain", "--without", document)
    assert f"document '{document}' was left out of this run already" in text
    assert "there is nothing to retrain" in text


def test_a_held_out_document_needs_nothing(made):
    shards = made.store.open(next(name for name in made.store.names() if name.startswith("shards-")))
    held = shards.holdout.documents().column("id")[0].as_py()
    text = call(made, "retrain", "mini", "--without", held)
    assert f"document '{held}' is held out: it was never trained on" in text
