"""Token shards: round trip, provenance against brute force, determinism, damage."""

import errno
import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from glasshouse.data.document import Document, Origin, batches
from glasshouse.data.executor import RayTasks
from glasshouse.data.tokens.encoder import HuggingFaceEncoder
from glasshouse.data.tokens.shards import ShardError, TokenShards, write_shards
from glasshouse.data.tokens.tokenizer import EndOfSequenceError, train_bpe

TEXTS = [f"Document {i} says <|endoftext|> and " + "word " * (i * 7 % 60) + "é" * (i % 5) for i in range(80)]


@pytest.fixture(scope="module")
def tokenizer():
    return train_bpe(TEXTS, 300)


def documents():
    return [Document(f"d{i}", text, "ab"[i % 2], Origin(f"f{i % 3}", i, i + 10)) for i, text in enumerate(TEXTS)]


@pytest.fixture(scope="module")
def home(tmp_path_factory, tokenizer):
    home = tmp_path_factory.mktemp("shards")
    write_shards(batches(documents(), 900), tokenizer, home, holdout=0.2, shard_tokens=700)
    return home


@pytest.fixture
def copy(home, tmp_path):
    shutil.copytree(home / "train", tmp_path / "train")
    return tmp_path / "train"


def test_tokens_are_those_of_the_tokenizer_and_documents_end(home, tokenizer):
    texts = {d.id: d for d in documents()}
    tokenizer = type(tokenizer).from_str(tokenizer.to_str())
    tokenizer.encode_special_tokens = True
    seen = set()
    for split in ("train", "holdout"):
        shards = TokenShards(home / split)
        shards.verify()
        assert shards.sources == ["a", "b"]
        for row in shards.documents().to_pylist():
            tokens = shards.document_tokens(row["shard"], row["start"], row["end"]).tolist()
            assert tokens == [*tokenizer.encode(texts[row["id"]].text).ids, 0]
            assert tokens.count(0) == 1
            assert (row["file"], row["byte_start"], row["byte_end"]) == texts[row["id"]].origin
            seen.add(row["id"])
        assert len(shards.documents()) == shards.document_count
    assert seen == set(texts)
    assert len(TokenShards(home / "train").manifest.shards) > 2


@pytest.mark.parametrize("context", [1, 7, 64, 256])
def test_rows_and_their_documents_against_brute_force(home, context):
    shards = TokenShards(home / "train")
    rows, owners = [], []
    for number, entry in enumerate(shards.manifest.shards):
        tokens = np.fromfile(home / "train" / entry.tokens_file, "<u2")
        spans = pq.read_table(home / "train" / entry.spans_file).to_pylist()
        owner = [span["id"] for span in spans for _ in range(span["end"] - span["start"])]
        assert shards.manifest.shards[number].tokens == len(tokens) == len(owner)
        for start in range(0, len(tokens) - context + 1, context):
            rows.append(tokens[start : start + context])
            owners.append(owner[start : start + context])
    assert shards.row_count(context) == len(rows)
    np.testing.assert_array_equal(shards.rows(range(len(rows)), context), rows)
    for row, owner in enumerate(owners):
        spans = shards.spans_of_row(row, context)
        assert [span.document_id for span in spans for _ in range(span.row_start, span.row_end)] == owner
        assert (spans[0].row_start, spans[-1].row_end) == (0, context)
    for span in shards.documents().to_pylist():
        expected = [row for row, owner in enumerate(owners) if span["id"] in owner]
        assert shards.rows_of_document(span["id"], context) == expected
        assert shards.rows_of_document(span["id"], context, span["source"]) == expected
    with pytest.raises(KeyError):
        shards.rows_of_document("nobody", context)
    for bad in (-1, len(rows)):
        with pytest.raises(IndexError):
            shards.rows([bad], context)
        with pytest.raises(IndexError):
            shards.spans_of_row(bad, context)


def test_equal_bytes_for_any_number_of_workers_and_a_stable_split(home, tmp_path, tokenizer):
    def digests(directory):
        return {
            str(p.relative_to(directory)): hashlib.sha256(p.read_bytes()).hexdigest() for p in directory.rglob("*.*")
        }

    write_shards(batches(documents(), 900), tokenizer, tmp_path, holdout=0.2, shard_tokens=700, workers=3)
    assert digests(tmp_path) == digests(home)
    write_shards(batches(documents()[::2]), tokenizer, tmp_path / "half", holdout=0.2)
    half = set(TokenShards(tmp_path / "half" / "holdout").documents()["id"].to_pylist())
    assert half == set(TokenShards(home / "holdout").documents()["id"].to_pylist()) & {f"d{i}" for i in range(0, 80, 2)}


def test_the_fast_encoder_changes_nothing_on_disk(home, tmp_path, tokenizer):
    write_shards(batches(documents(), 900), HuggingFaceEncoder(tokenizer), tmp_path, holdout=0.2, shard_tokens=700)
    for path in home.rglob("*.*"):
        assert path.read_bytes() == (tmp_path / path.relative_to(home)).read_bytes()


def test_spans_are_written_in_parts(home, tmp_path, tokenizer, monkeypatch):
    monkeypatch.setattr("glasshouse.data.tokens.shard_writer.SPANS_HELD", 3)
    write_shards(batches(documents(), 500), tokenizer, tmp_path, holdout=0.2, shard_tokens=700)
    assert pq.ParquetFile(tmp_path / "train" / "spans-00000.parquet").num_row_groups > 1
    parts, whole = TokenShards(tmp_path / "train"), TokenShards(home / "train")
    parts.verify()
    assert parts.documents().equals(whole.documents())
    assert parts.spans_of_row(5, 16) == whole.spans_of_row(5, 16)


