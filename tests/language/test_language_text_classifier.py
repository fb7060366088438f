"""The text classifier: trained on the shared trainer, scored from bytes, and refused when it is damaged."""

import gzip
import itertools
import json
import math
import random
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from glasshouse.cli.classifiers import classify, train_classifier
from glasshouse.data.document import Document, Origin, to_batch
from glasshouse.data.signals.classifier import ABOUT, WEIGHTS, ClassifierError, TextClassifier, open_classifier, packed
from glasshouse.data.signals.families import compute_signals, family
from glasshouse.data.signals.sentences import sentence_ranges
from glasshouse.language.text_classifier import ClassifierSettings, train_text_classifier
from glasshouse.store.configuration import ConfigurationError
from glasshouse.training.data import DataError

SMALL = ClassifierSettings(buckets=1 << 12, width=8, epochs=6, batch_size=16)
MASK = (1 << 64) - 1


def mixed(value):
    value ^= value >> 33
    value = value * 0xFF51AFD7ED558CCD & MASK
    value ^= value >> 33
    value = value * 0xC4CEB9FE1A85EC53 & MASK
    return value ^ (value >> 33)


def features(text, buckets, lower=True):
    """The buckets of a text, from the definition, in plain Python."""
    hashes = []
    for token in re.findall(rb"[0-9A-Za-z_\x80-\xff]+|[^ \t\n\r\x0b\x0c]", text.encode()):
        value = 0xCBF29CE484222325
        for byte in token.lower() if lower else token:
            value = (value ^ byte) * 0x100000001B3 & MASK
        hashes.append(value)
    pairs = [(a * 0x9E3779B97F4A7C15 + b) & MASK for a, b in itertools.pairwise(hashes)]
    return [mixed(value) % buckets for value in hashes + pairs]


@pytest.fixture(scope="module")
def examples():
    """Prose and code, made up from words, no two alike."""
    draw = random.Random(0)
    words = [
        "the",
        "river",
        "was",
        "old",
        "and",
        "ran",
        "to",
        "sea",
        "where",
        "people",
        "of",
        "town",
        "had",
        "their",
        "houses",
        "while",
        "summer",
        "came",
    ]
    names = ["value", "result", "index", "count", "total", "node", "left", "right", "data", "size"]
    prose = [" ".join(draw.choices(words, k=25)).capitalize() + "." for _ in range(200)]
    code = [
        "\n".join(f"{draw.choice(names)} = {draw.choice(names)}({draw.randint(0, 99)})" for _ in range(6))
        for _ in range(200)
    ]
    return prose + code, ["prose"] * 200 + ["code"] * 200


@pytest.fixture(scope="module")
def trained(examples, tmp_path_factory):
    home = tmp_path_factory.mktemp("classifier") / "model"
    return home, train_text_classifier(*examples, home, SMALL)


def test_it_learns_and_measures_on_what_was_held_out(trained):
    home, report = trained
    assert sum(report.held_out.values()) > 20
    assert report.precision_at_1 >= 0.95
    assert set(report.examples) == {"prose", "code"}
    assert sorted(path.name for path in home.iterdir()) == [ABOUT, WEIGHTS]
    assert json.loads((home / ABOUT).read_text())["about"]["precision_at_1"] == report.precision_at_1


BROWN = Path(__file__).resolve().parents[3] / "shared" / "data" / "text" / "en" / "brown.jsonl.gz"


@pytest.mark.skipif(not BROWN.is_file(), reason="the text corpora are not there")
def test_real_prose_and_code(tmp_path):
    with gzip.open(BROWN) as lines:
        prose = [json.loads(line)["text"][:1500] for line in lines][:300]
    files = sorted(Path(re.__file__).parent.parent.rglob("*.py"))[:300]
    code = [file.read_text(encoding="utf-8", errors="replace")[:1500] for file in files]
    chosen = ClassifierSettings(holdout=0.3)
    report = train_text_classifier(prose + code, ["prose"] * len(prose) + ["code"] * len(code), tmp_path / "m", chosen)
    assert sum(report.held_out.values()) > 100
    assert report.precision_at_1 >= 0.95


def test_shuffled_labels_teach_nothing(examples, tmp_path):
    texts, labels = examples
    mixed_up = random.Random(1).sample(labels, len(labels))
    report = train_text_classifier(texts, mixed_up, tmp_path / "m", SMALL.but(holdout=0.4))
    assert report.precision_at_1 < 0.7


