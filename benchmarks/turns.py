"""Side by side in CPU time: one process per competitor, which take turns so that all meet the same noise.

A competitor is a subprocess that says it is ready, then reads how many steps to take, takes them and answers with the
CPU seconds of each; between its turns it sleeps on its input. CPU time is its own process's, all threads; that of its
finished children (compilers) is told apart. On a shared machine this is the only clock that means anything.
"""

from __future__ import annotations

import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any


class Turn:
    """The competitor's side. Call it after every step: it answers True when no more steps are wanted."""

    def __init__(self) -> None:
        self._answers = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)  # whatever is printed must not end up between the answers
        self._left = 0
        self._cpu: list[float] = []
        self._wall: list[float] = []
        self.spent = 0.0
        """CPU seconds of all turns so far."""

    def begin(self, **about: Any) -> bool:
        """Everything is built: say so and wait for the first turn. True when there will be none."""
        self._answer(ready=True, **about)
        return self._wait()

    def __call__(self, step: int = 0) -> bool:
        self._cpu.append(time.process_time() - self._cpu_start)
        self._wall.append(time.perf_counter() - self._wall_start)
        self.spent += self._cpu[-1]
        self._left -= 1
        if self._left == 0:
            self._answer(cpu=self._cpu, wall=self._wall, children=_children())
            return self._wait()
        self._start()
        return False

    def end(self, **found: Any) -> None:
        """The last word, after the last turn."""
        self._answer(**found)

    def _wait(self) -> bool:
        self._cpu, self._wall = [], []
        line = sys.stdin.readline()
        self._left = int(line or 0)
        self._start()
        return self._left == 0

    def _start(self) -> None:
        self._cpu_start, self._wall_start = time.process_time(), time.perf_counter()

    def _answer(self, **values: Any) -> None:
        print(json.dumps(values), file=self._answers, flush=True)


class Competitor:
    """The other side: starts the subprocess and hands it its turns."""

    def __init__(self, name: str, command: Sequence[str | Path], **environment: str) -> None:
        self.name = name
        one_thread = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "TORCHINDUCTOR_COMPILE_THREADS"), "1")
        self._process = subprocess.Popen(
            [sys.executable, *map(str, command)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **one_thread, **environment},
        )
        self.about = self._read()

    def take(self, steps: int) -> dict[str, Any]:
        """`cpu` and `wall` seconds of each step, and CPU seconds of `children` since the process began."""
        self._write(f"{steps}\n")
        return self._read()

    def end(self) -> dict[str, Any]:
        """No more turns: what the competitor has to say at the end."""
        self._write("0\n")
        found = self._read()
        self._process.wait()
        return found

    def kill(self) -> None:
        """Stop it without a word."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()

    def _write(self, text: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(text)
        self._process.stdin.flush()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.name} ended early with code {self._process.wait()}; its message is above")
        found: dict[str, Any] = json.loads(line)
        return found


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, the quartiles around it, and the extremes."""
    ordered = sorted(values)
    quartiles = statistics.quantiles(ordered, n=4) if len(ordered) > 1 else [ordered[0]] * 3
    return {
        "median": statistics.median(ordered),
        "quarter": quartiles[0],
        "three_quarters": quartiles[2],
        "least": ordered[0],
        "most": ordered[-1],
    }


def ratio_of(above: Sequence[float], below: Sequence[float]) -> dict[str, float]:
    """How many times `below` goes into `above`, round by round."""
    return spread([a / b for a, b in zip(above, below, strict=True)])


def machine(*packages: str) -> dict[str, Any]:
    """What the numbers were measured on."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    field = {line.split(":")[0].strip(): line.split(":", 1)[1].strip() for line in lines if ":" in line}
    flags = sorted(flag for flag in field.get("flags", "").split() if flag.startswith(("avx512", "amx", "avx_")))
    return {
        "processor": field.get("model name", platform.processor()),
        "cores": os.cpu_count(),
        "vector_extensions": flags,
        "system": platform.platform(),
        "python": platform.python_version(),
        **{package: version(package) for package in packages},
        "threads": 1,
        "load_average": list(os.getloadavg()),
    }


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
