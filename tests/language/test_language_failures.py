"""What goes wrong in practice, through the library's front door: each case with the message that a person gets.

The list is the one users of open training code reported (wrong end of sequence: allenai/OLMo#757; shards read with
their NumPy header; …). Cases of single parts are tested beside them; here the whole path is.
"""

import errno
import json
import shutil

import numpy as np
import pytest
import torch

from glasshouse.data.document import Document, Origin, batches
from glasshouse.data.tokens.shards import ShardError, TokenShards, write_shards
from glasshouse.data.tokens.tokenizer import train_bpe
from glasshouse.language.pretrain import pretrain
from glasshouse.nn.configuration import TransformerConfig
from glasshouse.nn.families import ConversionError
from glasshouse.nn.huggingface import save_huggingface
from glasshouse.nn.transformer import Transformer
from glasshouse.training import checkpoint
from glasshouse.training.checkpoint import CheckpointError, ResumeRefusedError, latest_checkpoint
from glasshouse.training.configuration import Training
from glasshouse.training.data import DataError
from glasshouse.training.guards import TrainingStoppedError
from glasshouse.training.parallel import ParallelPlan

CONTEXT = 16


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def write(directory, vocabulary=275, words=("leaf", "root", "glass", "house", "rain")):
    draw = np.random.default_rng(1)
    texts = [" ".join(draw.choice(words, draw.integers(5, 40))) for _ in range(60)]
    documents = [Document(f"d{i}", text, "garden", Origin("garden.jsonl", i, i + 1)) for i, text in enumerate(texts)]
    write_shards(batches(documents), train_bpe(texts, vocabulary), directory)
    return directory / "train"


@pytest.fixture(scope="module")
def pristine(tmp_path_factory):
    return write(tmp_path_factory.mktemp("pristine"))


@pytest.fixture
def folder(pristine, tmp_path):
    """Shards that a test may damage."""
    return shutil.copytree(pristine, tmp_path / "train")


def model(vocabulary=300, **changes):
    shape = {"width": 16, "layers": 1, "heads": 2, "feed_forward": 32, "context": CONTEXT}
    return Transformer(TransformerConfig(vocabulary=vocabulary, **shape, **changes))


def training(**changes):
    fields = {"steps": 6, "batch_size": 4, "precision": "fp32", "compile": False, "checkpoint_every": 2}
    return Training(**(fields | changes))


def set_manifest(folder, **changes):
    path = folder / "shards.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_wrong_end_of_sequence(folder, tmp_path):
    shards = TokenShards(folder)
    with pytest.raises(DataError, match=f"the tokenizer says 50279, the shards says {shards.eos_id}; tokenize again"):
        pretrain(model(), shards, training(), tmp_path / "run", eos=50279)
    set_manifest(folder, eos_id=7)
    with pytest.raises(ShardError, match=r"document 'd\d+' in .* does not end in the end-of-sequence id 7"):
        TokenShards(folder).verify()


def test_changed_shard_changed_tokenizer_and_changed_seed_when_a_run_goes_on(folder, tmp_path):
    run = tmp_path / "run"
    pretrain(model(), TokenShards(folder), training(), run, stop=lambda step: step == 3)
    with pytest.raises(ResumeRefusedError, match=r"configuration\.seed was 6198, now 1"):
        pretrain(model(), TokenShards(folder), training(seed=1), run)
    other = TokenShards(write(tmp_path / "other", vocabulary=270))
    with pytest.raises(ResumeRefusedError, match=r"data\.fingerprint was .* Restore it, or train into a new directory"):
        pretrain(model(), other, training(), run)
    tokens = bytearray((folder / "tokens-00000.bin").read_bytes())
    tokens[0] ^= 1
    (folder / "tokens-00000.bin").write_bytes(tokens)
    with pytest.raises(ShardError, match=r"tokens-00000\.bin has changed: its sha256 is not the one in shards\.json"):
        TokenShards(folder).verify()


