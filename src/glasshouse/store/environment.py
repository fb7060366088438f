"""What a result was made with: code, packages and hardware."""

from __future__ import annotations

import functools
import importlib.metadata
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import glasshouse


@functools.cache
def code_version() -> dict[str, Any]:
    """Version of Glasshouse and, in a git checkout, the commit and whether files differ from it."""
    root = Path(glasshouse.__file__).parents[2]
    version: dict[str, Any] = {"version": glasshouse.__version__, "commit": None, "modified": None}
    if (root / ".git").exists():
        commit = _git(root, "rev-parse", "HEAD")
        changes = _git(root, "status", "--porcelain", "--", "src")
        version |= {"commit": commit, "modified": None if changes is None else bool(changes)}
    return version


def _git(root: Path, *arguments: str) -> str | None:
    command = ["git", "-C", str(root), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


@functools.cache
def packages() -> dict[str, str]:
    """Name -> version of every installed distribution."""
    found = {(dist.name or "?").lower(): dist.version for dist in importlib.metadata.distributions()}
    return dict(sorted(found.items()))


@functools.cache
def hardware() -> dict[str, Any]:
    """Processor, cores this process may use, memory in bytes, and accelerators if torch is already loaded."""
    return {
        "machine": platform.machine(),
        "processor": _processor_name(),
        "cores": usable_cores(),
        "memory_bytes": _memory_bytes(),
        "accelerators": _accelerators(),
    }


def usable_cores() -> int:
    """Processor cores this process is allowed to run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def python_version() -> dict[str, str]:
    """Interpreter and operating system, in words."""
    return {
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "system": f"{platform.system()} {platform.release()}",
    }


def _processor_name() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _memory_bytes() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return None


def _accelerators() -> list[str]:
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return []
    return [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
