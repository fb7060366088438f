"""Freed memory stays with the process while training on a CPU."""

import os
import platform
import subprocess
import sys

import pytest
import torch

from glasshouse.training.memory import freed_memory_kept

# In a process of its own: what was allocated and freed before decides where the buffers go.
COUNT = """
import contextlib, resource, sys, torch
from glasshouse.training.memory import freed_memory_kept

def once():
    return [torch.ones(5 << 20, dtype=torch.uint8) for _ in range(4)]

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

with freed_memory_kept(torch.device("cpu" if sys.argv[1] == "kept" else "meta")) as kept:
    assert kept == (sys.argv[1] == "kept")
    for _ in range(10):
        once()
    before = faults()
    for _ in range(20):
        once()
    print(faults() - before)
"""


def faults(how):
    command = [sys.executable, "-c", COUNT, how]
    always_back = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "131072"}  # otherwise glibc's choice varies
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120, env=always_back)
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt is glibc's")
def test_the_same_buffers_are_not_faulted_in_again():
    assert faults("kept") * 10 < faults("given back")


def test_other_devices_are_left_alone():
    with freed_memory_kept(torch.device("cuda")) as kept:
        assert not kept
