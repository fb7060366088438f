"""The mini recipe, run once, and its store for every test that only looks."""

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))

from mini_store import Mini, in_a_process


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """The mini recipe after one undisturbed run; tests must not change it."""
    return Mini.finished(tmp_path_factory.mktemp("mini"))


@pytest.fixture
def mine(finished, tmp_path):
    """A copy of the finished store that a test may change."""
    return finished.copied(tmp_path)


@pytest.fixture(scope="session")
def process():
    return in_a_process
