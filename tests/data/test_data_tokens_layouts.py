"""Other layouts: read by readers written from their descriptions, brought back unchanged, refused when damaged."""

import csv
import gzip
import json
import re
import struct
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from glasshouse.cli.tokens import tokenize
from glasshouse.data.document import Document, Origin, batches
from glasshouse.data.tokens.encoder import HuggingFaceEncoder
from glasshouse.data.tokens.fertility import TOTAL, fertility
from glasshouse.data.tokens.layouts import LayoutError, export_shards, import_shards
from glasshouse.data.tokens.shards import ShardError, TokenShards, write_shards
from glasshouse.data.tokens.tokenizer import EndOfSequenceError, TokenizerFileError, load_tokenizer, train_bpe
from glasshouse.data.tokens.tokenizing import Tokenizing, tokenize_files

TEXTS = [f'Text {i}, "quoted"\n  <|endoftext|> ' + "word " * (i * 7 % 60) + "é漢" * (i % 5) for i in range(60)]
DATA = Path(__file__).parents[3] / "shared" / "data"


@pytest.fixture(scope="module")
def tokenizer():
    return train_bpe(TEXTS, 300)


@pytest.fixture(scope="module")
def shards(tmp_path_factory, tokenizer):
    return made(tmp_path_factory.mktemp("shards"), tokenizer)


def made(home, tokenizer):
    rows = [
        Document(f'd{i},"x"', text, "ab"[i % 2], Origin(f"dir/f{i % 3}.gz", i, i + 10)) for i, text in enumerate(TEXTS)
    ]
    write_shards(batches(rows, 900), tokenizer, home, shard_tokens=700)
    return TokenShards(home / "train")


@pytest.fixture(scope="module")
def wide(tmp_path_factory, tokenizer):
    big = type(tokenizer).from_str(tokenizer.to_str())
    big.add_tokens([f"token{i}" for i in range(65_300)])
    return made(tmp_path_factory.mktemp("wide"), big)


def texts_of(shards, tokenizer):
    encoder = HuggingFaceEncoder(tokenizer)
    rows = shards.documents().to_pylist()
    return [encoder.decode(shards.document_tokens(r["shard"], r["start"], r["end"])) for r in rows]


def olmo_reader(home, dtype):
    """As the description: bare ids, and rows start,end,id,src,loc."""
    for path in sorted(home.glob("*.npy")):
        tokens = np.frombuffer(path.read_bytes(), dtype)
        with gzip.open(str(path)[:-4] + ".csv.gz", "rt", newline="") as rows:
            for start, end, identifier, src, loc in csv.reader(rows):
                yield tokens[int(start) : int(end)].tolist(), identifier, src, int(loc)


def megatron_reader(home):
    for path in sorted(home.glob("*.idx")):
        with path.open("rb") as file:
            assert file.read(9) == b"MMIDIDX\x00\x00"
            version, code, sequences, documents = struct.unpack("<QBQQ", file.read(25))
            assert version == 1
            lengths = struct.unpack(f"<{sequences}i", file.read(4 * sequences))
            pointers = struct.unpack(f"<{sequences}q", file.read(8 * sequences))
            bounds = struct.unpack(f"<{documents}q", file.read(8 * documents))
            assert file.read() == b""
        kind = {1: "u1", 2: "i1", 3: "<i2", 4: "<i4", 5: "<i8", 6: "<f8", 7: "<f4", 8: "<u2"}[code]
        content = path.with_suffix(".bin").read_bytes()
        for first, last in pairwise(bounds):
            yield [
                int(token)
                for s in range(first, last)
                for token in np.frombuffer(content, kind, lengths[s], pointers[s])
            ]


def expected(shards):
    rows = shards.documents().to_pylist()
    return [shards.document_tokens(row["shard"], row["start"], row["end"]).tolist() for row in rows], rows


