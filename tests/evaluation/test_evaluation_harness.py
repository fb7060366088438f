"""lm-evaluation-harness: our models inside it and its tasks inside ours give the numbers that it gives itself."""

import json
import subprocess
import sys

import pytest
import torch
import transformers
from click.testing import CliRunner
from evaluation_harness_tasks import write_tasks
from evaluation_standins import loaded_model, texts

from glasshouse.cli import cli
from glasshouse.data.tokens.tokenizer import save_tokenizer
from glasshouse.evaluation.harness.finding import HarnessError, load_tasks
from glasshouse.evaluation.models import open_folder
from glasshouse.evaluation.requests import ScoringError
from glasshouse.evaluation.running import run
from glasshouse.evaluation.runs import compare_runs, read_run
from glasshouse.evaluation.scoreboard import scored
from glasshouse.evaluation.scorers import LocalScorer

lm_eval = pytest.importorskip("lm_eval")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Tasks, and a random Llama with its tokenizer."""
    folder = tmp_path_factory.mktemp("harness")
    write_tasks(folder)
    tokenizer = loaded_model().tokenizer
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=320, hidden_size=48, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        max_position_embeddings=128, bos_token_id=0, eos_token_id=0, initializer_range=0.3,
    )  # fmt: skip
    transformers.LlamaForCausalLM(config).save_pretrained(folder / "llama")
    save_tokenizer(tokenizer, folder / "llama")
    end = tokenizer.id_to_token(0)
    transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=end, bos_token=end).save_pretrained(
        folder / "llama"
    )
    return folder


@pytest.fixture(scope="module")
def hflm(home):
    from lm_eval.models.huggingface import HFLM

    model = transformers.AutoModelForCausalLM.from_pretrained(home / "llama", dtype=torch.float32)
    return HFLM(
        pretrained=model, tokenizer=transformers.AutoTokenizer.from_pretrained(home / "llama"), add_bos_token=False
    )


def by_harness(model, home):
    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager

    manager = TaskManager(include_defaults=False, include_path=str(home))
    tasks = ["gates_choices", "gates_texts"]
    return simple_evaluate(model=model, tasks=tasks, task_manager=manager, bootstrap_iters=10, log_samples=True)


@pytest.fixture(scope="module")
def theirs(hflm, home):
    return by_harness(hflm, home)


def test_our_model_inside_the_harness_is_its_own(home, hflm, theirs):
    from lm_eval.api.instance import Instance

    from glasshouse.evaluation.harness.model import GlasshouseLM

    ours = GlasshouseLM(str(home / "llama"), batch_size=16)
    found = by_harness(ours, home)
    for task, scores in theirs["results"].items():
        for name, value in scores.items():
            if "stderr" not in name:
                assert found["results"][task][name] == value
    long = [Instance("loglikelihood_rolling", {}, (" ".join(texts(n)),), n) for n in (1, 9, 40)]
    assert ours.loglikelihood_rolling(long) == pytest.approx(hflm.loglikelihood_rolling(long, disable_tqdm=True))
    with pytest.raises(ScoringError, match="texts are greedy here"):
        ours.generate_until([Instance("generate_until", {}, ("a", {"do_sample": True, "temperature": 0.7}), 0)])
    with pytest.raises(TypeError, match="takes path, store, device and batch_tokens; got quantize"):
        GlasshouseLM(str(home / "llama"), quantize=4)


def test_its_tasks_inside_ours_have_its_scores(home, theirs):
    from glasshouse.evaluation.harness.tasks import harness_tasks

    scorer = LocalScorer(open_folder(home / "llama"))
    for name in ("gates_choices", "gates_texts"):
        (task,) = harness_tasks(str(home / f"{name}.yaml"))
        found = scored(task, run(task, scorer))
        told = theirs["results"][name]
        for metric, reached in found.scores.items():
            key = metric if "," in metric else f"{metric},none"
            assert reached.value == pytest.approx(told[key]), metric
        samples = [row for row in theirs["samples"][name] if row["filter"] in ("none", "whole")]
        assert [record.target for record in found.records] == [row["target"] for row in samples]
        assert [[request_text(r) for r, _ in record.asked] for record in found.records] == [
            [arguments[0] for arguments in row["arguments"]] for row in samples
        ]
    assert task.shots == 0
    assert set(found.scores) == {"exact_match,whole", "exact_match,word", "bleu,whole", "bleu,word"}
    assert found.scores["exact_match,whole"].baselines["majority"] > 0
    assert found.scores["exact_match,whole"].baselines["nothing"] == 0


def request_text(request):
    return getattr(request, "prompt", None) or request.context


def test_trivial_answers_are_worth_what_they_must_be(home):
    from glasshouse.evaluation.harness.tasks import harness_tasks

    (task,) = harness_tasks(str(home / "gates_choices.yaml"), limit=10)
    found = scored(task, run(task, LocalScorer(open_folder(home / "llama"))))
    labels = [record.target for record in found.records]
    assert len(labels) == 10
    assert task.shots == 2
    for metric in ("acc", "acc_norm"):
        assert found.scores[metric].baselines["chance"] == pytest.approx(1 / 3)
        assert found.scores[metric].baselines["majority"] == max(labels.count(n) for n in range(3)) / 10


def test_a_metric_that_wants_a_download_is_told_before_the_model_is_asked(home, monkeypatch):
    from glasshouse.evaluation.harness.tasks import harness_tasks

    def unreachable(*_):
        raise FileNotFoundError("Couldn't find a module script at rouge.py")

    (task,) = harness_tasks(str(home / "gates_texts.yaml"))
    monkeypatch.setattr(task._task, "process_results", unreachable)
    with pytest.raises(
        HarnessError, match=r"metrics of gates_texts cannot be computed here .*rouge\.py.*nothing was asked"
    ):
        next(task.rounds())


def test_a_task_whose_metrics_fail_on_trivial_answers_keeps_its_scores(home, monkeypatch):
    from glasshouse.evaluation.harness.tasks import harness_tasks

    (task,) = harness_tasks(str(home / "gates_texts.yaml"), limit=4)
    records = run(task, LocalScorer(open_folder(home / "llama")))
    monkeypatch.setattr(task._task, "process_results", lambda *_: 1 / 0)
    with pytest.warns(UserWarning, match="gates_texts has no trivial baselines"):
        found = scored(task, records)
    assert found.scores["exact_match,whole"].baselines == {}
    assert found.scores["exact_match,whole"].value >= 0


def test_the_command_takes_a_task_file_and_compare_reads_the_harness_own_results(home, tmp_path, theirs):
    model = str(home / "llama")
    command = [
        "evaluate",
        model,
        "--task",
        f"lm_eval:{home / 'gates_choices.yaml'}",
        "--output",
        str(tmp_path / "ours"),
    ]
    done = CliRunner().invoke(cli, command, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    results = json.loads((tmp_path / "ours" / "results.json").read_text())
    assert results["n-shot"]["gates_choices"] == 2
    assert {"data", "prompts", "lm_eval", "model", "code"} <= set(results["glasshouse"]["provenance"]["gates_choices"])
    from lm_eval.loggers import EvaluationTracker

    for number in (1, 2):
        tracker = EvaluationTracker(output_path=str(tmp_path / f"theirs-{number}"))
        tracker.general_config_tracker.log_experiment_args("hf", "pretrained=x", None, None, False)
        tracker.save_results_aggregated(dict(theirs), samples=theirs["samples"])
        for task in ("gates_choices", "gates_texts"):
            tracker.save_results_samples(task, [dict(row) for row in theirs["samples"][task]])
    pairs = compare_runs(read_run(tmp_path / "theirs-1"), read_run(tmp_path / "theirs-2"))
    assert set(pairs["gates_choices"]) == {"acc", "acc_norm"}
    assert set(pairs["gates_texts"]) == {"exact_match,whole", "exact_match,word"}
    assert pairs["gates_choices"]["acc"].difference == 0
    mixed = compare_runs(read_run(tmp_path / "ours"), read_run(tmp_path / "theirs-1"))
    assert (mixed["gates_choices"]["acc"].difference, mixed["gates_choices"]["acc"].p) == (0, 1)


def test_tasks_are_found_by_name_without_the_index(monkeypatch):
    from lm_eval.tasks import _index

    read = []
    inner = _index.TaskIndex.build
    watched = staticmethod(lambda paths, **given: (read.extend(paths), inner(paths, **given))[1])
    monkeypatch.setattr(_index.TaskIndex, "build", watched)
    with pytest.raises(HarnessError, match=r"the task copa cannot be opened .*Nothing is downloaded"):
        load_tasks("copa")
    assert 0 < len(read) < 4
    with pytest.raises(HarnessError, match="has no task 'no_such_task'"):
        load_tasks("no_such_task")
    with pytest.raises(HarnessError, match=r"there is no file nowhere\.yaml"):
        load_tasks("nowhere.yaml")


@pytest.mark.slow
def test_the_harness_command_line_knows_the_model(home, tmp_path):
    """Its own command, which reads all of its files first."""
    arguments = [
        *("run", "--model", "glasshouse", "--model_args", f"path={home / 'llama'}", "--include_path", str(home)),
        *("--tasks", "gates_choices", "--output_path", str(tmp_path), "--log_samples"),
    ]
    subprocess.run([sys.executable, "-m", "glasshouse.evaluation.harness", *arguments], check=True, timeout=300)
    assert set(read_run(tmp_path).records) == {"gates_choices"}
