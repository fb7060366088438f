"""Curation beside its peers, everything in one run; the result is `results/curation.json`.

    python benchmarks/corpus.py CORPUS --prose FOLDER
    python benchmarks/peers.py --make PEERS
    python benchmarks/curation.py CORPUS --peers PEERS [--only PART …]

Speeds are megabytes of UTF-8 text per second of processor time of one core; ratios compare with the named peer in the
same run. A peer that is absent leaves its rows empty.
"""

from __future__ import annotations

import argparse
import importlib
import json
import time
from pathlib import Path
from typing import Any

from peers import find_peers
from turns import machine

PARTS = (
    "signals", "families", "deduplication", "reading", "mixing", "tokens", "contamination", "search", "whatif",
    "pipeline",
)  # fmt: skip
Bar = tuple[str, str, str, float]
BARS: dict[str, list[Bar]] = {
    "signals": [],  # brings its own
    "families": [
        ("PII spans that differ from Dolma's, real", "pii_dolma/mismatches", "<=", 0),
        ("PII spans that differ from Dolma's, fuzzed", "pii_dolma_fuzzed/mismatches", "<=", 0),
        ("PII, x Dolma's fast tagger", "pii_dolma/ratio", ">=", 3),
        ("token repetitions that differ from Dolma's", "repetition/mismatches", "<=", 0),
        ("language of English lines, share right", "language/en/right", ">=", 0.99),
        ("language of French lines, share right", "language/fr/right", ">=", 0.99),
        ("language of 25-character prefixes, share right", "language/right_25_characters", ">=", 0.95),
        ("own classifier, MB of text per CPU second", "classifier/mb_per_cpu_second", ">=", 20),
        ("own classifier, prose from code, share right", "classifier/precision_at_1", ">=", 0.95),
    ],
    "deduplication": [
        ("MinHash, MB of text per CPU second", "beside datatrove/glasshouse MB/s", ">=", 100),
        ("MinHash, x datatrove's signatures", "beside datatrove/ratio", ">=", 50),
        *(
            (f"error of the similarity at {s}, x theory", f"near duplicates/{s}/error / theory", "<=", 1.15)
            for s in ("0.6", "0.7", "0.8", "0.9")
        ),
        *(
            (
                f"recall at similarity {s}, off theory by",
                f"near duplicates/{s}/recall - near duplicates/{s}/recall in theory",
                "<=",
                0.02,
            )
            for s in ("0.6", "0.7", "0.8", "0.9")
        ),
        *(
            (f"Bloom filter, {size}: size, x theory", f"Bloom filters/{size}/size / theory", "<=", 1.05)
            for size in ("20000 keys at 0.01", "200000 keys at 0.001", "1000000 keys at 0.0001")
        ),
        *(
            (f"Bloom filter, {size}: false positives in the 99 % interval", f"Bloom filters/{size}/holds", ">=", 1)
            for size in ("20000 keys at 0.01", "200000 keys at 0.001", "1000000 keys at 0.0001")
        ),
        ("the same for 1, 2, 4 workers and 1, 4, 32 partitions", "always the same/holds", ">=", 1),
        ("paragraphs, file to file, x dolma dedupe (Rust)", "beside dolma/ratio", ">=", 1),
    ],
    "reading": [
        ("jsonl.gz to Arrow, MB of text per CPU second", "jsonl_gz", ">=", 60),
        ("jsonl.gz to Arrow, x Dolma's bare decoding", "ratio_dolma_jsonl_gz", ">=", 1),
    ],
    "mixing": [
        ("20 rules over 100,000 documents, ms", "filter/milliseconds", "<=", 100),
        ("mix file to file, x dolma mix", "mix/ratio", ">=", 1),
        ("documents that dolma mix gives otherwise", "mix/different_documents", "<=", 0),
    ],
    "tokens": [
        ("GPT-NeoX's tokenizer, x encode_batch_fast", "neox/ratio", ">=", 3),
        ("own tokenizer, x encode_batch_fast", "trained/ratio", ">=", 3),
        ("documents with other ids than Hugging Face's", "neox/different_documents", "<=", 0),
        ("tokens per word, code to prose", "fertility/code_to_prose", ">=", 1.7),
    ],
    "contamination": [
        ("recall of planted items, exact", "recall_at_half_overlap/exact", ">=", 1),
        ("recall of planted items, case and spaces changed", "recall_at_half_overlap/changed", ">=", 0.95),
        ("recall of planted items, half quoted", "recall_at_half_overlap/half_quoted", ">=", 0.95),
        ("false alarms in 10,632 clean documents", "false_alarms", "<=", 0),
        ("scan, MB of text per CPU second", "scan_mb_per_cpu_second", ">=", 30),
    ],
    "search": [
        ("suffix array, MB of text per CPU second", "build_exact_megabytes_per_second", ">=", 5),
        ("spans of 50 characters found, of 200", "found", ">=", 200),
        ("finding such a span, median ms", "find_milliseconds/median", "<=", 1),
        ("finding such a span, largest ms", "find_milliseconds/largest", "<=", 1),
    ],
    "whatif": [("a question over 100,000 documents, s", "question_s", "<=", 1)],
    "pipeline": [],  # brings its own
}
"""For every part: what, where its value stands in the part's result, and the bar it has to reach."""
OUT = Path(__file__).parent / "results" / "curation.json"


