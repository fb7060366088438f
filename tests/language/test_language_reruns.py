"""Runs executed again, and models without a document: equal to the bit, and every kind of tampering is noticed."""

import hashlib
import json
import random
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

sys.path.insert(0, str(Path(__file__).parent))

from forging import edit_json, forge

from glasshouse.data.steps import read_text, tokenize, train_tokenizer
from glasshouse.language import retrain as retraining
from glasshouse.language.pretraining_run import PretrainingRun, inputs_of
from glasshouse.language.reexecution import NotReproducedError, differences_since, reexecute
from glasshouse.language.retrain import certify, plan_forgetting, retrain
from glasshouse.language.steps import pretrain
from glasshouse.language.token_rows import BlankedRows, TokenRows
from glasshouse.language.trace import trace_of
from glasshouse.nn.configuration import olmo
from glasshouse.nn.loss import IGNORE
from glasshouse.store import environment
from glasshouse.store.execution import execute
from glasshouse.store.store import Store, StoreError
from glasshouse.training.configuration import BatchStage, Outliers, Training
from glasshouse.training.data import DataError
from glasshouse.training.shards import Part, write_parts

CONTEXT, STEPS, EVERY = 32, 24, 4
WORDS = [f"{a}{b}" for a in ("glass", "house", "leaf", "root", "stem", "clay") for b in ("", "es", "y", "ing", "ed")]
MODEL = olmo(depth=1).but(context=CONTEXT)
TRAINING = Training(
    steps=STEPS, batch_size=6, batch_warmup=[BatchStage(batch_size=3, steps=8)], learning_rate=5e-3, seed=5,
    checkpoint_every=EVERY, log_every=1, precision="fp32", validate_every=12, compile=False, schedule="wsd",
    anneal_steps=4, outliers=Outliers(window=20),
)  # fmt: skip


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def corpus(path, name, documents):
    rows = []
    for number in range(documents):
        draw = random.Random(f"{name}{number}")
        rows.append({"id": f"{name}-{number}", "text": " ".join(draw.choices(WORDS, k=draw.randint(10, 60)))})
    path.write_text("".join(json.dumps(row | {"source": name}) + "\n" for row in rows))
    return read_text([str(path)])


class Made:
    """A store with three models: with kept checkpoints, without, and on data that changes."""

    def __init__(self, home):
        self.store = Store(home / "store")
        first, second = corpus(home / "a.jsonl", "almanac", 90), corpus(home / "b.jsonl", "ledger", 40)
        self.documents = first
        tokenizer = train_tokenizer(first, vocabulary=300)
        self.shards = tokenize(first, tokenizer, holdout=0.1)
        self.other = tokenize(second, tokenizer, holdout=0.1)
        self.kept = self.make(pretrain(self.shards, MODEL, TRAINING, keep_checkpoints=True))
        self.bare = self.make(pretrain(self.shards, MODEL, TRAINING))
        self.staged = self.make(
            pretrain(self.shards, MODEL, TRAINING, later=[(14, self.other)], keep_checkpoints=True, z_loss=1e-4)
        )

    def make(self, node):
        return execute(node, self.store)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return Made(tmp_path_factory.mktemp("reruns"))


@pytest.fixture
def mine(made, tmp_path):
    """A copy of the store that a test may damage."""
    shutil.copytree(made.store.root, tmp_path / "store")
    store = Store(tmp_path / "store")
    return store, store.open(made.kept.path.name)


def seen_first_after(model, store, update):
    """A document that a run first saw after an update (and before the last, whose rate is 0), with that update."""
    trace = trace_of(model, store)
    seen = {item.document: step for step in range(STEPS, 0, -1) for item in trace.at_step(step)}
    return next((name, step) for name, step in sorted(seen.items()) if update < step < STEPS)


# What is kept


