"""The peers that curation is measured against, each in an environment of its own.

Dolma needs an older NumPy and datatrove pulls much, so neither is a dependency: their environments are made once with

    python benchmarks/peers.py --make PEERS_DIRECTORY

and a benchmark runs a peer's code there as a process that prints one JSON value.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PINNED = {
    "dolma": ["dolma==1.2.1"],
    "datatrove": [
        "datatrove==0.10.1",
        "spacy",
        "nltk",
        "regex",
        "xxhash",
        "fasteners",
        "tldextract",
        "tokenizers",
        "orjson",
        "pyarrow",
    ],
}


@dataclass(frozen=True)
class Peers:
    """Python interpreters that have the peers; `None` where one is absent, and then its row stays empty."""

    dolma: Path | None = None
    datatrove: Path | None = None

    def run(self, python: Path, code: str, *arguments: str, timeout: float = 1800) -> Any:
        """Runs `code` with a peer's interpreter and returns the JSON value on the last line it prints."""
        done = subprocess.run(
            [str(python), "-W", "ignore", "-c", code, *arguments],
            capture_output=True, text=True, timeout=timeout, env=single_threaded(), check=False,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"{python} failed with {done.returncode}:\n{done.stderr[-3000:]}")
        return json.loads(done.stdout.strip().splitlines()[-1])

    def versions(self) -> dict[str, str | None]:
        """Version of each peer, or `None`."""
        code = "import json, sys; from importlib.metadata import version; print(json.dumps(version(sys.argv[1])))"
        found = {"dolma": self.dolma, "datatrove": self.datatrove}
        return {name: python and self.run(python, code, name) for name, python in found.items()}


def single_threaded() -> dict[str, str]:
    """The environment of a fair measurement: one thread everywhere."""
    limits = dict.fromkeys(("OMP_NUM_THREADS", "RAYON_NUM_THREADS", "POLARS_MAX_THREADS", "MKL_NUM_THREADS"), "1")
    return os.environ | limits | {"TOKENIZERS_PARALLELISM": "false"}


def find_peers(directory: Path | None) -> Peers:
    """The peers in a directory made by `make_peers`."""
    if directory is None:
        return Peers()
    pythons = {name: directory / f"{name}-env" / "bin" / "python" for name in PINNED}
    return Peers(**{name: python if python.exists() else None for name, python in pythons.items()})


def make_peers(directory: Path) -> None:
    """Makes the environments with `uv` (pip's resolver does not finish on Dolma's requirements)."""
    for name, packages in PINNED.items():
        home = directory / f"{name}-env"
        subprocess.run(["uv", "venv", "--quiet", str(home), "--python", "3.11"], check=True)
        subprocess.run(["uv", "pip", "install", "--quiet", "--python", f"{home}/bin/python", *packages], check=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--make", type=Path, required=True, metavar="DIRECTORY")
    make_peers(parser.parse_args().make)
    sys.exit(0)
