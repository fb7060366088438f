"""N-gram counts of tokens against counting every window."""

from __future__ import annotations

from collections import Counter

import numpy as np
import orjson
import pytest

from glasshouse.data.document import Document, Origin, batches
from glasshouse.data.search.errors import QueryError, SearchIndexError
from glasshouse.data.search.token_suffixes import TokenIndex, write_token_suffixes
from glasshouse.data.tokens.shards import MANIFEST, TokenShards, write_shards
from glasshouse.data.tokens.tokenizer import train_bpe
from glasshouse.store.files import hash_file

pytest.importorskip("pydivsufsort")


@pytest.fixture(scope="module", params=["uint16", "uint32"])
def shards(request, tmp_path_factory):
    draw = np.random.default_rng(0)
    words = ["leaf", "root", "stem", "glass", "house", "light"]
    texts = [" ".join(draw.choice(words, size=int(draw.integers(1, 40)))) for _ in range(40)]
    home = tmp_path_factory.mktemp("shards")
    rows = [Document(f"d{n}", text, "s", Origin("f", 0, 1)) for n, text in enumerate(texts)]
    write_shards(batches(rows), train_bpe(texts, 280), home, shard_tokens=300)
    if request.param == "uint32":
        widen(home / "train")
    return TokenShards(home / "train")


def widen(home):
    """The same shards with tokens of four bytes, spread out so that several bytes matter."""
    said = orjson.loads((home / MANIFEST).read_bytes())
    for entry in said["shards"]:
        path = home / entry["tokens_file"]
        (np.fromfile(path, "<u2").astype("<u4") * 257).tofile(path)
        entry["tokens_sha256"] = hash_file(path)
    said |= {"dtype": "uint32", "vocabulary": said["vocabulary"] * 257, "eos_id": said["eos_id"] * 257}
    (home / MANIFEST).write_bytes(orjson.dumps(said))


def split_documents(shards):
    return [
        (
            record["shard"],
            record["start"],
            shards.document_tokens(record["shard"], record["start"], record["end"]).tolist(),
        )
        for record in shards.documents().to_pylist()
    ]


@pytest.mark.parametrize("piece_tokens", [1, 70, 1 << 25])
def test_counts_places_and_next_tokens_equal_brute_force(shards, tmp_path, piece_tokens):
    index = write_token_suffixes(shards, tmp_path / "i", piece_tokens)
    everything = split_documents(shards)
    assert len({shard for shard, _, _ in everything}) > 1
    for size in (1, 2, 3, 5):
        windows, following = {}, {}
        for shard, start, tokens in everything:
            for at in range(len(tokens) - size + 1):
                gram = tuple(tokens[at : at + size])
                windows.setdefault(gram, []).append((shard, start + at))
                if at + size < len(tokens):
                    following.setdefault(gram, Counter())[tokens[at + size]] += 1
        for gram, places in list(windows.items())[:60]:
            assert index.count(gram) == len(places)
            assert [tuple(place) for place in index.find(gram, 4)] == sorted(places)[:4]
            if gram[-1] != shards.eos_id:
                found = index.next_tokens(gram)
                expected = sorted(following[gram].items(), key=lambda item: (-item[1], item[0]))
                assert [(item.token, item.occurrences) for item in found] == expected
                assert sum(item.share for item in found) == pytest.approx(1.0)
    first = everything[0][2][0]
    assert index.count([first] * 60) == 0
    assert index.next_tokens([first] * 60) == []
    unigrams = Counter(token for _, _, tokens in everything for token in tokens)
    assert {item.token: item.occurrences for item in index.next_tokens([])} == unigrams
    index.verify()


def test_what_is_refused(shards, tmp_path):
    index = write_token_suffixes(shards, tmp_path / "i")
    for tokens, message in [
        ([], "empty"), ([shards.vocabulary], "vocabulary"), ([-1], "vocabulary"), ([shards.eos_id, 1], "goes on")
    ]:  # fmt: skip
        with pytest.raises(QueryError, match=message):
            index.count(tokens)
    with pytest.raises(QueryError, match="nothing follows"):
        index.next_tokens([1, shards.eos_id])
    with pytest.raises(SearchIndexError, match="exists already"):
        write_token_suffixes(shards, tmp_path / "i")


def test_damaged_suffixes_and_other_tokens_are_refused(shards, tmp_path):
    write_token_suffixes(shards, tmp_path / "i")
    path = tmp_path / "i" / "suffixes-00000.bin"
    good = path.read_bytes()
    np.frombuffer(good, "<i4")[::-1].tofile(path)
    with pytest.raises(SearchIndexError, match="damaged"):
        TokenIndex(tmp_path / "i", shards)
    path.write_bytes(good[:-4])
    with pytest.raises(SearchIndexError, match="cut or damaged"):
        TokenIndex(tmp_path / "i", shards)
    path.write_bytes(good)
    assert TokenIndex(tmp_path / "i", shards).count([1]) >= 0
    rows = [Document("d", "another text of leaf and root", "s", Origin("f", 0, 1))]
    write_shards(batches(rows), train_bpe(["another text of leaf and root"], 260), tmp_path / "other")
    with pytest.raises(SearchIndexError, match="was not made from"):
        TokenIndex(tmp_path / "i", TokenShards(tmp_path / "other" / "train"))


def test_a_stopped_run_goes_on(shards, tmp_path, monkeypatch):
    from glasshouse.data.search import token_suffixes

    calls, write = [], token_suffixes._write_piece

    def stops(given, piece, path):
        calls.append(piece.file)
        if len(calls) == 3:
            raise KeyboardInterrupt
        write(given, piece, path)

    monkeypatch.setattr(token_suffixes, "_write_piece", stops)
    with pytest.raises(KeyboardInterrupt):
        write_token_suffixes(shards, tmp_path / "i", 70)
    index = write_token_suffixes(shards, tmp_path / "i", 70)
    assert len(calls) == len(index.header.pieces) + 1
    fresh = write_token_suffixes(shards, tmp_path / "fresh", 70)
    assert index.header == fresh.header