def spread(directory):
    """Write a checkpoint's weights anew as two processes do, half of every tensor each."""
    whole, state = load_file(directory / "learns.safetensors"), json.loads((directory / "state.json").read_text())
    for rank in (0, 1):
        parts = {}
        for name, tensor in whole.items():
            half = len(tensor) // 2
            start, values = (half, tensor[half:]) if rank else (0, tensor[:half])
            parts[name] = Part((start, *[0] * (tensor.ndim - 1)), values)
        path = directory / f"learns-{rank + 1:05d}-of-00002.safetensors"
        write_parts(parts, path, spread=True)
        state["files"][path.name] = hashlib.sha256(path.read_bytes()).hexdigest()
    (directory / "learns.safetensors").unlink()
    del state["files"]["learns.safetensors"]
    (directory / "state.json").write_text(json.dumps(state))


def test_a_kept_checkpoint_of_several_processes_is_the_same_model(made, mine):
    _, model = mine
    spread(model.checkpoints[8])
    state, alone = (found.load_checkpoint(8).transformer.state_dict() for found in (model, made.kept))
    assert all(torch.equal(state[name], alone[name]) for name in alone)
    assert not torch.equal(state["embedding.weight"], made.kept.load().transformer.embedding.weight)


def test_the_artifact_holds_receipts_and_the_checkpoints_that_were_asked_for(made):
    assert [receipt.step for receipt in made.kept.receipts] == list(range(EVERY, STEPS + 1, EVERY))
    assert list(made.kept.checkpoints) == list(range(EVERY, STEPS + 1, EVERY))
    assert made.bare.checkpoints == {}
    assert made.bare.receipts == made.kept.receipts
    assert made.kept.receipts[-1].weights == made.kept.training["outcome"]["weights_hash"]
    assert made.kept.training["outcome"]["tokens"] == (8 * 3 + 16 * 6) * CONTEXT
    run = PretrainingRun.of(made.staged, inputs_of(made.staged, made.store))
    assert (run.training, run.z_loss, run.later[0][0]) == (TRAINING.but(keep=run.training.keep), 1e-4, 14)
    assert run.model.context == CONTEXT


def test_a_model_on_changing_data_is_traced_to_the_documents_of_each_stage(made):
    trace = trace_of(made.staged, made.store)
    for step in range(1, STEPS + 1):
        names = {item.document.partition("-")[0] for item in trace.at_step(step)}
        assert names == ({"almanac"} if step < 14 else {"ledger"})
    for item in trace.at_step(20):
        assert item in trace.of_document(item.document)
    plain = trace_of(made.kept, made.store)
    assert [plain.at_step(step) for step in range(1, 14)] == [trace.at_step(step) for step in range(1, 14)]


def test_later_data_of_another_tokenizer_is_refused(made, tmp_path):
    documents = corpus(tmp_path / "c.jsonl", "ledger", 30)
    foreign = tokenize(documents, train_tokenizer(documents, vocabulary=280), holdout=0.1)
    with pytest.raises(DataError, match="begins at update 9 was made with another tokenizer"):
        made.make(pretrain(made.shards, MODEL, TRAINING, later=[(9, foreign)]))


# Executing again


@pytest.mark.parametrize(
    ("steps", "start", "expected"),
    [
        (4, None, (20, 24, (24,))),
        (5, None, (16, 24, (20, 24))),  # rounded up from 21
        (1, 8, (8, 12, (12,))),
        (9, 0, (0, 12, (4, 8, 12))),
        (1000, 12, (12, 24, (16, 20, 24))),
    ],
)
def test_updates_executed_again_meet_the_receipts(made, steps, start, expected):
    done = reexecute(made.kept, made.store, steps, start)
    assert (done.start, done.end, done.checked) == expected
    rounded = steps != done.end - done.start
    assert (f"{steps} updates were asked for" in str(done)) == rounded
    assert not list((made.store.root / "work").glob("verify-*"))


def test_without_checkpoints_it_begins_at_the_seed_and_changing_data_is_followed(made):
    assert reexecute(made.bare, made.store, 3).start == 0
    assert reexecute(made.staged, made.store, 12, start=8).checked == (12, 16, 20)


@pytest.mark.parametrize(
    ("steps", "start", "message"),
    [
        (0, None, "at least 1 update"),
        (1, 3, r"keeps no checkpoint of update 3; it can start from 0, 4, 8, .*\(0 is the seed\)"),
        (1, 24, "ended with update 24; nothing comes after"),
    ],
)
def test_questions_that_cannot_be_asked(made, steps, start, message):
    with pytest.raises(StoreError, match=message):
        reexecute(made.kept, made.store, steps, start)


