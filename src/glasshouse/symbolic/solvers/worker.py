"""A solver in a process of its own: bounded in time and memory, restarted after it had to be stopped."""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
import threading
import time
import weakref
from typing import Any

from glasshouse.symbolic.errors import EngineError, EngineTimeoutError
from glasshouse.symbolic.solvers.packages import require

MEMORY = 1 << 29


class Worker:
    """A process that runs `sympy_worker`, started when first needed and again after it had to be stopped."""

    def __init__(self, memory: int = MEMORY) -> None:
        require("sympy")
        self._memory, self._lock = memory, threading.Lock()
        self._process: Any = None
        self._ready = False

    def ask(self, request: dict[str, Any], seconds: float) -> Any:
        """The worker's value. Raises `EngineTimeoutError` after `seconds`, `EngineError` for what SymPy cannot do."""
        deadline = time.monotonic() + seconds
        if not self._lock.acquire(timeout=max(0.0, seconds)):
            raise EngineTimeoutError(f"sympy was busy with other calls for {seconds:g} s")
        try:
            self._start(deadline)
            reply = self._reply(json.dumps(request).encode() + b"\n", deadline)
        finally:
            self._lock.release()
        if "error" in reply:
            raise EngineError(f"sympy could not {request['op']}: {reply['error']}")
        return reply["value"]

    def _reply(self, line: bytes, deadline: float) -> dict[str, Any]:
        try:
            self._process.stdin.write(line)
            self._process.stdin.flush()
            found = _line(self._process.stdout, deadline)
        except BrokenPipeError:
            found = b""
        if found is None:
            self.stop()
            raise EngineTimeoutError("sympy did not answer in time; give it more, or a smaller expression")
        if not found:
            self.stop()
            raise EngineError("sympy's process ended without an answer, most likely out of memory")
        return dict(json.loads(found))

    def _start(self, deadline: float) -> None:
        """Have a process that has said it is ready; one that is still starting goes on doing so for the next call."""
        if self._process is None or self._process.poll() is not None:
            command = [sys.executable, "-m", "glasshouse.symbolic.solvers.sympy_worker", str(self._memory)]
            process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
            )
            self._process, self._ready = process, False
            weakref.finalize(self, process.kill)
        if not self._ready:
            found = _line(self._process.stdout, deadline)
            if found is None:
                raise EngineTimeoutError("sympy's process is still starting; try again, or give the call more time")
            if not found:
                self.stop()
                raise EngineError("sympy's process did not start")
            self._ready = True

    def stop(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


def _line(stream: Any, deadline: float) -> bytes | None:
    """The next line, empty when the stream has ended, or None at the deadline."""
    with selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)
        found = b""
        while not found.endswith(b"\n"):
            if not selector.select(max(0.0, deadline - time.monotonic())):
                return None
            piece = os.read(stream.fileno(), 1 << 16)
            if not piece:
                return b""
            found += piece
        return found
