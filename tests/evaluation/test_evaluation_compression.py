"""The map of compression: what every model of few bits reaches, beside the dense one, and how it is drawn."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

from glasshouse.cli import cli
from glasshouse.data.steps import read_text, tokenize, train_tokenizer
from glasshouse.evaluation.compression import CompressionMap, NamedTasks, below_trivial, map_compression
from glasshouse.evaluation.generated import GeneratedTask
from glasshouse.evaluation.perplexity import perplexity
from glasshouse.language.quantisation.settings import Quantisation
from glasshouse.language.quantisation.steps import quantise
from glasshouse.language.steps import pretrain
from glasshouse.nn.configuration import olmo
from glasshouse.store.execution import execute
from glasshouse.store.panels import Curves, Table
from glasshouse.store.store import Store
from glasshouse.training.configuration import Training

torch.set_num_threads(1)
TRAINING = Training(steps=60, batch_size=8, learning_rate=1e-2, precision="fp32", compile=False)


class Made:
    """A store with a small model that was trained on the generated tasks."""

    def __init__(self, home: Path) -> None:
        self.home, self.store = home, Store(home / "store")
        task = GeneratedTask("colours", seed=9)
        rows = [{"id": str(n), "text": task.text(n), "source": "colours"} for n in range(300)]
        (home / "texts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        corpus = read_text([str(home / "texts.jsonl")])
        self.shards = tokenize(corpus, train_tokenizer(corpus, vocabulary=300), holdout=0.1)
        self.base = pretrain(self.shards, olmo(depth=1).but(context=64), TRAINING)

    def quantised(self, **options: Any) -> Any:
        return quantise(self.base, Quantisation(group_size=32, **options), self.shards, rows=8)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return Made(tmp_path_factory.mktemp("compression"))


def test_every_model_has_its_bytes_perplexity_and_scores_beside_trivial_methods(made: Made) -> None:
    models = {"dense": made.base, "four": made.quantised(bits=4), "two": made.quantised(bits=2, method="rtn")}
    tasks = NamedTasks(names=("colours", "brackets"), limit=30)
    found = execute(map_compression(models, [tasks], made.shards), made.store)
    assert isinstance(found, CompressionMap)
    base: Any = execute(made.base, made.store)
    four: Any = execute(models["four"], made.store)
    values = found.values
    assert values["dense/bytes"] == 2 * base.training["outcome"]["parameters"]
    assert values["four/bytes"] == four.size < values["dense/bytes"]
    shards: Any = execute(made.shards, made.store)
    told = perplexity(shards.holdout).measure(base.load(), lambda _, __: _Silent())["values"]
    assert values["dense/perplexity"] == pytest.approx(math.exp(told["nats_per_token/model"]))
    assert values["two/perplexity"] > values["dense/perplexity"]
    assert {"dense/tasks/colours/acc", "two/tasks/brackets/acc/normalised"} <= set(values)
    panels = found.panels()
    table = next(panel for panel in panels if isinstance(panel, Table))
    assert [row[:3] for row in table.rows] == [["dense", "dense", 16], ["four", "gptq", 4], ["two", "rtn", 2]]
    curve = next(panel for panel in panels if isinstance(panel, Curves) and panel.title == "Perplexity over bytes")
    assert curve.series["dense"] == [(values["dense/bytes"] / 1000, values["dense/perplexity"])]


class _Silent:
    def __enter__(self) -> _Silent:
        return self

    def __exit__(self, *_: object) -> None: ...

    def advance(self, _: float = 1) -> None: ...


def test_models_below_a_trivial_method_are_told_with_its_name() -> None:
    values = {
        "tasks/a/acc": 0.2, "tasks/a/acc/normalised": -0.1, "tasks/a/acc/baseline/chance": 0.25,
        "tasks/a/acc/baseline/none": 0.0, "tasks/b/bleu": 0.5, "tasks/b/bleu/normalised": 0.1,
    }  # fmt: skip
    assert below_trivial(values, {"a": "acc", "b": "bleu"}) == ["a (chance 0.250)"]


def test_the_command_tries_all_and_leaves_a_report(made: Made) -> None:
    base = execute(made.base, made.store)
    store = ["--store", str(made.home / "store")]
    asked = ["--task", "colours", "--limit", "10", "--bits", "4,2", "--rows", "8", "--group-size", "32"]
    result = CliRunner().invoke(cli, ["map-compression", base.path.name, *asked, *store])
    assert result.exit_code == 0, (result.output, result.exception)
    for label in ("dense", "4 bits rtn", "4 bits gptq", "2 bits rtn", "2 bits gptq"):
        assert label in result.output
    written = CliRunner().invoke(cli, ["report", "map-compression", *store])
    assert written.exit_code == 0, (written.output, written.exception)
    assert "Perplexity over bytes" in Path(written.output.strip().splitlines()[-1]).read_text()


def test_bits_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    result = CliRunner().invoke(cli, ["map-compression", "any", "--bits", "4,few", "--store", str(tmp_path)])
    assert result.exit_code == 2
    assert "'4,few' is no list of numbers" in result.output
