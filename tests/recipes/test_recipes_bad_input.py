"""Bad input from the first step to the last: a clear error or a quarantined row, nothing lost, counts adding up."""

import errno
import gzip
import json
import shutil

import numpy as np
import pytest
import torch
import zstandard
from mini_recipe import document, mini, write_corpus

from glasshouse.data.curation.curate import EmptyCorpusError
from glasshouse.data.curation.rules import Rule, RuleSet
from glasshouse.data.steps import Shards, curate, read_text
from glasshouse.data.tokens.shards import ShardError
from glasshouse.language.steps import pretrain
from glasshouse.nn.configuration import olmo
from glasshouse.store.configuration import ConfigurationError
from glasshouse.store.execution import execute
from glasshouse.store.files import StoreError
from glasshouse.store.recipe import run_recipe
from glasshouse.store.report import write_report
from glasshouse.store.store import Store
from glasshouse.training.configuration import Training
from glasshouse.training.data import DataError
from glasshouse.training.guards import TrainingStoppedError

LENIENT = RuleSet(name="length", rules=(Rule(signal="character_count", operator="<", threshold=10),))


def line(**row):
    return json.dumps(row).encode() + b"\n"


GOOD = [line(**document(number)) for number in range(20)]
BAD_ROWS = {
    "invalid_utf8": b'{"id": "u", "text": "\xff\xfe"}\n',
    "invalid_json": b'{"id": "j", "text": \n',
    "missing_text": line(id="m"),
    "line_too_long": line(id="long", text="x" * 10_000_000),
    "duplicate_id": line(**{**document(3), "text": "other words under an id that was there"}),
}


@pytest.mark.parametrize("reason", [*BAD_ROWS, "everything"])
def test_bad_rows_are_put_aside_and_counted_to_the_end(tmp_path, reason):
    bad = list(BAD_ROWS.values()) if reason == "everything" else [BAD_ROWS[reason]]
    path = tmp_path / "corpus.jsonl"
    path.write_bytes(b"".join([*GOOD[:10], *bad, *GOOD[10:]]))
    store = Store(tmp_path / "store")
    documents = read_text(str(path))
    corpus = execute(curate(documents, keep=LENIENT), store)
    read = execute(documents, store)
    counts = read.manifest["measurements"]
    assert (counts["seen"], counts["documents"], counts["quarantined"]) == (20 + len(bad), 20, len(bad))
    assert {record["reason"] for record in read.quarantined} == (set(BAD_ROWS) if len(bad) > 1 else {reason})
    kept = corpus.manifest["measurements"]
    assert kept["seen"] == counts["documents"] == kept["documents"] + kept["removed"] + kept["quarantined"]
    page = write_report(store, corpus.path.name, "bad", "").read_text()
    assert all(record["reason"] in page for record in read.quarantined)
    assert f"<b>{counts['seen']}</b>" in page
    assert f"<b>{counts['quarantined']}</b>" in page