def test_one_seed_gives_one_model(examples, trained, tmp_path):
    home, report = trained
    again = train_text_classifier(*examples, tmp_path / "again", SMALL)
    assert again.weights_hash == report.weights_hash
    assert (tmp_path / "again" / WEIGHTS).read_bytes() == (home / WEIGHTS).read_bytes()
    other = train_text_classifier(*examples, tmp_path / "other", SMALL.but(seed=1))
    assert other.weights_hash != report.weights_hash


@settings(max_examples=60, deadline=None)
@given(text=st.text(alphabet="abAB é漢_1 .,(\n\t", max_size=60), lower=st.booleans())
def test_scores_are_those_of_the_definition(text, lower):
    random_values = np.random.default_rng(0)
    embedding = random_values.normal(size=(64, 5)).astype(np.float32)
    output, bias = random_values.normal(size=(3, 5)).astype(np.float32), np.array([0.1, -0.2, 0.3], np.float32)
    model = TextClassifier(("a", "b", "c"), embedding, output, bias, lower=lower)
    rows = features(text, 64, lower)
    mean = embedding[rows].astype(float).mean(0) if rows else np.zeros(5)
    logits = output.astype(float) @ mean + bias
    expected = [math.exp(value) for value in logits]
    assert model.score_texts([text])[0] == pytest.approx([value / sum(expected) for value in expected], abs=1e-5)


def test_the_trained_module_and_the_kernel_agree(examples, tmp_path):
    from glasshouse.language.text_classifier import BagOfFeatures, exported, labelled_bags

    texts = [*examples[0][:5], *examples[0][-5:]]
    model = BagOfFeatures(1 << 12, 8, 2, seed=3)
    with torch.no_grad():
        model.output.bias.copy_(torch.tensor([0.3, -0.1]))
    bags = labelled_bags(texts, np.zeros(10, np.int64), np.array([10, 0]), SMALL)
    logits = model(torch.from_numpy(bags.features), torch.from_numpy(bags.offsets))
    expected = torch.softmax(logits, 1).detach().numpy()
    assert exported(model, ("a", "b"), True).score_texts(texts) == pytest.approx(expected, abs=1e-6)


def test_toxicity_by_document_and_sentence(trained):
    home, _ = trained
    prose, code = "The river was old and ran to sea.", "value = index(3) + total"
    text = f"{prose} It came é.\n{code}\n"
    chosen = family("toxicity", model=str(home), label="code", threshold=0.5)
    row = compute_signals(
        to_batch([Document("1", text, "s", Origin("f", 0, 0)), Document("2", "", "s", Origin("f", 0, 0))]), [chosen]
    ).to_pylist()
    assert [text[s["start"] : s["end"]] for s in row[0]["toxicity_sentences"]] == [code]
    assert row[0]["toxicity_sentence_count"] == 1
    assert row[0]["toxicity_sentence_maximum"] == pytest.approx(row[0]["toxicity_sentences"][0]["score"])
    assert row[1]["toxicity_sentences"] == []
    everything = compute_signals(to_batch([Document("1", text, "s", Origin("f", 0, 0))]), [chosen.but(threshold=0.0)])
    assert everything.column("toxicity_sentence_count").to_pylist() == [3]


def test_the_configuration_names_the_exact_model(trained, examples, tmp_path):
    home, _ = trained
    chosen = family("quality", model=str(home), label="prose")
    assert len(chosen.weights) == 64
    with pytest.raises(ConfigurationError, match="no label 'toxic'"):
        family("toxicity", model=str(home))
    with pytest.raises(ConfigurationError, match="holds another classifier"):
        family("quality", model=str(home), label="prose", weights="0" * 64)


def broken(home, tmp_path, change):
    copy = tmp_path / "copy"
    copy.mkdir()
    for name in (ABOUT, WEIGHTS):
        (copy / name).write_bytes((home / name).read_bytes())
    change(copy)
    return copy


def edited(**changes):
    def change(folder):
        head = json.loads((folder / ABOUT).read_text())
        (folder / ABOUT).write_text(json.dumps(head | changes))

    return change


@pytest.mark.parametrize(("change", "message"), [
    (lambda folder: (folder / ABOUT).unlink(), "holds no classifier.json"),
    (lambda folder: (folder / ABOUT).write_text("{"), "is not JSON"),
    (lambda folder: (folder / ABOUT).write_text("[]"), "does not describe"),
    (lambda folder: (folder / WEIGHTS).unlink(), "is missing"),
    (lambda folder: (folder / WEIGHTS).write_bytes(b"x" * 100), "is damaged"),
    (edited(version=2), "version 2"),
    (edited(features="other"), "features 'other'"),
    (edited(labels=["one"]), "two or more different labels"),
    (edited(labels=["a", "b", "c"]), "do not fit"),
    (edited(labels=[1, 2]), "labels must be strings"),
    (edited(lower="yes"), "'lower' must be a bool"),
    (edited(buckets=8), "says 8 buckets"),
])  # fmt: skip
def test_a_damaged_or_incompatible_model_is_refused(trained, tmp_path, change, message):
    with pytest.raises(ClassifierError, match=message):
        open_classifier(broken(trained[0], tmp_path, change))


