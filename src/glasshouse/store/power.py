"""Energy from power readings, for devices that say how many watts they draw but count no joules.

OLMo measured the power of a node every 25 ms and took the mean (arXiv 2402.00838, section 4.4). Here the readings are
integrated (trapezoids over their own times), which is the same when they are evenly spaced.
"""

from __future__ import annotations

import importlib
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

EVERY = 0.025
"""Seconds between readings, as in OLMo."""
HWMON = Path("/sys/class/hwmon")
Reading = tuple[float, float]


def integrate(readings: Sequence[Reading]) -> float:
    """Joules under readings of (seconds, watts) in the order of time; none for fewer than two."""
    return sum((after[0] - before[0]) * (before[1] + after[1]) / 2 for before, after in pairwise(readings))


class PowerSampler:
    """Reads the watts of one device in a thread of its own between `start` and `stop`.

    A reading that fails is left out and the gap bridged by its neighbours; `missed` counts them. Only the sum is kept,
    so a run may last for months.

    Args:
        read: the power now, in watts.
        every: seconds between readings.
        clock: seconds; another one is for tests.
    """

    def __init__(
        self, read: Callable[[], float], every: float = EVERY, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self._read, self.every, self._clock = read, every, clock
        self._end = threading.Event()
        self._thread: threading.Thread | None = None
        self._sum = _Sum()

    @property
    def missed(self) -> int:
        """Readings that failed since the start."""
        return self._sum.missed

    def start(self) -> None:
        """Begin, or begin again."""
        self._halt()
        self._end, self._sum = threading.Event(), _Sum()
        _take(self._sum, self._read, self._clock)
        arguments = (self._end, self.every, self._sum, self._read, self._clock)
        self._thread = threading.Thread(target=_sample, args=arguments, name="glasshouse-power", daemon=True)
        weakref.finalize(self, self._end.set)  # a meter that is dropped without being stopped leaves no thread behind
        self._thread.start()

    def stop(self) -> float:
        """Joules since the start."""
        self._halt()
        _take(self._sum, self._read, self._clock)
        return self._sum.joules

    def _halt(self) -> None:
        self._end.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None


class _Sum:
    """The integral so far."""

    def __init__(self) -> None:
        self.joules, self.missed = 0.0, 0
        self.last: Reading | None = None


def _take(total: _Sum, read: Callable[[], float], clock: Callable[[], float]) -> None:
    try:
        watts = read()
    except Exception:  # a driver that is busy or gone: this reading is missing, the next may be there
        total.missed += 1
        return
    now = (clock(), watts)
    if total.last is not None:
        total.joules += integrate([total.last, now])
    total.last = now


def _sample(
    end: threading.Event, every: float, total: _Sum, read: Callable[[], float], clock: Callable[[], float]
) -> None:
    while not end.wait(every):
        _take(total, read, clock)


def nvml_watts(device: Any) -> float:
    """Watts of an NVIDIA device now."""
    return float(importlib.import_module("pynvml").nvmlDeviceGetPowerUsage(device)) / 1e3


def amd_power_files() -> list[Path]:
    """Where AMD GPUs and APUs say what they draw, in microwatts (the kernel's `amdgpu` monitor), one per device."""
    found = []
    for home in sorted(HWMON.glob("hwmon*")):
        try:
            is_amd = (home / "name").read_text().strip() == "amdgpu"
        except OSError:
            continue
        names = [home / "power1_average", home / "power1_input"]
        found += [file for file in names if is_amd and _readable(file)][:1]
    return found


def samplers(devices: Sequence[Any]) -> list[PowerSampler]:
    """A sampler for each of these NVIDIA devices and for every AMD GPU of this machine."""
    reads: list[Callable[[], float]] = [partial(nvml_watts, device) for device in devices]
    reads += [partial(_microwatts, file) for file in amd_power_files()]
    return [PowerSampler(read) for read in reads]


def _microwatts(file: Path) -> float:
    return int(file.read_text()) / 1e6


def _readable(file: Path) -> bool:
    try:
        _microwatts(file)
    except (OSError, ValueError):
        return False
    return True
