"""Pre-training on real shards and our transformer: learning, provenance against brute force, refusals."""

import json
import re

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from glasshouse.data.document import Document, Origin, batches
from glasshouse.data.tokens.shards import TokenShards, write_shards
from glasshouse.data.tokens.tokenizer import train_bpe
from glasshouse.language.pretrain import (
    IGNORE,
    LanguageModelling,
    TokenRows,
    check_tokens,
    model_flops_per_row,
    pretrain,
)
from glasshouse.language.scoring import shifted
from glasshouse.language.trace import Trace
from glasshouse.nn.configuration import TransformerConfig
from glasshouse.nn.transformer import Transformer
from glasshouse.training.configuration import Training
from glasshouse.training.data import DataError
from glasshouse.training.guards import TrainingStoppedError
from glasshouse.training.identity import order_of_run
from glasshouse.training.objective import Objective, Step

CONTEXT = 16


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    generator = np.random.default_rng(3)
    words = re.findall(r"\w+", "the cat sat on a mat while rain fell over green hills and grey towns near water")
    documents = [
        Document(
            f"d{i}", " ".join(generator.choice(words, generator.integers(3, 60))), f"s{i % 2}", Origin(f"f{i}", 0, 9)
        )
        for i in range(120)
    ]
    tokenizer = train_bpe([document.text for document in documents], 300)
    directory = tmp_path_factory.mktemp("shards")
    write_shards(batches(documents), tokenizer, directory, holdout=0.2, shard_tokens=1000)
    return TokenShards(directory / "train"), TokenShards(directory / "holdout"), tokenizer


def small(vocabulary=300, **changes):
    shape = {"width": 32, "layers": 2, "heads": 2, "feed_forward": 64, "context": CONTEXT, "tied": True}
    return Transformer(TransformerConfig(vocabulary=vocabulary, **(shape | changes)))


def training(**changes):
    fields = {"steps": 40, "batch_size": 8, "learning_rate": 5e-3, "precision": "fp32", "log_every": 1}
    return Training(**(fields | changes))


def records(directory):
    return [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]


def test_it_learns_and_validates(corpus, tmp_path):
    shards, held_out, _ = corpus
    result = pretrain(
        small(), shards, training(steps=80, validate_every=40), tmp_path, eos=shards.eos_id, validation=held_out
    )
    stream = [record["loss"] for record in records(tmp_path) if "loss" in record]
    validations = [record["validation/loss"] for record in records(tmp_path) if "validation/loss" in record]
    assert stream[0] == pytest.approx(np.log(300), rel=0.15)
    assert stream[-1] < 0.7 * stream[0]
    assert len(validations) == 2
    assert validations[1] < validations[0]
    assert (result.unit, result.units) == ("tokens", 80 * 8 * (CONTEXT - 1))


