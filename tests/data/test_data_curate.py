"""Curation end to end: every document accounted for, every removal explained, equal bytes for any worker count."""

import errno
import gzip
import hashlib
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from glasshouse.data.curation.curate import Curation, EmptyCorpusError, curate, kept_documents
from glasshouse.data.curation.rules import Rule, RuleSet, UnknownSignalError
from glasshouse.data.deduplication.methods import exact
from glasshouse.data.document import Document, Origin, batches
from glasshouse.data.executor import Threads
from glasshouse.data.quarantine import Quarantine
from glasshouse.data.sources.reading import read_documents

WORDS = "season river window market garden letter engine village summer winter doctor teacher".split()  # noqa: SIM905


def prose(seed, words=120):
    state = hashlib.sha256(str(seed).encode()).digest() * 8
    picked = [WORDS[state[i % 256] % 12] + str((state[(i * 7) % 256] + i) % 97) for i in range(words)]
    return "The story of " + " ".join(picked) + " and that is to be with us."


def corpus():
    texts = [prose(i) for i in range(12)]
    texts[3] = texts[1]
    texts[4] = texts[2] + " So it ends."
    texts[5] += " Write to jane@example.com or 206-555-0100 or secret@example.org."
    texts[6] += "".join(f" user{i}@example.com" for i in range(7))
    texts[7] = "too short"
    return [Document(f"d{i}", text, "web", Origin("f", i, i + 1)) for i, text in enumerate(texts)]


def digests(directory):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(Path(directory).iterdir())}


def test_everything_is_accounted_for_and_explained(tmp_path):
    seen = []
    summary = curate(batches(corpus(), 500), tmp_path / "out", progress=seen.append)
    kept = {row["id"]: row for batch in kept_documents(tmp_path / "out") for row in batch.to_pylist()}
    assert sorted(kept) == ["d0", "d1", "d10", "d11", "d2", "d5", "d8", "d9"]
    assert "|||EMAIL_ADDRESS||| or |||PHONE_NUMBER||| or |||EMAIL_ADDRESS|||." in kept["d5"]["text"]
    removed = pq.read_table(tmp_path / "out" / "removed-00000.parquet").to_pylist()
    by_id = {row["id"]: row for row in removed}
    assert {key: row["stage"] for key, row in by_id.items()} == {
        "d3": "exact",
        "d4": "minhash",
        "d6": "pii",
        "d7": "rules",
    }
    assert (by_id["d3"]["duplicate_of"], by_id["d4"]["duplicate_of"]) == ("d1", "d2")
    assert (by_id["d6"]["value"], by_id["d6"]["threshold"]) == (7.0, 5.0)
    assert [(r["value"], r["threshold"]) for r in removed if r["rule"] == "word_count < 50"] == [(2.0, 50.0)]
    signals = pq.read_table(tmp_path / "out" / "signals-00000.parquet").to_pylist()
    assert [row["id"] for row in signals] == [f"d{i}" for i in range(12)]
    assert {row["id"]: row["verdict"] for row in signals if row["verdict"] != "kept"} == {
        key: row["stage"] for key, row in by_id.items()
    }
    assert summary.input == 12 == summary.kept.documents + summary.removed.documents + summary.quarantined
    assert summary.documents.bytes == sum(len(d.text) for d in corpus()) == sum(seen)
    assert summary.masked_spans == {"EMAIL_ADDRESS": 2, "PHONE_NUMBER": 1}
    written = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert written["stages"]["minhash"]["documents"] == 1
    assert written["sources"]["web"]["kept"]["documents"] == 8
    assert written["examples"]["exact duplicate"][0]["id"] == "d3"
    assert not (tmp_path / "out" / "work").exists()


def test_excerpts_do_not_leak_what_masking_hides(tmp_path):
    text = "jane@example.com " * 3
    documents = [*corpus(), Document("x", text, "web", Origin("f", 0, 0))]
    curate(batches(documents), tmp_path)
    rows = pq.read_table(tmp_path / "removed-00000.parquet").to_pylist()
    assert not any("@" in row["excerpt"] for row in rows)