@pytest.mark.parametrize("which", ["shards", "wide"])
def test_independent_readers_find_every_document(which, request, tmp_path):
    shards = request.getfixturevalue(which)
    tokens, rows = expected(shards)
    kind = {"shards": "<u2", "wide": "<u4"}[which]
    export_shards(shards, tmp_path / "olmo", "olmo")
    about = [(row["id"], row["file"], row["byte_start"] + 1) for row in rows]
    read = list(olmo_reader(tmp_path / "olmo", kind))
    assert [row[0] for row in read] == tokens
    assert [row[1:] for row in read] == about
    export_shards(shards, tmp_path / "megatron", "megatron")
    assert list(megatron_reader(tmp_path / "megatron")) == tokens
    (path,) = export_shards(shards, tmp_path / "nanogpt", "nanogpt")
    assert path.name == "train.bin"
    assert np.fromfile(path, kind).tolist() == [token for document in tokens for token in document]
    assert not list(tmp_path.rglob("*.partial"))


@pytest.mark.parametrize("layout", ["olmo", "megatron", "nanogpt"])
@pytest.mark.parametrize("which", ["shards", "wide"])
def test_they_come_back_to_the_same_texts(layout, which, request, tmp_path, tokenizer):
    shards = request.getfixturevalue(which)
    export_shards(shards, tmp_path / "there", layout)
    dtype = shards.manifest.dtype
    import_shards(tmp_path / "there", tmp_path / "back", layout, vocabulary=shards.vocabulary, eos_id=0, dtype=dtype)
    back = TokenShards(tmp_path / "back")
    back.verify()
    assert expected(back)[0] == expected(shards)[0]
    if which == "shards":
        assert texts_of(back, tokenizer) == TEXTS
    if layout == "olmo":
        assert back.documents()["id"].to_pylist() == shards.documents()["id"].to_pylist()
        assert back.documents()["byte_start"].to_pylist() == shards.documents()["byte_start"].to_pylist()


def test_equal_bytes_twice(shards, tmp_path):
    for layout in ("olmo", "megatron"):
        first, second = (export_shards(shards, tmp_path / f"{layout}{n}", layout) for n in (1, 2))
        assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


def test_what_is_damaged_is_named(shards, tmp_path):
    def back(layout, **settings):
        given = {"vocabulary": 300, "eos_id": 0} | settings
        import_shards(tmp_path / layout, tmp_path / f"{layout}-back", layout, **given)

    with pytest.raises(FileNotFoundError, match=r"\*\.npy"):
        back("olmo")
    for layout in ("olmo", "megatron", "nanogpt"):
        export_shards(shards, tmp_path / layout, layout)
        with pytest.raises(LayoutError, match="outside the vocabulary of 20"):
            back(layout, vocabulary=20)
    tokens, rows = tmp_path / "olmo" / "part-0-00000.npy", tmp_path / "olmo" / "part-0-00000.csv.gz"
    content, about = tokens.read_bytes(), rows.read_bytes()
    for damage, message in ((content[:-1], "no whole number"), (content[:-2], "do not follow|one of them is cut"),
                            (content + b"\0\0", "one of them is cut"),
                            (b"\x93NUMPY" + content, "with a header")):  # fmt: skip
        tokens.write_bytes(damage)
        with pytest.raises(LayoutError, match=message):
            back("olmo")
    tokens.write_bytes(content)
    for damage in (about[:-20], b"nothing", gzip.compress(b"1,2,3\n"), gzip.compress(b"5,3,a,b,1\n")):
        rows.write_bytes(damage)
        with pytest.raises(LayoutError, match=r"damaged|do not follow"):
            back("olmo")
    rows.unlink()
    with pytest.raises(LayoutError, match="beside it"):
        back("olmo")
    index = tmp_path / "megatron" / "tokens-00000.idx"
    content = index.read_bytes()
    for damage, message in (
        (content[:-8], "cut or damaged"), (b"X" + content[1:], "not a Megatron index"),
        (content[:20], "not a Megatron"),
        (content[:17] + b"\x05" + content[18:], "dtype code 5"),
        (content[:34] + struct.pack("<i", 2**30) + content[38:], "points outside"),
        (content[:34] + struct.pack("<i", -1) + content[38:], "points outside"),
    ):  # fmt: skip
        index.write_bytes(damage)
        with pytest.raises(LayoutError, match=message):
            back("megatron")
    with pytest.raises(LayoutError, match="no other layout 'glasshouse'"):
        export_shards(shards, tmp_path / "x", "glasshouse")