def test_a_token_budget_counts_whole_rows(corpus, tmp_path):
    result = pretrain(small(), corpus[0], training(steps=None, tokens=1000), tmp_path)
    assert result.steps == -(-1000 // (8 * CONTEXT))


def test_bf16_is_within_one_percent_of_fp32(corpus, tmp_path):
    ends = []
    for precision in ("fp32", "bf16"):
        pretrain(small(), corpus[0], training(steps=60, precision=precision), tmp_path / precision)
        ends.append(np.mean([record["loss"] for record in records(tmp_path / precision)][-10:]))
    assert ends[1] == pytest.approx(ends[0], rel=0.01)


def test_the_loss_is_over_real_targets_in_fp32():
    model = small()
    objective = LanguageModelling(model)
    assert isinstance(objective, Objective)
    tokens = torch.randint(0, 300, (3, CONTEXT))
    step = Step(1, 1, 0, torch.Generator())
    with torch.no_grad():
        logits = model(tokens).logits
        expected = functional.cross_entropy(logits[:, :-1].flatten(0, 1), tokens[:, 1:].flatten())
        found = objective.loss({"tokens": tokens}, step).value
        with torch.autocast("cpu", dtype=torch.bfloat16):
            narrow = objective.loss({"tokens": tokens}, step).value
    assert objective.weight({"tokens": tokens}) == 3 * (CONTEXT - 1)
    torch.testing.assert_close(found, expected)
    assert narrow.dtype == torch.float32
    assert narrow == pytest.approx(float(expected), rel=0.01)


def test_targets_restrict_the_loss_and_its_weight():
    model, tokens = small(), torch.randint(0, 300, (2, CONTEXT))
    targets = shifted(tokens)
    targets[:, :10] = IGNORE
    objective = LanguageModelling(model)
    batch = {"tokens": tokens, "targets": targets}
    assert objective.weight(batch) == 2 * (CONTEXT - 11)
    expected = functional.cross_entropy(model(tokens).logits[:, 10:-1].flatten(0, 1), tokens[:, 11:].flatten())
    torch.testing.assert_close(objective.token_loss(batch).mean, expected)


def test_z_loss_adds_the_mean_squared_log_partition():
    model, tokens = small(), torch.randint(0, 300, (2, CONTEXT))
    batch, step = {"tokens": tokens}, Step(1, 1, 0, torch.Generator())
    plain = LanguageModelling(model).loss(batch, step).value
    found = LanguageModelling(model, z_loss=0.1).loss(batch, step)
    penalty = model(tokens).logits[:, :-1].logsumexp(-1).square().mean()
    torch.testing.assert_close(found.value, plain + 0.1 * penalty)
    torch.testing.assert_close(found.metrics["cross_entropy"], plain.detach())


def test_a_hugging_face_model_trains_with_the_same_numbers(corpus, tmp_path):
    transformers = pytest.importorskip("transformers")
    config = transformers.OlmoConfig(
        vocab_size=300,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=CONTEXT,
        eos_token_id=corpus[0].eos_id,
        pad_token_id=1,
    )
    theirs = transformers.OlmoForCausalLM(config)
    objective = LanguageModelling(theirs)
    assert len(objective.blocks()) == 2
    pretrain(theirs, corpus[0], training(steps=30), tmp_path)
    stream = [record["loss"] for record in records(tmp_path)]
    assert stream[-1] < 0.85 * stream[0]
    assert model_flops_per_row(theirs, CONTEXT) is not None


def test_flops_are_olmos_formula():
    model = small(tied=False)
    n, e = sum(p.numel() for p in model.parameters()), 300 * 32
    assert model_flops_per_row(model, CONTEXT) == CONTEXT * (2 * (n - e) + 4 * n + 12 * 2 * 32 * CONTEXT)


def test_a_finished_run_can_be_traced_from_its_record(corpus, tmp_path):
    result = pretrain(small(), corpus[0], training(steps=2, examples=None), tmp_path)
    order = order_of_run(json.loads((tmp_path / "run.json").read_text()))
    trace = Trace(order, corpus[0], CONTEXT, result.step)
    seen = {item.document for step in (1, 2) for item in trace.at_step(step)}
    assert all(trace.of_document(document) for document in seen)


def test_a_stop_names_the_documents(corpus, tmp_path):
    class Explodes(Transformer):
        def forward(self, tokens, **options):
            found = super().forward(tokens, **options)
            return found._replace(hidden=found.hidden * float("inf"))

    model = Explodes(small().config)
    with pytest.raises(TrainingStoppedError, match=r"step 1: the loss is nan.*d\d+ \(s[01]\)") as caught:
        pretrain(model, corpus[0], training(), tmp_path)
    order = order_of_run(json.loads((tmp_path / "run.json").read_text()))
    expected = {item.document for item in Trace(order, corpus[0], CONTEXT, last_step=1).at_step(1)}
    assert {name.split(" ")[0] for name in caught.value.documents} == expected


def test_tokenizer_shards_and_model_must_belong_together(corpus, tmp_path):
    shards = corpus[0]
    with pytest.raises(DataError, match=f"{shards.vocabulary} tokens, the model embeds only 200"):
        pretrain(small(vocabulary=200), shards, training(), tmp_path)
    with pytest.raises(DataError, match=f"the tokenizer says 7, the shards says {shards.eos_id}"):
        pretrain(small(), shards, training(), tmp_path, eos=7)

    class Configured(nn.Module):
        def __init__(self, eos):
            super().__init__()
            self.embedding = nn.Embedding(300, 4)
            self.config = type("Config", (), {"eos_token_id": eos})()

    with pytest.raises(DataError, match="the model's configuration says 50279"):
        check_tokens(Configured(50279), shards)
    check_tokens(Configured(shards.eos_id), shards)
    with pytest.raises(DataError, match="no token embedding"):
        check_tokens(nn.Linear(2, 2), shards)
    with pytest.raises(DataError, match="pass context"):
        pretrain(Configured(shards.eos_id), shards, training(), tmp_path)
    with pytest.raises(DataError, match="no row of 100000 tokens"):
        pretrain(small(), shards, training(), tmp_path, context=100_000)
    assert not list(tmp_path.iterdir())


def test_a_token_without_an_embedding_names_row_and_document(corpus):
    narrow = TokenRows(corpus[0], CONTEXT, vocabulary=20)
    with pytest.raises(DataError, match=r"row \d+ \(d\d+ \(s[01]\)\) has token \d+, the model embeds 0 to 19"):
        narrow.batch(np.arange(4))