@pytest.mark.parametrize("workers", [2, 4])
def test_equal_bytes_for_any_number_of_workers(tmp_path, workers):
    curate(batches(corpus(), 300), tmp_path / "one", shard_bytes=2000)
    curate(batches(corpus(), 300), tmp_path / "many", shard_bytes=2000, executor=Threads(workers))
    assert digests(tmp_path / "one") == digests(tmp_path / "many")
    assert "documents-00001.parquet" in digests(tmp_path / "one")


def test_the_batch_size_does_not_change_the_verdicts(tmp_path):
    one, other = curate(batches(corpus(), 300), tmp_path / "a"), curate(batches(corpus()), tmp_path / "b")
    assert one == other


def test_quarantined_rows_are_part_of_the_count(tmp_path):
    lines = [json.dumps({"id": d.id, "text": d.text}).encode() for d in corpus()]
    content = b"\n".join([*lines, b"\xff", b'{"id": "t"}', b""])
    (tmp_path / "in.jsonl.gz").write_bytes(gzip.compress(content)[:-4])
    home = tmp_path / "out"
    home.mkdir()
    with Quarantine(home / "quarantine.jsonl") as quarantine:
        summary = curate(read_documents(tmp_path / "in.jsonl.gz", quarantine), home, quarantine=quarantine)
    assert (summary.input, summary.quarantined, summary.documents.documents) == (15, 3, 12)
    assert summary.quarantine_reasons == {"damaged_file": 1, "invalid_utf8": 1, "missing_text": 1}
    assert len((home / "quarantine.jsonl").read_text().splitlines()) == 3


def test_an_unknown_signal_is_refused_before_anything_is_read(tmp_path):
    def never():
        raise AssertionError("data was read")
        yield

    rules = RuleSet(name="mine", rules=(Rule(signal="word_cuont", operator="<", threshold=5),))
    with pytest.raises(UnknownSignalError, match="word_count"):
        curate(never(), tmp_path, Curation(keep=rules))


def test_an_empty_corpus_names_the_reasons(tmp_path):
    with pytest.raises(EmptyCorpusError, match="no document reached"):
        curate([], tmp_path / "none")
    short = [Document(str(i), "short", "web", Origin("f", 0, 0)) for i in range(3)]
    with pytest.raises(EmptyCorpusError, match=r"all 3 documents were removed.*\(3\).*word_count < 50 \(3\)"):
        curate(batches(short), tmp_path / "short")


def test_stages_can_be_left_out(tmp_path):
    everything = curate(batches(corpus()), tmp_path / "a", Curation(keep=None, mask=None, deduplicate=()))
    assert everything.kept.documents == 12
    only_exact = curate(batches(corpus()), tmp_path / "b", Curation(keep=None, mask=None, deduplicate=(exact(),)))
    assert only_exact.kept.documents == 11


@pytest.mark.parametrize(
    "name", ["removed.parquet", "survivors.arrow", "keys-0.u64", "documents-000.parquet", "signals.parquet"]
)
def test_a_full_disk_is_a_clear_error(tmp_path, monkeypatch, name):
    import fsspec

    class Full:
        closed = False
        mode = "wb"

        def write(self, data):
            raise OSError(errno.ENOSPC, "No space left on device")

        def close(self):
            self.closed = True

        def flush(self): ...
        def tell(self):
            return 0

        def seekable(self):
            return False

        def readable(self):
            return False

        def writable(self):
            return True

        def __enter__(self):
            return self

        def __exit__(self, *_): ...

    real, real_fsspec = Path.open, fsspec.open
    monkeypatch.setattr(Path, "open", lambda self, *a, **k: Full() if self.name == name else real(self, *a, **k))
    monkeypatch.setattr(fsspec, "open", lambda p, *a, **k: Full() if str(p).endswith(name) else real_fsspec(p, *a, **k))
    with pytest.raises(OSError, match=f"no space left while writing .*{name}.*free some space") as caught:
        curate(batches(corpus()), tmp_path)
    assert caught.value.errno == errno.ENOSPC


def test_a_directory_is_curated_into_once(tmp_path):
    curate(batches(corpus()), tmp_path)
    with pytest.raises(FileExistsError, match="choose a new directory"):
        curate(batches(corpus()), tmp_path)
    with pytest.raises(FileNotFoundError, match="curate documents"):
        next(kept_documents(tmp_path / "elsewhere"))
