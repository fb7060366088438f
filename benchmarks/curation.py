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

from peers import find_peers
from turns import machine

PARTS = (
    "signals", "families", "deduplication", "reading", "mixing", "tokens", "contamination", "search", "whatif",
    "pipeline",
)  # fmt: skip
OUT = Path(__file__).parent / "results" / "curation.json"


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
        for bar in parts[name]["bars"]:
            print(
                f"{name:<14} {'holds' if bar['holds'] else 'NO':<6} {bar['what']}: {bar['value']} ({bar['bar']})",
                flush=True,
            )
        print(f"{name:<14} took {time.monotonic() - start:.0f} s", flush=True)
        given.out.write_text(json.dumps(found | {"parts": parts}, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
