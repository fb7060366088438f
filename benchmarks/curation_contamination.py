"""Decontamination: planted evaluation passages, clean documents, and the speed of a scan (and Dolma's bloom filter).

    python benchmarks/curation_contamination.py CORPUS [--peers PEERS_DIRECTORY]

The passages are runs of words of the corpus itself, shuffled with a fixed seed so that they occur nowhere else; they
are planted exactly, with case, punctuation and white space changed, and half quoted.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import orjson

sys.path.insert(0, str(Path(__file__).parent))
from peers import Peers, find_peers

ITEMS, CLEAN, ROUNDS = 200, 10_000, 3
SPEED_BAR, RECALL_BAR = 30.0, 0.95
DOLMA = """
import json, sys, time, gzip, os, subprocess, tempfile, resource
from dolma import deduper
home = tempfile.mkdtemp()
os.makedirs(home + "/documents")
items, texts = json.load(open(sys.argv[1]))
for name, rows in (("items", items), ("texts", texts)):
    with gzip.open(f"{home}/documents/{name}.jsonl.gz", "wt") as out:
        for number, text in enumerate(rows):
            out.write(json.dumps({"id": str(number), "text": text, "source": "s"}) + "\\n")
def run(name, read_only):
    settings = {"documents": [f"{home}/documents/{name}.jsonl.gz"],
        "work_dir": {"input": home + "/i", "output": home + "/o"},
        "dedupe": {"name": "found", "paragraphs": {"attribute_name": "found"}, "min_words": 13},
        "bloom_filter": {"file": home + "/filter", "size_in_bytes": 0, "read_only": read_only,
            "estimated_doc_count": 100000, "desired_false_positive_rate": 1e-9}, "processes": 1}
    return deduper(settings)
start = time.process_time()
run("items", False)
built = time.process_time()
run("texts", True)
spans = found = 0
for base, _, files in os.walk(home + "/attributes"):
    for file in files:
        if file.startswith("texts"):
            for line in gzip.open(os.path.join(base, file), "rt"):
                found += any(span[2] > 0 for value in json.loads(line)["attributes"].values() for span in value)
print(json.dumps({"cpu_seconds": time.process_time() - built, "documents_found": found}))
"""


def texts_of(corpus: Path, documents: int) -> list[str]:
    """The first documents of every shard."""
    found: list[str] = []
    shards = sorted(corpus.glob("*.jsonl.gz"))
    for shard in shards:
        with gzip.open(shard) as lines:
            for number, line in enumerate(lines):
                if number >= -(-documents // len(shards)):
                    break
                found.append(orjson.loads(line)["text"])
    return found[:documents]


def passages(texts: list[str], rng: random.Random) -> list[str]:
    """Evaluation items of 30 to 80 words that occur nowhere."""
    words = [word for text in texts[:400] for word in text.split()[:200] if word.isalpha()]
    return [" ".join(rng.choice(words) for _ in range(rng.randrange(30, 81))) for _ in range(ITEMS)]


def perturbed(kind: str, passage: str, rng: random.Random) -> str:
    """A passage as it is planted."""
    if kind == "half_quoted":
        words = passage.split()
        keep = -(-len(words) // 2)
        start = rng.randrange(len(words) - keep + 1)
        return " ".join(words[start : start + keep])
    if kind == "changed":
        changed = "".join(rng.choice((c.upper(), c.lower())) for c in passage)
        return changed.replace(" ", rng.choice(("\n", "  ", ", ", " - ")))
    return passage


def measure(corpus: Path, peers: Peers) -> dict[str, Any]:
    """Recall, false alarms and speed, with the bars."""
    from glasshouse.data.contamination.evaluation_sets import EvaluationItem, EvaluationSet
    from glasshouse.data.contamination.index import EvaluationIndex
    from glasshouse.data.contamination.scanning import scan
    from glasshouse.data.document import Document, Origin, batches

    rng = random.Random(0)
    clean = texts_of(corpus, CLEAN)
    items = passages(clean, rng)
    index = EvaluationIndex.build([
        EvaluationSet("planted", tuple(EvaluationItem(str(n), (text,)) for n, text in enumerate(items)))
    ])  # fmt: skip

    def batched(texts: list[str]) -> list[Any]:
        return list(batches(Document(str(n), text, "s", Origin("", 0, 0)) for n, text in enumerate(texts)))

    recall: dict[str, float] = {}
    for kind in ("exact", "changed", "half_quoted"):
        planted = [f"{host[:2000]}\n{perturbed(kind, item, rng)}\n{host[2000:4000]}"
                   for item, host in zip(items, clean, strict=False)]  # fmt: skip
        hits = [row for batch in batched(planted) for row in scan(batch, index).to_pylist()]
        recall[kind] = len({row["item"] for row in hits if row["overlap"] >= 0.5 and row["id"] == row["item"]}) / ITEMS
    # Long documents are cut, so that there are enough of them.
    pieces = [text[at : at + 5000] for text in clean for at in range(0, min(len(text), 10_000), 5000)]
    held = batched(pieces)
    alarms = sum(len(scan(batch, index)) for batch in held)
    size = sum(len(text.encode()) for text in pieces) / 1e6
    speeds = []
    for _ in range(ROUNDS):
        start = time.process_time()
        for batch in held:
            scan(batch, index)
        speeds.append(size / (time.process_time() - start))
    speed = statistics.median(speeds)
    return {
        "recall_at_half_overlap": recall,
        "clean_documents": len(pieces),
        "false_alarms": alarms,
        "scan_mb_per_cpu_second": speed,
        "dolma": with_dolma(items, pieces, size, peers),
        "bars": {
            "recall_exact": 1.0,
            "recall_perturbed": RECALL_BAR,
            "false_alarms": 0,
            "mb_per_cpu_second": SPEED_BAR,
        },
        "holds": recall["exact"] == 1.0 and min(recall.values()) >= RECALL_BAR and alarms == 0
        and len(pieces) >= CLEAN and speed >= SPEED_BAR,
    }  # fmt: skip


def with_dolma(items: list[str], texts: list[str], size: float, peers: Peers) -> dict[str, Any] | None:
    """Dolma's seeded, read-only Bloom filter over paragraphs; its time includes reading and writing files."""
    if peers.dolma is None:
        return None
    import tempfile

    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump([items, texts], file)
        file.flush()
        found = peers.run(peers.dolma, DOLMA, file.name)
    return {"mb_per_cpu_second": size / found["cpu_seconds"], "documents_found": found["documents_found"]}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--peers", type=Path)
    arguments = parser.parse_args()
    print(json.dumps(measure(arguments.corpus, find_peers(arguments.peers)), indent=2))
