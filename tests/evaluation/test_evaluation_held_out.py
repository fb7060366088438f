"""Held-out documents by domain, and those that were trained on; macro and micro bits per byte by hand."""

import contextlib
import gzip
import json
import math
import types

import numpy as np
import pytest
from evaluation_standins import loaded_model, texts

from glasshouse.data.document import Document, Origin, to_batch
from glasshouse.data.tokens.shards import TRAIN, TokenShards, write_shards
from glasshouse.evaluation.held_out import HeldOutError, domain_of, read_held_out, text_files, trained_on
from glasshouse.evaluation.perplexity import Perplexity, document_nats, perplexity
from glasshouse.store.panels import Table

LONG = "the old gate by the river stands open after rain and the green door does not stand open"


@contextlib.contextmanager
def bar(description, total):
    yield types.SimpleNamespace(advance=lambda amount=1: None)


def write(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode()))


@pytest.fixture
def paloma(tmp_path):
    """Two sources in Paloma's layout: one with two domains of very different size, one without domains."""
    some = texts(9, seed=5)
    first = [{"id": f"a{n}", "text": text} for n, text in enumerate(some[:5])]
    write(tmp_path / "web/val/val_a.example_00000000.jsonl.gz", first)
    write(tmp_path / "web/val/val_b.example_00000000.jsonl.gz", [{"id": "b", "text": some[5]}])
    write(tmp_path / "wiki/val/val_wiki.jsonl.gz", [{"id": f"w{n}", "text": t} for n, t in enumerate(some[6:])])
    return tmp_path, some


def test_domains_are_weighted_alike_inside_a_source(paloma):
    home, some = paloma
    model = loaded_model()
    values = perplexity(text_files(home)).measure(model, bar)["values"]
    tokens = [np.array(model.tokenizer.encode(text).ids) for text in some]
    nats = document_nats(model.transformer, tokens, end_of_sequence=model.end_of_sequence, context=model.context)
    size = np.array([len(text.encode()) for text in some])

    def bits(part):
        return nats[part].sum() / math.log(2) / size[part].sum()

    a, b, wiki = bits(slice(0, 5)), bits(slice(5, 6)), bits(slice(6, 9))
    expected = {"web/a.example": a, "web/b.example": b, "web": (a + b) / 2, "wiki": wiki, "micro": bits(slice(0, 9))}
    expected["macro"] = (expected["web"] + wiki) / 2
    assert {name: values[f"bits_per_byte/model/{name}"] for name in expected} == pytest.approx(expected, rel=1e-6)
    outcome = perplexity(text_files(home), per_domain=1).measure(model, bar)
    assert {source: count[::2] for source, count in outcome["sources"].items()} == {"web": [2, 2], "wiki": [1, 1]}
    assert outcome == perplexity(text_files(home), per_domain=1).measure(model, bar)
    table = Perplexity.panels({"measure": "Perplexity", **outcome})[0]
    assert isinstance(table, Table)
    assert table.rows[0][:3] == ["web", 2, 2]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (("web", '{"subdomain": "x"}', "f.jsonl"), ("web", "x")),
        (("web", '{"domain": "y"}', "f.jsonl"), ("web", "y")),
        (("web", "{}", "f.jsonl"), ("web", "web")),
        (("unknown", "{}", "in/some_text.jsonl.gz"), ("some_text", "some_text")),
        (("unknown", "{}", "c4_100/val/c4_100_5_www.x.com_00000000.jsonl.gz"), ("c4_100", "5_www.x.com")),
        (("unknown", "{}", "m2d2/test/test_Art.jsonl"), ("m2d2", "Art")),
    ],
)
def test_where_a_domain_comes_from(given, expected):
    assert domain_of(*given) == expected


def test_files_that_changed_or_cannot_be_read_are_refused(paloma):
    home, _ = paloma
    model, files = loaded_model(), text_files(home)
    write(home / "wiki/val/val_wiki.jsonl.gz", [{"id": "w", "text": "another"}])
    with pytest.raises(HeldOutError, match=r"have changed since the set was made: .*val_wiki"):
        read_held_out(files, model)
    write(home / "wiki/val/val_wiki.jsonl.gz", [{"id": "w"}])
    with pytest.raises(HeldOutError, match=r"1 documents cannot be read, first .*val_wiki.*line 1"):
        read_held_out(text_files(home), model)
    write(home / "none/a.jsonl.gz", [{"id": "w", "text": ""}])
    with pytest.raises(HeldOutError):
        read_held_out(text_files(home / "none"), model)


def batches(*documents):
    yield to_batch([Document(str(n), text, "t", Origin("", 0, 0)) for n, text in enumerate(documents)])


def test_a_shared_long_paragraph_is_found():
    held_out = [f"first\n{LONG}\nlast", "short line\nanother", LONG + " never"]
    assert trained_on(held_out, batches("unrelated", f"{LONG}\nand more")) == {0}
    assert trained_on(held_out, batches("short line")) == set()
    assert trained_on(["too short"], batches("too short")) == set()


def shards(tmp_path, model, training, held_out):
    documents = [*training, *held_out]
    ids = [f"{'held' if n >= len(training) else 'train'}-{n}" for n in range(len(documents))]
    batch = to_batch([Document(i, t, "s", Origin("f", 0, len(t))) for i, t in zip(ids, documents, strict=True)])
    write_shards([batch.slice(0, len(training))], model.tokenizer, tmp_path / "a", holdout=0)
    write_shards([batch.slice(len(training))], model.tokenizer, tmp_path / "b", holdout=0)
    return TokenShards(tmp_path / "a" / TRAIN), TokenShards(tmp_path / "b" / TRAIN)


def test_documents_that_were_trained_on_are_reported_or_excluded(tmp_path):
    model = loaded_model()
    clean = texts(6, seed=8)
    training, held_out = shards(tmp_path, model, [*texts(20), f"before\n{LONG}"], [*clean, f"{LONG}\nafter"])
    reported = perplexity(held_out, training, seen="report").measure(model, bar)["values"]
    assert reported["seen/documents"] == 1
    excluded = perplexity(held_out, training, seen="exclude").measure(model, bar)
    assert excluded["values"]["bits_per_byte/model/micro"] == pytest.approx(reported["seen/bits_per_byte/unseen"])
    assert excluded["sources"]["s"][0] == len(clean)
    ignored = perplexity(held_out, training).measure(model, bar)["values"]
    assert ignored["bits_per_byte/model/micro"] == reported["bits_per_byte/model/micro"]
    assert "seen/documents" not in ignored
    with pytest.raises(HeldOutError, match="the training tokens are needed"):
        perplexity(held_out, seen="report").measure(model, bar)
