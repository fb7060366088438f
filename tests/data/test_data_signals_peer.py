"""Signals beside the taggers of Dolma 1.2.1 themselves, on 5,000 real and 5,000 random documents."""

from __future__ import annotations

import json
import math
import os
import random
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

import pytest

from glasshouse.data.document import Document, Origin, to_batch
from glasshouse.data.signals.families import compute_signals, family

PYTHON = Path(os.environ.get("GLASSHOUSE_PEERS", "/nowhere")) / "dolma-env" / "bin" / "python"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not PYTHON.exists(),
        reason="no environment with dolma 1.2.1: set GLASSHOUSE_PEERS to a directory made by benchmarks/peers.py",
    ),
]
COUNT = 5000
TAGGERS = """
import json, os, sys, types
from importlib.util import find_spec
home = os.path.join(os.path.dirname(find_spec("dolma").origin), "taggers")
module = types.ModuleType("dolma.taggers")  # the package itself imports taggers that download their weights
module.__path__ = [home]
sys.modules["dolma.taggers"] = module
from dolma.core.data_types import Document
from dolma.taggers.c4 import C4Tagger
from dolma.taggers.gopher import GopherTagger
from dolma.taggers.pii import FastPiiRegex
taggers = {"gopher_v1": GopherTagger(), "c4_v1": C4Tagger(), "pii": FastPiiRegex()}
for line in open(sys.argv[1]):
    document = Document(source="s", version="v", id="i", text=json.loads(line))
    found = {}
    for name, tagger in taggers.items():
        found[name] = [[s.start, s.end, s.type, s.score] for s in tagger.predict(document).spans]
    print(json.dumps(found))
"""
PIECES = [
    *"the be to of and that have with The a I x".split(),  # noqa: SIM905
    *["#", "#tag", "…", "...", "-", "*", "{x}", "javascript", "JavaScript", "lorem ipsum", "Lorem", "K", "İ", "ß", "ﬁ"],
    *["漢字", "🙂", "e\u0301", "٣", "²", "\x00", "naïve"],
    *("ada@example.org", "a@b", "@", "@@x.y", "555-010-9999", "(555) 010 9999", "5550109999", "1.2.3.4", "1.2.3.4.5"),
    *("256.1.1.1", "http://1.2.3.4/x", "one two three", "sex", "word.", 'said."', "why?", "no!", "x" * 40),
]
GAPS = [*" " * 12, *"\n" * 5, "\n\n", "\t", "\r\n", "\u3000", "\xa0", "\u2028", "\x1c", "\x85", ". ", "…\n", "?\n", ""]


def real_texts() -> list[str]:
    """Beginnings of the files of the standard library and of installed packages."""
    texts = []
    for root in (sysconfig.get_paths()["stdlib"], sysconfig.get_paths()["purelib"]):
        for path in sorted(Path(root).rglob("*")):
            if path.suffix in (".py", ".txt", ".md", ".rst", ".pyi", ".json", ".c", ".h") and path.is_file():
                texts.append(path.read_bytes()[:2500].decode(errors="replace"))
    return random.Random(3).sample(texts, COUNT)


def random_texts() -> list[str]:
    draw = random.Random(4)
    return [
        "".join(draw.choice(PIECES) + draw.choice(GAPS) for _ in range(draw.randrange(draw.choice([3, 30, 120]))))
        for _ in range(COUNT)
    ]


def differing(row: dict[str, Any], peer: dict[str, Any]) -> list[str]:
    wrong = []
    scores = {kind: score for _, _, kind, score in peer["gopher_v1"]}
    scores |= {"line_count": next(score for _, _, kind, score in peer["c4_v1"] if kind == "line_count")}
    for kind, score in scores.items():
        wrong += [kind] * (not math.isclose(row[kind], score, rel_tol=1e-12, abs_tol=1e-12))
    grams = [name for name in row if name.startswith("fraction_of_characters_in") and name.endswith("grams")]
    wrong += [name for name in grams if name not in scores and row[name] != 0]
    kinds = [kind for _, _, kind, _ in peer["c4_v1"]]
    for flag in ("has_naughty_word", "has_javascript", "has_lorem_ipsum", "has_curly_brace"):
        wrong += [flag] * (row[flag] != (flag in kinds))
    spans = {f"c4_{kind}": ("c4_v1", kind) for kind in ("lines_with_no_ending_punctuation", "lines_with_too_few_words")}
    spans |= {
        f"pii_dolma_{ours}_spans": ("pii", theirs)
        for ours, theirs in (("email", "EMAIL_ADDRESS"), ("phone", "PHONE_NUMBER"), ("ip", "IP_ADDRESS"))
    }
    for column, (tagger, kind) in spans.items():
        ours = sorted((span["start"], span["end"]) for span in row[column])
        theirs = sorted((start, end) for start, end, found, _ in peer[tagger] if found == kind)
        wrong += [column] * (ours != theirs)
    return wrong


@pytest.mark.parametrize("made", [real_texts, random_texts])
def test_every_value_and_span_is_dolmas(made, tmp_path):
    texts = made()
    (tmp_path / "texts.jsonl").write_text("".join(json.dumps(text) + "\n" for text in texts))
    command = [PYTHON, "-W", "ignore", "-c", TAGGERS, tmp_path / "texts.jsonl"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    peers = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(peers) == len(texts) == COUNT
    if made is random_texts:  # there is something to compare
        kinds = {kind for peer in peers for found in peer.values() for _, _, kind, _ in found}
        assert kinds >= {"EMAIL_ADDRESS", "PHONE_NUMBER", "IP_ADDRESS", "has_lorem_ipsum", "has_naughty_word"}
    batch = to_batch([Document(str(number), text, "s", Origin("", 0, 0)) for number, text in enumerate(texts)])
    rows = compute_signals(batch, [family(name) for name in ("core", "c4_lines", "pii_dolma")]).to_pylist()
    wrong: dict[str, list[int]] = {}
    for number, (row, peer) in enumerate(zip(rows, peers, strict=True)):
        for name in differing(row, peer):
            wrong.setdefault(name, []).append(number)
    assert {name: (len(found), texts[found[0]][:300]) for name, found in wrong.items()} == {}
