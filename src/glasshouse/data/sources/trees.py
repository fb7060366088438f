"""Trees of files, one document per file: plain text in any common encoding.

Tried in this order: UTF-8 (with or without a mark), UTF-16 with a mark, then Latin-1, or Windows-1252 where bytes 0x80
to 0x9f occur, which are no characters in Latin-1. What was used is in the metadata and counted in the quarantine's
notes. Files with NUL or other control characters are binary, and quarantined.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import fsspec
import orjson
import pyarrow as pa

from glasshouse.data.document import Document, Origin
from glasshouse.data.quarantine import Quarantine
from glasshouse.data.sources.code_languages import language_of
from glasshouse.data.sources.forms import TEXT_SUFFIXES
from glasshouse.data.sources.json_lines import unreadable
from glasshouse.data.sources.lines import UNREADABLE
from glasshouse.data.sources.rows import BadRowError, Found, SeenIds, batches_of

if TYPE_CHECKING:
    from glasshouse.data.sources.inputs import InputShard

SKIPPED_FOLDERS: dict[str, str] = {
    **dict.fromkeys((".git", ".hg", ".svn", ".bzr", "CVS"), "version_control"),
    **dict.fromkeys(
        ("node_modules", "bower_components", "vendor", "third_party", "third-party", "site-packages", "dist-packages",
         ".venv", "venv", ".tox", ".eggs", "Pods"), "vendored",
    ),
    **dict.fromkeys(("__pycache__", ".mypy_cache", ".pytest_cache", ".ruff_cache", ".ipynb_checkpoints"), "generated"),
}  # fmt: skip
"""Folders that hold nothing of the tree's own, and the rule that says so."""
_CONTROL = bytes(byte for byte in range(32) if byte not in b"\t\n\r\f\x1b\b") + b"\x7f"
_MARKS = {b"\xef\xbb\xbf": "utf-8-sig", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
_C1 = bytes(range(0x80, 0xA0))


class Listed(NamedTuple):
    """A file of a tree: its name below the root, its size in bytes, and what changes when it is written again."""

    name: str
    size: int
    stamp: str


def walk(system: Any, root: str, form: str) -> tuple[list[Listed], dict[str, int]]:
    """The files of a tree that are read, in sorted order, and how many are not, by rule.

    Symbolic links are never followed, so nothing outside of the tree is read and nothing inside twice.
    """
    skipped: Counter[str] = Counter()
    found = []
    local = "file" in (system.protocol if isinstance(system.protocol, tuple) else (system.protocol,))
    for file in _local_files(root, skipped) if local else _stored_files(system, root, skipped):
        wanted = file.name.lower().endswith(TEXT_SUFFIXES) if form == "text" else language_of(file.name) is not None
        if wanted:
            found.append(file)
        else:
            skipped["unknown_suffix"] += 1
    return sorted(found), dict(sorted(skipped.items()))


def _local_files(root: str, skipped: Counter[str]) -> Iterator[Listed]:
    waiting = [""]
    while waiting:
        folder = waiting.pop()
        try:
            entries = sorted(os.scandir(os.path.join(root, folder)), key=lambda entry: entry.name)  # noqa: PTH118
        except OSError:
            skipped["unreadable_folder"] += 1
            continue
        for entry in entries:
            name = f"{folder}/{entry.name}" if folder else entry.name
            if entry.is_symlink():
                skipped["symbolic_link"] += 1
            elif entry.is_dir(follow_symlinks=False):
                if rule := SKIPPED_FOLDERS.get(entry.name):
                    skipped[rule] += 1
                else:
                    waiting.append(name)
            elif entry.is_file(follow_symlinks=False):
                about = entry.stat(follow_symlinks=False)
                yield Listed(name, about.st_size, str(about.st_mtime_ns))
            else:
                skipped["special_file"] += 1


def _stored_files(system: Any, root: str, skipped: Counter[str]) -> Iterator[Listed]:
    for path, about in sorted(system.find(root, detail=True).items()):
        name = path[len(root.rstrip("/")) + 1 :]
        rule = next((SKIPPED_FOLDERS[part] for part in name.split("/")[:-1] if part in SKIPPED_FOLDERS), None)
        if rule:
            skipped[rule] += 1
        else:
            stamp = about.get("ETag") or about.get("mtime") or about.get("LastModified") or about.get("created") or ""
            yield Listed(name, int(about.get("size") or 0), str(stamp))


def read_text_tree(shard: InputShard, quarantine: Quarantine, seen: SeenIds) -> Iterator[pa.RecordBatch]:
    """The text files of a shard as documents: the id is the name below the root."""
    found = found_files(shard, quarantine, lambda name: {})
    return batches_of(found, shard.called(), quarantine, seen, shard.reading.batch_bytes)


def found_files(shard: InputShard, quarantine: Quarantine, about: Callable[[str], dict[str, Any]]) -> Iterator[Found]:
    """One document per file. `about` gives the metadata of a name beyond the encoding."""
    limit = shard.reading.max_document_bytes
    for name in shard.files:
        path = shard.called(name)
        try:
            with fsspec.open(shard.location(name), "rb") as raw:
                content = raw.read(limit + 1)
        except UNREADABLE as error:
            unreadable(shard, error, quarantine, name)
            continue
        quarantine.saw()
        try:
            text, encoding = decoded(content, limit)
        except BadRowError as bad:
            quarantine.add(bad.reason, str(bad), file=path, excerpt=content[:200])
            continue
        quarantine.note(f"encoding {encoding}")
        metadata = orjson.dumps({**about(name), "encoding": encoding}, option=orjson.OPT_SORT_KEYS).decode()
        yield Found(
            None, 0, Document(name, text, shard.reading.source, Origin(path, 0, len(content)), metadata=metadata)
        )


def decoded(content: bytes, limit: int) -> tuple[str, str]:
    """Text and the name of its encoding.

    Raises `BadRowError`: `empty_file`, `text_too_long`, `binary_file`.
    """
    if not content:
        raise BadRowError("empty_file", "the file has no bytes")
    if len(content) > limit:
        raise BadRowError("text_too_long", f"the file has more than {limit} bytes, which is the limit")
    text, encoding = _decode(content)
    size = len(text.encode())
    if size > limit:
        raise BadRowError("text_too_long", f"the text has {size} bytes of UTF-8, the limit is {limit}")
    if not text:
        raise BadRowError("empty_file", "the file has nothing but a byte order mark")
    return text, encoding


def _decode(content: bytes) -> tuple[str, str]:
    marked = next((encoding for mark, encoding in _MARKS.items() if content.startswith(mark)), "")
    if marked != "utf-16" and len(content.translate(None, _CONTROL)) != len(content):
        raise BadRowError("binary_file", "the file holds control characters, so it is not text")
    has_c1 = len(content.translate(None, _C1)) != len(content)
    for encoding in [marked] if marked else ["utf-8", "windows-1252" if has_c1 else "latin-1"]:
        try:
            return content.decode(encoding), encoding
        except UnicodeDecodeError as error:
            problem = error
    raise BadRowError(
        "binary_file", f"byte {problem.start} is no character in {problem.encoding}, the last encoding tried"
    )
