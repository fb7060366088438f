"""Damaged inputs of every kind: told with a reason, counted, and never at the cost of a good row before."""

import bz2
import contextlib
import gzip
import io
import json
import os
import struct
import tracemalloc
import zlib

import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from glasshouse.data.document import Document, Origin, batches
from glasshouse.data.quarantine import Quarantine
from glasshouse.data.sources.inputs import plan_inputs
from glasshouse.data.sources.planning import NotAFileError
from glasshouse.data.sources.reading import Reading, read_documents
from glasshouse.data.writing import write_documents

COMPRESS = {"": bytes, ".gz": gzip.compress, ".zst": zstandard.compress, ".bz2": bz2.compress}


def line(identifier, text="hello"):
    return json.dumps({"id": identifier, "text": text}).encode() + b"\n"


def read(path, **options):
    quarantine = Quarantine()
    found = [row for batch in read_documents(path, quarantine, **options) for row in batch.to_pylist()]
    assert quarantine.rows_kept == len(found)
    assert quarantine.rows_seen == quarantine.rows_kept + quarantine.rows_quarantined
    json.dumps(quarantine.records)
    return found, quarantine


ROWS = [
    (b'{"id":"x","text":"t","metadata":' + b'{"a":' * 300 + b"1" + b"}" * 300 + b"}", "unwritable_field"),
    (b'{"id":"x","text":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "invalid_json"),
    (b'{"id":"x","text":"t","n":NaN}', "invalid_json"),
    (b'{"id":"x","text":"t","n":1e999}', "invalid_json"),
    (b'{"id":"x","text":"a\x00b"}', "invalid_json"),
    (b"\x00" * 50, "invalid_json"),
    (b'{"id":"x","text":"\\udfff\\ud800"}', "invalid_json"),
    (b'{"id":"x\xc3","text":"t"}', "invalid_utf8"),
    (b'{"id":"x","text":"\xed\xa0\x80"}', "invalid_utf8"),
    (b"null", "not_an_object"),
    (b"\xff\xfe{", "invalid_utf8"),
]


@pytest.mark.parametrize("suffix", COMPRESS)
@pytest.mark.parametrize(("bad", "reason"), ROWS, ids=[str(number) for number in range(len(ROWS))])
def test_a_hostile_row_costs_itself_alone(tmp_path, bad, reason, suffix):
    path = tmp_path / f"x.jsonl{suffix}"
    path.write_bytes(COMPRESS[suffix](line("a") + bad + b"\n" + line("b")))
    found, quarantine = read(path)
    assert [row["id"] for row in found] == ["a", "b"]
    assert quarantine.by_reason == {reason: 1}


def test_unusual_rows_that_are_good(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_bytes(
        b'{"id":"nul","text":"a\\u0000b"}\r\n{"id":"big","text":"t","metadata":{"n":123456789012345678901234567890}}\n'
        b'{"id":"origin","text":"t","origin":{"file":"f","start":-5,"end":2}}\n'
        b'{"id":"wide","text":"t","origin":{"file":"f","start":1,"end":99999999999999999999}}\n'
        b'{"id":"list","text":"t","metadata":[1,2],"added":17,"created":{"a":1}}\n{"id":"e","text":""}'
    )
    found, quarantine = read(path)
    assert [row["id"] for row in found] == ["nul", "big", "origin", "wide", "list", "e"]
    assert found[0]["text"] == "a\0b"
    assert [row["origin"]["file"] for row in found] == [path.name] * 6
    assert (found[4]["metadata"], found[4]["added"], found[4]["created"]) == ("[1,2]", "17", '{"a":1}')
    assert quarantine.rows_quarantined == 0


@pytest.mark.parametrize("suffix", [".gz", ".zst", ".bz2"])
def test_every_truncation_keeps_a_prefix_and_is_told(tmp_path, suffix):
    path = tmp_path / f"x.jsonl{suffix}"
    lines = [line(f"d{i}", f"words {i**5}") for i in range(60)]
    content = COMPRESS[suffix](b"".join(lines))
    for size in range(1, len(content), max(1, len(content) // 60)):
        path.write_bytes(content[:size])
        found, quarantine = read(path)
        assert [row["id"] for row in found] == [f"d{i}" for i in range(len(found))]
        assert quarantine.by_reason == {"damaged_file": 1}, size
    path.write_bytes(content)
    found, quarantine = read(path)
    assert (len(found), quarantine.rows_quarantined) == (60, 0)


@pytest.mark.parametrize("suffix", [".gz", ".zst", ".bz2"])
def test_a_bomb_is_read_in_bounded_memory(tmp_path, suffix):
    """64 MiB of zeros in one line; a decompressor without a limit would hold it all."""
    path = tmp_path / f"x.jsonl{suffix}"
    path.write_bytes(COMPRESS[suffix](line("a") + b"\0" * (64 << 20) + b"\n" + line("b")))
    assert path.stat().st_size < 200_000
    tracemalloc.start()
    found, quarantine = read(path, max_document_bytes=1 << 20)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [row["id"] for row in found] == ["a", "b"]
    assert quarantine.by_reason == {"line_too_long": 1}
    assert peak < 24 << 20


def written(path, count=40):
    rows = [
        Document(f"d{i}", f"text {i} é " * 9, "s", Origin("f", i, i + 9), "2024", "", '{"k":1}') for i in range(count)
    ]
    write_documents(batches(rows, batch_bytes=900), path)
    return [row._asdict() | {"origin": row.origin._asdict()} for row in rows]


@settings(max_examples=120, deadline=None)
@given(data=st.data())
@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz", ".jsonl.zst", ".parquet"])
def test_flipped_bytes_never_crash_or_cost_a_row_before_them(tmp_path_factory, suffix, data):
    folder = tmp_path_factory.mktemp("flip", numbered=True)
    good = written(folder / f"x{suffix}", 25)
    content = bytearray((folder / f"x{suffix}").read_bytes())
    flips = data.draw(
        st.lists(st.tuples(st.integers(0, len(content) - 1), st.integers(1, 255)), min_size=1, max_size=3)
    )
    for position, change in flips:
        content[position] ^= change
    (folder / f"x{suffix}").write_bytes(content)
    found, quarantine = read(folder / f"x{suffix}")
    if suffix == ".jsonl":
        first = min(position for position, _ in flips)
        before = bytes(content[:first]).count(b"\n")
        assert found[:before] == good[:before]
    if quarantine.rows_quarantined == 0 and suffix in (".jsonl.gz", ".jsonl.zst"):
        assert [row["id"] for row in found] == [row["id"] for row in good]


def test_flipped_bytes_of_parquet_data_are_always_noticed(tmp_path):
    """Every page has a checksum: a damaged row group is told, and all others are whole."""
    path = tmp_path / "x.parquet"
    good = written(path, 60)
    content = path.read_bytes()
    groups = pq.read_metadata(path)
    assert groups.num_row_groups > 3
    footer = len(content) - 8 - struct.unpack("<i", content[-8:-4])[0]
    noticed = 0
    for position in range(4, footer, 37):
        path.write_bytes(content[:position] + bytes([content[position] ^ 0x55]) + content[position + 1 :])
        found, quarantine = read(path)
        assert all(row in good for row in found)
        assert (len(found) == len(good)) == (quarantine.rows_quarantined == 0)
        if quarantine.rows_quarantined:
            assert quarantine.by_reason == {"damaged_row_group": 1}
            noticed += 1
    assert noticed > 30


def test_a_text_that_a_dictionary_holds_once_does_not_blow_up(tmp_path):
    """20,000 rows that share one text of 100 kB are 2 GB when they are written out."""
    path = tmp_path / "x.parquet"
    text = pa.DictionaryArray.from_arrays(pa.array([0] * 20_000, pa.int32()), pa.array(["x" * 100_000]))
    pq.write_table(pa.table({"id": [str(i) for i in range(20_000)], "text": text}), path)
    assert path.stat().st_size < 1_000_000
    quarantine, rows, largest = Quarantine(), 0, 0
    for batch in read_documents(path, quarantine, batch_bytes=1 << 20):
        rows += batch.num_rows
        largest = max(largest, batch.column("text").nbytes)
        if rows > 500:
            break
    assert largest < 3 << 20


def test_skippable_zstd_frames_and_checksums(tmp_path):
    path = tmp_path / "x.jsonl.zst"
    skippable = b"\x53\x2a\x4d\x18" + (5).to_bytes(4, "little") + b"hello"
    checked = zstandard.ZstdCompressor(write_checksum=True, write_content_size=False)
    content = line("a") * 1 + b"".join(line(f"d{i}", str(i**9) * 50) for i in range(5000))
    path.write_bytes(skippable + checked.compress(content) + skippable + zstandard.compress(line("b")))
    found, quarantine = read(path)
    assert [row["id"] for row in found] == ["a", *(f"d{i}" for i in range(5000)), "b"]
    assert quarantine.rows_quarantined == 0
    damaged = bytearray(checked.compress(content))
    damaged[-1] ^= 1
    path.write_bytes(damaged)
    found, quarantine = read(path)
    assert (len(found), quarantine.by_reason) == (5001, {"damaged_file": 1})


def test_an_arrow_file_that_is_cut_keeps_the_batches_before(tmp_path):
    path = tmp_path / "x.arrow"
    out = io.BytesIO()
    with pa.ipc.new_stream(out, pa.schema({"id": pa.string(), "text": pa.string()})) as writer:
        for i in range(10):
            writer.write_batch(pa.record_batch({"id": [f"d{i}"], "text": [f"t{i}" * 50]}))
    path.write_bytes(out.getvalue()[: out.tell() * 6 // 10])
    found, quarantine = read(path)
    assert [row["id"] for row in found] == [f"d{i}" for i in range(len(found))]
    assert 3 < len(found) < 8
    assert quarantine.by_reason == {"damaged_file": 1}
    path.write_bytes(b"")
    assert read(path)[1].by_reason == {"unreadable_file": 1}


def test_a_line_of_ten_megabytes_in_a_range(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_bytes(line("a") + line("big", "x" * 10_000_000) + line("b"))
    quarantine, found = Quarantine(), []
    for shard in plan_inputs(path, shard_bytes=1 << 20, reading=Reading(max_document_bytes=1 << 20)):
        found += [row["id"] for batch in shard.batches(quarantine) for row in batch.to_pylist()]
    assert found == ["a", "b"]
    assert quarantine.by_reason == {"line_too_long": 1}


def test_what_is_written_is_whole_or_not_there(tmp_path):
    def failing():
        yield from batches([Document("a", "t", "s", Origin("f", 0, 1))])
        raise RuntimeError("the source failed")

    for name in ("x.jsonl", "x.parquet", "x.jsonl.gz"):
        (tmp_path / name).write_bytes(b"the old one")
        with pytest.raises(RuntimeError, match="the source failed"):
            write_documents(failing(), tmp_path / name)
        assert (tmp_path / name).read_bytes() == b"the old one"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.jsonl", "x.jsonl.gz", "x.parquet"]


def test_a_byte_order_mark_loses_no_record(tmp_path):
    rows = b'\xef\xbb\xbf{"id": "a", "text": "one"}\n{"id": "b", "text": "two"}\n'
    (tmp_path / "in.jsonl").write_bytes(rows)
    quarantine = Quarantine()
    found = [row for batch in read_documents(tmp_path / "in.jsonl", quarantine) for row in batch.to_pylist()]
    assert [row["id"] for row in found] == ["a", "b"]
    assert found[1]["origin"]["start"] == rows.index(b'{"id": "b"')
    assert quarantine.rows_quarantined == 0


def test_a_pipe_in_a_directory_is_not_waited_for(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"id": "a", "text": "one"}\n')
    os.mkfifo(tmp_path / "pipe.jsonl")
    assert [batch.num_rows for batch in read_documents(tmp_path, Quarantine())] == [1]


def test_a_byte_order_mark_counts_in_the_place_of_its_record(tmp_path):
    """The range of the first record begins with the mark, so that a range gives what the file has there."""
    content = b'\xef\xbb\xbf{"id": "a", "text": "one"}\n\xef\xbb\xbf{"id": "b", "text": "two"}\n'
    (tmp_path / "in.jsonl").write_bytes(content)
    found, quarantine = read(tmp_path / "in.jsonl")
    first = content.index(b"\n") + 1
    assert [(row["id"], row["origin"]["start"], row["origin"]["end"]) for row in found] == [("a", 0, first - 1)]
    assert [(record["offset"], record["reason"]) for record in quarantine.records] == [(first, "invalid_json")]


def test_a_file_of_a_mark_alone_is_empty(tmp_path):
    (tmp_path / "in.jsonl").write_bytes(b"\xef\xbb\xbf\n")
    assert read(tmp_path / "in.jsonl")[1].by_reason == {}


def test_everything_before_the_damage_of_a_gzip_file_is_read(tmp_path):
    """The reference decompresses byte by byte, and so has all that a decoder can have."""
    path = tmp_path / "x.jsonl.gz"
    lines = [line(f"d{i}", f"words {i**7} and {i**11}") for i in range(4000)]
    content = bytearray(gzip.compress(b"".join(lines)))
    for place in (len(content) // 3, len(content) - 2000, len(content) - 6):
        damaged = bytes(content[:place]) + bytes(255 - byte for byte in content[place : place + 40])
        path.write_bytes(damaged + bytes(content[place + 40 :]))
        decoder, sure = zlib.decompressobj(wbits=31), b""
        with contextlib.suppress(zlib.error):
            for byte in path.read_bytes():
                sure += decoder.decompress(bytes([byte]))
        found, quarantine = read(path)
        whole = sum(row["id"] == f"d{i}" for i, row in enumerate(found))
        assert whole >= sum(had == good[:-1] for had, good in zip(sure.split(b"\n"), lines, strict=False)) > 1000
        assert quarantine.by_reason["damaged_file"] == 1


def test_a_pipe_that_is_named_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe.jsonl")
    with pytest.raises(NotAFileError, match="is a pipe, socket or device: write it to a file first"):
        plan_inputs(tmp_path / "pipe.jsonl")


def test_a_link_that_leads_nowhere_is_told(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(line("a"))
    (tmp_path / "b.jsonl").symlink_to(tmp_path / "gone.jsonl")
    found, quarantine = read(tmp_path)
    assert [row["id"] for row in found] == ["a"]
    assert [record["reason"] for record in quarantine.records] == ["unreadable_file"]
    assert "a broken link" in quarantine.records[0]["message"]
    assert "gone.jsonl does not exist" in quarantine.records[0]["message"]
    with pytest.raises(FileNotFoundError, match="is a broken link"):
        plan_inputs(tmp_path / "b.jsonl")