def test_fertility_counts(tokenizer):
    texts = [("one two  three", "prose"), ("x=1\ny", "code"), ("é è", "prose"), ("  ", "blank")]
    rows = [Document(str(n), text, source, Origin("f", 0, 1)) for n, (text, source) in enumerate(texts, start=1)]
    table = {row["source"]: row for row in fertility(batches(rows), tokenizer).to_pylist()}
    assert list(table) == ["blank", "code", "prose", TOTAL]
    count = {d.id: len(tokenizer.encode(d.text).ids) for d in rows}
    prose = table["prose"]
    assert (prose["documents"], prose["words"], prose["bytes"]) == (2, 5, 14 + 5)
    assert prose["tokens"] == count["1"] + count["3"]
    assert prose["tokens_per_word"] == (count["1"] + count["3"]) / 5
    assert table[TOTAL]["tokens"] == sum(count.values())
    assert np.isinf(table["blank"]["tokens_per_word"])


def test_code_needs_more_tokens_per_word_than_prose():
    files = sorted((DATA / "olmo").glob("*neox*dolma*.json"))
    prose = sorted((DATA / "text" / "en").glob("*.jsonl.gz"))
    if not files or not prose:
        pytest.skip("the OLMo tokenizer or the English prose is not on this machine (../shared/data)")
    rows = [
        Document(str(p), p.read_text(), "code", Origin("f", 0, 1))
        for p in sorted(Path(json.__file__).parent.glob("*.py"))
    ]
    with gzip.open(prose[0], "rt") as lines:
        for number, line in zip(range(20), lines, strict=False):
            rows.append(Document(f"p{number}", json.loads(line)["text"], "prose", Origin("f", 0, 1)))
    table = {
        row["source"]: row["tokens_per_word"] for row in fertility(batches(rows), load_tokenizer(files[0])).to_pylist()
    }
    assert table["code"] >= 1.7 * table["prose"]


@pytest.fixture
def documents(tmp_path):
    path = tmp_path / "documents.jsonl"
    lines = [json.dumps({"id": f"d{i}", "text": text, "source": "s"}) for i, text in enumerate(TEXTS)]
    path.write_text("\n".join([*lines, "{broken"]) + "\n")
    return path


@pytest.mark.parametrize("layout", ["glasshouse", "olmo", "megatron", "nanogpt"])
def test_the_command(documents, tmp_path, layout):
    out = tmp_path / "out"
    arguments = [str(documents), "--tokenizer", "train", "--vocabulary", "300", "--out", str(out), "--layout", layout,
                 "--holdout", "0.2", "--fertility", "--json"]  # fmt: skip
    done = CliRunner().invoke(tokenize, arguments, catch_exceptions=False)
    summary = json.loads(done.output)
    assert summary["documents"]["train"] + summary["documents"]["holdout"] == 60
    assert summary["quarantined"] == 1
    assert summary["fertility"][-1]["documents"] == 60
    assert "tokenizer/tokenizer.json" in summary["files"]
    assert any(file.startswith("holdout/") for file in summary["files"])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["documents.jsonl", "out"]
    if layout == "glasshouse":
        shards = TokenShards(out / "train")
        shards.verify()
        assert set(texts_of(shards, load_tokenizer(out / "tokenizer"))) <= set(TEXTS)
    again = CliRunner().invoke(tokenize, arguments)
    assert "not empty" in str(again.exception)


