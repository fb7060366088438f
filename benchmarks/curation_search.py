"""Exact and ranked search over a corpus: how fast it is built, how fast it answers, and that it finds what is there.

python benchmarks/curation_search.py --corpus DIRECTORY [--peers DIRECTORY] [--output FILE]

Seconds are CPU time of one thread. Peers in the same run: pydivsufsort on the same bytes (the ceiling of the build), a
scan with `bytes.find` (what a search without an index costs), and infini-gram where it is installed.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

from peers import Peers, find_peers

from glasshouse.data.quarantine import Quarantine
from glasshouse.data.search.building import Indexing
from glasshouse.data.search.corpus_index import CorpusIndex
from glasshouse.data.search.matching import Matching, match_text
from glasshouse.data.sources.reading import read_documents
from glasshouse.data.suffixes import sorted_suffixes

SPANS, CHARACTERS, SCANNED, TEXTS = 200, 50, 12, 20


def measure(corpus: Path, peers: Peers) -> dict[str, Any]:
    """Rows and bars of part 10 of Dolma's acceptance: 200/200 found, 1 ms a span, build at 5 MB a CPU second.

    Args:
        corpus: a directory of documents as JSON Lines.
        peers: none of the search's peers needs an environment of its own.
    """
    del peers
    with tempfile.TemporaryDirectory() as home, Quarantine() as quarantine:
        read, batches = seconds(lambda: list(read_documents(corpus, quarantine)))
        exact, _ = seconds(lambda: CorpusIndex.build(batches, Path(home) / "exact", Indexing(ranked=False)))
        both, index = seconds(lambda: CorpusIndex.build(batches, Path(home) / "both"))
        size = index.header.text_bytes / 1e6
        text = bytes(np.concatenate([shard.text for shard in index.shards]))
        raw = sum(seconds(lambda part=shard: sorted_suffixes(np.array(part.text)))[0] for shard in index.shards)
        disk = sum(path.stat().st_size for path in index.path.rglob("*") if path.is_file())
        rows: dict[str, Any] = {
            "megabytes": size,
            "documents": index.header.documents,
            "shards": len(index.shards),
            "disk_bytes_per_byte": disk / 1e6 / size,
            "read_megabytes_per_second": size / read,
            "build_exact_megabytes_per_second": size / exact,
            "build_with_ranked_megabytes_per_second": size / both,
            "pydivsufsort_megabytes_per_second": size / raw,
        }
        rows |= searches(index, text) | ranked(index) | traced(index)
        index.close()
    rows["infini_gram"] = None if importlib.util.find_spec("infini_gram") is None else "installed, not measured"
    rows["bars"] = {
        "found 200 of 200": rows["found"] == SPANS,
        "at most 1 ms a span": rows["find_milliseconds"]["largest"] <= 1.0,
        "build at 5 MB a CPU second": rows["build_exact_megabytes_per_second"] >= 5.0,
    }
    return rows


def searches(index: CorpusIndex, text: bytes) -> dict[str, Any]:
    """200 spans of 50 characters looked up, warm, and some of them by scanning."""
    draw = np.random.default_rng(0)
    spans = []
    while len(spans) < SPANS:
        ordinal = int(draw.integers(0, index.header.documents))
        document = index.document_text(ordinal)
        if len(document) > CHARACTERS:
            start = int(draw.integers(0, len(document) - CHARACTERS))
            spans.append((ordinal, len(document[:start].encode()), document[start : start + CHARACTERS]))
    for _, _, span in spans:
        index.find(span)
    times, found = [], 0
    for ordinal, start, span in spans:
        begun = time.perf_counter()
        result = index.find(span)
        times.append(1000 * (time.perf_counter() - begun))
        everything = result if result.count <= 10 else index.find(span, limit=result.count)
        found += (ordinal, start) in {(item.ordinal, item.start) for item in everything.occurrences}
    counts = [1000 * seconds(lambda span=span: index.count(span), time.perf_counter)[0] for _, _, span in spans]
    scans = [
        1000 * seconds(lambda span=span: scan(text, span.encode()), time.perf_counter)[0]
        for _, _, span in spans[:SCANNED]
    ]
    agree = all(scan(text, span.encode()) == index.count(span) for _, _, span in spans[:SCANNED])
    return {
        "found": found,
        "counts_equal_scan": agree,
        "find_milliseconds": spread(times),
        "count_milliseconds": spread(counts),
        "scan_milliseconds": spread(scans),
        "scan_over_find": statistics.median(scans) / statistics.median(times),
    }


def scan(text: bytes, query: bytes) -> int:
    """Occurrences, overlaps included, by `bytes.find`."""
    count, at = 0, -1
    while (at := text.find(query, at + 1)) >= 0:
        count += 1
    return count


def ranked(index: CorpusIndex) -> dict[str, Any]:
    """Ranked queries of three words taken from documents."""
    draw, times = np.random.default_rng(1), []
    for _ in range(50):
        words: list[str] = []
        while len(words) < 3:
            words = [
                word
                for word in index.document_text(int(draw.integers(0, index.header.documents))).split()
                if word.isalpha()
            ]
        query = " ".join(draw.choice(words, 3))
        index.rank(query)
        times.append(1000 * seconds(lambda query=query: index.rank(query), time.perf_counter)[0])
    return {"ranked_milliseconds": spread(times)}


def traced(index: CorpusIndex) -> dict[str, Any]:
    """Pieces of about 400 bytes, put together from four documents, matched as a model's output would be."""
    draw, times, statistics_times = np.random.default_rng(2), [], []
    for _ in range(TEXTS):
        parts = []
        for _ in range(4):
            document = index.document_text(int(draw.integers(0, index.header.documents)))
            start = int(draw.integers(0, max(len(document) - 100, 1)))
            parts.append(document[start : start + 100])
        text = " zebra ".join(parts)
        match_text(index, text)
        times.append(1000 * seconds(lambda text=text: match_text(index, text, Matching()), time.perf_counter)[0])
        spent = seconds(lambda text=text: index.longest_matches(text), time.perf_counter)[0]
        statistics_times.append(1e6 * spent / len(text.encode()))
    return {"match_text_milliseconds": spread(times), "longest_match_microseconds_per_byte": spread(statistics_times)}


def seconds(function: Callable[[], Any], clock: Callable[[], float] = time.process_time) -> tuple[float, Any]:
    """Seconds a call takes, and what it returns."""
    begun = clock()
    result = function()
    return clock() - begun, result


def spread(values: list[float]) -> dict[str, float]:
    """Median, 95th percentile and largest."""
    return {
        "median": statistics.median(values), "percentile_95": float(np.percentile(values, 95)), "largest": max(values)
    }  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--peers", type=Path)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    report = json.dumps(measure(options.corpus, find_peers(options.peers)), indent=1)
    if options.output:
        options.output.write_text(report + "\n")
    print(report)