def poke(name, at=-1):
    """A change of one byte."""

    def apply(directory):
        content = bytearray((directory / name).read_bytes())
        content[at] ^= 1
        (directory / name).write_bytes(content)

    return apply


@pytest.mark.parametrize("name", ["model.safetensors", "receipts.jsonl", "training.json", "checkpoints"])
def test_a_changed_file_is_noticed_by_its_hash(mine, name):
    store, model = mine
    path = model.path / name if name != "checkpoints" else model.path / "checkpoints/step-00000008/learns.safetensors"
    path.chmod(0o644)
    poke(path.name, -3)(path.parent)
    with pytest.raises(StoreError, match=f"{path.name} has changed|is damaged"):
        reexecute(model, store, 1)


def test_changed_shards_are_noticed_by_their_hash(mine):
    store, model = mine
    tokens = inputs_of(model, store)[0].path / "train/tokens-00000.bin"
    tokens.chmod(0o644)
    poke(tokens.name, 40)(tokens.parent)
    with pytest.raises(NotReproducedError, match=r"train/tokens-00000\.bin has changed"):
        reexecute(model, store, 1)


def test_changed_weights_are_noticed_when_the_manifest_fits(mine):
    store, model = mine

    def change(directory):
        weights = load_file(directory / "model.safetensors")
        next(iter(weights.values())).view(-1)[0] += 1e-3
        save_file(weights, directory / "model.safetensors", {"format": "pt"})

    with pytest.raises(NotReproducedError, match=r"last receipt \(update 24\) is of weights .* the weights of"):
        reexecute(forge(store, model, change), store, 1)