def bars_of(name: str, part: dict[str, Any]) -> list[dict[str, Any]]:
    """The bars of a part, decided; a value that is absent (no peer) holds nothing and breaks nothing."""
    found = [{"part": name} | bar for bar in part.get("bars", ())] if name in ("signals", "pipeline") else []
    for what, place, sign, bound in BARS[name]:
        value = _value(part, place)
        holds = None if value is None else value >= bound if sign == ">=" else value <= bound
        found.append({"part": name, "what": what, "value": value, "bar": f"{sign} {bound:g}", "holds": holds})
    return found


def _value(part: dict[str, Any], place: str) -> float | None:
    """`a/b` is the value at that place; `a - b` the distance of two values. Keys may hold slashes themselves."""
    first, minus, second = place.partition(" - ")
    if minus:
        one, other = _value(part, first), _value(part, second)
        return None if one is None or other is None else abs(one - other)
    if place in part:
        return None if part[place] is None else float(part[place])
    for key, inner in part.items():
        if place.startswith(f"{key}/") and isinstance(inner, dict):
            return _value(inner, place.removeprefix(f"{key}/"))
    return None


def main() -> None:
    """Measures the parts that are asked for; parts measured before stay in the result when others are run alone."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--peers", type=Path)
    parser.add_argument("--only", nargs="*", choices=PARTS, default=PARTS)
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args()
    peers = find_peers(given.peers)
    about = machine("numba", "pyarrow", "tiktoken", "tokenizers", "glasshouse")
    found = {
        "machine": about,
        "peers": peers.versions(),
        "corpus": json.loads((given.corpus / "manifest.json").read_text()),
    }
    parts = json.loads(given.out.read_text())["parts"] if set(given.only) != set(PARTS) and given.out.exists() else {}
    for name in given.only:
        start = time.monotonic()
        parts[name] = importlib.import_module(f"curation_{name}").measure(given.corpus, peers)
        parts[name]["measured"] = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
        print(f"{name:<14} took {time.monotonic() - start:.0f} s", flush=True)
        bars = [bar for part in PARTS if part in parts for bar in bars_of(part, parts[part])]
        given.out.write_text(json.dumps(found | {"parts": parts, "bars": bars}, indent=1, sort_keys=True) + "\n")
    for bar in bars:
        word = {True: "holds", False: "NO", None: "absent"}[bar["holds"]]
        print(f"{word:<7} {bar['part']}: {bar['what']}: {bar['value']} ({bar['bar']})", flush=True)


if __name__ == "__main__":
    main()
