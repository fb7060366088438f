"""Planning inputs as shards: forms, order, cutting, fingerprints, and that the parts are the whole."""

import bz2
import gzip
import json
import os
import pickle

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glasshouse.data.document import DOCUMENT
from glasshouse.data.quarantine import Quarantine
from glasshouse.data.sources.forms import FORMS, UnknownFormatError
from glasshouse.data.sources.inputs import InputShard, plan_inputs
from glasshouse.data.sources.reading import read_documents
from glasshouse.data.sources.settings import Reading
from glasshouse.store.configuration import ConfigurationError


def line(identifier, text="hello"):
    return json.dumps({"id": identifier, "text": text}).encode() + b"\n"


def read(shards):
    """Rows and quarantined records of shards, each with a quarantine of its own."""
    found, records = [], []
    for shard in shards:
        quarantine = Quarantine()
        rows = [row for batch in shard.batches(quarantine) for row in batch.to_pylist()]
        assert quarantine.rows_kept == len(rows)
        assert quarantine.rows_seen == quarantine.rows_kept + quarantine.rows_quarantined
        found += rows
        records += quarantine.records
    return found, records


@settings(max_examples=40, deadline=None)
@given(
    sizes=st.lists(st.integers(0, 400), max_size=40),
    shard_bytes=st.integers(1, 3000),
    end=st.booleans(),
    bad=st.sets(st.integers(0, 39)),
)
def test_byte_ranges_hold_every_line_once(tmp_path_factory, sizes, shard_bytes, end, bad):
    """The reference is a plain loop over the lines of the file."""
    path = tmp_path_factory.mktemp("cut") / "x.jsonl"
    lines = [b"{broken\n" if number in bad else line(f"d{number}", "é" * size) for number, size in enumerate(sizes)]
    content = b"".join(lines)
    path.write_bytes(content if end else content[:-1])
    shards = plan_inputs(path, shard_bytes=shard_bytes)
    assert [shard.start for shard in shards] == sorted(shard.start for shard in shards)
    found, records = read(shards)
    good = [number for number in range(len(lines)) if number not in bad]
    assert [row["id"] for row in found] == [f"d{number}" for number in good]
    for row, number in zip(found, good, strict=True):
        start = sum(map(len, lines[:number]))
        assert row["origin"] == {"file": path.name, "start": start, "end": start + len(lines[number]) - 1}
    broken = [record["offset"] for record in records if record["reason"] == "invalid_json"]
    assert broken == [sum(map(len, lines[:number])) for number in sorted(bad) if number < len(lines)]
    if len(shards) > 1:
        assert shards[0].start == 0
        assert [a.end for a in shards[:-1]] == [b.start for b in shards[1:]]
        assert shards[-1].end == path.stat().st_size == sum(shard.size for shard in shards)


@pytest.mark.parametrize("shard_bytes", [1, 500, 3000, 10**9, None])
def test_row_group_ranges_hold_every_row_once(tmp_path, shard_bytes):
    path = tmp_path / "x.parquet"
    table = pa.table({"id": [f"d{i}" for i in range(100)], "text": [f"text {i * 7919}" for i in range(100)]})
    pq.write_table(table, path, row_group_size=9)
    shards = plan_inputs(path, shard_bytes=shard_bytes)
    found, records = read(shards)
    assert [row["id"] for row in found] == [f"d{i}" for i in range(100)]
    assert [row["origin"]["file"] for row in found] == [f"{path.name}#row={i + 1}" for i in range(100)]
    assert not records
    assert len(shards) == 12 if shard_bytes == 1 else len(shards) >= 1
    assert (len(shards) == 1) == (shard_bytes in (10**9, None))


