"""What files are called: the same wherever they lie, and never two alike."""

import hashlib
import json
import random
import shutil
import zipfile
from pathlib import Path

import fsspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from glasshouse.data.corpus import CorpusDirectory
from glasshouse.data.curation.configuration import Curation
from glasshouse.data.curation.curate import curate
from glasshouse.data.description.explain import explain
from glasshouse.data.quarantine import Quarantine
from glasshouse.data.signals.measuring import SignalsMismatchError, measure_signals
from glasshouse.data.sources.inputs import plan_inputs
from glasshouse.data.sources.naming import below, inside, root_names
from glasshouse.data.sources.planning import StorageError
from glasshouse.data.sources.settings import Reading


def prose(seed):
    draw = random.Random(seed)
    return " ".join(draw.choice(["the", "of", "river", "garden", "letter", "summer"]) + str(seed) for _ in range(80))


def write_tree(home):
    """Every kind of thing that has a place: rows, damage, a folder below, a file that is repeated, text files."""
    for folder in ("a", "b"):
        (home / folder / "deep").mkdir(parents=True)
        rows = [{"text": f"{prose(n)} {folder}", "source": "web"} for n in range(4)]
        (home / folder / "x.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + "{broken\n")
        (home / folder / "deep" / "y.jsonl").write_text(json.dumps({"id": "same", "text": prose(9)}) + "\n")
        (home / folder / "deep" / "empty.jsonl").touch()
        (home / folder / "deep" / "bad.parquet").write_bytes(b"PAR1 no table")
    (home / "texts").mkdir()
    for number in range(3):
        (home / "texts" / f"{number}.txt").write_text(prose(20 + number))
    (home / "texts" / "binary.txt").write_bytes(b"\0\1")


def digests(directory):
    files = sorted(path for path in Path(directory).rglob("*") if path.is_file())
    return {
        str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
        if "record" not in path.parts
    }


def entries(home):
    return [str(home / "a"), str(home / "b"), str(home / "texts")]


def test_the_same_files_in_another_place_give_the_same_bytes(tmp_path):
    """Made ids too, which are of the origin; and nothing in the results names a place, the record apart."""
    for place in ("here", "far/away/there"):
        write_tree(tmp_path / place / "in")
        shards = plan_inputs(entries(tmp_path / place / "in"), reading=Reading(make_ids=True))
        measure_signals(shards, tmp_path / place / "signals")
        curate(shards, tmp_path / place / "corpus", Curation(keep=None), signals=tmp_path / place / "signals")
    for made in ("signals", "corpus"):
        here, there = (tmp_path / place / made for place in ("here", "far/away/there"))
        assert digests(here) == digests(there)
        for path in (path for path in here.rglob("*") if path.is_file() and "record" not in path.parts):
            assert str(tmp_path).encode() not in path.read_bytes()
    shutil.rmtree(tmp_path / "here" / "corpus")
    (tmp_path / "here" / "in" / "a" / "x.jsonl").write_text(json.dumps({"id": "n", "text": prose(1)}))
    changed = plan_inputs(entries(tmp_path / "here" / "in"), reading=Reading(make_ids=True))
    with pytest.raises(SignalsMismatchError, match="have changed"):
        curate(changed, tmp_path / "here" / "corpus", Curation(keep=None), signals=tmp_path / "here" / "signals")


def test_equal_names_stay_apart_and_lead_back_to_their_bytes(tmp_path):
    write_tree(tmp_path)
    shards = plan_inputs(entries(tmp_path), reading=Reading(make_ids=True))
    curate(shards, tmp_path / "out", Curation(keep=None, deduplicate=()))
    corpus = CorpusDirectory(tmp_path / "out")
    origins = [row["origin"] for batch in corpus.batches() for row in batch.to_pylist()]
    assert {o["file"] for o in origins} == {
        "a/x.jsonl",
        "b/x.jsonl",
        "a/deep/y.jsonl",
        *(f"texts/{n}.txt" for n in "012"),
    }
    for batch in corpus.batches():
        for row in batch.to_pylist():
            raw = Path(corpus.located(row["origin"]["file"])).read_bytes()
            found = raw[row["origin"]["start"] : row["origin"]["end"]].decode()
            assert (json.loads(found)["text"] if "jsonl" in row["origin"]["file"] else found) == row["text"]
    assert {(record["file"], record["reason"]) for record in corpus.quarantined} == {
        ("a/x.jsonl", "invalid_json"), ("b/x.jsonl", "invalid_json"), ("texts/binary.txt", "binary_file"),
        *((f"{folder}/deep/empty.jsonl", "empty_file") for folder in "ab"),
        *((f"{folder}/deep/bad.parquet", "unreadable_file") for folder in "ab"),
        ("b/deep/y.jsonl", "duplicate_id"),
    }  # fmt: skip
    assert {entry["file"] for entry in corpus.summary["inputs"]} >= {"a/x.jsonl", "b/x.jsonl"}


def test_a_corpus_made_of_a_corpus_leads_back_to_the_first_inputs(tmp_path):
    (tmp_path / "in.jsonl").write_text(json.dumps({"id": "one", "text": prose(1)}))
    curate(plan_inputs(str(tmp_path / "in.jsonl")), tmp_path / "first", Curation(keep=None))
    curate(plan_inputs(str(tmp_path / "first")), tmp_path / "second", Curation(keep=None))
    found = explain(tmp_path / "second", "one")
    assert (found.origin["file"], found.location) == ("in.jsonl", str(tmp_path / "in.jsonl"))
    (tmp_path / "in.jsonl").unlink()
    assert explain(tmp_path / "second", "one").location == "in.jsonl"


@pytest.mark.parametrize(
    ("roots", "names"),
    [
        (["/p/a"], [""]),
        (["/p/a", "/p/a"], ["", ""]),
        (["/p/a", "/p/b"], ["a", "b"]),
        (["/p/a/data", "/p/b/data"], ["a/data", "b/data"]),
        (["/p/d", "/p/d/sub", "/q/e/sub"], ["p/d", "d/sub", "e/sub"]),  # d/sub/x would be two files
        (["zip://d::/t/one.zip", "zip://d::/t/two.zip"], ["one.zip/d", "two.zip/d"]),
        (["s3://b/x", "gs://b/x"], ["s3://b/x", "gs://b/x"]),
        (["/data", "/x/data"], ["/data", "x/data"]),
    ],
)
def test_roots_have_the_shortest_names_that_tell_them_apart(roots, names):
    assert [root_names(roots)[root] for root in roots] == names


FOLDERS = st.lists(st.sampled_from("abc"), min_size=1, max_size=4).map(lambda parts: "/" + "/".join(parts))


@given(st.sets(FOLDERS, min_size=1, max_size=6), st.lists(st.sampled_from("abc"), min_size=1, max_size=3))
def test_no_two_files_are_called_alike(roots, rest):
    """Any file below any root: equal names only where it is the same file."""
    names = root_names(sorted(roots))
    called = {}
    for root in roots:
        for end in range(1, len(rest) + 1):
            path = inside(root, "/".join(rest[:end]))
            name = "/".join(filter(None, (names[root], below(path, root))))
            assert called.setdefault(name, path) == path


def read(entry):
    quarantine = Quarantine()
    rows = [row for shard in plan_inputs(entry) for batch in shard.batches(quarantine) for row in batch.to_pylist()]
    return [(row["id"], row["origin"]["file"]) for row in rows], quarantine


@pytest.mark.parametrize("inner", ["d/x.jsonl", "d", "d/*.jsonl", ""])
def test_files_in_an_archive_are_read(tmp_path, inner):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("d/x.jsonl", '{"id": "a", "text": "t"}\n{broken\n')
    found, quarantine = read(f"zip://{inner}::{tmp_path / 'a.zip'}")
    assert found == [("a", "x.jsonl" if inner else "d/x.jsonl")]
    assert quarantine.by_reason == {"invalid_json": 1}


def test_a_tree_in_an_archive_is_read(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("d/one.txt", "first")
        archive.writestr("d/deep/two.txt", "second")
    assert read(f"zip://d::{tmp_path / 'a.zip'}")[0] == [("deep/two.txt", "deep/two.txt"), ("one.txt", "one.txt")]


def test_damage_in_an_archive_is_quarantined(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("x.jsonl", '{"id": "a", "text": "t"}\n' * 3)
    content = (tmp_path / "a.zip").read_bytes()
    (tmp_path / "a.zip").write_bytes(content.replace(b'"t"', b'"u"', 1))
    _, quarantine = read(f"zip://x.jsonl::{tmp_path / 'a.zip'}")
    assert quarantine.by_reason["unreadable_file"] == 1
    assert "Bad CRC-32" in quarantine.records[-1]["message"]
    (tmp_path / "a.zip").write_bytes(content[:40])
    with pytest.raises(StorageError, match=r"a\.zip' cannot be opened: BadZipFile"):
        plan_inputs(f"zip://x.jsonl::{tmp_path / 'a.zip'}")


def test_addresses_that_nothing_opens_are_told():
    with pytest.raises(StorageError, match="'nosuch://x' cannot be opened"):
        plan_inputs("nosuch://x")
    with pytest.raises(FileNotFoundError, match="an empty path"):
        plan_inputs("")


def test_memory_and_cached_files_are_called_alike(tmp_path):
    system = fsspec.filesystem("memory")
    system.pipe("/naming/x.jsonl", b'{"id": "a", "text": "t"}\n')
    (tmp_path / "x.jsonl").write_bytes(b'{"id": "a", "text": "t"}\n')
    try:
        for entry in ("memory://naming", "memory://naming/x.jsonl", "memory://naming/*.jsonl",
                      f"simplecache::file://{tmp_path}/x.jsonl", f"file://{tmp_path}"):  # fmt: skip
            assert read(entry)[0] == [("a", "x.jsonl")]
    finally:
        system.rm("/naming", recursive=True)
