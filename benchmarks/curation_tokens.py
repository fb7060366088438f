"""Tokens: speed and exactness of the fast encoder against Hugging Face `encode_batch_fast` (and Dolma's tokenizer).

    python benchmarks/curation_tokens.py CORPUS [--peers PEERS_DIRECTORY] [--tokenizer tokenizer.json]

One thread each, in turns over the same documents, CPU time; the middle one of the rounds counts.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson

sys.path.insert(0, str(Path(__file__).parent))
from peers import Peers, find_peers

ROUNDS = 3
BAR = 3.0
FERTILITY_BAR = 1.7
NEOX = Path(__file__).parents[2] / "shared" / "data" / "olmo" / "allenai_gpt-neox-olmo-dolma-v1_5.json"
DOLMA = """
import json, sys, time
from dolma.tokenizer import Tokenizer
tokenizer = Tokenizer.from_file(sys.argv[1], eos_token_id=0, pad_token_id=1)
texts = json.load(open(sys.argv[2]))
start = time.process_time()
count = sum(len(tokenizer.encode(text, add_special_tokens=False)) for text in texts)
print(json.dumps({"cpu_seconds": time.process_time() - start, "tokens": count}))
"""


def documents(corpus: Path, megabytes: float) -> list[tuple[str, str]]:
    """(source, text) of every eighth document, so that every kind is in."""
    found: list[tuple[str, str]] = []
    held = 0.0
    for shard in sorted(corpus.glob("*.jsonl.gz")):
        with gzip.open(shard) as lines:
            for number, line in enumerate(lines):
                if number % 8 == 0:
                    row = orjson.loads(line)
                    found.append((row["source"], row["text"]))
                    held += len(row["text"].encode()) / 1e6
                    if held >= megabytes:
                        return found
    return found


def seconds(function: Callable[[list[str]], Any], texts: list[str]) -> float:
    """CPU seconds of one pass in batches of 64 documents."""
    start = time.process_time()
    for at in range(0, len(texts), 64):
        function(texts[at : at + 64])
    return time.process_time() - start


def measure(corpus: Path, peers: Peers, tokenizer: Path | None = None, megabytes: float = 6.0) -> dict[str, Any]:
    """Speeds, ratio, equality of the ids and fertility, with the bars."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    from glasshouse.data.tokens.tokenizer import load_tokenizer, train_bpe

    given = tokenizer or (NEOX if NEOX.is_file() else None)
    rows = documents(corpus, megabytes)
    texts = [text for _, text in rows]
    result: dict[str, Any] = {"documents": len(texts), "megabytes": sum(len(t.encode()) for t in texts) / 1e6}
    result["trained"] = compared(train_bpe(texts[::4], 8192), texts, peers)
    result["neox"] = None if given is None else compared(load_tokenizer(given), texts, peers)
    result["fertility"] = None if given is None else fertilities(load_tokenizer(given), rows)
    return result


def compared(tokenizer: Any, texts: list[str], peers: Peers) -> dict[str, Any]:
    """One tokenizer through everyone."""
    from glasshouse.data.tokens.encoder import HuggingFaceEncoder
    from glasshouse.data.tokens.fast import FastEncoder

    start = time.process_time()
    fast = FastEncoder(tokenizer)
    build = time.process_time() - start
    slow = HuggingFaceEncoder(tokenizer)
    plain = slow.tokenizer
    size = sum(len(text.encode()) for text in texts) / 1e6
    runs: list[tuple[float, float]] = []
    for _ in range(ROUNDS):
        runs.append((
            seconds(fast.encode_batch, texts),
            seconds(lambda batch: [e.ids for e in plain.encode_batch_fast(batch, add_special_tokens=False)], texts),
        ))  # fmt: skip
    pairs = zip(fast.encode_batch(texts), slow.encode_batch(texts), strict=True)
    equal = sum(one.tolist() == other.tolist() for one, other in pairs)
    ratio = statistics.median(other / own for own, other in runs)
    return {
        "vocabulary": fast.vocabulary,
        "build_cpu_seconds": build,
        "fast_mb_per_cpu_second": statistics.median(size / own for own, _ in runs),
        "hugging_face_mb_per_cpu_second": statistics.median(size / other for _, other in runs),
        "ratio": ratio,
        "equal_documents": equal,
        "different_documents": len(texts) - equal,
        "dolma_mb_per_cpu_second": with_dolma(plain, texts, size, peers),
        "bar": BAR,
        "holds": ratio >= BAR and equal == len(texts),
    }


def with_dolma(tokenizer: Any, texts: list[str], size: float, peers: Peers) -> float | None:
    """Dolma's tokenizer, document by document as `dolma tokens` does."""
    if peers.dolma is None:
        return None
    with tempfile.TemporaryDirectory() as home:
        path, content = Path(home) / "tokenizer.json", Path(home) / "texts.json"
        parts = json.loads(tokenizer.to_str())
        # The older library that Dolma needs reads merges as "a b" only; no byte-level token holds a space.
        parts["model"]["merges"] = [
            merge if isinstance(merge, str) else " ".join(merge) for merge in parts["model"]["merges"]
        ]
        path.write_text(json.dumps(parts))
        content.write_text(json.dumps(texts))
        return size / float(peers.run(peers.dolma, DOLMA, str(path), str(content))["cpu_seconds"])


def fertilities(tokenizer: Any, rows: list[tuple[str, str]]) -> dict[str, Any]:
    """Tokens per word of code and of prose."""
    from glasshouse.data.document import Document, Origin, batches
    from glasshouse.data.tokens.fertility import fertility

    kinds = [("prose" if source.startswith("prose") else source, text) for source, text in rows]
    made = (Document(str(n), text, kind, Origin("", 0, 0)) for n, (kind, text) in enumerate(kinds))
    table = {row["source"]: row["tokens_per_word"] for row in fertility(batches(made), tokenizer).to_pylist()}
    ratio = table["code"] / table["prose"] if {"code", "prose"} <= table.keys() else None
    return {"tokens_per_word": table, "code_to_prose": ratio, "bar": FERTILITY_BAR,
            "holds": ratio is not None and ratio >= FERTILITY_BAR}  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--peers", type=Path)
    parser.add_argument("--tokenizer", type=Path)
    arguments = parser.parse_args()
    print(json.dumps(measure(arguments.corpus, find_peers(arguments.peers), arguments.tokenizer), indent=2))
