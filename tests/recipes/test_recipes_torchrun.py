"""A whole recipe in two processes: one works on the store, both train, and the model is a model like any other."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from glasshouse.evaluation.steps import Evaluation
from glasshouse.language.model import LanguageModel
from glasshouse.store.lineage import ancestors
from glasshouse.store.store import Store


def model_of(store):
    made = [store.open(name) for name in ancestors(store, store.latest_run("mini")["artifact"])]
    return next(item for item in made if isinstance(item, LanguageModel))


@pytest.mark.slow
@pytest.mark.parametrize("parallel", ["", "shard=2"])
def test_a_recipe_runs_in_two_processes(finished, tmp_path, parallel):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += ["-m", "glasshouse", "run", str(Path(__file__).parent / "mini_recipe.py")]
    command += ["--corpus", str(finished.corpus), "--store", str(tmp_path), "--parallel", parallel]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("Open the report") == 1
    store = Store(tmp_path)
    assert isinstance(store.open(store.latest_run("mini")["artifact"]), Evaluation)
    assert not [problem for name in store.names() for problem in store.verify(name)]
    assert not list((tmp_path / "work").iterdir())
    model, alone = model_of(store), model_of(finished.store)
    assert model.training["outcome"]["processes"] == 2
    assert model.manifest["inputs"]["shards"]["id"] == alone.manifest["inputs"]["shards"]["id"]
    assert model.training["outcome"]["loss"] == pytest.approx(alone.training["outcome"]["loss"], abs=1e-4)
    tokens = torch.arange(2, 30)[None]
    logits, expected = (item.load().transformer(tokens).logits for item in (model, alone))
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-2)
    assert model.training["identity"]["initial weights"] == alone.training["identity"]["initial weights"]


@pytest.mark.slow
def test_adaptation_runs_in_two_processes(tmp_path):
    """Sharded and alone, both kinds of tuning end near each other; the folder is whole."""
    recipe = str(Path(__file__).parent / "tuned_recipe.py")
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    spread = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    found = {}
    for name, before, after in (("one", [], []), ("two", spread, ["--parallel", "shard=2"])):
        command = [sys.executable, *before, "-m", "glasshouse", "run", recipe, "--store", str(tmp_path / name), *after]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=400, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        store = Store(tmp_path / name)
        made = [store.open(item) for item in ancestors(store, store.latest_run("tuned")["artifact"])]
        found[name] = {item.training.get("stage", "pretrain"): item for item in made if isinstance(item, LanguageModel)}
        assert not [problem for item in store.names() for problem in store.verify(item)]
    for stage in ("finetune", "prefer"):
        one, two = found["one"][stage], found["two"][stage]
        assert two.training["outcome"]["processes"] == 2
        assert two.training["outcome"]["loss"] == pytest.approx(one.training["outcome"]["loss"], abs=1e-3)
        pairs = zip(one.load().transformer.parameters(), two.load().transformer.parameters(), strict=True)
        assert max(float((a - b).detach().abs().max()) for a, b in pairs) < 1e-3
