"""A store with the mini recipe in it, in this process or in one of its own."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from mini_recipe import mini, write_corpus

from glasshouse.store.progress import Silent
from glasshouse.store.recipe import run_recipe
from glasshouse.store.store import Store

RUNNER = Path(__file__).parent / "mini_run.py"


class Recorder(Silent):
    """Which steps ran and which were found."""

    def __init__(self):
        self.ran, self.found = [], []

    def step_started(self, step, key):
        self.ran.append(step)

    def step_found(self, step, manifest):
        self.found.append(step)


@dataclass
class Mini:
    corpus: Path
    store: Store

    @classmethod
    def finished(cls, home):
        """A store in `home` after one undisturbed run."""
        made = cls(write_corpus(home / "corpus.jsonl"), Store(home / "store"))
        made.run()
        return made

    def copied(self, home):
        """The same in `home`, for a test that changes it."""
        shutil.copytree(self.store.root, home / "store")
        return Mini(self.corpus, Store(home / "store"))

    @property
    def location(self):
        return str(self.store.root)

    def run(self, **arguments):
        recorder = Recorder()
        return run_recipe(mini, self.store, recorder, corpus=str(self.corpus), **arguments), recorder


def environment():
    return os.environ | {"OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}


def in_a_process(store, *arguments, **options):
    """The command line in a process of its own; `options` go to `subprocess.Popen`."""
    command = [sys.executable, str(RUNNER), *map(str, arguments), "--store", str(store)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, env=environment(), **pipes | options)