def test_an_interrupted_run_is_replaced_and_nothing_else(home, tmp_path, tokenizer):
    def stopping():
        for number, batch in enumerate(batches(documents(), 500)):
            if number == 3:
                raise KeyboardInterrupt
            yield batch

    with pytest.raises(KeyboardInterrupt):
        write_shards(stopping(), tokenizer, tmp_path, holdout=0.2, shard_tokens=300)
    left = {path.name for path in (tmp_path / "train").iterdir()}
    assert "shards.json" not in left
    assert any(name.endswith(".partial") for name in left)
    write_shards(batches(documents(), 900), tokenizer, tmp_path, holdout=0.2, shard_tokens=700)
    names = {path.relative_to(home) for path in home.rglob("*.*")}
    assert {path.relative_to(tmp_path) for path in tmp_path.rglob("*.*")} == names
    (tmp_path / "other" / "train").mkdir(parents=True)
    (tmp_path / "other" / "train" / "notes.txt").write_text("mine")
    with pytest.raises(ShardError, match="not empty"):
        write_shards(batches(documents()), tokenizer, tmp_path / "other")


@pytest.mark.slow
def test_equal_bytes_on_ray(home, tmp_path, tokenizer):
    pytest.importorskip("ray")
    with RayTasks(2) as ray:
        write_shards(batches(documents(), 900), tokenizer, tmp_path, holdout=0.2, shard_tokens=700, executor=ray)
    for path in home.rglob("*.*"):
        assert path.read_bytes() == (tmp_path / path.relative_to(home)).read_bytes()


def test_wide_vocabularies_use_four_bytes(tmp_path, tokenizer):
    wide = type(tokenizer).from_str(tokenizer.to_str())
    wide.add_tokens([f"token{i}" for i in range(65_300)])
    write_shards(batches(documents()), wide, tmp_path)
    shards = TokenShards(tmp_path / "train")
    shards.verify()
    assert (shards.manifest.dtype, shards.vocabulary) == ("uint32", 65_600)


def test_damaged_shards_are_refused(copy):
    entry = json.loads((copy / "shards.json").read_text())["shards"][0]
    path, content = copy / entry["tokens_file"], (copy / entry["tokens_file"]).read_bytes()
    for damage, message in (
        (content[:-1], "not a multiple of 2"),
        (content[:-2], "it is cut or damaged"),
        (b"\x93NUMPY" + content[6:], "NumPy file with a header"),
    ):
        path.write_bytes(damage)
        with pytest.raises(ShardError, match=message):
            TokenShards(copy)
    path.write_bytes(content[:2] + b"\xff\xff" + content[4:])
    with pytest.raises(ShardError, match="token id 65535 in row 0"):
        TokenShards(copy).rows([1, 0], 16)
    with pytest.raises(ShardError, match="sha256"):
        TokenShards(copy).verify()
    path.unlink()
    with pytest.raises(FileNotFoundError, match="missing"):
        TokenShards(copy)


def test_a_wrong_end_and_an_outside_token_are_found_with_matching_hashes(copy):
    manifest = json.loads((copy / "shards.json").read_text())
    path = copy / manifest["shards"][0]["tokens_file"]
    original = np.fromfile(path, "<u2")
    for value, message in (
        (5, "does not end in the end-of-sequence id 0, but in 5"),
        (40_000, "outside the vocabulary"),
    ):
        tokens = original.copy()
        tokens[-1] = value
        tokens.tofile(path)
        manifest["shards"][0]["tokens_sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
        (copy / "shards.json").write_text(json.dumps(manifest))
        with pytest.raises(ShardError, match=message):
            TokenShards(copy).verify()


def test_bad_requests(home, tmp_path, tokenizer):
    with pytest.raises(FileNotFoundError, match="holdout, train"):
        TokenShards(home)
    for given in (tokenizer, HuggingFaceEncoder(tokenizer)):
        with pytest.raises(EndOfSequenceError):
            write_shards(batches(documents()), given, tmp_path / "a", eos_id=1)
    with pytest.raises(ShardError, match=r"'holdout'.*would be empty"):
        write_shards(batches(documents()[:3]), tokenizer, tmp_path / "b", holdout=1e-9)
    with pytest.raises(ShardError, match="no documents"):
        write_shards([], tokenizer, tmp_path / "c")
    with pytest.raises(ShardError, match="not empty"):
        write_shards(batches(documents()), tokenizer, home)
    with pytest.raises(ValueError, match="holdout"):
        write_shards([], tokenizer, tmp_path / "d", holdout=1.0)
    with pytest.raises(ValueError, match="context"):
        TokenShards(home / "train").row_count(0)
    manifest = json.loads((home / "train" / "shards.json").read_text()) | {"shards": []}
    (tmp_path / "e").mkdir()
    (tmp_path / "e" / "shards.json").write_text(json.dumps(manifest))
    with pytest.raises(ShardError, match="empty split"):
        TokenShards(tmp_path / "e")


def test_a_full_disk_is_named(tmp_path, tokenizer, monkeypatch):
    real = Path.open

    class Full:
        def write(self, data):
            raise OSError(errno.ENOSPC, "No space left on device")

        def close(self): ...

    monkeypatch.setattr(Path, "open", lambda self, *a, **k: Full() if ".bin" in self.name else real(self, *a, **k))
    with pytest.raises(OSError, match=r"no space left while writing .*tokens-00000\.bin"):
        write_shards(batches(documents()), tokenizer, tmp_path)
