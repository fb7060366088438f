"""Models in folders, ours and others', and `glasshouse evaluate` on them."""

import json

import numpy as np
import pytest
import torch
import transformers
from click.testing import CliRunner
from evaluation_standins import loaded_model, requests, texts

from glasshouse.cli import cli
from glasshouse.data.tokens.tokenizer import save_tokenizer
from glasshouse.evaluation.encoding import encode_requests
from glasshouse.evaluation.generated import GeneratedTask
from glasshouse.evaluation.likelihood import log_likelihoods
from glasshouse.evaluation.models import ModelError, open_folder, scored_model
from glasshouse.evaluation.rank_classification import RankedTask
from glasshouse.evaluation.running import run
from glasshouse.evaluation.scoreboard import compare, scored
from glasshouse.evaluation.scorers import LocalScorer
from glasshouse.nn.huggingface import save_huggingface


def ours(path, seed):
    model = loaded_model(seed=seed)
    save_tokenizer(model.tokenizer, path / "tokenizer")
    files = [path / "tokenizer" / name for name in ("tokenizer.json", "tokenizer_config.json")]
    end = model.end_of_sequence
    save_huggingface(model.transformer, path / "model", end=end, begin=end, tokenizer_files=files)
    return path / "model"


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Two OLMos and a GPT-2."""
    home = tmp_path_factory.mktemp("models")
    tokenizer = loaded_model().tokenizer
    torch.manual_seed(0)
    config = transformers.GPT2Config(vocab_size=320, n_positions=64, n_embd=32, n_layer=1, n_head=2, eos_token_id=0)
    transformers.GPT2LMHeadModel(config).save_pretrained(home / "gpt2")
    save_tokenizer(tokenizer, home / "gpt2")
    (home / "held.jsonl").write_text(
        "".join(json.dumps({"id": str(n), "text": t}) + "\n" for n, t in enumerate(texts(6)))
    )
    return {"one": ours(home / "1", 3), "two": ours(home / "2", 4), "gpt2": home / "gpt2", "held": home / "held.jsonl"}


def likelihoods(model):
    given = encode_requests(model.tokenizer, requests(), end_of_sequence=model.end_of_sequence, context=model.context)
    return log_likelihoods(model.transformer, given, context=model.context).log_likelihood


def test_a_folder_is_the_model_that_was_saved(folders):
    opened = open_folder(folders["one"])
    assert (opened.end_of_sequence, opened.context) == (0, 64)
    np.testing.assert_array_equal(likelihoods(opened), likelihoods(loaded_model()))
    theirs = transformers.AutoModelForCausalLM.from_pretrained(folders["one"], dtype=torch.float32)
    read = scored_model(theirs, transformers.AutoTokenizer.from_pretrained(folders["one"]))
    np.testing.assert_allclose(likelihoods(read), likelihoods(opened), rtol=1e-5)


def test_a_family_of_transformers_is_opened_too(folders):
    opened = open_folder(folders["gpt2"])
    assert type(opened.transformer).__name__ == "GPT2LMHeadModel"
    assert (opened.end_of_sequence, opened.context, opened.transformer.training) == (0, 64, False)
    assert np.isfinite(likelihoods(opened)).all()


def test_what_is_no_model_is_refused(folders, tmp_path):
    with pytest.raises(ModelError, match=r"needs config\.json, tokenizer\.json and safetensors"):
        open_folder(tmp_path)
    pickled = tmp_path / "pickled"
    pickled.mkdir()
    for name in ("config.json", "tokenizer.json"):
        (pickled / name).write_bytes((folders["gpt2"] / name).read_bytes())
    torch.save({}, pickled / "pytorch_model.bin")
    with pytest.raises(ModelError, match="cannot be opened"):
        open_folder(pickled)
    with pytest.raises(ModelError, match="which token stands before a text"):
        scored_model(torch.nn.Embedding(3, 2), loaded_model().tokenizer)


def test_two_models_are_compared_by_question(folders):
    def answered(model, seed=0):
        task = RankedTask(GeneratedTask("brackets", 30, seed))
        return scored(task, run(task, LocalScorer(open_folder(folders[model]))))

    one, two = answered("one"), answered("two")
    found = compare(one, two)["acc"]
    assert found.difference == pytest.approx(one.scores["acc"].value - two.scores["acc"].value)
    assert found.difference == pytest.approx((found.only_first - found.only_second) / 30)
    with pytest.raises(ValueError, match=r"did not answer the same items \(30 and 30\)"):
        compare(one, answered("one", seed=1))


def test_the_command_measures_a_folder_and_compares(folders, tmp_path):
    output = tmp_path / "measured.json"
    one, two = str(folders["one"]), str(folders["two"])
    command = ["evaluate", one, "--tasks", "generated", "--perplexity", str(folders["held"]), "--against", two]
    done = CliRunner().invoke(cli, [*command, "--limit", "20", "--json", str(output)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    written = json.loads(output.read_text())
    assert set(written["models"]) == {one, two}
    bits, tasks = written["models"][one]
    assert f"{bits['values']['bits_per_byte/model/macro']:.3f}" in done.output
    assert tasks["values"]["tasks/arithmetic/items"] == 20
    assert set(written["compared"]) == {"colours", "arithmetic", "brackets"}
    assert "exact p" in done.output
    colours = next(line for line in done.output.splitlines() if line.split()[:2] == ["colours", "acc"])
    assert "chance 0.100, majority" in colours


@pytest.mark.parametrize(
    ("arguments", "message"),
    [([], "nothing to measure"), (["--tasks", "riddles"], "there is no task riddles: give a file of questions")],
)
def test_the_command_says_what_is_wrong(folders, arguments, message):
    done = CliRunner().invoke(cli, ["evaluate", str(folders["one"]), *arguments])
    assert done.exit_code == 2
    assert message in done.output
