"""De-duplication: speed beside datatrove and Dolma, MinHash and Bloom filters against theory, the same result always.

python benchmarks/curation_deduplication.py CORPUS --peers PEERS
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import itertools
import json
import os
import random
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
from peers import Peers, find_peers, single_threaded

from glasshouse.data.deduplication.bloom import BloomFilter, expected_false_positives
from glasshouse.data.deduplication.bloom_file import save
from glasshouse.data.deduplication.dolma_attributes import piece_attributes, write_attributes
from glasshouse.data.deduplication.keys import Keys
from glasshouse.data.deduplication.methods import Ngrams, Paragraphs, exact, minhash
from glasshouse.data.deduplication.substring import Substrings
from glasshouse.data.document import Document, Origin, batches, text_buffers, to_batch
from glasshouse.data.executor import Threads

DATATROVE = """
import json, sys, time, gzip, xxhash
from datatrove.pipeline.dedup.minhash import MinhashConfig, MinhashDedupSignature
from datatrove.utils.hashing import HashConfig
config = MinhashConfig(hash_config=HashConfig(precision=64), num_buckets=14, hashes_per_bucket=8, n_grams=5)
step = MinhashDedupSignature(output_folder=sys.argv[2], config=config)
# xxhash 4 takes bytes only, which datatrove 0.10.1 does not give it yet.
step._hash_func = lambda text: xxhash.xxh64_intdigest(text.encode())
texts = [json.loads(line)["text"] for line in gzip.open(sys.argv[1])]
step.get_signature(step.get_shingles("one two three four five six seven"))
start = time.process_time()
for text in texts:
    shingles = step.get_shingles(text)
    if shingles.size:
        step.get_signature(shingles)
