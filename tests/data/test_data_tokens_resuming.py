"""`tokenize` and `decontaminate` killed at every step: the same bytes in the end, and nothing done twice."""

import hashlib
import json
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from glasshouse.cli import cli
from glasshouse.data.contamination.decontaminate import NotEmptyError, decontaminate
from glasshouse.data.contamination.evaluation_sets import read_evaluation_sets
from glasshouse.data.contamination.index import EvaluationIndex
from glasshouse.data.contamination.judging import Decontamination
from glasshouse.data.contamination.paragraphs import ParagraphIndex
from glasshouse.data.executor import RayTasks, Threads
from glasshouse.data.resumption import BusyDirectoryError, OwnInputError
from glasshouse.data.sources.inputs import plan_inputs
from glasshouse.data.tokens import encoding
from glasshouse.data.tokens.shards import ShardError
from glasshouse.data.tokens.tokenizing import Tokenizing, tokenize_files

WORDS = [f"{a}{b}{c}" for a in "bdfgklmnprst" for b in "aeiou" for c in ("n", "rt", "ling", "sk", "é")]
FILES, ROWS = 4, 40
SETTINGS = Tokenizing(tokenizer="train", vocabulary=400, holdout=0.2, shard_tokens=3000, fertility=True)


def sentence(draw, size):
    return " ".join(draw.choice(WORDS) for _ in range(size))


ITEMS = [sentence(random.Random(number), 40) for number in range(8)]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Files of documents with damage, empty texts and leaked items, and an evaluation set."""
    folder = tmp_path_factory.mktemp("home")
    (folder / "in").mkdir()
    for number in range(FILES):
        draw, lines = random.Random(100 + number), ["{broken"]
        for row in range(ROWS):
            leaked = ITEMS[(number + row) % 8] if row % 9 == 0 else ""
            text = "" if row == 7 else f"{sentence(draw, 50)}\n{leaked}\n{sentence(draw, 20)}"
            lines.append(json.dumps({"id": f"{number}-{row}", "text": text, "source": "ab"[row % 2]}))
        (folder / "in" / f"{number}.jsonl").write_text("\n".join(lines) + "\n")
    (folder / "quiz.jsonl").write_text("".join(json.dumps({"question": item}) + "\n" for item in ITEMS))
    return folder


@pytest.fixture(scope="module")
def index(home):
    return EvaluationIndex.build(read_evaluation_sets([f"quiz={home / 'quiz.jsonl'}"]))


def digests(directory):
    files = sorted(path for path in Path(directory).rglob("*") if path.is_file())
    return {str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


# Every attempt is a process of its own, which kills itself before or after a call that changes the directory.
PROGRAM = """
import json, os, pathlib, shutil, signal, sys

from glasshouse.cli import main
from glasshouse.data.contamination import decontaminate, words
from glasshouse.data.tokens import encoding, tokenizing
from glasshouse.store.source_code import code_fingerprint

# What takes a moment, and is the same every time, is done before the forks.
words.folding()
for kind in (tokenizing._Train, encoding.EncodeFile, decontaminate.ScanFile):
    code_fingerprint(kind)

