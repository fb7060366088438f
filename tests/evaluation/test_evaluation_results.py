"""Results on the disk: the harness's form, going on after a kill to the same bytes, and runs compared from files."""

import json
import multiprocessing
import os
import signal

import pytest
from click.testing import CliRunner
from evaluation_standins import loaded_model

from glasshouse.cli import cli
from glasshouse.evaluation.catalogue import NoSuchTaskError, metrics_of, tasks_named
from glasshouse.evaluation.context.sources import DataError
from glasshouse.evaluation.generated import GeneratedTask
from glasshouse.evaluation.journal import Journal, JournalError
from glasshouse.evaluation.question_files import read_task
from glasshouse.evaluation.rank_classification import RankedTask, WithExamples
from glasshouse.evaluation.requests import Likelihood
from glasshouse.evaluation.results import evaluate_into
from glasshouse.evaluation.runs import RunError, compare_runs, read_run
from glasshouse.evaluation.scoreboard import TaskNameError
from glasshouse.evaluation.scorers import LocalScorer
from glasshouse.store.progress import Silent

TASKS = [RankedTask(GeneratedTask(kind, 20)) for kind in ("colours", "brackets")]


class Killed(LocalScorer):
    """A scorer whose process is killed after some batches."""

    left = 0

    def batches(self, requests, known=()):
        for batch in super().batches(requests, known):
            if self.left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            self.left -= 1
            yield batch


def evaluate(folder, scorer, tasks=TASKS):
    return evaluate_into(folder, tasks, scorer, model="mine", bar=Silent().bar)


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("written")
    return folder, evaluate(folder, LocalScorer(loaded_model(), batch_tokens=300))


def killed_run(folder, after):
    scorer = Killed(loaded_model(), batch_tokens=300)
    scorer.left = after
    scorer.__class__ = type("LocalScorer", (Killed,), {"__module__": LocalScorer.__module__})
    evaluate(folder, scorer)


@pytest.mark.parametrize("after", [0, 3, 9])
def test_a_killed_evaluation_goes_on_to_the_same_bytes(written, tmp_path, after, monkeypatch):
    whole, _ = written
    process = multiprocessing.get_context("fork").Process(target=killed_run, args=(tmp_path, after))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert not (tmp_path / "results.json").exists()
    answers = tmp_path / "answers" / "colours.jsonl"
    lines = answers.read_bytes().splitlines()
    assert len(lines) == 1 + min(after, len((whole / "answers" / "colours.jsonl").read_bytes().splitlines()) - 1)
    with answers.open("ab") as file:
        file.write(b'{"round": 0, "answ')  # what a kill leaves in the middle of a line
    asked = []
    inner = LocalScorer.batches
    monkeypatch.setattr(
        LocalScorer, "batches", lambda self, *given: (asked.append(b) or b for b in inner(self, *given))
    )
    evaluate(tmp_path, LocalScorer(loaded_model(), batch_tokens=300))
    assert files(tmp_path) == files(whole)
    again = len(asked)
    evaluate(tmp_path, LocalScorer(loaded_model(), batch_tokens=300))
    assert len(asked) == again  # nothing is asked a second time
    assert files(tmp_path) == files(whole)


def test_another_model_or_other_data_is_refused(written, tmp_path):
    whole, _ = written
    with pytest.raises(JournalError, match=r"holds the answers of another evaluation .*model: .*choose another folder"):
        evaluate(whole, LocalScorer(loaded_model(seed=5), batch_tokens=300))
    with pytest.raises(JournalError, match="data: "):
        evaluate(whole, LocalScorer(loaded_model()), [RankedTask(GeneratedTask("colours", 20, seed=1))])
    with pytest.raises(JournalError, match=r"setting: 'cpu, torch.float32, 300 tokens a batch' there, .* 4096 tokens"):
        evaluate(whole, LocalScorer(loaded_model()))
    with pytest.raises(TaskNameError, match="colours, colours"):
        evaluate(tmp_path, LocalScorer(loaded_model()), [TASKS[0], TASKS[0]])


def test_a_damaged_journal_is_told(tmp_path):
    journal = Journal(tmp_path / "j.jsonl", {"task": "t"})
    journal.keep(0, {3: Likelihood(-1.5, True, 2)})
    journal.keep(1, {0: Likelihood(-2.5, False, 1, 7)})
    again = Journal(tmp_path / "j.jsonl", {"task": "t"})
    assert again.known(0) == {3: Likelihood(-1.5, True, 2)}
    assert again.known(1) == {0: Likelihood(-2.5, False, 1, 7)}
    lines = (tmp_path / "j.jsonl").read_bytes().splitlines(keepends=True)
    (tmp_path / "j.jsonl").write_bytes(lines[0] + b"nonsense\n" + lines[2])
    with pytest.raises(JournalError, match=r"j\.jsonl is damaged .*delete it to begin anew"):
        Journal(tmp_path / "j.jsonl", {"task": "t"})


