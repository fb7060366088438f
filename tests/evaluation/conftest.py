"""Stand-ins live beside these tests and are imported by name; one thread keeps numbers and timings steady."""

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def model():
    from evaluation_standins import loaded_model

    return loaded_model()