def test_a_plan_is_in_sorted_order_picklable_and_frozen(tmp_path):
    for name in ("b/2.jsonl", "b/10.jsonl.gz", "a.jsonl", "c.parquet"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(line(name))
    shards = plan_inputs([tmp_path / "c.parquet", tmp_path])
    names = [os.path.relpath(shard.path, tmp_path) for shard in shards]
    assert names == ["c.parquet", "a.jsonl", "b/10.jsonl.gz", "b/2.jsonl", "c.parquet"]
    assert pickle.loads(pickle.dumps(shards)) == shards
    with pytest.raises((ConfigurationError, ValueError)):
        shards[0].path = "other"


def test_without_a_size_every_file_is_one_shard(tmp_path):
    (tmp_path / "x.jsonl").write_bytes(line("a", "x" * 5000) * 5)
    (shard,) = plan_inputs(tmp_path)
    assert (shard.name, shard.size, shard.end) == ("x.jsonl", (tmp_path / "x.jsonl").stat().st_size, None)
    pieces = plan_inputs(tmp_path, shard_bytes=6000)
    assert len(pieces) == 3
    assert len({piece.name for piece in pieces}) == 3
    assert len({piece.fingerprint() for piece in pieces} | {shard.fingerprint()}) == 4


def test_fingerprints_tell_what_changed(tmp_path):
    path, copy = tmp_path / "x.jsonl", tmp_path / "y.jsonl"
    path.write_bytes(line("a"))
    copy.write_bytes(line("a"))
    (one,), (other,) = plan_inputs(path), plan_inputs(copy)
    assert one.fingerprint() != other.fingerprint()
    assert one.fingerprint(strong=True) == other.fingerprint(strong=True)
    strong = one.fingerprint(strong=True)
    os.utime(path, ns=(1, 1))
    (touched,) = plan_inputs(path)
    assert touched.fingerprint() != one.fingerprint()
    assert touched.fingerprint(strong=True) == strong
    path.write_bytes(line("b"))
    os.utime(path, ns=(1, 1))
    assert plan_inputs(path)[0].fingerprint(strong=True) != strong
    (as_other,) = plan_inputs(copy, reading=Reading(text_key="body"))
    assert as_other.fingerprint() != other.fingerprint()
    assert as_other.fingerprint(strong=True) != other.fingerprint(strong=True)


def test_strong_fingerprints_of_ranges_cover_the_range_alone(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_bytes(line("a") + line("b") + line("c"))
    before = [shard.fingerprint(strong=True) for shard in plan_inputs(path, shard_bytes=len(line("a")) + 1)]
    path.write_bytes(line("a") + line("b") + line("d"))
    after = [shard.fingerprint(strong=True) for shard in plan_inputs(path, shard_bytes=len(line("a")) + 1)]
    assert len(before) == 2
    assert before[0] == after[0]
    assert before[1] != after[1]


def test_ids_are_checked_inside_a_shard_and_by_read_documents_across(tmp_path):
    (tmp_path / "1.jsonl").write_bytes(line("a") + line("a"))
    (tmp_path / "2.jsonl").write_bytes(line("a") + line("b"))
    found, records = read(plan_inputs(tmp_path))
    assert [row["id"] for row in found] == ["a", "a", "b"]
    assert [record["reason"] for record in records] == ["duplicate_id"]
    quarantine = Quarantine()
    together = [row["id"] for batch in read_documents(tmp_path, quarantine) for row in batch.to_pylist()]
    assert together == ["a", "b"]
    assert quarantine.by_reason == {"duplicate_id": 2}
    shard = plan_inputs(tmp_path / "2.jsonl")[0]
    assert [len(read([shard])[0]) for _ in range(2)] == [2, 2]  # nothing is remembered between two readings


def test_forms_by_suffix_by_content_and_by_force(tmp_path):
    (tmp_path / "data").write_bytes(line("a"))
    (tmp_path / "packed").write_bytes(gzip.compress(line("b")))
    (tmp_path / "table").mkdir()
    pq.write_table(pa.table({"id": ["c"], "text": ["t"]}), tmp_path / "table" / "part")
    (tmp_path / "x.jsonl.bz2").write_bytes(bz2.compress(line("d")) + bz2.compress(line("e")))
    for name, form, ids in (
        ("data", "jsonl", "a"), ("packed", "jsonl", "b"), ("table/part", "parquet", "c"),
        ("x.jsonl.bz2", "jsonl", "de"),
    ):  # fmt: skip
        shards = plan_inputs(tmp_path / name)
        assert [shard.form for shard in shards] == [form]
        assert [row["id"] for row in read(shards)[0]] == list(ids)
        assert plan_inputs(tmp_path / name, form) == shards
    (tmp_path / "notes.txt").write_bytes(line("f"))
    assert [row["id"] for row in read(plan_inputs(tmp_path / "notes.txt", "jsonl"))[0]] == ["f"]
    assert [row["text"] for row in read(plan_inputs(tmp_path / "notes.txt"))[0]] == [line("f").decode()]


def test_an_unknown_form_lists_the_forms(tmp_path):
    (tmp_path / "x.csv").write_text("a,b")
    with pytest.raises(UnknownFormatError) as caught:
        plan_inputs(tmp_path / "x.csv")
    assert "x.csv" in str(caught.value)
    assert all(form in str(caught.value) for form in FORMS)
    with pytest.raises(UnknownFormatError):
        plan_inputs(str(tmp_path / "*.csv"))
    with pytest.raises(FileNotFoundError, match="matches no file"):
        plan_inputs(tmp_path)
    with pytest.raises(ValueError, match="form must be"):
        plan_inputs(tmp_path, "csv")
    with pytest.raises(ValueError, match="shard_bytes"):
        plan_inputs(tmp_path, shard_bytes=0)
    with pytest.raises(FileNotFoundError, match="'warc'"):
        plan_inputs(tmp_path, "warc")
    with pytest.raises(FileNotFoundError, match="empty"):
        plan_inputs([])


def test_a_directory_named_like_a_file_is_searched(tmp_path):
    (tmp_path / "x.jsonl").mkdir()
    (tmp_path / "x.jsonl" / "part.jsonl").write_bytes(line("a"))
    for entry in (tmp_path, tmp_path / "x.jsonl", str(tmp_path / "*.jsonl")):
        assert [row["id"] for row in read(plan_inputs(entry))[0]] == ["a"]


def test_of_a_corpus_only_the_documents_are_read(tmp_path):
    pq.write_table(pa.table({"id": ["a"], "text": ["t"]}), tmp_path / "documents-00000.parquet")
    pq.write_table(pa.table({"id": ["a"], "word_count": [1]}), tmp_path / "signals-00000.parquet")
    (tmp_path / "quarantine.jsonl").write_bytes(b"{}\n")
    assert [shard.name for shard in plan_inputs(tmp_path)] == ["documents-00000.parquet"]


def test_urls_of_a_file_system_in_memory():
    store = fsspec.filesystem("memory")
    try:
        store.pipe("/in/b.jsonl.gz", gzip.compress(line("b")))
        store.pipe("/in/a.jsonl", line("a1") + line("a2"))
        shards = plan_inputs("memory://in")
        assert [shard.path for shard in shards] == ["memory:///in/a.jsonl", "memory:///in/b.jsonl.gz"]
        assert [row["id"] for row in read(shards)[0]] == ["a1", "a2", "b"]
        assert [row["id"] for row in read(plan_inputs("memory://in/*.jsonl", shard_bytes=10))[0]] == ["a1", "a2"]
        before = shards[0].fingerprint()
        store.pipe("/in/a.jsonl", line("a3") + line("a4"))
        assert plan_inputs("memory://in")[0].fingerprint() != before
    finally:
        store.rm("/in", recursive=True)


def test_a_file_that_shrank_after_it_was_planned_is_told(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_bytes(line("a") * 1 + line("b") + line("c"))
    shards = plan_inputs(path, shard_bytes=10)
    path.write_bytes(line("a"))
    found, records = read(shards)
    assert [row["id"] for row in found] == ["a"]
    assert {record["reason"] for record in records} == {"damaged_file"}
    assert "when it was planned" in records[0]["message"]


def test_foreign_rows(tmp_path):
    path = tmp_path / "x.jsonl"
    rows = [
        {"body": "one", "url": "u1"}, {"body": "one", "url": "u2", "metadata": {"k": 1}},
        {"key": 7, "body": "three"}, {"key": "own", "body": "four"}, {"key": "", "body": "five"},
    ]  # fmt: skip
    path.write_bytes(b"".join(json.dumps(row).encode() + b"\n" for row in rows))
    keys = {"text_key": "body", "id_key": "key", "source": "web"}
    found, records = read(plan_inputs(path, reading=Reading(**keys)))
    assert [(row["id"], row["text"], row["source"]) for row in found] == [("own", "four", "web")]
    assert [record["reason"] for record in records] == ["missing_id", "missing_id", "mistyped_id", "missing_id"]
    made = Reading(**keys, make_ids=True, number_ids=True, other_fields="metadata")
    found, records = read(plan_inputs(path, reading=made))
    assert not records
    ids = [row["id"] for row in found]
    assert ids[2:4] == ["7", "own"]
    assert len(set(ids)) == 5
    assert all(len(ids[i]) == 64 for i in (0, 1, 4))
    assert [json.loads(row["metadata"]) for row in found[:2]] == [{"url": "u1"}, {"k": 1, "url": "u2"}]
    assert [row["id"] for row in read(plan_inputs(path, reading=made, shard_bytes=30))[0]] == ids


def test_rows_of_datatrove(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_bytes(b'{"text":"t","id":"<urn:uuid:1>","metadata":{"url":"http://x","dump":"CC"},"media":[]}\n')
    (row,), _ = read(plan_inputs(path))
    assert (row["id"], row["text"], row["metadata"]) == ("<urn:uuid:1>", "t", '{"dump":"CC","url":"http://x"}')
    assert list(row) == DOCUMENT.names


def test_a_shard_refuses_unknown_fields():
    with pytest.raises(ConfigurationError, match="no field 'colour'"):
        InputShard(path="x", size=1, colour="red")
    with pytest.raises(ConfigurationError, match="extractor"):
        Reading(extractor="other")
