"""The families of signals beside the core one, against Dolma 1.2.1 in the same run.

    python benchmarks/curation_families.py CORPUS [--peers DIRECTORY] [--data DIRECTORY]

Speeds are MB of UTF-8 text per CPU-second of one core. A row whose peer or data are absent is null.
"""

from __future__ import annotations

import argparse
import gzip
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import orjson

sys.path.insert(0, str(Path(__file__).parent))
from peers import Peers, find_peers

from glasshouse.data.document import Document, Origin, batches, text_buffers
from glasshouse.data.signals.families import family
from glasshouse.data.signals.language import best_language, score_texts
from glasshouse.data.signals.pii_dolma import KINDS, dolma_matches
from glasshouse.data.signals.repetition import Repetition

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
FUZZED = 5000

DOLMA_PII = """
import gzip, json, sys, time, warnings
from dolma.core.data_types import Document
from dolma.taggers.pii import FastPiiRegex
rows = [json.loads(line) for line in gzip.open(sys.argv[1])][:int(sys.argv[2])]
tagger, found = FastPiiRegex(), []
documents = [Document(id=str(i), text=row["text"], source="s") for i, row in enumerate(rows)]
tagger.predict(documents[0])
start = time.process_time()
results = [tagger.predict(document) for document in documents]
seconds = time.process_time() - start
for result in results:
    spans = [[s.type, s.start, s.end] for s in result.spans if not s.type.startswith("doc")]
    found.append([spans, *[s.score for s in result.spans if s.type.startswith("doc")]])
print(json.dumps({"seconds": seconds, "found": found}))
"""
DOLMA_REPETITIONS = """
import gzip, json, sys, time
from tokenizers import Tokenizer
from dolma.core.data_types import Document
from dolma.taggers.repetitions import TokenizerRepetitionsSkipEmptyTagger as Tagger
rows = [json.loads(line) for line in gzip.open(sys.argv[1])][:int(sys.argv[2])]
tagger = Tagger.__new__(Tagger)
tagger.tokenizer = Tokenizer.from_file(sys.argv[3])
start = time.process_time()
results = [tagger.predict(Document(id="0", text=row["text"], source="s")) for row in rows]
seconds = time.process_time() - start
found = [[[s.start, s.end, int(s.score)] for s in r.spans if s.type == "repetition"] for r in results]
print(json.dumps({"seconds": seconds, "found": found}))
"""
DOLMA_COMMENTS = """
import gzip, json, sys, time, warnings
warnings.simplefilter("ignore")
from dolma.taggers.code.starcoder import get_nl_ratio
rows = [json.loads(line) for line in gzip.open(sys.argv[1])]
texts = [row["text"] for row in rows if row["id"].endswith(".py")][:int(sys.argv[2])]
start = time.process_time()
found = [get_nl_ratio(text, "python") for text in texts]
print(json.dumps({"seconds": time.process_time() - start, "found": found}))
"""


def measure(corpus: Path, peers: Peers, data: Path = DATA) -> dict[str, Any]:
    """All rows: numbers, ratios and whether the bars hold."""
    shard = sorted(corpus.glob("*.jsonl.gz"))[0]
    rows = _rows(shard)
    return {
        "documents": len(rows),
        "pii_dolma": _pii(shard, rows, peers),
        "pii_dolma_fuzzed": _pii_fuzzed(peers),
        "speeds": _speeds(rows),
        "language": _language(data / "text"),
        "classifier": _classifier(rows),
        "repetition": _repetition(rows[:300], peers, data),
        "comments": _comments(shard, peers),
    }


def _rows(shard: Path) -> list[dict[str, Any]]:
    with gzip.open(shard) as lines:
        return [orjson.loads(line) for line in lines]


def _fuzzed(path: Path) -> list[dict[str, Any]]:
    """Random texts over the characters that the patterns are made of, written to `path`."""
    random = np.random.default_rng(0)
    alphabets = ["a.@ ", "a@.( ,\n", "12. -()\n", "0123456789.", "ab@.,?!;:)( \t\u2003é漢٣", "25. 5061@"]
    rows = []
    for number in range(FUZZED):
        letters = list(alphabets[number % len(alphabets)])
        text = "".join(random.choice(letters, size=random.integers(0, 80)))
        rows.append({"id": str(number), "text": text, "source": "fuzz"})
    with gzip.open(path, "wb") as out:
        out.write(b"\n".join(map(orjson.dumps, rows)) + b"\n")
    return rows


