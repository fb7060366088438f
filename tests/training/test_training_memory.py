"""Freed memory stays with the process while training on a CPU, and goes back afterwards."""

import platform
import resource

import pytest
import torch

from glasshouse.training.memory import freed_memory_kept


def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt is glibc's")
def test_the_same_buffers_are_not_faulted_in_again():
    def once():
        return [torch.ones(5 << 20, dtype=torch.uint8) for _ in range(4)]

    with freed_memory_kept(torch.device("cpu")) as kept:
        assert kept
        once()
        before = faults()
        for _ in range(5):
            once()
        assert faults() - before < 1280  # the pages of one buffer of the twenty


def test_other_devices_are_left_alone():
    with freed_memory_kept(torch.device("cuda")) as kept:
        assert not kept
