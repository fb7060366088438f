"""Trees of plain text and of code: encodings, what is skipped by which rule, and nothing from outside the tree."""

import json

import fsspec
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from glasshouse.data.quarantine import Quarantine
from glasshouse.data.sources.inputs import plan_inputs
from glasshouse.data.sources.rows import BadRowError
from glasshouse.data.sources.settings import Reading
from glasshouse.data.sources.trees import decoded


def plant(root, files):
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content if isinstance(content, bytes) else content.encode())


def read(path, form="auto", quarantine=None, **planning):
    quarantine = quarantine or Quarantine()
    found = []
    for shard in plan_inputs(path, form, **planning):
        found += [row for batch in shard.batches(quarantine) for row in batch.to_pylist()]
    assert quarantine.rows_kept == len(found)
    assert quarantine.rows_seen == quarantine.rows_kept + quarantine.rows_quarantined
    return found, quarantine


FRENCH = "Où est le café à côté ?\n"


def test_encodings_are_named_and_counted(tmp_path):
    plant(
        tmp_path,
        {
            "1.txt": FRENCH, "2.md": FRENCH.encode("utf-8-sig"), "3.rst": FRENCH.encode("latin-1"),
            "4.txt": "“smart” €".encode("windows-1252"), "5.txt": FRENCH.encode("utf-16"), "6.txt": b"plain\x0c\n",
            "bad/binary.txt": b"\x89PNG\r\n\x1a\n\0\0", "bad/empty.txt": b"", "bad/mark.txt": b"\xef\xbb\xbf",
            "bad/hole.txt": b"\x81\x8d\x90 undefined in windows-1252", "bad/odd.txt": b"\xff\xfea",
            "bad/long.txt": b"x" * 2000, "bad/wide.txt": b"\xe9" * 900,
        },
    )  # fmt: skip
    found, quarantine = read(tmp_path, reading=Reading(max_document_bytes=1000, source="notes"))
    assert [(row["id"], row["text"]) for row in found] == [
        ("1.txt", FRENCH), ("2.md", FRENCH), ("3.rst", FRENCH), ("4.txt", "“smart” €"), ("5.txt", FRENCH),
        ("6.txt", "plain\x0c\n"),
    ]  # fmt: skip
    encodings = [json.loads(row["metadata"])["encoding"] for row in found]
    assert encodings == ["utf-8", "utf-8-sig", "latin-1", "windows-1252", "utf-16", "utf-8"]
    assert quarantine.noted["encoding utf-8"] == 2
    assert sum(quarantine.noted.values()) == 6
    assert quarantine.by_reason == {"binary_file": 3, "empty_file": 2, "text_too_long": 2}
    origin = found[2]["origin"]
    assert origin == {"file": "3.rst", "start": 0, "end": len(FRENCH)}
    assert {row["source"] for row in found} == {"notes"}


@settings(max_examples=200, deadline=None)
@given(content=st.binary(max_size=60))
def test_any_bytes_are_decoded_or_refused(content):
    try:
        text, encoding = decoded(content, 100)
    except BadRowError as bad:
        event(bad.reason)
        return
    assert b"\0" not in content or encoding == "utf-16"
    assert text.encode(encoding).removeprefix(b"\xef\xbb\xbf") == content.removeprefix(b"\xef\xbb\xbf") or (
        encoding == "utf-16" and text.encode("utf-16-le") in (content[2:], content[2:])
    ) or (encoding == "utf-16" and text.encode("utf-16-be") == content[2:])  # fmt: skip
    try:
        assert content.decode().removeprefix("\ufeff") == text  # what is UTF-8 is never taken for anything else
    except UnicodeDecodeError:
        assert encoding not in ("utf-8", "utf-8-sig")


def test_symbolic_links_are_never_followed(tmp_path):
    plant(tmp_path, {"secret.txt": "outside", "tree/a.txt": "inside", "tree/sub/b.txt": "below", "outer/c.txt": "out"})
    (tmp_path / "tree" / "link.txt").symlink_to(tmp_path / "secret.txt")
    (tmp_path / "tree" / "loop").symlink_to(tmp_path / "tree", target_is_directory=True)
    (tmp_path / "tree" / "out").symlink_to(tmp_path / "outer", target_is_directory=True)
    for form in ("text", "auto"):
        found, quarantine = read(tmp_path / "tree", form)
        assert [row["text"] for row in found] == ["inside", "below"]
        assert quarantine.skipped == {"symbolic_link": 3}