def _batches(rows: list[dict[str, Any]]) -> list[Any]:
    named = (Document(row["id"], row["text"], row["source"], Origin("", 0, 0)) for row in rows)
    return list(batches(named))


def _megabytes(parts: list[Any]) -> float:
    return sum(int(text_buffers(part)[0][-1]) for part in parts) / 1e6


def _seconds(work: Callable[[], Any]) -> tuple[float, Any]:
    start = time.process_time()
    result = work()
    return time.process_time() - start, result


def _pii(shard: Path, rows: list[dict[str, Any]], peers: Peers) -> dict[str, Any]:
    parts = _batches(rows)
    chosen = family("pii_dolma")
    chosen.compute(parts[0].slice(0, 1))
    seconds, columns = _seconds(lambda: [chosen.compute(part) for part in parts])
    megabytes = _megabytes(parts)
    ours: list[list[list[Any]]] = []
    for part in parts:
        mine: list[list[list[Any]]] = [[] for _ in range(part.num_rows)]
        for row, kind, start, end in dolma_matches(part).tolist():
            mine[row].append([("EMAIL_ADDRESS", "PHONE_NUMBER", "IP_ADDRESS")[kind], start, end])
        ours += mine
    found: dict[str, Any] = {"mb_per_cpu_second": megabytes / seconds, "spans": sum(map(len, ours))}
    if peers.dolma is None:
        return found | {"dolma": None, "mismatches": None, "ratio": None}
    theirs = peers.run(peers.dolma, DOLMA_PII, str(shard), str(len(rows)))
    counts = [value for part in columns for value in part[len(KINDS)].to_pylist()]
    fractions = [value for part in columns for value in part[len(KINDS) + 1].to_pylist()]
    both = zip(ours, counts, fractions, theirs["found"], strict=True)
    wrong = sum(m != t[0] or c != t[1] or abs(f - t[2]) > 1e-12 for m, c, f, t in both)
    speed = megabytes / theirs["seconds"]
    ratio = found["mb_per_cpu_second"] / speed
    return found | {"dolma": speed, "ratio": ratio, "mismatches": wrong, "bar": wrong == 0 and ratio >= 3}


def _pii_fuzzed(peers: Peers) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "fuzz.jsonl.gz"
        return _pii(path, _fuzzed(path), peers)


def _speeds(rows: list[dict[str, Any]]) -> dict[str, float | None]:
    parts = _batches(rows[::5])
    found: dict[str, float | None] = {}
    for name in ("pii", "pii_dolma", "length", "starcoder", "licence", "url", "language", "profanity"):
        try:
            chosen = family(name)
            chosen.compute(parts[0].slice(0, 2))
            seconds, _ = _seconds(lambda chosen=chosen: [chosen.compute(part) for part in parts])
            found[name] = _megabytes(parts) / seconds
        except ModuleNotFoundError:
            found[name] = None
    return found