print(json.dumps(time.process_time() - start))
"""


def read(paths: Sequence[Path]) -> list[pa.RecordBatch]:
    """All documents, in batches, those whose id comes twice too (Dolma does not look at ids)."""
    documents = []
    for path in paths:
        with gzip.open(path) as file:
            for number, line in enumerate(file):
                row = orjson.loads(line)
                documents.append(Document(row["id"], row["text"], "bench", Origin(path.name, number, number + 1)))
    return list(batches(documents))


def megabytes(parts: Sequence[pa.RecordBatch]) -> float:
    """Megabytes of UTF-8 text."""
    return sum(int(offsets[-1] - offsets[0]) for offsets, _ in map(text_buffers, parts)) / 1e6


def cpu(work: Callable[[], Any], turns: int = 3) -> float:
    """Least CPU seconds of some turns, after one that compiles."""
    work()
    taken = []
    for _ in range(turns):
        start = time.process_time()
        work()
        taken.append(time.process_time() - start)
    return min(taken)


def speed(parts: list[pa.RecordBatch]) -> dict[str, float]:
    """Megabytes of text per CPU second and core of every method, in memory."""
    size = megabytes(parts)
    found = {}
    for name, method in {"exact": exact(), "minhash": minhash()}.items():
        found[f"{name} sign"] = size / cpu(lambda method=method: [method.sign(part) for part in parts])
        keys = Keys([method.sign(part) for part in parts])
        found[f"{name} keepers"] = size / cpu(lambda method=method, keys=keys: method.keepers(keys))
    for name, method in {"paragraphs": Paragraphs(), "ngrams": Ngrams()}.items():
        found[name] = size / cpu(lambda method=method: list(piece_attributes(parts, method, "x")), turns=1)
    small = parts[:1]
    found["substrings"] = megabytes(small) / cpu(lambda: Substrings().spans(small), turns=1)
    return found


def beside_datatrove(shard: Path, peers: Peers) -> dict[str, Any] | None:
    """Signatures of every twelfth document of a shard, in the same minute."""
    if peers.datatrove is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        sample = Path(folder) / "sample.jsonl.gz"
        with gzip.open(shard) as lines, gzip.open(sample, "wb") as out:
            out.writelines(itertools.islice(lines, 0, None, 12))
        parts = read([sample])
        theirs = peers.run(peers.datatrove, DATATROVE, str(sample), folder)
    ours = cpu(lambda: [minhash().signature(part) for part in parts])
    size = megabytes(parts)
    return {"megabytes": size, "glasshouse MB/s": size / ours, "datatrove MB/s": size / theirs, "ratio": theirs / ours}


def planted(similarity: float, pairs: int, words: int, seed: int) -> tuple[pa.RecordBatch, float]:
    """Pairs of texts with exactly the same Jaccard similarity of their words, near `similarity`."""
    rng = random.Random(seed)
    shared = round(2 * words * similarity / (1 + similarity))
    texts = []
    for _ in range(pairs):
        made = [f"w{rng.getrandbits(60):x}" for _ in range(2 * words - shared)]
        texts += [" ".join(made[:words]), " ".join(made[words - shared :])]
    rows = [Document(str(i), text, "s", Origin("f", 0, 0)) for i, text in enumerate(texts)]
    return to_batch(rows), shared / (2 * words - shared)


def near_duplicates(pairs: int = 2000) -> dict[str, Any]:
    """Error of the estimate and recall for planted similarities."""
    found = {}
    for similarity in (0.6, 0.7, 0.8, 0.9):
        batch, jaccard = planted(similarity, pairs, 300, 17)
        method = minhash(shingle=1)
        values = method.signature(batch)
        agree = (values[0::2] == values[1::2]).mean(axis=1)
        error = float(np.sqrt(np.mean((agree - jaccard) ** 2)) / np.sqrt(jaccard * (1 - jaccard) / values.shape[1]))
        recall = float((method.keepers(method.sign(batch))[1::2] == np.arange(0, 2 * pairs, 2)).mean())
        theory = 1 - (1 - jaccard**8) ** 14
        holds = abs(error - 1) <= 0.15 and abs(recall - theory) <= 0.02
        found[str(similarity)] = {"error / theory": error, "recall": recall, "recall in theory": theory, "holds": holds}
    return found


def bloom_filters() -> dict[str, Any]:
    """Size and false positives of filters, three seeds together."""
    found = {}
    for expected, rate in ((20_000, 0.01), (200_000, 1e-3), (1_000_000, 1e-4)):
        keys = np.random.default_rng(5).permutation(
            np.arange(expected, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        )
        wrong = wanted = 0.0
        for seed in range(3):
            bloom = BloomFilter(expected, rate, seed)
            wrong += float(bloom.add(keys).sum())
            wanted += expected_false_positives(expected, bloom.bits, bloom.hashes)
        with tempfile.TemporaryDirectory() as folder:
            save(bloom, Path(folder) / "f")
            size = (Path(folder) / "f").stat().st_size / (-expected * np.log(rate) / np.log(2) ** 2 / 8)
        low, high = wanted - 2.576 * wanted**0.5, wanted + 2.576 * wanted**0.5
        found[f"{expected} keys at {rate}"] = {
            "size / theory": size, "false positives": wrong, "in theory": wanted, "99 % interval": [low, high],
            "holds": bool(size <= 1.05 and low <= wrong <= high),
        }  # fmt: skip
    return found


def always_the_same(parts: list[pa.RecordBatch]) -> dict[str, Any]:
    """Hash of all keepers and spans with 1, 2 and 4 workers and 1, 4 and 32 partitions."""
    hashes = {}
    for workers, partitions in itertools.product((1, 2, 4), (1, 4, 32)):
        executor, digest = Threads(workers), hashlib.sha256()
        for method in (exact(), minhash()):
            keys = Keys(list(executor.map(method.sign, parts)))
            digest.update(method.keepers(keys, executor, partitions).tobytes())
        for method in (Paragraphs(), Ngrams()):
            signed = [pieces.keys for pieces in executor.map(method.sign, parts)]
            digest.update(method.repeated(signed, executor, partitions).tobytes())
        hashes[f"{workers} workers, {partitions} partitions"] = digest.hexdigest()
    return {"hashes": hashes, "holds": len(set(hashes.values())) == 1}


def dolma_spans(shards: Sequence[Path], peers: Peers, processes: int, home: Path) -> tuple[list[Any], float]:
    """Rows that `dolma dedupe` of paragraphs writes, and its CPU seconds."""
    assert peers.dolma is not None
    (home / "documents").mkdir(parents=True)
    for shard in shards:
        shutil.copy(shard, home / "documents" / shard.name)
    configuration = {
        "documents": [f"{home}/documents/*.gz"],
        "work_dir": {"input": f"{home}/in", "output": f"{home}/out"},
        "dedupe": {"name": "p", "paragraphs": {"attribute_name": "p"}, "skip_empty": True},
        "bloom_filter": {"file": f"{home}/filter", "size_in_bytes": 0, "read_only": False,
                         "estimated_doc_count": 3_000_000, "desired_false_positive_rate": 1e-9},
        "processes": processes,
    }  # fmt: skip
    (home / "c.json").write_text(json.dumps(configuration))
    command = [str(peers.dolma.parent / "dolma"), "-c", f"{home}/c.json", "dedupe"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=single_threaded())
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"dolma dedupe failed with {process.returncode}")
    rows: list[Any] = []
    for shard in shards:
        with gzip.open(home / "attributes" / "p" / shard.name) as lines:
            rows += map(orjson.loads, lines)
    return rows, used.ru_utime + used.ru_stime


def before_the_end(row: dict[str, Any], characters: int) -> list[Any]:
    """The spans of a row that end before the last two characters of its text."""
    return [span for span in row["attributes"].get("p", []) if span[1] < characters - 1]


def beside_dolma(shards: Sequence[Path], peers: Peers) -> dict[str, Any] | None:
    """Paragraphs from files to files: CPU seconds, equal spans, and what two runs with 4 processes do."""
    if peers.dolma is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        one, theirs = dolma_spans(shards, peers, 1, home / "one")
        # Dolma takes files in the order in which the directory lists them only with one process; so do we.
        first, second = (dolma_spans(shards, peers, 4, home / f"four{i}")[0] for i in range(2))
        start = time.process_time()
        parts = read(shards)
        write_attributes(piece_attributes(parts, Paragraphs(), "p"), home / "ours.jsonl.gz")
        taken = time.process_time() - start
        with gzip.open(home / "ours.jsonl.gz") as lines:
            ours = [orjson.loads(line) for line in lines]
    texts = [text for part in parts for text in part.column("text").to_pylist()]
    ascii_rows = [text.isascii() for text in texts]
    equal = [a["attributes"] == b["attributes"] for a, b in zip(ours, one, strict=True)]
    return {
        "glasshouse CPU seconds": taken, "dolma CPU seconds": theirs, "ratio": theirs / taken, "documents": len(ours),
        "equal to dolma with 1 process": sum(equal),
        "unequal, only ASCII": sum(not same and plain for same, plain in zip(equal, ascii_rows, strict=True)),
        # Dolma counts the end of a text in bytes, so only spans at the very end of a text can be wrong.
        "unequal before the end of the text": sum(
            before_the_end(a, len(text)) != before_the_end(b, len(text))
            for a, b, text in zip(ours, one, texts, strict=True)
        ),
        "documents that differ between two runs of dolma with 4 processes": sum(
            a != b for a, b in zip(first, second, strict=True)
        ),
    }  # fmt: skip


def measure(corpus: Path, peers: Peers) -> dict[str, Any]:
    """All of it, with whether each bar holds."""
    shards = sorted(corpus.glob("*.jsonl.gz"))
    parts = read(shards[:2])
    speeds = speed(parts)
    datatrove = beside_datatrove(shards[0], peers)
    return {
        "speed, MB per CPU second": speeds,
        "minhash >= 100 MB/s": speeds["minhash sign"] >= 100,
        "beside datatrove": datatrove,
        "minhash >= 50 x datatrove": datatrove and datatrove["ratio"] >= 50,
        "near duplicates": near_duplicates(),
        "Bloom filters": bloom_filters(),
        "always the same": always_the_same(parts),
        "beside dolma": beside_dolma(shards, peers),
        "peers": peers.versions(),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--peers", type=Path)
    arguments = parser.parse_args()
    print(json.dumps(measure(arguments.corpus, find_peers(arguments.peers)), indent=2))