def deadly(true, when, calls):
    def call(*given, **options):
        calls[0] -= 1
        if calls[0] == 0 and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        result = true(*given, **options)
        if calls[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return result
    return call

moments, out = json.loads(sys.argv[1]), pathlib.Path(sys.argv[-1])
del sys.argv[1]
for name, when, count in moments:
    if (child := os.fork()) == 0:
        owner = shutil if name == "rmtree" else pathlib.Path
        setattr(owner, name, deadly(getattr(owner, name), when, [count]))
        main()
    _, status = os.waitpid(child, 0)
    done = sorted(str(path.relative_to(out)) for path in out.glob("work/*/0????"))
    print("ATTEMPT", json.dumps([os.waitstatus_to_exitcode(status), done]), flush=True)
"""
TOKENIZING = [("rename", "after", 1), ("rename", "before", 3), ("replace", "before", 2), ("rename", "after", 3),
              ("rmtree", "before", 2)]  # fmt: skip
SCANNING = [("rename", "before", 1), ("rename", "after", 2), ("rename", "after", 5), ("rmtree", "before", 1)]


def killed(moments, arguments, out):
    """Runs a command that is killed at each of the moments, then once to its end; says what survived each kill."""
    given = json.dumps([*moments, ("rename", "before", 10**9)])
    command = [sys.executable, "-c", PROGRAM, given, *arguments, "--out", str(out)]
    run = subprocess.run(command, check=False, capture_output=True, text=True)
    attempts = [json.loads(line.split(" ", 1)[1]) for line in run.stdout.splitlines() if line.startswith("ATTEMPT")]
    assert [code for code, _ in attempts] == [-signal.SIGKILL] * len(moments) + [0], run.stderr
    assert not (out / "work").exists()
    assert not (out / "work.lock").exists()
    return [len(done) for _, done in attempts[:-1]]


slow = pytest.mark.slow


@pytest.mark.parametrize(
    "layout", ["glasshouse", *(pytest.param(n, marks=slow) for n in ("olmo", "megatron", "nanogpt"))]
)
def test_tokenize_goes_on_after_every_kill(home, tmp_path, layout):
    settings = Tokenizing(tokenizer="train", vocabulary=400, holdout=0.2, layout=layout)
    tokenize_files([home / "in"], tmp_path / "once", settings)
    arguments = ["tokenize", str(home / "in"), "--tokenizer", "train", "--vocabulary", "400", "--holdout", "0.2"]
    kept = killed(TOKENIZING, [*arguments, "--layout", layout, "--workers", "2"], tmp_path / "out")
    assert kept[0] == 1
    assert kept[1:] == sorted(kept[1:])
    assert (kept[1], kept[-1]) == (1 + 2, 1 + FILES)
    assert digests(tmp_path / "out") == digests(tmp_path / "once")


@pytest.mark.parametrize(
    ("options", "settings"),
    [
        ([], Decontamination()),
        pytest.param(["--action", "span"], Decontamination(action="span"), marks=slow),
        pytest.param(["--report-only"], Decontamination(action="report"), marks=slow),
        pytest.param(["--dialect", "dolma"], Decontamination(), marks=slow),
    ],
)
def test_decontaminate_goes_on_after_every_kill(home, index, tmp_path, options, settings):
    if "dolma" in options:
        index = ParagraphIndex(read_evaluation_sets([f"quiz={home / 'quiz.jsonl'}"]))
    report = decontaminate([home / "in"], index, tmp_path / "once", settings)
    assert (report.seen, report.quarantined) == (FILES * ROWS, FILES)
    assert report.sets[0].contaminated == 8
    arguments = ["decontaminate", str(home / "in"), "--against", f"quiz={home / 'quiz.jsonl'}", "--workers", "2"]
    assert killed(SCANNING, [*arguments, *options], tmp_path / "out") == [0, 2, FILES, FILES]
    assert digests(tmp_path / "out") == digests(tmp_path / "once")


@pytest.fixture(scope="module")
def once(home, index, tmp_path_factory):
    out = tmp_path_factory.mktemp("once")
    tokenize_files([home / "in"], out / "tokens", SETTINGS)
    decontaminate([home / "in"], index, out / "clean")
    return out


@pytest.mark.parametrize("workers", [2, 4])
def test_threads_give_the_same_bytes(home, index, once, tmp_path, workers):
    tokenize_files([home / "in"], tmp_path / "tokens", SETTINGS, workers=workers)
    decontaminate([home / "in"], index, tmp_path / "clean", executor=Threads(workers))
    assert digests(tmp_path) == digests(once)


def test_a_file_in_pieces_gives_the_same_tokens(home, once, tmp_path):
    shards = plan_inputs([home / "in"], shard_bytes=4000)
    assert len(shards) > 2 * FILES
    tokenize_files(shards, tmp_path / "tokens", SETTINGS, workers=2)
    assert digests(tmp_path / "tokens") == digests(once / "tokens")


def test_shards_and_paths_together_are_refused(home, index, tmp_path):
    both = [*plan_inputs([home / "in" / "0.jsonl"]), home / "in" / "1.jsonl"]
    with pytest.raises(TypeError, match="not both: 1 of 2 are shards"):
        tokenize_files(both, tmp_path / "tokens", SETTINGS)
    with pytest.raises(TypeError, match="not both: 1 of 2 are shards"):
        decontaminate(both, index, tmp_path / "clean")


def test_ray_gives_the_same_bytes_and_takes_over_from_threads(home, index, once, tmp_path, monkeypatch):
    pytest.importorskip("ray")
    stop_at(monkeypatch, 3)
    with pytest.raises(KeyboardInterrupt):
        tokenize_files([home / "in"], tmp_path / "tokens", SETTINGS)
    monkeypatch.undo()
    with RayTasks(2) as cluster:
        tokenize_files([home / "in"], tmp_path / "tokens", SETTINGS, executor=cluster)
        decontaminate([home / "in"], index, tmp_path / "clean", executor=cluster)
    assert digests(tmp_path) == digests(once)


def stop_at(monkeypatch, number):
    """Encoding stops at a batch; every file is one. Returns the batches begun."""
    seen, true = [], encoding.Encode.__call__

    def counting(self, batch):
        seen.append(batch.num_rows)
        if len(seen) == number:
            raise KeyboardInterrupt
        return true(self, batch)

    monkeypatch.setattr(encoding.Encode, "__call__", counting)
    return seen


def test_what_is_done_is_not_done_again_and_what_changed_is(home, once, tmp_path, monkeypatch):
    seen = stop_at(monkeypatch, 3)
    with pytest.raises(KeyboardInterrupt):
        tokenize_files([home / "in"], tmp_path / "tokens", SETTINGS)
    tokenize_files([home / "in"], tmp_path / "tokens", SETTINGS)
    assert len(seen) == 3 + 2
    assert digests(tmp_path / "tokens") == digests(once / "tokens")
    del seen[:]
    with pytest.raises(KeyboardInterrupt):
        tokenize_files([home / "in"], tmp_path / "other", SETTINGS)
    changed = SETTINGS.model_copy(update={"seed": 1})
    tokenize_files([home / "in"], tmp_path / "other", changed)
    assert len(seen) == 3 + FILES
    tokenize_files([home / "in"], tmp_path / "fresh", changed)
    assert digests(tmp_path / "other") == digests(tmp_path / "fresh")
    assert digests(tmp_path / "other") != digests(once / "tokens")


def test_results_of_a_killed_run_with_other_settings_do_not_stay(home, index, tmp_path, monkeypatch):
    from glasshouse.data.contamination import decontaminate as module
    from glasshouse.data.tokens import tokenizing

    def killed(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "write_report", killed)
    with pytest.raises(KeyboardInterrupt):
        decontaminate([home / "in"], index, tmp_path / "clean")
    assert (tmp_path / "clean" / "documents-00003.parquet").exists()
    monkeypatch.setattr(tokenizing.shutil, "rmtree", lambda path: killed() if path.name == "work" else None)
    with pytest.raises(KeyboardInterrupt):
        tokenize_files([home / "in"], tmp_path / "tokens", SETTINGS)
    assert (tmp_path / "tokens" / "holdout").exists()
    monkeypatch.undo()
    files, report = [home / "in" / "0.jsonl"], Decontamination(action="report")
    settings = SETTINGS.model_copy(update={"holdout": 0.0})
    for name in ("clean", "fresh-clean"):
        decontaminate(files, index, tmp_path / name, report)
    for name in ("tokens", "fresh-tokens"):
        tokenize_files(files, tmp_path / name, settings)
    for name in ("clean", "tokens"):
        assert digests(tmp_path / name) == digests(tmp_path / f"fresh-{name}")


def test_directories_that_hold_something_else_are_left_as_they_are(home, index, once, tmp_path):
    from filelock import FileLock

    def refused(out, kind, message):
        before = digests(out)
        with pytest.raises(kind if kind else ShardError, match=message):
            tokenize_files([home / "in"], out, SETTINGS)
        with pytest.raises(kind if kind else NotEmptyError, match=message):
            decontaminate([home / "in"], index, out)
        assert digests(out) == before

    (tmp_path / "mine" / "work").mkdir(parents=True)
    (tmp_path / "mine" / "work" / "thesis.txt").write_text("years")
    (tmp_path / "mine" / "train").write_text("choo")
    for out in (tmp_path / "mine", once / "tokens", once / "clean"):
        refused(out, None, "is not empty")
    refused(home, OwnInputError, "holds the input")
    (tmp_path / "busy").mkdir()
    with FileLock(str(tmp_path / "busy" / "work.lock")):
        refused(tmp_path / "busy", BusyDirectoryError, "another run")
    (tmp_path / "busy" / "work.lock").unlink(missing_ok=True)
    tokenize_files([home / "in"], tmp_path / "busy", SETTINGS)
    assert digests(tmp_path / "busy") == digests(once / "tokens")


@pytest.mark.parametrize("command", ["tokenize", "decontaminate"])
def test_results_below_the_inputs_would_be_inputs_of_the_next_run(home, command):
    more = ["--tokenizer", "train"] if command == "tokenize" else ["--against", str(home / "quiz.jsonl")]
    done = CliRunner().invoke(cli, [command, str(home / "in"), *more, "--out", str(home / "in" / "below")])
    assert done.exit_code == 2
    assert "lies in the input directory" in done.output
    assert not (home / "in" / "below").exists()
