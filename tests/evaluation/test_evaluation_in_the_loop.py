"""Measures of a model in training: they change nothing, and are what `evaluate` finds of the finished model."""

import json

import pytest
import torch
from evaluation_standins import texts

from glasshouse.data.steps import read_text, tokenize, train_tokenizer
from glasshouse.evaluation.generated import GeneratedTask
from glasshouse.evaluation.grammar import BRACKETS, KnownEntropy
from glasshouse.evaluation.perplexity import perplexity
from glasshouse.evaluation.rank_classification import rank_classification
from glasshouse.evaluation.steps import evaluate, evaluate_checkpoints
from glasshouse.language.measures import InTheLoop, measured_curves
from glasshouse.language.model import LanguageModel, LoadedModel
from glasshouse.language.steps import pretrain
from glasshouse.nn.configuration import olmo
from glasshouse.store.configuration import ConfigurationError
from glasshouse.store.execution import execute
from glasshouse.store.files import StoreError
from glasshouse.store.panels import Curves
from glasshouse.store.report import write_report
from glasshouse.store.store import Store
from glasshouse.training.configuration import Training

TRAINING = Training(steps=6, batch_size=4, seed=1, checkpoint_every=2, log_every=1, validate_every=2, compile=False)


def measures(shards):
    tasks = rank_classification(GeneratedTask("colours", 6), GeneratedTask("brackets", 6))
    return [perplexity(shards.holdout), tasks, KnownEntropy(BRACKETS, documents=2)]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The same model trained without and with measures (in bfloat16), an evaluation of the second, and the shards."""
    home = tmp_path_factory.mktemp("loop")
    rows = [{"id": str(n), "text": " ".join(texts(8, seed=n)), "source": "ab"[n % 2]} for n in range(60)]
    (home / "texts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    store = Store(home / "store")
    documents = read_text([str(home / "texts.jsonl")])
    tokenizer = train_tokenizer(documents, vocabulary=300)
    shards = tokenize(documents, tokenizer, holdout=0.2)
    config = olmo(depth=1).but(context=64)
    plain = execute(pretrain(shards, config, TRAINING), store)
    node = pretrain(shards, config, TRAINING, measures=measures(shards))
    measured = execute(node, store)
    return store, plain, measured, execute(evaluate(node, measures(shards)), store), shards


def validations(model: LanguageModel):
    return {r["step"]: r for r in model.metrics if "validation/loss" in r}


def test_measuring_changes_no_bit_of_the_training(made):
    _, plain, measured, *_ = made
    assert plain.training["outcome"]["weights_hash"] == measured.training["outcome"]["weights_hash"]
    assert plain.file("model.safetensors").read_bytes() == measured.file("model.safetensors").read_bytes()
    assert [r for r in plain.metrics if "loss" in r] == [r for r in measured.metrics if "loss" in r]
    for step, record in validations(plain).items():
        assert record["validation/loss"] == validations(measured)[step]["validation/loss"]


def test_the_last_values_are_those_of_the_finished_model(made):
    _, _, measured, evaluation, _ = made
    found = validations(measured)
    assert sorted(found) == [2, 4, 6]
    assert {f"validation/{name}": value for name, value in evaluation.values.items()} == {
        name: value for name, value in found[6].items() if name not in ("step", "validation/loss")
    }
    assert found[2] != found[6]


def test_curves_begin_with_the_untrained_model(made):
    store, _, measured, *_ = made
    curves = {panel.title: panel for panel in measured.panels() if isinstance(panel, Curves)}
    colours = curves["colours (acc)"]
    assert [x for x, _ in colours.series["score"]] == [0, 2, 4, 6]
    assert [x for x, _, _ in colours.bands["score"]] == [0, 2, 4, 6]
    assert [y for _, y in colours.series["chance"]] == pytest.approx([0.1] * 4)
    entropy = curves["grammar: bits per byte, and the fewest possible"]
    assert entropy.levels["the source itself"] < min(y for _, y in entropy.series["model"])
    assert {"macro", "micro", "a", "b"} == set(curves["Held-out bits per byte in the loop"].series)
    assert measured.manifest["measurements"]["measured_times"] == 4
    page = write_report(store, measured.path.name, "loop", "").read_text()
    assert "class='band c" in page
    assert "majority" in page


def test_kept_checkpoints_are_measured_afterwards_with_the_same_values(made):
    store, plain, measured, _, shards = made
    config = olmo(depth=1).but(context=64)
    kept = execute(pretrain(shards, config, TRAINING, keep_checkpoints=True), store)
    assert kept.training["outcome"]["weights_hash"] == plain.training["outcome"]["weights_hash"]
    found = execute(evaluate_checkpoints(kept, measures(shards)), store)
    in_loop = validations(measured)
    points = dict(found.measured["points"])
    assert sorted(points) == [2, 4, 6]
    for update, values in points.items():
        assert {f"validation/{name}": value for name, value in values.items()}.items() <= in_loop[update].items()
    titles = [panel.title for panel in found.panels()]
    assert titles == [panel.title for panel in measured.panels()][-len(titles) :]
    assert "colours (acc)" in titles
    with pytest.raises(StoreError, match=r"no checkpoint of update 6; it has none: pre-train with keep_checkpoints"):
        execute(evaluate_checkpoints(plain, measures(shards)), store)


def test_measures_that_would_never_be_taken_are_refused(made):
    store, *_, shards = made
    with pytest.raises(ConfigurationError, match="validate_every is None: they would never be taken"):
        execute(
            pretrain(
                shards,
                olmo(depth=1).but(context=64),
                TRAINING.but(validate_every=None),
                measures=[rank_classification(GeneratedTask("brackets", 2))],
            ),
            store,
        )


def test_the_model_is_left_in_the_mode_it_was_in(model):
    loop = InTheLoop([rank_classification(GeneratedTask("brackets", 2))], LoadedModel(*vars(model).values()))
    for training in (True, False):
        model.transformer.train(training)
        before = torch.random.get_rng_state()
        values = loop()
        assert model.transformer.training is training
        assert torch.equal(before, torch.random.get_rng_state())
    model.transformer.eval()
    assert loop.times == 2
    assert values == loop()


def test_curves_leave_out_what_was_not_measured():
    curve = {"title": "t", "y": "y", "series": {"a": "x", "b": "z"}, "levels": {"c": "x"}}
    (panel,) = measured_curves([curve, curve | {"series": {"b": "z"}}], [(0, {}), (1, {"x": 2.0})], "checkpoint")
    assert panel.series == {"a": [(1, 2.0)]}
    assert (panel.x, panel.levels) == ("checkpoint", {"c": 2.0})