def test_results_have_the_form_of_the_harness(written):
    folder, found = written
    results = json.loads((folder / "results.json").read_text())
    for key in (
        "results",
        "configs",
        "versions",
        "n-shot",
        "higher_is_better",
        "n-samples",
        "config",
        "group_subtasks",
    ):
        assert key in results
    assert results["results"]["colours"]["acc,none"] == found["colours"].scores["acc"].value
    assert results["results"]["colours"]["acc_stderr,none"] > 0
    assert results["higher_is_better"]["colours"] | {} == results["higher_is_better"]["brackets"]
    assert (results["higher_is_better"]["colours"]["acc"], results["higher_is_better"]["colours"]["bpb"]) == (
        True,
        False,
    )
    proof = results["glasshouse"]["provenance"]["colours"]
    assert {"model", "data", "code", "torch"} <= set(proof)
    score = results["glasshouse"]["scores"]["colours"]["acc"]
    assert score["baselines"]["chance"] == pytest.approx(0.1)
    assert score["low"] <= score["value"] <= score["high"]


def test_samples_are_read_back_as_questions(written, model):
    """By the reader of the harness's samples: the same questions, and so the same scores."""
    folder, found = written
    task = RankedTask(read_task(folder / "samples_brackets.jsonl"))
    assert [q.requests for q in task.source.questions] == [q.requests for q in TASKS[1].source.questions]
    row = json.loads((folder / "samples_brackets.jsonl").read_text().splitlines()[0])
    record = found["brackets"].records[0]
    assert row["resps"] == [[[str(a.nats), str(a.greedy)]] for _, a in record.asked]
    assert {len(row[key]) for key in ("doc_hash", "prompt_hash", "target_hash")} == {64}
    assert row["acc"] == record.scores["acc"]


def test_two_runs_are_compared_from_their_files(written, tmp_path):
    folder, found = written
    other = evaluate(tmp_path / "other", LocalScorer(loaded_model(seed=9)))
    pairs = compare_runs(read_run(folder), read_run(tmp_path / "other"))
    pair = pairs["brackets"]["acc"]
    gain = found["brackets"].scores["acc"].value - other["brackets"].scores["acc"].value
    assert pair.difference == pytest.approx(gain)
    assert (pair.only_first - pair.only_second) / 20 == pytest.approx(gain)
    assert pairs["brackets"]["bpb"].test == "randomisation"
    done = CliRunner().invoke(
        cli, ["compare", str(folder), str(tmp_path / "other"), "--json", str(tmp_path / "pairs.json")]
    )
    assert done.exit_code == 0, done.output
    assert f"brackets             acc          {gain:+.3f}" in done.output
    assert json.loads((tmp_path / "pairs.json").read_text())["brackets"]["acc"]["p"] == pair.p
    with pytest.raises(RunError, match=r"holds no results\.json"):
        read_run(tmp_path / "nothing")
    evaluate(tmp_path / "third", LocalScorer(loaded_model()), [RankedTask(GeneratedTask("arithmetic", 5))])
    with pytest.raises(RunError, match="no task in common"):
        compare_runs(read_run(folder), read_run(tmp_path / "third"))
    evaluate(tmp_path / "fewer", LocalScorer(loaded_model()), [RankedTask(GeneratedTask("colours", 5))])
    with pytest.raises(RunError, match=r"colours: the two runs did not answer the same items \(20 and 5\)"):
        compare_runs(read_run(folder), read_run(tmp_path / "fewer"))


def test_examples_stand_before_every_question_and_are_never_itself(tmp_path):
    plain = GeneratedTask("arithmetic", 12)
    task = RankedTask(WithExamples(plain, 3, seed=1))
    solved = {f"{q.requests[q.label].context}{q.requests[q.label].continuation}": q.id for q in plain.questions}
    for before, after in zip(plain.questions, task.source.questions, strict=True):
        *examples, last = after.requests[0].context.split("\n\n")
        assert last == before.requests[0].context
        assert len(examples) == 3
        assert all(solved[example] != before.id for example in examples)
    assert task.shots == 3
    evaluate(tmp_path, LocalScorer(loaded_model(context=256)), [task])
    assert json.loads((tmp_path / "results.json").read_text())["n-shot"] == {"arithmetic": 3}


def test_tasks_of_the_context_benchmark_are_known_by_name(tmp_path):
    """Their corpus measures are compared too, and not the counts these are made of."""
    tasks = tasks_named(["context:rewriting"], limit=6, shots=1)
    for name, seed in (("one", 3), ("two", 4)):
        evaluate(tmp_path / name, LocalScorer(loaded_model(context=512, seed=seed)), tasks)
    runs = [read_run(tmp_path / name) for name in ("one", "two")]
    pairs = compare_runs(*runs, {"context/rewriting": metrics_of("context/rewriting")})["context/rewriting"]
    assert list(pairs) == list(tasks[0].metrics)
    values = [run.results["results"]["context/rewriting"]["bleu,none"] for run in runs]
    assert pairs["bleu"].difference == pytest.approx(values[0] - values[1])
    assert runs[0].results["n-shot"] == {"context/rewriting": 1}
    assert metrics_of("brackets") == {}
    done = CliRunner().invoke(cli, ["compare", str(tmp_path / "one"), str(tmp_path / "two")])
    assert [line.split()[1] for line in done.output.splitlines()] == list(pairs)
    with pytest.raises(
        NoSuchTaskError, match="no task 'riddles' of understanding context; there are coreference, winograd"
    ):
        tasks_named(["context:riddles"])
    with pytest.raises(NoSuchTaskError, match="context:winograd: the task winograd has no setting 'shots'"):
        tasks_named(["context:winograd"], shots=2)
    with pytest.raises(DataError, match="Licence"):
        tasks_named(["context:canard"], data=tmp_path)
