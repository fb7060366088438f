"""The whole way from files to files: speed beside `dolma tag`, memory, and the same bytes however it is run.

python benchmarks/curation_pipeline.py CORPUS --peers PEERS [--synthetic GIGABYTES]
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import orjson
from peers import Peers, find_peers, single_threaded

COMMAND = [str(Path(sys.executable).parent / "glasshouse")]

STAGES = ["--dedupe", "exact,minhash,paragraphs"]


def spent(command: list[str], **environment: str) -> tuple[float, float, int]:
    """CPU seconds of a command with its children, wall seconds, and its largest resident size (bytes).

    The size is read from the process itself while it runs: what the system reports at the end would count the memory
    of the process that started it.
    """
    with tempfile.TemporaryFile() as errors:
        start = time.monotonic()
        process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=errors, env=single_threaded() | environment
        )
        largest = _watched(process.pid)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            errors.seek(0)
            raise RuntimeError(f"{command} failed with {process.returncode}: {errors.read()[-3000:].decode()}")
    return used.ru_utime + used.ru_stime, time.monotonic() - start, largest


def _watched(pid: int) -> int:
    """Largest resident size of a process in bytes, looked at until it ends."""
    largest = 0
    while True:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        sizes = [int(line.split()[1]) for line in lines if line.startswith("VmHWM")]
        if not sizes:  # it has ended and waits to be collected
            return largest * 1024
        largest = max(largest, *sizes)
        time.sleep(0.02)


def file_to_file(corpus: Path, peers: Peers) -> dict[str, Any]:
    """The corpus through `glasshouse signals` (core family) and, for Dolma, `dolma tag` with the two taggers.

    Both include their start; ours is a good second of processor time for imports, which two shards alone would show.
    """
    shards = sorted(corpus.glob("*.jsonl.gz"))
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        (home / "documents").mkdir()
        megabytes = 0.0
        for shard in shards:
            shutil.copy(shard, home / "documents" / shard.name)
            with gzip.open(shard) as lines:
                megabytes += sum(len(orjson.loads(line)["text"].encode()) for line in lines) / 1e6
        command = [*COMMAND, "signals", f"{home}/documents", "--families", "core", "--workers", "1", "--json", "--out"]
        spent([*command, f"{home}/warm"])
        ours, wall, _ = min(spent([*command, f"{home}/out{turn}"]) for turn in range(3))
        found: dict[str, Any] = {"megabytes": megabytes, "glasshouse": {"cpu": ours, "wall": wall}, "dolma": None}
        if peers.dolma is not None:
            tag = [str(peers.dolma.parent / "dolma"), "tag", "--documents", f"{home}/documents/*.gz",
                   "--experiment", "peer", "--taggers", "gopher_v1", "c4_v1", "--processes", "1"]  # fmt: skip
            cpu, wall, _ = spent(tag)
            found["dolma"] = {"cpu": cpu, "wall": wall}
            found["ratio"] = cpu / ours
    return found


def same_bytes(corpus: Path) -> dict[str, Any]:
    """Hashes of a whole curation with 1, 2 and 4 threads, on Ray, and after kills."""
    shards = sorted(str(path) for path in corpus.glob("*.jsonl.gz"))[:4]
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, options in {
            "1 thread": ["--workers", "1"], "2 threads": ["--workers", "2"], "4 threads": ["--workers", "4"],
            "Ray, 2 tasks": ["--workers", "2", "--ray"],
        }.items():  # fmt: skip
            out = Path(folder) / name.replace(" ", "-")
            spent([*COMMAND, "curate", *shards, *STAGES, "--json", "--out", str(out), *options])
            found[name] = digest(out)
        out, kills = Path(folder) / "killed", 0
        draw = random.Random(0)
        while not (out / "summary.json").exists():
            command = [*COMMAND, "curate", *shards, *STAGES, "--json", "--out", str(out)]
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            try:
                process.wait(timeout=(0.8 + 2 * draw.random()) if kills < 5 else None)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.wait()
                kills += 1
        found[f"after {kills} kills"] = digest(out)
    return found


def digest(directory: Path) -> str:
    """sha256 over the names and contents of all files."""
    whole = hashlib.sha256()
    for path in sorted(path for path in directory.rglob("*") if path.is_file()):
        whole.update(f"{path.relative_to(directory)} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return whole.hexdigest()


def synthetic(out: Path, gigabytes: float) -> None:
    """Documents of random words with planted duplicates, in plain JSON Lines, half of it in one file."""
    draw = random.Random(0)
    syllables = [a + b for a in "bcdfghklmnprstvw" for b in "aeiou"]
    words = ["".join(draw.choices(syllables, k=draw.randrange(1, 5))) for _ in range(30_000)]
    words += ["the", "of", "and", "that", "have", "with", "be", "to"] * 1500
    pieces = [" ".join(draw.choices(words, k=draw.randrange(8, 30))) + "." for _ in range(40_000)]
    out.mkdir(parents=True)
    number = 0
    for name, share in ({"large": 0.5} | {f"part-{i}": 0.125 for i in range(4)}).items():
        until = gigabytes * 1e9 * share
        with (out / f"{name}.jsonl").open("wb") as file:
            while until > 0:
                text = "\n".join(draw.choices(pieces, k=draw.randrange(5, 60)))
                for _ in range(1 + (draw.random() < 0.05)):
                    file.write(orjson.dumps({"id": str(number), "text": text, "source": "web"}) + b"\n")
                    until -= len(text)
                    number += 1


def memory(gigabytes: float) -> dict[str, Any]:
    """Largest resident size while a synthetic corpus is curated with every stage."""
    with tempfile.TemporaryDirectory() as folder:
        synthetic(Path(folder) / "in", gigabytes)
        size = sum(path.stat().st_size for path in (Path(folder) / "in").iterdir())
        command = [*COMMAND, "curate", f"{folder}/in", "--out", f"{folder}/out", "--workers", "2", "--json"]
        cpu, wall, resident = spent(command)
        summary = json.loads((Path(folder) / "out" / "summary.json").read_text())
        adds_up = summary["input"] == summary["kept"]["documents"] + summary["removed"]["documents"]
    return {"bytes": size, "resident": resident, "cpu": cpu, "wall": wall, "documents": summary["input"],
            "removed": summary["removed"]["documents"], "adds_up": adds_up}  # fmt: skip


def measure(corpus: Path, peers: Peers, gigabytes: float = 5.0) -> dict[str, Any]:
    """All of it, with the bars."""
    speed, bytes_, room = file_to_file(corpus, peers), same_bytes(corpus), memory(gigabytes)
    bars = [
        bar("file to file, x dolma tag", speed.get("ratio"), 20),
        {"what": "different results over threads, Ray and kills", "value": len(set(bytes_.values())) - 1,
         "bar": "0", "holds": len(set(bytes_.values())) == 1},
        {"what": f"resident GB for a corpus of {room['bytes'] / 1e9:.1f} GB", "value": room["resident"] / 1e9,
         "bar": "<= 4", "holds": room["resident"] <= 4e9 and room["adds_up"]},
    ]  # fmt: skip
    return {"file to file": speed, "same bytes": bytes_, "memory": room, "bars": bars}


def bar(what: str, measured: float | None, least: float) -> dict[str, Any]:
    """A bar that a measured value must reach."""
    return {"what": what, "value": measured, "bar": f">= {least:g}", "holds": measured and measured >= least}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--peers", type=Path)
    parser.add_argument("--gigabytes", type=float, default=5.0)
    given = parser.parse_args()
    print(json.dumps(measure(given.corpus, find_peers(given.peers), given.gigabytes), indent=1))