def test_weights_that_are_no_numbers_are_refused():
    bad = np.full((4, 2), np.nan, np.float32)
    with pytest.raises(ClassifierError, match="not finite"):
        TextClassifier(("a", "b"), bad, np.zeros((2, 2), np.float32), np.zeros(2, np.float32))


@pytest.mark.parametrize(("texts", "labels", "message"), [
    (["a b"], ["x"], "two or more labels"),
    (["a"], ["x", "y"], "as many labels"),
    (["", " "], ["x", "y"], "no example has a word"),
])  # fmt: skip
def test_examples_that_teach_nothing_are_refused(texts, labels, message, tmp_path):
    with pytest.raises(DataError, match=message):
        train_text_classifier(texts, labels, tmp_path / "m", SMALL.but(holdout=0.0))


def test_balanced_weights_give_every_label_the_same_say():
    from glasshouse.language.text_classifier import labelled_bags

    labels = np.array([0, 0, 0, 1])
    bags = labelled_bags(["a", "b", "c", "d"], labels, np.bincount(labels), SMALL.but(balanced=True))
    assert bags.weights[labels == 0].sum() == pytest.approx(bags.weights[labels == 1].sum())


def test_the_command_trains_and_asks(examples, tmp_path):
    texts, labels = examples
    lines = [json.dumps({"body": t, "kind": k}) for t, k in zip(texts, labels, strict=True)]
    (tmp_path / "l.jsonl").write_text("\n".join(lines) + "\n\n")
    arguments = [str(tmp_path / "l.jsonl"), "--text", "body", "--label", "kind", "--buckets", "4096", "--epochs", "6"]
    done = CliRunner().invoke(train_classifier, [*arguments, "--out", str(tmp_path / "m"), "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.output)["precision_at_1"] >= 0.95
    asked = CliRunner().invoke(classify, [str(tmp_path / "m"), "value = index(3)", "--json"])
    assert json.loads(asked.output)["scores"]["code"] > 0.5
    again = CliRunner().invoke(train_classifier, [*arguments, "--out", str(tmp_path / "m")])
    assert isinstance(again.exception, FileExistsError)


@pytest.mark.parametrize(("line", "message"), [
    ('{"text": "a"', "line 2 is not JSON"), ('{"text": 3, "label": "a"}', "needs a text in 'text', got 3"),
    ('{"text": "a"}', "needs a label in 'label', got None"), ("[1]", "needs a text"),
])  # fmt: skip
def test_a_bad_line_is_named(line, message, tmp_path):
    from glasshouse.data.signals.classifier_examples import LabelledTextError, read_labelled

    (tmp_path / "l.jsonl").write_text('{"text": "a", "label": true}\n' + line + "\n")
    with pytest.raises(LabelledTextError, match=message):
        read_labelled([tmp_path / "l.jsonl"])


def cut(text):
    data, bounds = packed([text])
    ranges = sentence_ranges(bounds, data).tolist()
    assert [data[r[1] : r[2]].tobytes().decode() for r in ranges] == [text[r[3] : r[4]] for r in ranges]
    return [text[r[3] : r[4]] for r in ranges]


@pytest.mark.parametrize(("text", "sentences"), [
    ("One. Two! Three? Four", ["One.", "Two!", "Three?", "Four"]),
    ("He said “No.” Then left.", ["He said “No.”", "Then left."]),
    ("Dr. Smith and J. Doe met. They spoke.", ["Dr. Smith and J. Doe met.", "They spoke."]),
    ("Version 3.14 is out... Really?!", ["Version 3.14 is out...", "Really?!"]),
    ("approx. ten of them", ["approx. ten of them"]),
    ("é一。二！ three\n\n four ", ["é一。", "二！", "three", "four"]),
    ("", []), (" \n\t", []),
])  # fmt: skip
def test_sentences(text, sentences):
    assert cut(text) == sentences


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="aB.!? \n\"'é。)", max_size=50))
def test_sentences_lose_no_character(text):
    assert "".join("".join(cut(text)).split()) == "".join(text.split())
