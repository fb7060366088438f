"""The mini recipe, run once; tests must not change its store."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "recipes"))

from mini_store import Mini


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    return Mini.finished(tmp_path_factory.mktemp("published"))


@pytest.fixture(scope="session")
def model(finished):
    """The mini recipe's language model."""
    name = next(name for name in finished.store.names() if name.startswith("languagemodel-"))
    return finished.store.open(name)
