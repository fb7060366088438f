"""Core signals and dialects: equal to Dolma's and datatrove's own code, and how much faster.

python benchmarks/curation_signals.py CORPUS --peers PEERS

Both sides run on the same texts, in their own process, one thread, in the same minute; speed is MB of UTF-8 text per
CPU second. datatrove splits words with spaCy; for parity it is given words between white space, for speed its own.
"""

from __future__ import annotations

import argparse
import gzip
import json
import math
import os
import random
import subprocess
import sys
import tempfile
import time
import unicodedata
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
from peers import Peers, find_peers

from glasshouse.data.description.dialects import dialect_differences
from glasshouse.data.document import Document, Origin, to_batch
from glasshouse.data.signals.c4 import C4Lines
from glasshouse.data.signals.families import compute_signals, family

DATATROVE = ("datatrove_gopher_quality", "datatrove_gopher_repetition", "datatrove_c4", "datatrove_fineweb")
REAL, FUZZED = 6000, 6000

DOLMA_CODE = """
import json, os, sys, time, types
from importlib.util import find_spec
# Its package imports taggers that need downloads; only these three modules are wanted.
home = os.path.join(os.path.dirname(find_spec("dolma").origin), "taggers")
for name in ("dolma.taggers", "dolma.taggers.code"):
    module = types.ModuleType(name)
    module.__path__ = [os.path.join(home, "code") if name.endswith("code") else home]
    sys.modules[name] = module
from dolma.core.data_types import Document
from dolma.taggers.gopher import GopherTagger, GopherTaggerV2
from dolma.taggers.c4 import C4Tagger, FasterC4Tagger
from dolma.taggers.code import code_taggers
import regex
code = object.__new__(code_taggers.CodeRedPajamaTaggers)  # its __init__ refuses without packages for other taggers
code.whitespace_regex = regex.compile(r"\\w+|[^\\w\\s]+")  # as dolma/taggers/code/utils.py has it
taggers = {"gopher_v1": GopherTagger(), "gopher_v2": GopherTaggerV2(), "c4_v1": C4Tagger(), "c4_v2": FasterC4Tagger(),
           "code": code}
texts = [json.loads(line) for line in open(sys.argv[1])]
seconds = {}
with open(sys.argv[2], "w") as out:
    found = [{} for _ in texts]
    for name, tagger in taggers.items():
        documents = [Document(source="s", version="v", id="i", text=text) for text in texts]
        start = time.process_time()
        results = [tagger.predict(document) for document in documents]
        seconds[name] = time.process_time() - start
        for row, result in zip(found, results):
            row[name] = [[s.start, s.end, s.type, s.score] for s in result.spans]
    for row in found:
        out.write(json.dumps(row) + "\\n")
import unicodedata
print(json.dumps({"seconds": seconds, "unicode": unicodedata.unidata_version}))
"""

DATATROVE_CODE = """
import json, re, sys, time
from datatrove.data import Document
from datatrove.pipeline.filters import c4_filters, fineweb_quality_filter, gopher_quality_filter
from datatrove.pipeline.filters import gopher_repetition_filter
if sys.argv[3] == "white space":
    modules = (fineweb_quality_filter, gopher_quality_filter, gopher_repetition_filter)
    for module in modules:
        module.split_into_words = lambda text, language: text.split()
    c4_filters.split_into_sentences = lambda text, language: re.split(r"(?<=[.?!])\\s+", text)
filters = {"datatrove_gopher_quality": gopher_quality_filter.GopherQualityFilter(),
           "datatrove_gopher_repetition": gopher_repetition_filter.GopherRepetitionFilter(),
           "datatrove_c4": c4_filters.C4QualityFilter(),
           "datatrove_fineweb": fineweb_quality_filter.FineWebQualityFilter()}
texts = [json.loads(line) for line in open(sys.argv[1])]
seconds = {}
found = [{} for _ in texts]
for name, one in filters.items():
    documents = [Document(text=text, id="i") for text in texts]
    try:
        one.filter(Document(text="Warm up the word splitter. " * 20, id="w"))
        start = time.process_time()
        results = [one.filter(document) for document in documents]
    except (ImportError, ValueError, OSError) as error:
        seconds[name] = None
        continue
    seconds[name] = time.process_time() - start
    for row, result, document in zip(found, results, documents):
        row[name] = ["" if result is True else result[1], document.text.count("\\n") + 1]
json.dump(found, open(sys.argv[2], "w"))
print(json.dumps({"seconds": seconds}))
"""