@pytest.mark.parametrize("suffix", ["gz", "zst"])
def test_a_truncated_archive_keeps_the_rows_before_the_cut(tmp_path, suffix):
    rng = np.random.default_rng(0)
    rows = [line(id=f"r{i}", text=" ".join(map(str, rng.integers(0, 10**9, 400)))) for i in range(200)]
    whole = b"".join(rows)
    packed = gzip.compress(whole) if suffix == "gz" else zstandard.ZstdCompressor().compress(whole)
    path = tmp_path / f"corpus.jsonl.{suffix}"
    path.write_bytes(packed[: len(packed) * 3 // 4])
    made = execute(read_text([str(path)]), Store(tmp_path / "store"))
    counts = made.manifest["measurements"]
    assert 0 < counts["documents"] < 200
    assert [record["reason"] for record in made.quarantined] == ["damaged_file"]
    assert counts["seen"] == counts["documents"] + 1


@pytest.mark.parametrize(
    ("name", "content", "error", "told"),
    [
        ("empty.jsonl", b"", EmptyCorpusError, "empty_file: 1"),
        ("blank.jsonl", b"\n\n", EmptyCorpusError, "no readable document"),
        ("all-bad.jsonl", b"{\n[\n", EmptyCorpusError, "invalid_json: 2"),
        ("words.csv", b"a,b\n", ValueError, "of a known form"),
        ("none.jsonl", None, OSError, "matches no file"),
    ],
)
def test_nothing_to_read_is_an_error_that_says_so(tmp_path, name, content, error, told):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    store = Store(tmp_path / "store")
    with pytest.raises(error, match=told) as raised:
        run_recipe(mini, store, corpus=str(tmp_path / name))
    assert isinstance(raised.value, OSError) or type(raised.value).__module__.startswith("glasshouse.")
    assert store.names() == []


def test_an_unreadable_file_among_good_ones_is_told(tmp_path):
    write_corpus(tmp_path / "a.jsonl", 20)
    (tmp_path / "b.jsonl").symlink_to(tmp_path / "gone")
    store = Store(tmp_path / "store")
    with pytest.raises(OSError, match=r"b\.jsonl|gone"):
        execute(read_text([str(tmp_path)]), store)
    assert store.names() == []


def test_rules_that_remove_everything_are_named(mine):
    with pytest.raises(EmptyCorpusError, match=r"character_count < 1e\+06.*loosen"):
        mine.run(shortest=1_000_000)


def test_an_unknown_field_is_named_with_the_known_ones():
    with pytest.raises(ConfigurationError, match=r"has no field 'lerning_rate'.*learning_rate"):
        Training(tokens=1, lerning_rate=1)


def shards_of(finished, tmp_path):
    name = next(name for name in finished.store.names() if name.startswith("shards-"))
    target = tmp_path / "bent"
    shutil.copytree(finished.store.root / "artifacts" / name, target)
    for path in target.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return target


def edit(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def bend_end(home):
    edit(home / "train" / "shards.json", eos_id=7)


def bend_vocabulary(home):
    edit(home / "train" / "shards.json", vocabulary=200)


def bend_length(home):
    with (home / "train" / "tokens-00000.bin").open("ab") as file:
        file.write(b"x")


def bend_token(home):
    path = home / "train" / "tokens-00000.bin"
    tokens = np.fromfile(path, "<u2")
    tokens[::7] = 65_000
    tokens.tofile(path)


@pytest.mark.parametrize(
    ("bend", "told"),
    [
        (bend_end, "end-of-sequence id is not the same"),
        (bend_vocabulary, "vocabulary|embed"),
        (bend_length, "cut or damaged"),
        (bend_token, "65000|65,000"),
    ],
)
def test_bent_shards_are_refused_by_training(finished, tmp_path, bend, told):
    home = shards_of(finished, tmp_path)
    bend(home)
    store = Store(tmp_path / "store")
    training = Training(steps=3, batch_size=4, precision="fp32")
    with pytest.raises((DataError, ShardError), match=told):
        execute(pretrain(Shards(home), olmo(depth=1).but(context=32), training), store)
    assert store.names() == []


def test_a_loss_that_is_not_a_number_names_documents_and_leaves_no_model(mine, finished, monkeypatch):
    from glasshouse.language.pretrain import LanguageModelling

    true = LanguageModelling.loss

    def bad(self, batch, step):
        found = true(self, batch, step)
        return type(found)(found.value * torch.nan, found.metrics) if step.number == 6 else found

    before = mine.store.names()
    monkeypatch.setattr(LanguageModelling, "loss", bad)
    with pytest.raises(TrainingStoppedError, match=r"step 6.*doc-\d+.*checkpoint of step 4 is kept"):
        mine.run(tokens=2048)
    assert mine.store.names() == before
    monkeypatch.setattr(LanguageModelling, "loss", true)
    _, steps = mine.run(tokens=2048)
    assert steps.ran == ["pretrain", "evaluate"]
    trained = next(n for n in mine.store.names() if n.startswith("languagemodel-") and n not in before)
    assert mine.store.manifest(trained)["measurements"]["resumed_from"] == 4


STEPS = ("Documents", "Corpus", "Tokenizer", "Shards", "LanguageModel", "Evaluation")
WRITERS = {
    "Documents": ("glasshouse.data.steps.reading", "write_documents"),
    "Corpus": ("glasshouse.data.curation.curate", "write_judged"),
    "Tokenizer": ("glasshouse.data.steps.tokens", "save_tokenizer"),
    "Shards": ("glasshouse.data.tokens.shard_writer", "hash_file"),
    "LanguageModel": ("glasshouse.language.steps", "export_checkpoint"),
    "Evaluation": ("glasshouse.evaluation.steps", "check_claims"),
}


@pytest.mark.parametrize("kind", STEPS)
def test_a_full_disk_in_every_step(finished, tmp_path, monkeypatch, kind):
    import importlib

    module, name = WRITERS[kind]
    room = importlib.import_module(module)
    true = getattr(room, name)

    def full(*arguments, **named):
        raise OSError(errno.ENOSPC, "No space left on device")

    mine = type(finished)(finished.corpus, Store(tmp_path / "store"))
    monkeypatch.setattr(room, name, full)
    with pytest.raises((StoreError, OSError), match=r"disk.*full|no space left while writing") as raised:
        mine.run(tokens=512)
    assert "run" in str(raised.value)
    assert {mine.store.manifest(n)["type"] for n in mine.store.names()} == set(STEPS[: STEPS.index(kind)])
    monkeypatch.setattr(room, name, true)
    mine.run(tokens=512)
    assert {mine.store.manifest(n)["type"] for n in mine.store.names()} == set(STEPS)
    assert not any(mine.store.verify(n) for n in mine.store.names())
