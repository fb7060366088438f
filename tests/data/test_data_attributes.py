"""Dolma's attribute side-files: written, read back, read by Dolma's own mixer; damaged ones refused by file and row."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
from pathlib import Path

import pyarrow as pa
import pytest

from glasshouse.data.document import Document, Origin, to_batch
from glasshouse.data.signals.families import compute_signals, default_families, signals_of
from glasshouse.data.signals.signal import SPANS
from glasshouse.data.sources.attributes import (
    DOLMA_NAMES,
    AttributesError,
    attribute_path,
    column_name,
    dolma_name,
    read_attributes,
    write_attributes,
)

TEXTS = ["one two three\nFour, five.", "{ javascript }", "été — ĝoja 🎉", ""]


def _signals() -> pa.Table:
    rows = [Document(f"d{number}", text, "s", Origin("f", 0, 0)) for number, text in enumerate(TEXTS)]
    batch = to_batch(rows)
    table = pa.Table.from_batches([compute_signals(batch)]).append_column("id", batch.column("id"))
    found = [[{"start": 0, "end": 3, "score": 0.123456789}], [], None, []]
    return table.append_column("email_spans", pa.array(found, SPANS))


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz", ".jsonl.zst", ".json.gz"])
def test_written_and_read_back(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / "attributes" / "exp" / f"a{suffix}"
    table = _signals()
    assert write_attributes(table, path, "exp") == len(TEXTS)
    rows = list(read_attributes(path))
    assert [(row.number, row.id) for row in rows] == [(1, "d0"), (2, "d1"), (3, "d2"), (4, "d3")]
    for row, text, ours in zip(rows, TEXTS, table.to_pylist(), strict=True):
        # A document's value spans all characters (not bytes) of its text.
        assert row.attributes["exp__gopher_v1__word_count"] == [[0, len(text), len(text.split())]]
        (span,) = row.attributes["exp__random_number_v1__random"]
        assert span == [0, len(text), round(ours["random"], 5)]
        for name in signals_of(default_families()):
            assert dolma_name(name, "exp") in row.attributes
    assert rows[0].attributes["exp__pii_regex_with_counts_fast_v2__EMAIL_ADDRESS"] == [[0, 3, 0.12346]]
    assert rows[1].attributes["exp__c4_v1__has_javascript"] == [[0, len(TEXTS[1]), 1]]
    assert rows[0].attributes["exp__c4_v1__has_javascript"] == []
    # What is not known has no key; an empty list would say that there is none.
    assert "exp__pii_regex_with_counts_fast_v2__EMAIL_ADDRESS" not in rows[2].attributes
    assert not list(path.parent.glob("*.partial"))


def test_the_same_bytes_every_time(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_attributes(_signals(), tmp_path / f"{name}.jsonl.gz", "exp")
    assert (tmp_path / "a.jsonl.gz").read_bytes() == (tmp_path / "b.jsonl.gz").read_bytes()


def test_a_number_that_is_none_is_missing(tmp_path: Path) -> None:
    write_attributes(pa.table({"id": ["a"], "v": [float("nan")], "character_count": [3]}), tmp_path / "a.jsonl", "x")
    (row,) = read_attributes(tmp_path / "a.jsonl")
    assert "x__glasshouse__v" not in row.attributes


def test_names_go_both_ways() -> None:
    assert len(set(DOLMA_NAMES.values())) == len(DOLMA_NAMES)
    for name in [*signals_of(default_families()), *DOLMA_NAMES, "anything_else"]:
        assert column_name(dolma_name(name, "my_set")) == name
    assert column_name("my_set__other_tagger_v1__score") is None


def test_where_side_files_lie() -> None:
    assert attribute_path("/c/documents/a/000.json.gz", "x") == "/c/attributes/x/a/000.json.gz"
    assert attribute_path("documents/000.json.gz", "x") == "./attributes/x/000.json.gz"
    assert attribute_path("/documents/c/documents/0.gz", "x") == "/documents/c/attributes/x/0.gz"
    assert attribute_path("/c/documents/a/0.gz", "/else/where/") == "/else/where/a/0.gz"
    assert attribute_path("/c/0.gz", "/else/where") == "/else/where/0.gz"
    with pytest.raises(AttributesError, match="does not lie in a folder 'documents'"):
        attribute_path("/c/0.gz", "x")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{", "row 2: not a JSON value"),
        ("[]", "row 2: a row must be an object"),
        ('{"id": "x"}', "row 2: a row must be an object"),
        ('{"attributes": {}}', "row 2: a row must be an object"),
        ('{"id": "x", "attributes": []}', "row 2: a row must be an object"),
    ],
)
def test_a_damaged_row_is_named(tmp_path: Path, line: str, words: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"id": "d", "attributes": {}}\n\n' + line + "\n")
    with pytest.raises(AttributesError, match=words) as caught:
        list(read_attributes(path))
    assert str(path) in str(caught.value)


def test_a_truncated_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.gz"
    whole = gzip.compress(b"".join(b'{"id": "%d", "attributes": {}}\n' % n for n in range(20_000)))
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(AttributesError, match="truncated gzip"):
        list(read_attributes(path))


def test_what_has_no_form_is_refused(tmp_path: Path) -> None:
    out = tmp_path / "a.jsonl"
    with pytest.raises(AttributesError, match="'character_count' is not among"):
        write_attributes(pa.table({"id": ["a"], "word_count": [3]}), out, "x")
    with pytest.raises(AttributesError, match="a score of inf"):
        write_attributes(pa.table({"id": ["a"], "v": [float("inf")], "character_count": [3]}), out, "x")
    with pytest.raises(AttributesError, match="holds string"):
        write_attributes(pa.table({"id": ["a"], "language": ["en"]}), out, "x", columns=["language"])
    with pytest.raises(AttributesError, match="no column 'z'; they have: id"):
        write_attributes(pa.table({"id": ["a"]}), out, "x", columns=["z"])
    with pytest.raises(AttributesError, match="cannot write"):
        write_attributes(pa.table({"id": ["a"]}), tmp_path / "a.parquet", "x")
    assert not out.exists()


@pytest.mark.slow
def test_dolmas_own_mixer_reads_what_is_written(tmp_path: Path) -> None:
    peers = os.environ.get("GLASSHOUSE_PEERS")
    python = Path(peers or "/nowhere") / "dolma-env" / "bin" / "python"
    if not python.exists():
        pytest.skip("no environment with dolma 1.2.1: set GLASSHOUSE_PEERS to a directory made by benchmarks/peers.py")
    (tmp_path / "documents").mkdir()
    with gzip.open(tmp_path / "documents" / "0.json.gz", "wt") as out:
        for number, text in enumerate(TEXTS):
            out.write(json.dumps({"id": f"d{number}", "text": text, "source": "s"}) + "\n")
    write_attributes(_signals(), tmp_path / "attributes" / "exp" / "0.json.gz", "exp")
    stream = {
        "name": "out",
        "documents": [f"{tmp_path}/documents/*.gz"],
        "attributes": ["exp"],
        "filter": {
            "include": ["$.attributes[?(@.exp__gopher_v1__word_count[0][2] >= 3)]"],
            "exclude": ["$.attributes[?(@.exp__c4_v1__has_javascript[0][2] > 0.5)]"],
        },
        "span_replacement": [
            {
                "span": "$.attributes.exp__pii_regex_with_counts_fast_v2__EMAIL_ADDRESS",
                "min_score": 0.1,
                "replacement": "[{}]",
            }
        ],
        "output": {"path": f"{tmp_path}/out", "max_size_in_bytes": 100000},
    }
    config = {"streams": [stream], "work_dir": {"input": f"{tmp_path}/wi", "output": f"{tmp_path}/wo"}, "processes": 1}
    (tmp_path / "c.json").write_text(json.dumps(config))
    subprocess.run([python, "-m", "dolma.cli", "-c", tmp_path / "c.json", "mix"], check=True, capture_output=True)
    with gzip.open(tmp_path / "out" / "out-0000.json.gz", "rt") as rows:
        found = {row["id"]: row["text"] for row in map(json.loads, rows)}
    assert found == {"d0": "[one]" + TEXTS[0][3:], "d2": TEXTS[2]}