@pytest.mark.parametrize("field", ["weights", "optimizer", "loss", "examples"])
def test_a_changed_receipt_is_named_when_the_manifest_fits(mine, field):
    store, model = mine

    def change(directory):
        lines = [json.loads(line) for line in (directory / "receipts.jsonl").read_text().splitlines()]
        value = lines[3][field]
        lines[3][field] = "0" * 64 if isinstance(value, str) else value + 1
        (directory / "receipts.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))

    forged = forge(store, model, change)
    assert reexecute(forged, store, 4, start=8).checked == (12,)
    message = rf"first receipt that differs is that of update 16 \({field} .* recorded.*from update 12\. Causes"
    with pytest.raises(NotReproducedError, match=message):
        reexecute(forged, store, 12, start=12)


def test_a_changed_checkpoint_is_named_when_everything_fits(mine):
    store, model = mine

    def change(directory):
        folder = directory / "checkpoints/step-00000016"
        weights = load_file(folder / "learns.safetensors")
        next(iter(weights.values())).view(-1)[0] += 1e-3
        save_file(weights, folder / "learns.safetensors")
        digest = hashlib.sha256((folder / "learns.safetensors").read_bytes()).hexdigest()
        edit_json("state.json", lambda state: state["files"].update({"learns.safetensors": digest}))(folder)

    forged = forge(store, model, change)
    with pytest.raises(NotReproducedError, match=r"checkpoint of update 16 .* has weights .* its receipt says"):
        reexecute(forged, store, 1, start=16)
    assert reexecute(forged, store, 4, start=8).checked == (12,)

    def tear(directory):
        edit_json("checkpoints/step-00000008/state.json", lambda state: state["files"].update({"x": "y"}))(directory)

    with pytest.raises(NotReproducedError, match=r"checkpoint of update 8 .* is damaged"):
        reexecute(forge(store, forged, tear), store, 1, start=8)


def test_a_changed_seed_is_named_when_the_manifest_fits(mine):
    store, model = mine
    seed = edit_json("training.json", lambda document: document["identity"]["configuration"].update(seed=6))
    forged = forge(store, model, seed)
    for start in (0, 8):
        message = r"order\.order was .*now|initial weights\.model was"
        with pytest.raises(NotReproducedError, match=message):
            reexecute(forged, store, 1, start=start)


def test_changed_shards_are_named_when_every_manifest_fits(mine):
    """One token of a document is another one, with hashes that fit in the shards, the store and the model."""
    store, model = mine
    shards = inputs_of(model, store)[0]

    def change(directory):
        path = directory / "train/tokens-00000.bin"
        poke(path.name, 40)(path.parent)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        edit_json("train/shards.json", lambda found: found["shards"][0].update(tokens_sha256=digest))(directory)

    forged = forge(store, model, lambda directory: None, {"shards": forge(store, shards, change)})
    for start in (0, 8):
        with pytest.raises(NotReproducedError, match=r"data\.fingerprint was"):
            reexecute(forged, store, 1, start=start)
    everything = forge(store, forged, lambda directory: adopt_fingerprint(directory, forged, store))
    seen = everything.order().steps_of_row(0, STEPS)[0]
    missed = (seen + EVERY - 1) // EVERY * EVERY
    with pytest.raises(NotReproducedError, match=f"first receipt that differs is that of update {missed} "):
        reexecute(everything, store, 24, start=0)


def adopt_fingerprint(directory, model, store):
    """The forged shards' fingerprint in the run's identity, too."""
    now = PretrainingRun.of(model, inputs_of(model, store)).data_fingerprint
    edit_json("training.json", lambda document: document["identity"]["data"].update(fingerprint=now))(directory)


def test_another_machine_is_named_as_a_cause(made, monkeypatch):
    assert differences_since(made.kept) == []
    here = environment.hardware()
    monkeypatch.setattr(environment, "hardware", lambda: here | {"processor": "Other 9000"})
    monkeypatch.setattr(environment, "packages", lambda: {"torch": "9.9", "numpy": made_with(made, "numpy")})
    found = "; ".join(differences_since(made.kept))
    assert "torch was" in found
    assert "now 9.9" in found
    assert "other hardware: processor was" in found


def made_with(made, package):
    return made.kept.manifest["environment"]["packages"][package]


# Without a document


def test_blanking_replaces_inputs_and_targets_and_nothing_else(made):
    shards = inputs_of(made.kept, made.store)[0].train
    rows = TokenRows(shards, CONTEXT, 320)
    names = [str(name) for name in shards.documents().column("id").to_pylist()][5:8]
    blanked = BlankedRows(rows, frozenset(names))
    everything = np.arange(rows.rows)
    before, after = rows.batch(everything)["tokens"], blanked.batch(everything)
    table = shards.documents().to_pylist()
    owner = [record["id"] for record in table for _ in range(record["end"] - record["start"])]
    owner = np.array(owner[: rows.rows * CONTEXT]).reshape(rows.rows, CONTEXT)
    gone = torch.from_numpy(np.isin(owner, names))
    assert 0 < gone.sum() < gone.numel()
    assert torch.equal(after["tokens"], torch.where(gone, shards.eos_id, before))
    expected = torch.full_like(before, IGNORE)
    expected[:, :-1] = torch.where(gone[:, 1:], IGNORE, before[:, 1:])
    assert torch.equal(after["targets"], expected)
    assert blanked.fingerprint != rows.fingerprint
    assert BlankedRows(rows, frozenset(["unknown"])).batch(everything)["tokens"].equal(before)


def test_retrained_is_a_run_that_never_had_it_to_the_bit(made):
    document, first = seen_first_after(made.kept, made.store, 13)
    model = retrain(made.kept, made.store, [document])
    told = model.training["retraining"]
    start = (first - 1) // EVERY * EVERY
    assert (told["original"], told["without"]) == (made.kept.id, [document])
    assert (told["first_update"], told["started_from"], told["updates_saved"]) == (first, start, start)
    assert start >= 12
    assert model.manifest["inputs"]["model"]["id"] == made.kept.id
    # The reference: a run from the seed with the document blanked out, made with nothing but the run's description.
    inputs = inputs_of(made.kept, made.store)
    before = PretrainingRun.of(made.kept, inputs)
    never = PretrainingRun(inputs[0], before.model, before.training, before.end, without=(document,))
    transformer = never.transformer()
    result = never.train(transformer, made.store.root.parent / f"never-{document}", validation=inputs[0].holdout)
    assert result.weights_hash == model.training["outcome"]["weights_hash"]
    assert result.weights_hash != made.kept.training["outcome"]["weights_hash"]
    assert result.receipts.read_bytes() == model.file("receipts.jsonl").read_bytes()
    assert result.metrics.read_bytes() == model.file("metrics.jsonl").read_bytes()
    assert json.loads((result.metrics.parent / "run.json").read_text()) == model.training["identity"]
    # Certified, traceable, and a starting point for more.
    assert certify(model, made.store).checked == tuple(receipt.step for receipt in model.receipts)
    assert reexecute(model, made.store, 4, start=8).checked == (12,)
    trace = trace_of(model, made.store)
    assert document not in {item.document for step in range(1, STEPS + 1) for item in trace.at_step(step)}
    with pytest.raises(StoreError, match="was left out of this run"):
        trace.of_document(document)
    other, _ = seen_first_after(model, made.store, 5)
    both = retrain(model, made.store, [other])
    assert both.training["run"]["without"] == sorted([document, other])
    assert certify(both, made.store).end == STEPS


def test_what_is_not_kept_begins_at_the_seed_and_changing_data_is_followed(made):
    document, _ = seen_first_after(made.bare, made.store, 13)
    model = retrain(made.bare, made.store, [document])
    assert model.training["retraining"]["started_from"] == 0
    assert model.checkpoints == {}
    late = next(item.document for item in trace_of(made.staged, made.store).at_step(23))
    staged = retrain(made.staged, made.store, [late])
    assert staged.training["retraining"]["started_from"] >= 12
    assert certify(staged, made.store).end == STEPS


def test_a_model_whose_data_was_all_trained_on_forgets_too(made):
    tokenizer = train_tokenizer(made.documents, vocabulary=300)
    whole = tokenize(made.documents, tokenizer, holdout=0)
    model = made.make(pretrain(whole, MODEL, TRAINING.but(validate_every=None)))
    document, first = seen_first_after(model, made.store, 1)
    forgotten = retrain(model, made.store, [document])
    assert forgotten.training["retraining"]["first_update"] == first
    assert certify(forgotten, made.store).end == STEPS


def test_the_certificate_fails_when_the_checkpoint_had_seen_it(made, monkeypatch):
    document, first = seen_first_after(made.kept, made.store, 9)
    wrong = (first + EVERY - 1) // EVERY * EVERY  # the first checkpoint that the document had reached
    monkeypatch.setattr(retraining, "last_checkpoint_before", lambda model, update: wrong)
    model = retrain(made.kept, made.store, [document])
    assert model.training["retraining"]["started_from"] == wrong
    with pytest.raises(NotReproducedError, match=f"first receipt that differs is that of update {wrong}"):
        certify(model, made.store)


def test_documents_that_need_nothing_get_a_clear_answer(made):
    inputs = inputs_of(made.kept, made.store)
    held = str(inputs[0].holdout.documents().column("id")[0].as_py())
    plan = plan_forgetting(made.kept, inputs, [held])
    assert (plan.documents, plan.untouched[0][1]) == ((), "is held out: it was never trained on")
    with pytest.raises(StoreError, match="is held out: it was never trained on"):
        retrain(made.kept, made.store, [held])
    with pytest.raises(StoreError, match=r"no document 'almanac-9999' in the data of .*close ones: almanac-"):
        plan_forgetting(made.kept, inputs, ["almanac-9999"])
    short = made.make(pretrain(made.shards, MODEL, Training(steps=2, batch_size=2, precision="fp32", compile=False)))
    seen = {item.document for step in (1, 2) for item in trace_of(short, made.store).at_step(step)}
    unseen = next(f"almanac-{n}" for n in range(90) if f"almanac-{n}" not in seen and f"almanac-{n}" != held)
    plan = plan_forgetting(short, inputs, [unseen, sorted(seen)[0]])
    assert plan.documents == (sorted(seen)[0],)
    assert plan.untouched[0][0] == unseen
