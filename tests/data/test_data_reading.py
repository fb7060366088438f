"""Reading and writing documents, with every kind of bad input."""

import errno
import gzip
import json
import tracemalloc
from itertools import pairwise

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from glasshouse.data.document import DOCUMENT, Document, Origin, batches, document_hash, document_hashes, text_buffers
from glasshouse.data.quarantine import Quarantine
from glasshouse.data.sources.reading import read_documents
from glasshouse.data.writing import write_documents


def rows(count, start=0):
    return [
        Document(f"d{i}", f"text {i} é\n", "s", Origin("f", i, i + 9), "2024", "2023", '{"k":1}')
        for i in range(start, start + count)
    ]


def line(identifier, text="hello"):
    return json.dumps({"id": identifier, "text": text}).encode() + b"\n"


def read(path, **options):
    quarantine = Quarantine()
    found = [row for batch in read_documents(path, quarantine, **options) for row in batch.to_pylist()]
    assert quarantine.rows_kept == len(found)
    assert quarantine.rows_seen == quarantine.rows_kept + quarantine.rows_quarantined
    return found, quarantine


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz", ".jsonl.zst", ".parquet"])
def test_round_trip_with_equal_bytes(tmp_path, suffix):
    one, other = tmp_path / f"one{suffix}", tmp_path / f"other{suffix}"
    for path in (one, other):
        assert write_documents(batches(rows(20), batch_bytes=50), path).documents == 20
    assert one.read_bytes() == other.read_bytes()
    found, quarantine = read(one)
    expected = [row._asdict() | {"origin": row.origin._asdict()} for row in rows(20)]
    assert found == expected
    assert quarantine.rows_quarantined == 0


def test_an_unknown_suffix_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"\.jsonl\.gz"):
        write_documents([], tmp_path / "x.csv")
    (tmp_path / "x.csv").write_text("a")
    with pytest.raises(ValueError, match="cannot read"):
        read_documents(tmp_path / "x.csv", Quarantine())


def test_batches_are_cut_by_bytes():
    sizes = [batch.num_rows for batch in batches(rows(10), batch_bytes=30)]
    assert sum(sizes) == 10
    assert max(sizes) == 3
    batch = next(batches(rows(10))).slice(3, 4)
    offsets, data = text_buffers(batch)
    assert [bytes(data[a:b]).decode() for a, b in pairwise(offsets)] == [r.text for r in rows(4, 3)]
    assert text_buffers(batch.slice(0, 0))[0].tolist()[-1:] != []


def test_hashes_agree_and_are_keyed():
    assert document_hashes(["a", "é"], 3, "x").tolist() == [document_hash("a", 3, "x"), document_hash("é", 3, "x")]
    assert len({document_hash("a"), document_hash("a", 1), document_hash("a", 0, "u"), document_hash("b")}) == 4


BAD = [
    (b'{"id": "x", "text": "\xff"}', "invalid_utf8"),
    (b'{"id": "x", "text": ', "invalid_json"),
    (b'{"id": "x", "text": "\\ud800"}', "invalid_json"),
    (b"[1]", "not_an_object"),
    (b'{"id": "x"}', "missing_text"),
    (b'{"id": "x", "text": null}', "missing_text"),
    (b'{"id": "x", "text": 3}', "mistyped_text"),
    (b'{"text": "t"}', "missing_id"),
    (b'{"id": "", "text": "t"}', "missing_id"),
    (b'{"id": 7, "text": "t"}', "mistyped_id"),
    (b'{"id": "a", "text": "again"}', "duplicate_id"),
]


@pytest.mark.parametrize(("bad", "reason"), BAD)
def test_a_bad_row_is_quarantined_with_its_place(tmp_path, bad, reason):
    path = tmp_path / "x.jsonl"
    path.write_bytes(line("a") + bad + b"\n\n" + line("b"))
    found, quarantine = read(path)
    assert [row["id"] for row in found] == ["a", "b"]
    assert quarantine.by_reason == {reason: 1}
    record = quarantine.records[0]
    assert (record["file"], record["line"], record["offset"]) == (path.name, 2, len(line("a")))
    start, end = found[1]["origin"]["start"], found[1]["origin"]["end"]
    assert json.loads(path.read_bytes()[start:end])["id"] == "b"


