"""The step `quantise` and the command: a quantised model of the store opens, writes and is measured like any other."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

from glasshouse.cli import cli
from glasshouse.data.steps import read_text, tokenize, train_tokenizer
from glasshouse.evaluation.perplexity import perplexity
from glasshouse.evaluation.steps import evaluate
from glasshouse.language.generation import Sampling
from glasshouse.language.pretraining_run import inputs_of
from glasshouse.language.quantisation.settings import Quantisation, QuantisationError
from glasshouse.language.quantisation.steps import QuantisedModel, quantise
from glasshouse.language.steps import pretrain
from glasshouse.nn.configuration import olmo
from glasshouse.nn.quantised import QuantisedLinear
from glasshouse.store.execution import execute
from glasshouse.store.store import Store, StoreError
from glasshouse.training.configuration import Training

torch.set_num_threads(1)
WORDS = [f"{a}{b}" for a in ("glass", "house", "leaf", "root", "stem", "clay") for b in ("", "es", "y", "ing", "ed")]
TRAINING = Training(steps=60, batch_size=8, learning_rate=1e-2, precision="fp32", compile=False)


class Made:
    """A store with a small model, and what it is quantised to."""

    def __init__(self, home: Path) -> None:
        self.home, self.store = home, Store(home / "store")
        rows = []
        for number in range(150):
            draw = random.Random(number)
            first = draw.randrange(len(WORDS))
            words = [WORDS[(first + 3 * step) % len(WORDS)] for step in range(draw.randint(10, 60))]
            rows.append({"id": str(number), "text": " ".join(words), "source": "s"})
        (home / "texts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        corpus = read_text([str(home / "texts.jsonl")])
        self.shards = tokenize(corpus, train_tokenizer(corpus, vocabulary=300), holdout=0.1)
        self.base = pretrain(self.shards, olmo(depth=2).but(context=32), TRAINING)

    def quantised(self, **options: Any) -> QuantisedModel:
        made = execute(quantise(self.base, Quantisation(**options), self.shards, rows=16), self.store)
        assert isinstance(made, QuantisedModel)
        return made


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return Made(tmp_path_factory.mktemp("quantised"))


def test_it_opens_writes_and_is_measured_like_the_model_it_came_from(made: Made) -> None:
    dense: Any = execute(made.base, made.store)
    found = made.quantised(bits=4, group_size=32)
    assert isinstance(made.store.open(found.path.name), QuantisedModel)
    plain, packed = found.load(), found.load(packed=True)
    assert isinstance(packed.transformer.blocks[0].attention.key, QuantisedLinear)
    sampling = Sampling(tokens=12)
    assert plain.continue_text("glass", sampling) == packed.continue_text("glass", sampling)
    bits = {}
    for name, model in (("dense", made.base), ("4", found), ("2", made.quantised(bits=2, group_size=32))):
        measured: Any = execute(evaluate(model, [perplexity(made.shards.holdout)]), made.store)
        bits[name] = measured.values["bits_per_byte/model/micro"]
    assert 0.98 * bits["dense"] < bits["4"] < 1.05 * bits["dense"] < bits["2"]
    values = found.values
    assert values["quantisation/bytes"] < sum(f.stat().st_size for f in dense.path.glob("*.safetensors")) / 2
    assert 4 < values["quantisation/bits_per_parameter"] < 4 + 32 / 32 + 0.6
    assert 0 < values["quantisation/mean_error"] < 0.05
    assert [panel.title for panel in found.panels()] == ["Quantisation", "Quantised layers"]
    with pytest.raises(StoreError, match="tuned from"):
        inputs_of(found, made.store)


def test_the_same_settings_give_the_same_bytes_and_others_do_not(made: Made, tmp_path: Path) -> None:
    first = made.quantised(bits=3, group_size=32)
    again = Made(tmp_path)
    assert again.quantised(bits=3, group_size=32).manifest["content"] == first.manifest["content"]
    other = execute(quantise(made.base, Quantisation(bits=3, group_size=32), made.shards, rows=16, seed=1), made.store)
    assert other.manifest["content"] != first.manifest["content"]


def test_gptq_loses_less_of_the_held_out_text_than_round_to_nearest(made: Made) -> None:
    losses = {}
    for name, model in (
        ("dense", made.base),
        *((method, made.quantised(bits=2, group_size=32, method=method)) for method in ("gptq", "rtn")),
    ):
        measured: Any = execute(evaluate(model, [perplexity(made.shards.holdout)]), made.store)
        losses[name] = measured.values["nats_per_token/model"]
    assert losses["dense"] < losses["gptq"] < losses["rtn"]


def test_gptq_without_calibration_is_refused(made: Made) -> None:
    with pytest.raises(QuantisationError, match="needs calibration tokens"):
        execute(quantise(made.base, Quantisation(bits=4, group_size=32)), made.store)
    with pytest.raises(QuantisationError, match="at least one row"):
        execute(quantise(made.base, Quantisation(bits=4, group_size=32), made.shards, rows=0), made.store)


def test_the_command_keeps_a_model_in_the_store_and_writes_a_folder(made: Made, tmp_path: Path) -> None:
    base = execute(made.base, made.store)
    store = ["--store", str(made.home / "store")]
    runner = CliRunner()
    result = runner.invoke(
        cli, ["quantise", base.path.name, "--bits", "3", "--group-size", "32", "--rows", "8", *store]
    )
    assert result.exit_code == 0, (result.output, result.exception)
    name = result.stdout.splitlines()[-1].split(":")[0]
    assert "bits a weight" in result.output
    assert isinstance(made.store.open(name), QuantisedModel)
    written = runner.invoke(cli, ["generate", "quantise", "glass", "--tokens", "4", *store])
    assert written.exit_code == 0, (written.output, written.exception)
    assert written.output.startswith("glass")
    folder = tmp_path / "made"
    text = ["--text", str(made.home / "texts.jsonl")]
    result = runner.invoke(cli, ["quantise", str(base.path), str(folder), "--group-size", "32", *text, *store])
    assert result.exit_code == 0, (result.output, result.exception)
    assert "14 layers at 4 bits" in result.output
    measured = runner.invoke(cli, ["evaluate", str(folder), "--perplexity", str(made.home / "texts.jsonl"), *store])
    assert measured.exit_code == 0, (measured.output, measured.exception)
    for arguments in (
        [str(base.path)],
        [str(base.path), str(tmp_path / "other")],
        [base.path.name, str(tmp_path / "x")],
    ):
        refused = runner.invoke(cli, ["quantise", *arguments, *store])
        assert refused.exit_code == 2, refused.output
