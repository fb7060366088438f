"""How fast files become documents: MB of UTF-8 text per CPU-second, side by side with Dolma's and datatrove's readers.

    python benchmarks/curation_reading.py CORPUS [--peers PEERS_DIRECTORY]

CORPUS holds `.jsonl.gz` shards in Dolma's document form (`benchmarks/corpus.py`). Every reader gets the same files, in
one thread, and is measured warm (the second of two passes), without its imports:

- ours: files to Arrow record batches, every row validated and every id checked;
- Dolma 1.2.1: what its taggers do: decompression and one decoded `InputSpec` per line, without checks;
- datatrove 0.10.1: `JsonlReader` and `ParquetReader`, one `Document` per row.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

from peers import Peers, find_peers

from glasshouse.data.quarantine import Quarantine
from glasshouse.data.sources.inputs import InputShard, plan_inputs
from glasshouse.data.writing import write_documents

JSON_BAR = 60.0
PARQUET_BAR = 300.0

DOLMA = """
import glob, gzip, json, sys, time
import msgspec
from dolma.core.data_types import InputSpec
def read():
    decoder, size = msgspec.json.Decoder(InputSpec), 0
    for path in sorted(glob.glob(sys.argv[1] + "/*.jsonl.gz")):
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            for line in lines:
                size += len(decoder.decode(line).text.encode())
    return size
read()
start = time.process_time()
size = read()
print(json.dumps(size / 1e6 / (time.process_time() - start)))
"""

DATATROVE = """
import json, logging, sys, time
from loguru import logger
logger.remove()
from datatrove.pipeline.readers import JsonlReader, ParquetReader
kind, folder, pattern = sys.argv[1:]
reader = {"jsonl": JsonlReader, "parquet": ParquetReader}[kind]
def read():
    made = reader(folder, glob_pattern=pattern, file_progress=False, doc_progress=False)
    return sum(len(document.text.encode()) for document in made.run())
try:
    read()
except ImportError:
    print("null")  # a package that datatrove wants for this reader is absent
    sys.exit()
start = time.process_time()
size = read()
print(json.dumps(size / 1e6 / (time.process_time() - start)))
"""


def measure(corpus: Path, peers: Peers) -> dict[str, Any]:
    """Speeds in MB of text per CPU-second, ratios, and whether the bars hold; an absent peer's values are `None`."""
    shards = plan_inputs(str(corpus / "*.jsonl.gz"))
    found: dict[str, Any] = {"jsonl_gz": _speed(shards)}
    with tempfile.TemporaryDirectory() as folder:
        parquet = Path(folder) / "documents.parquet"
        quarantine = Quarantine()
        start = time.process_time()
        written = write_documents((batch for shard in shards for batch in shard.batches(quarantine)), parquet)
        found["jsonl_gz_to_parquet"] = written.text_bytes / 1e6 / (time.process_time() - start)
        found["parquet"] = _speed(plan_inputs(parquet))
        found["dolma_jsonl_gz"] = found["datatrove_jsonl_gz"] = found["datatrove_parquet"] = None
        if peers.dolma is not None:
            found["dolma_jsonl_gz"] = peers.run(peers.dolma, DOLMA, str(corpus))
        if peers.datatrove is not None:
            found["datatrove_jsonl_gz"] = peers.run(peers.datatrove, DATATROVE, "jsonl", str(corpus), "*.jsonl.gz")
            found["datatrove_parquet"] = peers.run(peers.datatrove, DATATROVE, "parquet", folder, "*.parquet")
    for ours, theirs in (
        ("jsonl_gz", "dolma_jsonl_gz"), ("jsonl_gz", "datatrove_jsonl_gz"), ("parquet", "datatrove_parquet"),
    ):  # fmt: skip
        found[f"ratio_{theirs}"] = found[theirs] and found[ours] / found[theirs]
    found["documents"], found["quarantined"] = quarantine.rows_kept, quarantine.rows_quarantined
    found["holds"] = {
        f"jsonl.gz at least {JSON_BAR:.0f} MB/s": found["jsonl_gz"] >= JSON_BAR,
        f"Parquet at least {PARQUET_BAR:.0f} MB/s": found["parquet"] >= PARQUET_BAR,
    }
    return found


def _speed(shards: list[InputShard]) -> float:
    """MB of text per CPU-second of the second of two passes."""
    for _ in range(2):
        start, size = time.process_time(), 0
        for shard in shards:
            size += sum(batch.column("text").nbytes for batch in shard.batches(Quarantine()))
    return size / 1e6 / (time.process_time() - start)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--peers", type=Path)
    given = parser.parse_args()
    print(json.dumps(measure(given.corpus, find_peers(given.peers)), indent=2))