def _language(texts: Path) -> dict[str, Any] | None:
    if not texts.is_dir():
        return None
    found: dict[str, Any] = {}
    for code in ("en", "fr"):
        lines = []
        for file in sorted((texts / code).glob("*.jsonl.gz")):
            for row in _rows(file):
                lines += [text for text in row["text"].split("\n") if len(text) >= 60]
        lines = lines[:: max(1, len(lines) // 3000)]
        prefixes = [line[:25] for line in lines]
        pair = score_texts(prefixes, ("en", "fr")).argmax(1) == ("en", "fr").index(code)
        found[code] = {
            "lines": len(lines),
            "right": float(np.mean([best_language(line)[0] == code for line in lines])),
            "right_25_characters": float(np.mean([best_language(line)[0] == code for line in prefixes])),
            "right_25_characters_of_two_languages": float(np.mean(pair)),
        }
    total = sum(found[code]["lines"] for code in ("en", "fr"))
    short = sum(found[code]["right_25_characters"] * found[code]["lines"] for code in ("en", "fr")) / total
    bar = all(found[code]["right"] >= 0.99 for code in ("en", "fr")) and short >= 0.95
    return found | {"right_25_characters": short, "bar": bar}


def _classifier(rows: list[dict[str, Any]]) -> dict[str, Any]:
    from glasshouse.data.signals.classifier import open_classifier, packed
    from glasshouse.language.text_classifier import train_text_classifier

    def kind(row: dict[str, Any]) -> str | None:
        return "prose" if row["source"].startswith("prose") else ("code" if row["source"] == "code" else None)

    examples = [(row["text"][:3000], kind(row)) for row in rows if kind(row)]
    data, bounds = packed([row["text"] for row in rows])
    with tempfile.TemporaryDirectory() as folder:
        report = train_text_classifier([t for t, _ in examples], [str(k) for _, k in examples], folder)
        model = open_classifier(folder)
        model.score_ranges(data, bounds[:1], bounds[:1])
        seconds, _ = _seconds(lambda: model.score_ranges(data, bounds[:-1], bounds[1:]))
    speed = len(data) / 1e6 / seconds
    right = report.precision_at_1
    return {
        "mb_per_cpu_second": speed, "training_cpu_seconds": report.cpu_seconds, "examples": len(examples),
        "precision_at_1": right, "bar": speed >= 20 and right is not None and right >= 0.95,
    }  # fmt: skip


def _repetition(rows: list[dict[str, Any]], peers: Peers, data: Path) -> dict[str, Any] | None:
    path = data / "olmo" / "allenai_eleuther-ai-gpt-neox-20b-pii-special.json"
    if not path.is_file():
        return None
    chosen = Repetition(tokenizer=str(path))
    chosen.repetitions("a b c")
    megabytes = sum(len(row["text"].encode()) for row in rows) / 1e6
    seconds, ours = _seconds(lambda: [chosen.repetitions(row["text"]) for row in rows])
    made = _repetitive(rows)
    found: dict[str, Any] = {"mb_per_cpu_second": megabytes / seconds}
    ours_made = [chosen.repetitions(row["text"]) for row in made]
    found["repetitions"] = sum(map(len, ours + ours_made))
    if peers.dolma is None:
        return found | {"dolma": None, "mismatches": None, "ratio": None}
    wrong = 0
    for mine, given in ((ours_made, made), (ours, rows)):
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "rows.jsonl.gz"
            file.write_bytes(gzip.compress(b"\n".join(map(orjson.dumps, given))))
            theirs = peers.run(peers.dolma, DOLMA_REPETITIONS, str(file), str(len(given)), str(path))
        wrong += sum([list(i) for i in a] != b for a, b in zip(mine, theirs["found"], strict=True))
    speed = megabytes / theirs["seconds"]  # of the real documents, which come last
    return found | {"dolma": speed, "ratio": megabytes / seconds / speed, "mismatches": wrong, "bar": wrong == 0}


def _repetitive(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Pieces of real texts with one to sixty copies of some words in between."""
    random = np.random.default_rng(0)
    made = []
    for row in rows:
        words = row["text"][:2000].split(" ")
        place = int(random.integers(0, max(1, len(words) - 14)))
        phrase = words[place : place + int(random.integers(1, 14))]
        words[place:place] = phrase * int(random.integers(1, 60))
        made.append(row | {"text": " ".join(words)})
    return made


def _comments(shard: Path, peers: Peers) -> dict[str, Any]:
    rows = [row for row in _rows(shard) if row["id"].endswith(".py")][:400]
    parts = _batches(rows)
    chosen = family("starcoder")
    chosen.compute(parts[0].slice(0, 1))
    seconds, columns = _seconds(lambda: [chosen.compute(part) for part in parts])
    ours = np.array([value for part in columns for value in part[2].to_pylist()])
    found: dict[str, Any] = {"documents": len(rows), "mb_per_cpu_second": _megabytes(parts) / seconds}
    if peers.dolma is None:
        return found | {"dolma": None, "same_verdict": None}
    theirs = peers.run(peers.dolma, DOLMA_COMMENTS, str(shard), str(len(rows)))
    other = np.array(theirs["found"])
    same = np.mean(_dropped(ours) == _dropped(other))
    difference = np.abs(ours - other)
    return found | {
        "dolma": _megabytes(parts) / theirs["seconds"],
        "same_verdict": float(same),
        "median_difference": float(np.median(difference)),
        "difference_99_percent": float(np.quantile(difference, 0.99)),
    }


def _dropped(ratio: np.ndarray) -> np.ndarray:
    return (ratio <= 0.01) | (ratio > 0.8)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--peers", type=Path)
    parser.add_argument("--data", type=Path, default=DATA)
    given = parser.parse_args()
    print(json.dumps(measure(given.corpus, find_peers(given.peers), given.data), indent=2))