def test_an_empty_split_says_what_became_of_the_documents(documents, tmp_path):
    settings = Tokenizing(tokenizer="train", vocabulary=300)
    for holdout, message in ((0.999999, "all 60 documents are held out"), (1e-9, "none of 60 documents is held out")):
        with pytest.raises(ShardError, match=message):
            tokenize_files([documents], tmp_path / "out", settings.model_copy(update={"holdout": holdout}))
    tokenize_files([documents], tmp_path / "out", settings)  # the same directory, as nothing was finished there
    documents.write_text("{broken\n" * 3)
    given = settings.model_copy(update={"tokenizer": str(tmp_path / "out" / "tokenizer")})
    with pytest.raises(ShardError, match=r"no documents were given; 3 records could not be read, see .*jsonl") as error:
        tokenize_files([documents], tmp_path / "bad", given)
    assert len(Path(str(error.value).split("see ")[1]).read_text().splitlines()) == 3


def test_values_that_json_does_not_know_are_null(tmp_path):
    (tmp_path / "in.jsonl").write_text('{"id": "a", "text": "", "source": "blank"}\n{"id": "b", "text": "a b c d"}\n')
    arguments = [str(tmp_path / "in.jsonl"), "--tokenizer", "train", "--vocabulary", "258", "--out",
                 str(tmp_path / "out"), "--fertility", "--json"]  # fmt: skip
    done = CliRunner().invoke(tokenize, arguments, catch_exceptions=False)
    rows = json.loads(done.output, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))["fertility"]
    assert (rows[0]["source"], rows[0]["tokens_per_word"]) == ("blank", None)


def test_tokenizers_that_cannot_be_used_are_named(documents, tmp_path):
    pytest.importorskip("sentencepiece")
    (tmp_path / "empty.model").write_bytes(b"")
    (tmp_path / "bad.model").write_bytes(b"hello")
    (tmp_path / "bad.json").write_text("{}")
    tokenizer = train_bpe(TEXTS, 300, special=["<end>", "<pad>"])
    tokenizer.save(str(tmp_path / "end.json"))
    for name, kind, message in (
        ("empty.model", TokenizerFileError, "it is empty"), ("bad.model", TokenizerFileError, "cannot be read"),
        ("bad.json", TokenizerFileError, "not a Hugging Face"), ("no.model", FileNotFoundError, "there is no"),
        ("end.json", EndOfSequenceError, "no token '<|endoftext|>'"),
    ):  # fmt: skip
        with pytest.raises(kind, match=re.escape(name)) as error:
            tokenize_files([documents], tmp_path / "out", Tokenizing(tokenizer=str(tmp_path / name)))
        assert message in str(error.value)
        assert not (tmp_path / "out").exists()


def test_the_command_with_sentencepiece(documents, tmp_path):
    pytest.importorskip("sentencepiece")
    from glasshouse.data.tokens.sentencepiece_model import SentencePieceEncoder

    def run(name, tokenizer):
        arguments = [str(documents), "--tokenizer", tokenizer, "--vocabulary", "288", "--out", str(tmp_path / name)]
        return CliRunner().invoke(tokenize, arguments, catch_exceptions=False)

    assert "60 documents" in run("a", "train-sentencepiece").output
    model = tmp_path / "a" / "tokenizer" / "tokenizer.model"
    run("b", str(model))
    files = [(tmp_path / name / "train" / "tokens-00000.bin").read_bytes() for name in "ab"]
    assert files[0] == files[1]
    encoder, shards = SentencePieceEncoder(model), TokenShards(tmp_path / "b" / "train")
    rows = shards.documents().to_pylist()
    assert [encoder.decode(shards.document_tokens(0, row["start"], row["end"])) for row in rows] == TEXTS
