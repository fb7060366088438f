"""From text to training steps, against laying out every byte of every step."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner

from glasshouse.data.document import Document, Origin, batches
from glasshouse.data.search.building import Indexing
from glasshouse.data.search.corpus_index import CorpusIndex
from glasshouse.data.search.matching import Matching
from glasshouse.data.steps import read_text, tokenize, train_tokenizer
from glasshouse.data.steps.search import SearchIndex, index_corpus
from glasshouse.data.tokens.shards import TokenShards, write_shards
from glasshouse.data.tokens.tokenizer import train_bpe
from glasshouse.language.model import LanguageModel
from glasshouse.language.steps import pretrain
from glasshouse.language.trace import Trace
from glasshouse.language.trace_text import Fate, TextTrace, text_trace_of
from glasshouse.nn.configuration import olmo
from glasshouse.store.execution import execute
from glasshouse.store.store import Store
from glasshouse.training.configuration import Training
from glasshouse.training.order import BatchPlan, DataOrder, KeyedOrder

pytest.importorskip("pydivsufsort")
pytest.importorskip("tantivy")

CONTEXT, BATCH, STEPS, WORLD = 16, 5, 30, 2
WORDS = ["leaf", "root", "stem", "glaß", "house", "light", "日本", "naïve", "<|endoftext|>", "pane"]
ALL = Matching(minimum_words=2, share=1.0, documents=100)


def sentences(count):
    draw = np.random.default_rng(0)
    return [f"entry {n} " + " ".join(draw.choice(WORDS, size=int(draw.integers(5, 60)))) for n in range(count)]


@pytest.fixture(scope="module")
def traced(tmp_path_factory):
    texts = sentences(60)
    home = tmp_path_factory.mktemp("traced")
    rows = list(batches([Document(f"d{n}", t, f"s{n % 2}", Origin(f"f{n}", n, n + 9)) for n, t in enumerate(texts)]))
    tokenizer = train_bpe(texts, 290)
    write_shards(rows, tokenizer, home, holdout=0.2, shard_tokens=700)
    shards = TokenShards(home / "train")
    index = CorpusIndex.build(rows, home / "index", Indexing(shard_bytes=3000, ranked=False))
    order = DataOrder(KeyedOrder(shards.row_count(CONTEXT), 3), BatchPlan.constant(BATCH))
    return texts, TextTrace(
        index, Trace(order, shards, CONTEXT, STEPS, WORLD), TokenShards(home / "holdout"), tokenizer
    )


def token_bytes(tokenizer, ids):
    """How many bytes of the text every token is: a character of a byte-level token is a byte."""
    return [len(tokenizer.id_to_token(token)) for token in ids]


def brute_force(trace: TextTrace, ordinal: int, start: int, end: int) -> set[tuple[int, int, int, int]]:
    """(step, rank, row, token of the row) for every token read with a byte of the match."""
    run, name = trace.trace, f"d{ordinal}"
    row_of: dict[tuple[int, int], int] = {}
    for shard, entry in enumerate(run.shards.manifest.shards):
        for row in range(entry.tokens // CONTEXT):
            row_of[shard, row] = len(row_of)
    wanted = set()
    for record in run.shards.documents().to_pylist():
        if record["id"] != name:
            continue
        ids = run.shards.document_tokens(record["shard"], record["start"], record["end"] - 1).tolist()
        ends = np.cumsum(token_bytes(trace.tokenizer, ids)).tolist()
        for place, (low, high) in enumerate(zip([0, *ends[:-1]], ends, strict=True)):
            if low < end and high > start:
                row, token = divmod(record["start"] + place, CONTEXT)
                wanted.add((row_of.get((record["shard"], row)), token))
    found = set()
    for step in range(1, run.last_step + 1):
        for rank in range(WORLD):
            for row in run.order.rows_at_step(step, rank, WORLD).tolist():
                found |= {(step, rank, row, token) for place, token in wanted if place == row}
    return found


def test_the_steps_are_those_of_the_very_tokens(traced):
    texts, trace = traced
    fates, narrower = set(), 0
    for number in range(0, 60, 2):
        words = texts[number].split()
        text = f"zebra {' '.join(words[:4])} zebra {' '.join(words[-3:])}"
        found = trace.of_text(text, ALL)
        assert found.spans
        for span in found.spans:
            for place in span.occurrences:
                occurrence = place.occurrence
                assert place.exact
                expected = brute_force(trace, occurrence.ordinal, occurrence.start, occurrence.end)
                seen = {
                    (item.step, item.rank, item.row, token) for item in place.sightings for token in range(*item.tokens)
                }
                assert seen == expected
                assert (place.fate is Fate.SEEN) == bool(expected)
                assert list(place.steps) == sorted({step for step, _, _, _ in expected})
                assert all(item.document == occurrence.document for item in place.sightings)
                fates.add(place.fate)
                if place.fate is Fate.SEEN:
                    whole = {item.step for item in trace.trace.of_document(occurrence.document)}
                    assert set(place.steps) <= whole
                    narrower += set(place.steps) < whole
    assert {Fate.SEEN, Fate.HELD_OUT} <= fates
    assert narrower > 10, "a part of a document is seen at fewer steps than the whole"


def test_a_run_that_stopped_early_has_not_reached_everything(traced):
    texts, trace = traced
    short = replace(trace, trace=replace(trace.trace, last_step=6))
    fates = [
        place.fate
        for number in range(20)
        for span in short.of_text(" ".join(texts[number].split()[:4]), ALL).spans
        for place in span.occurrences
    ]
    assert fates.count(Fate.NOT_REACHED) > fates.count(Fate.SEEN) > 0


def test_another_tokenizer_gives_the_whole_document_and_says_so(traced):
    texts, trace = traced
    other = replace(trace, tokenizer=train_bpe(["zebra crossing in the rain " * 20], 262))
    seen = 0
    for number in range(10):
        for span in other.of_text(" ".join(texts[number].split()[:4]), ALL).spans:
            for place in span.occurrences:
                if place.fate is Fate.SEEN:
                    assert not place.exact
                    whole = trace.trace.of_document(place.occurrence.document)
                    assert {(item.step, item.row) for item in place.sightings} == {(w.step, w.row) for w in whole}
                    seen += 1
    assert seen


def test_a_document_that_was_never_tokenised(traced):
    texts, trace = traced
    found = trace.of_text(" ".join(texts[0].split()[:4]), ALL).spans[0].occurrences[0]
    moved = trace.of_occurrence(replace(found.occurrence, source="elsewhere"))
    assert (moved.fate, moved.steps) == (Fate.ABSENT, ())


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    home = tmp_path_factory.mktemp("trained")
    lines = [json.dumps({"id": f"d{n}", "text": text, "source": "almanac"}) for n, text in enumerate(sentences(50))]
    (home / "corpus.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    store = Store(home / "store")
    documents = read_text([str(home / "corpus.jsonl")])
    shards = tokenize(documents, train_tokenizer(documents, vocabulary=280), holdout=0.2)
    training = Training(tokens=16 * 8 * 30, batch_size=8, precision="fp32")
    return store, execute(pretrain(shards, olmo(depth=1).but(context=16), training), store)


def test_a_model_is_traced_through_the_store(trained):
    store, model = trained
    assert isinstance(model, LanguageModel)
    trace = text_trace_of(model, store)
    held_out = {record["id"] for record in trace.holdout.documents().to_pylist()}
    seen = 0
    for number in range(10):
        text = " ".join(sentences(50)[number].split()[:5])
        found = trace.of_text(text, ALL)
        place = found.spans[0].occurrences[0]
        assert (found.spans[0].span.text, place.occurrence.document) == (text, f"d{number}")
        assert (place.fate is Fate.HELD_OUT) == (f"d{number}" in held_out)
        if place.fate is Fate.SEEN:
            step = place.steps[0]
            assert f"d{number}" in {item.document for item in trace.trace.at_step(step)}
            seen += 1
    assert seen
    made = [store.open(name) for name in store.names() if name.startswith("searchindex")]
    assert len(made) == 1
    assert isinstance(made[0], SearchIndex)
    assert made[0].panels()
    text_trace_of(model, store)
    assert len([name for name in store.names() if name.startswith("searchindex")]) == 1, "indexed once"


def test_an_artifact_of_the_store_is_not_altered_by_searching(trained):
    from glasshouse.store.manifest import check_files

    store, model = trained
    text_trace_of(model, store)
    artifact = next(store.open(name) for name in store.names() if name.startswith("searchindex"))
    artifact.index.rank("leaf")
    assert check_files(artifact.path, artifact.manifest) == []


def test_the_index_is_the_same_artifact_in_every_store(trained, tmp_path):
    store, model = trained
    text_trace_of(model, store)
    documents = store.open(model.manifest["inputs"]["shards"]["artifact"]).manifest["inputs"]["corpus"]["artifact"]
    shutil.copytree(store.root / "artifacts" / documents, tmp_path / "store" / "artifacts" / documents)
    other = Store(tmp_path / "store")
    again = execute(index_corpus(other.open(documents)), other)
    assert again.id == next(store.open(name) for name in store.names() if name.startswith("searchindex")).id


def test_the_commands(trained, tmp_path):
    from glasshouse.cli.search import search, trace_text

    store, model = trained
    text, run = " ".join(sentences(50)[7].split()[:5]), CliRunner()
    where = ["--store", str(store.root)]
    told = run.invoke(trace_text, [model.path.name, text, *where], catch_exceptions=False)
    assert "d7 (almanac)" in told.output
    said = json.loads(run.invoke(trace_text, [model.path.name, "-", "--json", *where], input=text).output)
    assert said["spans"][0]["occurrences"][0]["occurrence"]["document"] == "d7"

    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text(json.dumps({"id": "x", "text": "the glass house. A glass-like pane"}) + "\n{bad\n")
    index = ["--index", str(tmp_path / "i")]
    told = run.invoke(search, [str(corpus), "glass", *index], catch_exceptions=False)
    assert "occurs 2 times" in told.output
    assert "1 records were put aside" in told.output
    said = json.loads(run.invoke(search, [str(corpus), "house", "--words", "--json", *index]).stdout)
    assert (said["count"], said["occurrences"][0]["document"]) == (1, "x")
    told = run.invoke(search, [str(tmp_path / "i"), "pane", "--ranked"], catch_exceptions=False)
    assert "1 document fit" in told.output
    assert "⟦pane⟧" in told.output
    corpus.write_text(json.dumps({"id": "x", "text": "other"}) + "\n")
    assert "was not made from" in str(run.invoke(search, [str(corpus), "glass", *index]).exception)
    assert run.invoke(search, [str(corpus), "glass"]).exit_code == 2
    artifact = model.manifest["inputs"]["shards"]["artifact"]
    assert "give a corpus" in str(run.invoke(search, [artifact, "glass", *where]).exception)
