"""What-if curation against doing it again: how long another set of rules takes to answer.

    python benchmarks/curation_whatif.py CORPUS [--peers PEERS_DIRECTORY]

CORPUS: the shards `benchmarks/corpus.py` wrote. They are curated once; the signals, repeated to 100,000 documents where
there are fewer, are then asked about. The peer is `dolma mix`, which reads documents and attributes again for every new
set of thresholds; the attributes it filters on are ours, so both answer the same question.
"""

from __future__ import annotations

import argparse
import gzip
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from peers import Peers, find_peers

from glasshouse.data.corpus import CorpusDirectory
from glasshouse.data.curation.curate import curate
from glasshouse.data.curation.rules import Rule, RuleSet
from glasshouse.data.description.datasheet import datasheet
from glasshouse.data.description.explain import explain
from glasshouse.data.description.whatif import Verdicts, what_if
from glasshouse.data.description.whatif_page import whatif_page
from glasshouse.data.description.whatif_rules import changed_rules, rules_of
from glasshouse.data.description.whatif_table import SignalTable
from glasshouse.data.quarantine import Quarantine
from glasshouse.data.signals.families import compute_signals
from glasshouse.data.sources.inputs import plan_inputs
from glasshouse.data.sources.reading import read_documents
from glasshouse.data.writing import write_documents

DOCUMENTS = 100_000
SECONDS = 1.0
PEER_RULES = RuleSet(
    name="peer",
    rules=(
        Rule(signal="word_count", operator="<", threshold=80),
        Rule(signal="median_word_length", operator=">", threshold=9),
        Rule(signal="symbol_to_word_ratio", operator=">", threshold=0.05),
        Rule(signal="fraction_of_duplicate_lines", operator=">", threshold=0.4),
    ),
)
_MIX = """
import json, pathlib, sys, time
from dolma.cli.__main__ import main
import multiprocessing, resource
arguments = ["-c", sys.argv[1], "mix"]
before = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
try:
    main(arguments)
except SystemExit:
    pass
after = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
print()
print(json.dumps(sum(a.ru_utime + a.ru_stime - b.ru_utime - b.ru_stime for a, b in zip(after, before))))
"""


def measure(corpus: Path, peers: Peers) -> dict[str, Any]:
    """Seconds of processor time per question, and how many times faster than curating or mixing again."""
    with tempfile.TemporaryDirectory() as temporary:
        home = Path(temporary) / "corpus"
        start = time.process_time()
        curate(plan_inputs(sorted(corpus.glob("*.jsonl.gz"))), home)
        again = time.process_time() - start
        small = SignalTable(home)
        wide = Path(temporary) / "wide"
        _repeat(home, wide, DOCUMENTS)
        table, load = _timed(lambda: SignalTable(wide))
        asked = [changed_rules(rules_of(table.corpus), rules_asked=[f"word_count < {n}"]) for n in (30, 40, 60, 80)]
        _, first = _timed(lambda: what_if(table, asked[0], samples=0))
        times = [_timed(lambda rules=rules: what_if(table, rules, samples=0))[1] for rules in asked[1:]]
        _, page = _timed(lambda: whatif_page(Verdicts(table, asked[0]), what_if(table, asked[0], samples=0), "bench"))
        _, on_corpus = _timed(lambda: what_if(small, asked[0], samples=3))
        identifier, source = small.identities(np.array([len(small) // 2]))[0]
        _, explained = _timed(lambda: explain(home, identifier, source))
        _, sheet = _timed(lambda: datasheet(home))
        mixed = _mix(corpus, Path(temporary) / "mix", peers)
        kept = what_if(small, PEER_RULES, samples=0)
        _, same_question = _timed(lambda: what_if(small, PEER_RULES, samples=0, correlation=False))
        return {
            "documents": len(table),
            "load_and_first_question_s": load + first,
            "question_s": max(times),
            "bar_question_s": SECONDS,
            "bar_holds": load + first < SECONDS and max(times) < SECONDS,
            "page_s": page,
            "corpus_documents": len(small),
            "curate_again_s": again,
            "question_on_corpus_with_samples_s": on_corpus,
            "times_faster_than_curating_again": again / on_corpus,
            "explain_s": explained,
            "datasheet_s": sheet,
            "dolma_mix_s": mixed and mixed["seconds"],
            "dolma_mix_kept": mixed and mixed["kept"],
            "same_question_s": same_question,
            "same_question_kept": len(small) - kept.removed_by_rules.documents,
            "times_faster_than_dolma_mix": mixed and mixed["seconds"] / same_question,
        }


def _timed(work: Any) -> tuple[Any, float]:
    start = time.process_time()
    found = work()
    return found, time.process_time() - start


def _repeat(home: Path, wide: Path, documents: int) -> None:
    """A corpus of signals only, repeated to a number of documents."""
    wide.mkdir()
    table = CorpusDirectory(home).signals()
    times = -(-documents // len(table))
    pq.write_table(pa.concat_tables([table] * times).slice(0, documents), wide / "signals-00000.parquet")
    for name in ("summary.json", "removed-00000.parquet", "documents-00000.parquet"):
        (wide / name).write_bytes((home / name).read_bytes())


def _mix(corpus: Path, work: Path, peers: Peers) -> dict[str, Any] | None:
    """`dolma mix` with the same rules on attributes made of our signals."""
    if peers.dolma is None:
        return None
    folders = [work / name for name in ("documents", "attributes/ours", "out")]
    for folder in folders:
        folder.mkdir(parents=True)
    for shard in plan_inputs(sorted(corpus.glob("*.jsonl.gz"))):
        _attributes(Path(shard.path), folders)
    excluded = [
        f"$.attributes[?(@.ours__ours__{r.signal} && @.ours__ours__{r.signal}[0] && "
        f"@.ours__ours__{r.signal}[0][2] {r.operator} {r.threshold})]"
        for r in PEER_RULES.rules
    ]
    stream = {
        "name": "mixed", "documents": [f"{folders[0]}/*.gz"], "attributes": ["ours"],
        "output": {"path": str(folders[2]), "max_size_in_bytes": 10**9}, "filter": {"include": [], "exclude": excluded},
    }  # fmt: skip
    (work / "mix.json").write_text(json.dumps({"streams": [stream], "processes": 1}))
    seconds = peers.run(peers.dolma, _MIX, str(work / "mix.json"))
    kept = sum(gzip.decompress(file.read_bytes()).count(b"\n") for file in folders[2].glob("*.gz"))
    return {"seconds": seconds, "kept": kept}


def _attributes(shard: Path, folders: list[Path]) -> None:
    """The documents that could be read, and our signals beside them in Dolma's form."""
    names = [rule.signal for rule in PEER_RULES.rules]
    found = list(read_documents(shard, Quarantine()))
    write_documents(found, folders[0] / shard.name)
    with gzip.open(folders[1] / shard.name, "wb", compresslevel=1) as out:
        for batch in found:
            columns = compute_signals(batch).select(names).to_pylist()
            for row, identifier in zip(columns, batch.column("id").to_pylist(), strict=True):
                said = {f"ours__ours__{name}": [[0, 1, float(row[name])]] for name in names}
                out.write(orjson.dumps({"id": identifier, "attributes": said}) + b"\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--peers", type=Path)
    given = parser.parse_args()
    print(json.dumps(measure(given.corpus, find_peers(given.peers)), indent=2))
