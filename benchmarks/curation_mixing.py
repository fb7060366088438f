"""Mixing beside `dolma mix` in one run: the same documents, side-files, filters and replacements, and the same output.

    python benchmarks/curation_mixing.py CORPUS --peers PEERS_DIRECTORY

Speed is megabytes of UTF-8 text read per second of processor time of one core.
"""

from __future__ import annotations

import argparse
import gzip
import json
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa

sys.path.insert(0, str(Path(__file__).resolve().parent))

from peers import Peers, find_peers

from glasshouse.data.curation.rules import dolma_web_rules
from glasshouse.data.mixing.dolma import import_dolma
from glasshouse.data.mixing.filters import Filter, decide
from glasshouse.data.mixing.mix import mix
from glasshouse.data.quarantine import Quarantine
from glasshouse.data.signals.families import compute_signals, default_families
from glasshouse.data.signals.pii import spans_of_batch
from glasshouse.data.signals.signal import SPANS
from glasshouse.data.sources.attributes import write_attributes
from glasshouse.data.sources.inputs import plan_inputs

FILTER_ROWS = 100_000
FILTER_BAR_MS = 100.0
MIX_BAR = 1.0
SHARDS = 3

DOLMA = """
import json, resource, sys, time
from dolma.cli.__main__ import main
start = resource.getrusage(resource.RUSAGE_SELF)
main(argv=["-c", sys.argv[1], "mix"])
end = resource.getrusage(resource.RUSAGE_SELF)
print()
print(json.dumps(end.ru_utime - start.ru_utime + end.ru_stime - start.ru_stime))
"""

_KEY = "bench__gopher_v1__"
_RULES = [
    ("word_count", "<", 50), ("word_count", ">", 100000), ("median_word_length", ">", 10),
    ("symbol_to_word_ratio", ">", 0.1), ("fraction_of_duplicate_lines", ">", 0.3), ("required_word_count", "<", 2),
]  # fmt: skip


def measure(corpus: Path, peers: Peers) -> dict[str, Any]:
    """Filter and mix speeds, ratios, and whether the bars hold."""
    filtered = measure_filter()
    with tempfile.TemporaryDirectory() as folder:
        mixed = measure_mix(corpus, peers, Path(folder))
    return {"filter": filtered, "mix": mixed}


def measure_filter(rows: int = FILTER_ROWS) -> dict[str, Any]:
    """All rules of Dolma's web recipe over a table of signals."""
    random = np.random.default_rng(0)
    names = {rule.signal for rule in dolma_web_rules.rules}
    table = pa.table(
        {name: random.random(rows) * (500 if "count" in name or "length" in name else 1) for name in names}
    )
    rules = Filter(exclude=tuple(rule.name for rule in dolma_web_rules.rules))
    trees = rules.trees()
    times = []
    for _ in range(7):
        start = time.process_time()
        decide(rules, table, trees)
        times.append(1000 * (time.process_time() - start))
    milliseconds = float(np.median(times))
    return {
        "rows": rows, "rules": len(trees), "milliseconds": milliseconds, "bar_milliseconds": FILTER_BAR_MS,
        "holds": milliseconds <= FILTER_BAR_MS,
    }  # fmt: skip


def measure_mix(corpus: Path, peers: Peers, folder: Path) -> dict[str, Any]:
    """Ours, in three forms of output, and Dolma's on the same inputs; the outputs are compared document by document."""
    text_bytes = prepare(corpus, folder)
    config = dolma_config(folder)
    (folder / "warm.json").write_text(json.dumps(config))
    found: dict[str, Any] = {"megabytes": text_bytes / 1e6, "megabytes_per_second": {}}
    imported = import_dolma(folder / "warm.json").mixture
    for form in ("jsonl.gz", "jsonl.zst", "parquet"):
        start = time.process_time()
        summary = mix(imported.but(form=form, keep_attributes=False), folder / f"ours-{form}")
        found["megabytes_per_second"][f"ours {form}"] = text_bytes / 1e6 / (time.process_time() - start)
    found["documents"] = summary.documents
    found["megabytes_per_second"]["dolma mix"] = found["ratio"] = found["equal_documents"] = found["holds"] = None
    if peers.dolma is not None:
        seconds = peers.run(peers.dolma, DOLMA, str(folder / "warm.json"))
        found["megabytes_per_second"]["dolma mix"] = text_bytes / 1e6 / seconds
        found["ratio"] = found["megabytes_per_second"]["ours jsonl.gz"] * seconds / (text_bytes / 1e6)
        found["ratio_zst"] = found["megabytes_per_second"]["ours jsonl.zst"] * seconds / (text_bytes / 1e6)
        ours, theirs = written(folder / "ours-jsonl.gz" / "documents"), written(folder / "dolma")
        found["equal_documents"] = sum(ours.get(key) == text for key, text in theirs.items())
        found["different_documents"] = len(ours.keys() ^ theirs.keys()) + len(theirs) - found["equal_documents"]
        found["holds"] = found["ratio"] >= MIX_BAR and found["different_documents"] == 0
    return found