def test_the_same_id_in_another_source_is_another_document(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_bytes(b'{"id":"a","text":"1","source":"s"}\n{"id":"a","text":"2","source":"t"}\n')
    assert len(read(path)[0]) == 2


@pytest.mark.parametrize("cut", [1, 8, 500])
def test_truncated_gzip_keeps_the_rows_before(tmp_path, cut):
    path = tmp_path / "x.jsonl.gz"
    content = gzip.compress(b"".join(line(f"d{i}", f"words {i * 7919}") for i in range(2000)))
    path.write_bytes(content[:-cut])
    found, quarantine = read(path)
    assert quarantine.by_reason == {"damaged_file": 1}
    assert "truncated" in quarantine.records[0]["message"]
    assert [row["id"] for row in found] == [f"d{i}" for i in range(len(found))]
    assert len(found) > (1500 if cut < 500 else 1000)


def test_truncated_zstd_and_corrupt_gzip(tmp_path):
    path = tmp_path / "x.jsonl.zst"
    content = zstandard.compress(b"".join(line(f"d{i}", f"{i**7}" * 20) for i in range(20000)))
    path.write_bytes(content[: len(content) // 2])
    found, quarantine = read(path)
    assert len(found) > 1000
    assert quarantine.by_reason == {"damaged_file": 1}
    broken = tmp_path / "y.jsonl.gz"
    broken.write_bytes(b"not gzip at all")
    assert read(broken)[1].by_reason == {"damaged_file": 1}


def test_several_gzip_members_and_zstd_frames(tmp_path):
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(line("a")) + gzip.compress(line("b")) + b"\0" * 10)
    (tmp_path / "b.jsonl.zst").write_bytes(zstandard.compress(line("c")) + zstandard.compress(line("d")))
    found, _ = read(tmp_path)
    assert [row["id"] for row in found] == ["a", "b", "c", "d"]


def test_a_ten_megabyte_line_is_dropped_in_bounded_memory(tmp_path):
    path = tmp_path / "x.jsonl.gz"
    path.write_bytes(gzip.compress(line("a") + line("big", "x" * 10_000_000) + line("b"), 1))
    tracemalloc.start()
    found, quarantine = read(path, max_document_bytes=1 << 20)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [row["id"] for row in found] == ["a", "b"]
    assert quarantine.by_reason == {"line_too_long": 1}
    assert len(quarantine.records[0]["excerpt"]) == 200
    assert peak < 6_000_000
    assert len(read(path, max_document_bytes=1 << 24)[0]) == 3


def test_empty_unreadable_and_missing_files(tmp_path, monkeypatch):
    (tmp_path / "empty.jsonl").write_bytes(b"")
    (tmp_path / "empty.jsonl.gz").write_bytes(gzip.compress(b""))
    (tmp_path / "ok.jsonl").write_bytes(line("a"))
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 nothing")
    found, quarantine = read(tmp_path)
    assert len(found) == 1
    assert quarantine.by_reason == {"empty_file": 2, "unreadable_file": 1}
    for path in (tmp_path / "none.jsonl", str(tmp_path / "*.zst"), []):
        with pytest.raises(FileNotFoundError):
            read_documents(path, Quarantine())

    def denied(*_, **__):
        raise PermissionError(errno.EACCES, "denied")

    monkeypatch.setattr("fsspec.open", denied)
    found, quarantine = read(tmp_path / "ok.jsonl")
    assert (found, quarantine.by_reason) == ([], {"unreadable_file": 1})


def test_parquet_of_others_and_bad_rows_in_it(tmp_path):
    path = tmp_path / "x.parquet"
    text = pa.array([b"good", b"\xff", None], pa.binary())
    table = pa.table(
        {"id": ["a", "b", "c"], "text": pa.Array.from_buffers(pa.string(), 3, text.buffers()), "n": [1, 2, 3]}
    )
    pq.write_table(table, path)
    found, quarantine = read(path)
    assert [row["id"] for row in found] == ["a"]
    assert found[0]["origin"] == {"file": f"{path.name}#row=1", "start": 0, "end": 4}
    assert quarantine.by_reason == {"invalid_utf8": 1, "missing_text": 1}


def test_quarantine_file_holds_one_line_per_record(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_bytes(b"\xff\n" * 3 + line("a"))
    with Quarantine(tmp_path / "q.jsonl") as quarantine:
        assert sum(batch.num_rows for batch in read_documents(str(path), quarantine)) == 1
    records = [json.loads(text) for text in (tmp_path / "q.jsonl").read_text().splitlines()]
    assert [record["line"] for record in records] == [1, 2, 3]
    with pytest.raises(ValueError, match="closed"):
        quarantine.add("r", "m", file="f")


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz", ".parquet"])
def test_a_full_disk_is_named(tmp_path, suffix):
    def full():
        yield from batches(rows(3))
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match=r"no space left while writing .*out.*free some space") as caught:
        write_documents(full(), tmp_path / f"out{suffix}")
    assert caught.value.errno == errno.ENOSPC


def test_the_schema_is_the_documented_one(tmp_path):
    assert DOCUMENT.field("text").type == pa.large_string()
    with pytest.raises(TypeError, match="'source'"):
        write_documents(
            [pa.record_batch({"id": ["a"], "text": pa.array(["t"], pa.large_string())})], tmp_path / "x.jsonl"
        )