def test_a_loss_that_is_no_number_names_the_documents(folder, tmp_path):
    class Explodes(Transformer):
        def forward(self, tokens, **options):
            found = super().forward(tokens, **options)
            return found._replace(hidden=found.hidden * float("nan"))

    with pytest.raises(
        TrainingStoppedError, match=r"step 1: the loss is nan; its batch holds d\d+ \(garden\)"
    ) as caught:
        pretrain(Explodes(model().config), TokenShards(folder), training(), tmp_path / "run")
    assert caught.value.documents


def test_a_batch_that_cannot_be_shared(folder, tmp_path):
    with pytest.raises(DataError, match="batch_size 4 is not divisible by micro_batch_size x ranks = 2 x 3"):
        pretrain(model(), TokenShards(folder), training(micro_batch_size=2), tmp_path / "run", plan=ParallelPlan(0, 3))


def test_a_full_disk_during_a_checkpoint(folder, tmp_path, monkeypatch):
    writer = next(name for name in ("save_file", "write_parts") if hasattr(checkpoint, name))
    original, calls = getattr(checkpoint, writer), []

    def full(*arguments, **options):
        calls.append(arguments)
        if len(calls) == 5:
            raise OSError(errno.ENOSPC, "No space left on device")
        return original(*arguments, **options)

    monkeypatch.setattr(checkpoint, writer, full)
    with pytest.raises(CheckpointError, match=r"step 4 could not be written .* No space left .* step 2 is intact"):
        pretrain(model(), TokenShards(folder), training(), tmp_path / "run")
    assert latest_checkpoint(tmp_path / "run/checkpoints").step == 2
    monkeypatch.undo()
    resumed = pretrain(model(), TokenShards(folder), training(), tmp_path / "run")
    whole = pretrain(model(), TokenShards(folder), training(), tmp_path / "whole")
    assert (resumed.resumed_from, resumed.weights_hash) == (2, whole.weights_hash)
    assert resumed.receipts.read_bytes() == whole.receipts.read_bytes()


def test_a_vocabulary_larger_than_the_embedding(folder, tmp_path):
    with pytest.raises(DataError, match="tokenizer has 275 tokens, the model embeds only 256: enlarge the model"):
        pretrain(model(vocabulary=256), TokenShards(folder), training(), tmp_path / "run")


def test_a_token_out_of_range_stops_before_it_is_embedded(folder, tmp_path):
    tokens = np.fromfile(folder / "tokens-00000.bin", np.uint16)
    tokens[40] = 60_000
    tokens.tofile(folder / "tokens-00000.bin")
    with pytest.raises(ShardError, match=r"token id 60000 in row 2 .* outside the vocabulary of 275: .*tokenizer"):
        pretrain(model(), TokenShards(folder), training(batch_size=32), tmp_path / "run")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda raw: raw[:-1], r"bytes, not a multiple of 2 \(uint16\): it is cut or damaged"),
        (lambda raw: raw[:-2], r"tokens, shards\.json says \d+: it is cut or damaged"),
        (lambda raw: b"\x93NUMPY\x01\x00" + raw[8:], "a NumPy file with a header; token shards are raw"),
    ],
    ids=["odd byte", "short", "header"],
)
def test_files_that_are_no_raw_tokens(folder, damage, message):
    path = folder / "tokens-00000.bin"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ShardError, match=message):
        TokenShards(folder)


def test_an_empty_split(folder, tmp_path):
    set_manifest(folder, shards=[])
    with pytest.raises(ShardError, match="is an empty split: it holds no tokens"):
        TokenShards(folder)


def test_a_directory_that_holds_something_else(folder, tmp_path):
    for name in ("run", "export"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "thesis.txt").write_text("precious")
    with pytest.raises(ResumeRefusedError, match="is not empty and holds no run; choose another directory"):
        pretrain(model(), TokenShards(folder), training(), tmp_path / "run")
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["thesis.txt"]
    with pytest.raises(ConversionError, match="exists and is not empty: save into a new folder"):
        save_huggingface(model(), tmp_path / "export", end=0, begin=0)
    assert [path.name for path in (tmp_path / "export").iterdir()] == ["thesis.txt"]