def prepare(corpus: Path, folder: Path) -> int:
    """Documents and side-files in Dolma's layout; the bytes of text."""
    text_bytes = 0
    (folder / "documents").mkdir()
    for file in sorted(corpus.glob("*.jsonl.gz"))[:SHARDS]:
        shutil.copy(file, folder / "documents" / file.name)
        (shard,) = plan_inputs(str(folder / "documents" / file.name))
        tables = []
        with Quarantine() as quarantine:
            for batch in shard.batches(quarantine):
                signals = pa.Table.from_batches([compute_signals(batch, default_families())])
                spans: dict[str, list[list[dict[str, Any]]]] = {"email_spans": [], "phone_spans": []}
                for row in spans_of_batch(batch):
                    for name, kind in (("email_spans", "EMAIL_ADDRESS"), ("phone_spans", "PHONE_NUMBER")):
                        spans[name].append(
                            [{"start": s.start, "end": s.end, "score": 1.0} for s in row if s.kind == kind]
                        )
                for name, values in spans.items():
                    signals = signals.append_column(name, pa.array(values, SPANS))
                tables.append(signals.append_column("id", batch.column("id")))
                text_bytes += sum(len(text.encode()) for text in batch.column("text").to_pylist())
        if quarantine.rows_quarantined:
            raise SystemExit(f"{file} has {quarantine.rows_quarantined} bad rows: the side-files would not line up")
        columns = sorted({name for name, _, _ in _RULES} | {"email_spans", "phone_spans"})
        write_attributes(
            pa.concat_tables(tables), folder / "attributes" / "bench" / file.name, "bench", columns=columns
        )
    return text_bytes


def dolma_config(folder: Path) -> dict[str, Any]:
    """Six filters and two replacements, as a mixing file of Dolma's."""
    guarded = "$.attributes[?(@.{0} && @.{0}[0] && @.{0}[0][2] {1} {2})]"
    pii = "$.attributes.bench__pii_regex_with_counts_fast_v2__"
    return {
        "streams": [
            {
                "name": "bench",
                "documents": [f"{folder}/documents/*.jsonl.gz"],
                "attributes": ["bench"],
                "filter": {"include": [], "exclude": [guarded.format(_KEY + n, o, v) for n, o, v in _RULES]},
                "span_replacement": [
                    {"span": pii + kind, "min_score": 0.5, "replacement": f" |||{kind}||| "}
                    for kind in ("EMAIL_ADDRESS", "PHONE_NUMBER")
                ],
                "output": {"path": f"{folder}/dolma", "max_size_in_bytes": 1 << 30, "discard_fields": ["attributes"]},
            }
        ],
        "work_dir": {"input": f"{folder}/work/input", "output": f"{folder}/work/output"},
        "processes": 1,
    }


def written(folder: Path) -> dict[str, str]:
    """Text by id of all output files."""
    found = {}
    for file in sorted(folder.glob("*.gz")):
        with gzip.open(file, "rb") as lines:
            for line in lines:
                row = orjson.loads(line)
                found[row["id"]] = row["text"]
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--peers", type=Path, help="directory made by benchmarks/peers.py")
    arguments = parser.parse_args()
    print(json.dumps(measure(arguments.corpus, find_peers(arguments.peers)), indent=2))