COLD_CODE = """
import time
start = time.perf_counter(), time.process_time()
from glasshouse.data.document import Document, Origin, to_batch
from glasshouse.data.signals.families import compute_signals, family
batch = to_batch([Document("i", "Some text of a few words.", "s", Origin("f", 0, 0))])
imported = time.process_time()
compute_signals(batch, [family("core")])
print(time.process_time() - imported)
"""


def real_texts(corpus: Path, most: int) -> list[str]:
    """`most` documents of the corpus, at even distances."""
    texts = []
    for shard in sorted(corpus.glob("*.jsonl.gz")):
        with gzip.open(shard) as lines:
            texts += [orjson.loads(line)["text"] for line in lines]
    return texts[:: max(1, len(texts) // most)][:most]


def fuzzed_texts(number: int, seed: int = 0) -> list[str]:
    """Texts of awkward characters: all Unicode spaces, letters whose lower case is special, scripts, mojibake, none."""
    draw = random.Random(seed)
    spaces = [chr(code) for code in range(0x3001) if chr(code).isspace()]
    odd = ["\u212a", "\u0130", "\0", "\0the", "\x1c", "\x1f", "\u200b", "\u200d", "\ufeff", "\ufffd", "e\u0301",
           *"ßΣς…#•*-{²٣ⓐ_'\".!🙂", "...", "[3]", "👩\u200d👧", "漢字", "हिन्दी", "العربية", "ไทย",
           "Ã©", "â€™"]  # fmt: skip
    plain = "the be to of and that have with a in is JavaScript lorem ipsum word words Words thing use cookies"
    plain_words = plain.split()
    entries = list(_list_entries())
    assigned = [chr(c) for c in range(0x30000) if unicodedata.category(chr(c)) not in ("Cs", "Cn")]
    texts = ["", " ", "\n", "\n\n\n", "\r\n", "\x1c", *spaces, "\u0130\n" * 3]
    while len(texts) < number:
        pool = draw.choice(
            [plain_words, plain_words + odd, odd, plain_words + draw.sample(entries, 3), draw.sample(assigned, 200)]
        )
        vocabulary = draw.sample(pool, min(len(pool), draw.choice([2, 5, 40])))
        gaps = draw.choice(
            [[" "], [" ", "\n"], [" ", " ", "\n\n", ".\n", "…\n", "\r\n"], spaces, ["", " ", "\n", "? "]]
        )
        pieces = []
        for _ in range(draw.choice([1, 5, 40, 300])):
            word = draw.choice(vocabulary)
            pieces += [draw.choice([word, word, word.upper(), word + draw.choice(odd)]), draw.choice(gaps)]
        texts.append("".join(pieces))
    return texts


def _list_entries() -> tuple[str, ...]:
    from glasshouse.data.signals.word_list import naughty_words

    return naughty_words()


def batch_of(texts: list[str]) -> pa.RecordBatch:
    """The texts as a batch of documents."""
    return to_batch([Document(str(number), text, "s", Origin("f", 0, 0)) for number, text in enumerate(texts)])


def with_peer(peers: Peers, python: Path, code: str, texts: list[str], *arguments: str) -> tuple[Any, list[Any]]:
    """What a peer's process says, and its row for each text."""
    with tempfile.TemporaryDirectory() as folder:
        given, out = Path(folder) / "texts.jsonl", Path(folder) / "out.jsonl"
        given.write_bytes(b"".join(orjson.dumps(text) + b"\n" for text in texts))
        said = peers.run(python, code, str(given), str(out), *arguments)
        lines = out.read_bytes().splitlines()
        return said, json.loads(lines[0]) if arguments else [orjson.loads(line) for line in lines]


CODE_NAMES = {"max_line_length_doc": "maximum_line_length", "avg_line_length_doc": "mean_line_length",
              "alnum_prop_doc": "fraction_of_alphanumeric_characters",
              "alpha_token_prop_doc": "alphabetic_characters_per_token"}  # fmt: skip
GOPHER_SECOND = {"fraction_of_lines_starting_with_bullet_point", "fraction_of_lines_ending_with_ellipsis",
                 "fraction_of_duplicate_lines"}  # fmt: skip
FLAGS = ("has_naughty_word", "has_javascript", "has_lorem_ipsum", "has_curly_brace")
LINES = ("lines_with_no_ending_punctuation", "lines_with_too_few_words")


def differing(row: dict[str, Any], lines: dict[str, dict[str, Any]], peer: dict[str, Any]) -> list[str]:
    """Names of the signals of one document that differ from Dolma's by more than 1e-12."""
    wrong = []

    def compare(name: str, ours: float, theirs: float) -> None:
        if not math.isclose(ours, theirs, rel_tol=1e-12, abs_tol=1e-12):
            wrong.append(name)

    for tagger in ("gopher_v1", "gopher_v2"):
        scores = {kind: score for _, _, kind, score in peer[tagger]}
        for kind, score in scores.items():
            second = tagger == "gopher_v2" and kind in GOPHER_SECOND
            compare(f"{tagger} {kind}", row[f"gopher_v2_{kind}" if second else kind], score)
        missing = [name for name in row if "grams" in name and name.startswith("fraction") and name not in scores]
        wrong += [f"{tagger} {name}" for name in missing if row[name] != 0]
    for _, _, kind, score in peer["code"]:
        compare(f"code {kind}", row[CODE_NAMES[kind]], score)
    for tagger in ("c4_v1", "c4_v2"):
        kinds = [span[2] for span in peer[tagger]]
        for flag in FLAGS:
            column = "c4_v2_has_javascript" if (tagger, flag) == ("c4_v2", "has_javascript") else flag
            wrong += [f"{tagger} {flag}"] * (row[column] != (flag in kinds))
        compare(f"{tagger} line_count", row["line_count"], next(s[3] for s in peer[tagger] if s[2] == "line_count"))
        for kind in LINES:
            theirs = [span[:2] for span in peer[tagger] if span[2] == kind]
            ours = [[span["start"], span["end"]] for span in lines[tagger][f"c4_{kind}"]]
            wrong += [f"{tagger} {kind}"] * (theirs != ours or row[kind] != len(theirs))
    return wrong


def dolma_parity(texts: list[str], rows: list[Any]) -> dict[str, Any]:
    """Documents and values that differ from Dolma's."""
    batch = batch_of(texts)
    measured = compute_signals(batch, [family(name) for name in ("core", "gopher_v2", "c4_v2")]).to_pylist()
    spans = {name: compute_signals(batch, [C4Lines(dialect=name)]).to_pylist() for name in ("c4_v1", "c4_v2")}
    wrong: dict[str, int] = {}
    values = 0
    for number, (row, peer) in enumerate(zip(measured, rows, strict=True)):
        values += sum(len(found) for found in peer.values())
        for name in differing(row, {name: found[number] for name, found in spans.items()}, peer):
            wrong[name] = wrong.get(name, 0) + 1
    return {"documents": len(texts), "values and spans": values, "mismatches": sum(wrong.values()), "by signal": wrong}


def datatrove_parity(texts: list[str], rows: list[Any]) -> dict[str, Any]:
    """Documents whose verdict or reason differs from datatrove's, by filter; and the reasons that occurred."""
    measured = compute_signals(batch_of(texts), [family(name) for name in DATATROVE]).to_pylist()
    wrong = dict.fromkeys(DATATROVE, 0)
    reasons: dict[str, dict[str, int]] = {name: {} for name in DATATROVE}
    for row, peer in zip(measured, rows, strict=True):
        for name in DATATROVE:
            reason, kept = peer[name]
            same = (row[f"{name}_reason"], row[f"{name}_keep"]) == (reason, reason == "")
            if name == "datatrove_c4" and reason == "":
                same = same and row["datatrove_c4_kept_lines"] == kept
            wrong[name] += not same
            reasons[name][reason] = reasons[name].get(reason, 0) + 1
    return {"documents": len(texts), "mismatches": wrong, "reasons": reasons}


def cpu_speed(texts: list[str], *names: str) -> float:
    """MB of text per CPU second with these families, the best of three."""
    batch, families = batch_of(texts), [family(name) for name in names]
    compute_signals(batch.slice(0, 2), families)
    times = []
    for _ in range(3):
        start = time.process_time()
        compute_signals(batch, families)
        times.append(time.process_time() - start)
    return megabytes(texts) / min(times)


def megabytes(texts: list[str]) -> float:
    """Size of the texts as UTF-8."""
    return sum(len(text.encode()) for text in texts) / 1e6


def start_up() -> dict[str, float]:
    """CPU seconds of the first call with an empty and with a filled cache of machine code."""
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {"NUMBA_CACHE_DIR": folder}
        cold, warm = (
            float(
                subprocess.run(
                    [sys.executable, "-c", COLD_CODE], env=environment, capture_output=True, check=True
                ).stdout
            )
            for _ in range(2)
        )
    return {"cold": cold, "warm": warm}


def differences(texts: list[str]) -> dict[str, int]:
    """How many documents each of the three "Gopher" definitions keeps, and on how many they disagree."""
    table = dialect_differences(batch_of(texts)).group_by("id").aggregate(
        [(f"keeps_{name}", "max") for name in ("gopher_v1", "gopher_v2", "datatrove")]
    )  # fmt: skip
    kept = [table.column(f"keeps_{name}_max").to_pylist() for name in ("gopher_v1", "gopher_v2", "datatrove")]
    verdicts = list(zip(*kept, strict=True))
    return {
        "documents": len(verdicts),
        **{
            name: column.count(True) for name, column in zip(("gopher_v1", "gopher_v2", "datatrove"), kept, strict=True)
        },
        "disagree": sum(len(set(verdict)) > 1 for verdict in verdicts),
    }


def measure(corpus: Path, peers: Peers) -> dict[str, Any]:
    """All of it, with the bars; a peer that is absent leaves its rows empty."""
    real, fuzzed = real_texts(corpus, REAL), fuzzed_texts(FUZZED)
    speed: dict[str, Any] = {"core": cpu_speed(real, "core")}
    speed |= {name: cpu_speed(real, name) for name in ("gopher_v2", "c4_lines", "c4_v2", *DATATROVE)}
    found: dict[str, Any] = {"megabytes": megabytes(real), "speed": speed, "start-up": start_up()}
    found |= {"dolma": None, "datatrove": None, "dialects": differences(real)}
    if peers.dolma is not None:
        said, rows = with_peer(peers, peers.dolma, DOLMA_CODE, real)
        parity = {"real": dolma_parity(real, rows)}
        del rows
        parity["fuzzed"] = dolma_parity(fuzzed, with_peer(peers, peers.dolma, DOLMA_CODE, fuzzed)[1])
        seconds = said["seconds"]
        theirs = megabytes(real) / (seconds["gopher_v1"] + seconds["c4_v1"])
        found["dolma"] = {"parity": parity, "gopher_v1 + c4_v1": theirs, "ratio": speed["core"] / theirs,
                          "unicode": {"dolma": said["unicode"], "here": unicodedata.unidata_version},
                          "speed": {name: megabytes(real) / each for name, each in seconds.items()}}  # fmt: skip
    if peers.datatrove is not None:
        some = real[::3]
        _, rows = with_peer(peers, peers.datatrove, DATATROVE_CODE, some, "white space")
        parity = {"real": datatrove_parity(some, rows)}
        _, rows = with_peer(peers, peers.datatrove, DATATROVE_CODE, fuzzed, "white space")
        parity["fuzzed"] = datatrove_parity(fuzzed, rows)
        few = real[::40]
        said, _ = with_peer(peers, peers.datatrove, DATATROVE_CODE, few, "its own")
        theirs = {name: each and megabytes(few) / each for name, each in said["seconds"].items()}
        ratio = {name: each and cpu_speed(few * 20, name) / each for name, each in theirs.items()}
        found["datatrove"] = {"parity": parity, "speed": theirs, "ratio": ratio}
    return found | {"bars": bars(found)}


def bars(found: dict[str, Any]) -> list[dict[str, Any]]:
    """What was asked for, and whether it holds (`None`: not measured)."""
    dolma, datatrove, start = found["dolma"], found["datatrove"], found["start-up"]
    wrong = dolma and sum(part["mismatches"] for part in dolma["parity"].values())
    verdicts = datatrove and sum(sum(part["mismatches"].values()) for part in datatrove["parity"].values())
    asked = [
        ("values that differ from Dolma's, real and fuzzed", wrong, "<=", 0),
        ("verdicts and reasons that differ from datatrove's", verdicts, "<=", 0),
        ("core signals, MB of text per CPU second", found["speed"]["core"], ">=", 50),
        ("core signals, x Dolma's Python functions", dolma and dolma["ratio"], ">=", 50),
        ("cold first call, CPU seconds", start["cold"], "<=", 10),
        ("warm first call, CPU seconds", start["warm"], "<=", 1),
    ]
    return [
        {"what": what, "value": value, "bar": f"{sign} {bar}",
         "holds": None if value is None else (value >= bar if sign == ">=" else value <= bar)}
        for what, value, sign, bar in asked
    ]  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--peers", type=Path)
    given = parser.parse_args()
    print(json.dumps(measure(given.corpus, find_peers(given.peers)), indent=1))