def test_a_code_tree(tmp_path):
    plant(
        tmp_path,
        {
            "LICENSE": "MIT", "src/main.py": "print(1)\n", "src/lib.rs": "fn main() {}\n", "Makefile": "all:\n",
            "docs/LICENSE-docs.txt": "CC", "docs/guide.md": "# Guide\n", "data.bin": b"\0\1",
            "photo.unknown": "x", ".git/config": "x", ".git/hook.py": "x", "node_modules/a/index.js": "x",
            "sub/vendor/v.go": "x", "src/__pycache__/main.py": "x", "src/bad.c": b"int \0 main",
        },
    )  # fmt: skip
    found, quarantine = read(tmp_path, "code")
    about = {row["id"]: json.loads(row["metadata"]) for row in found}
    assert {name: about[name]["language"] for name in about} == {
        "Makefile": "Makefile", "docs/guide.md": "Markdown", "src/lib.rs": "Rust", "src/main.py": "Python",
    }  # fmt: skip
    assert list(about) == sorted(about)
    assert about["src/main.py"]["licence_file"] == "LICENSE"
    assert about["docs/guide.md"]["licence_file"] == "docs/LICENSE-docs.txt"
    assert quarantine.skipped == {"version_control": 1, "vendored": 2, "generated": 1, "unknown_suffix": 4}
    assert quarantine.by_reason == {"binary_file": 1}
    (tmp_path / "LICENSE").unlink()
    assert "licence_file" not in json.loads(read(tmp_path / "src", "code")[0][0]["metadata"])


def test_a_tree_is_cut_in_a_fixed_order(tmp_path):
    plant(tmp_path, {f"{i % 7}/{i:03}.txt": f"text {i}" for i in range(50)})
    whole, _ = read(tmp_path)
    shards = plan_inputs(tmp_path, shard_bytes=40)
    assert len(shards) > 5
    parts, _ = read(tmp_path, shard_bytes=40)
    assert parts == whole
    assert len({shard.fingerprint() for shard in shards}) == len(shards)
    before = [shard.fingerprint() for shard in shards]
    plant(tmp_path, {shards[3].files[0]: "other text"})
    after = [shard.fingerprint() for shard in plan_inputs(tmp_path, shard_bytes=40)]
    assert [a == b for a, b in zip(before, after, strict=False)][:4] == [True, True, True, False]


def test_a_file_that_goes_away_after_planning_is_told(tmp_path):
    plant(tmp_path, {"a.txt": "a", "b.txt": "b"})
    (shard,) = plan_inputs(tmp_path)
    (tmp_path / "a.txt").unlink()
    quarantine = Quarantine()
    assert [row["id"] for batch in shard.batches(quarantine) for row in batch.to_pylist()] == ["b.txt"]
    assert quarantine.by_reason == {"unreadable_file": 1}


def test_trees_in_other_storage():
    store = fsspec.filesystem("memory")
    try:
        store.pipe({"/tree/a.py": b"x = 1\n", "/tree/COPYING": b"GPL", "/tree/.git/b.py": b"y", "/tree/n.txt": b"note"})
        found, quarantine = read("memory://tree", "code")
        assert [(row["id"], row["origin"]["file"]) for row in found] == [("a.py", "a.py")]
        assert json.loads(found[0]["metadata"])["licence_file"] == "COPYING"
        assert quarantine.skipped == {"version_control": 1, "unknown_suffix": 2}
        assert [row["text"] for row in read("memory://tree", "text")[0]] == ["note"]
    finally:
        store.rm("/tree", recursive=True)


def test_an_empty_tree_is_an_error(tmp_path):
    plant(tmp_path, {"a.bin": b"\0"})
    with pytest.raises(FileNotFoundError, match="'code'"):
        plan_inputs(tmp_path, "code")
