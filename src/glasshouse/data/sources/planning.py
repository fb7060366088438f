"""From what a person names to shards: finding files, choosing forms, cutting files that can be cut."""

from __future__ import annotations

import hashlib
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import fsspec
import orjson
import pyarrow as pa

from glasshouse.data.sources.forms import FORMS, KNOWN, Form, form_of_content, form_of_name, unknown
from glasshouse.data.sources.inputs import InputShard
from glasshouse.data.sources.lines import compression_of
from glasshouse.data.sources.naming import links
from glasshouse.data.sources.settings import Reading

TREE_BYTES = 32 << 20
_TREES = ("text", "code")
_BLOCK = 1 << 16


class NotAFileError(OSError):
    """A pipe, socket or device, which cannot be read twice and may never end, is named as an input."""


class StorageError(OSError):
    """A URL that no file system here can open."""


@dataclass(frozen=True)
class _Storage:
    """A file system, and what stands before and behind its own part in URLs (`simplecache::`, `::archive.zip`)."""

    system: Any
    before: str = ""
    behind: str = ""

    @property
    def local(self) -> bool:
        protocol = self.system.protocol
        return (
            not self.before and not self.behind and "file" in (protocol if isinstance(protocol, tuple) else (protocol,))
        )

    def url(self, path: str) -> str:
        """Of a path in the file system, what opens it."""
        return path if self.local else f"{self.before}{self.system.unstrip_protocol(path)}{self.behind}"


def shards_of(entry: str, form: str, shard_bytes: int | None, reading: Reading) -> list[InputShard]:
    """The shards of one entry. Raises as `plan_inputs`."""
    storage, path = _opened(entry)
    root = path
    if storage.system.isdir(path):
        found = list(_directory(storage, path, form, shard_bytes, reading))
    elif any(mark in path for mark in "*?["):
        found, root = [], re.split(r"[*?\[]", path)[0].rpartition("/")[0]
        for name in sorted(storage.system.glob(path)):
            if storage.system.isdir(name):
                found += _directory(storage, name, form, shard_bytes, reading)
            elif _kind(storage, name) != "other":
                found += _file(storage, name, form, shard_bytes, reading)
    else:
        root, kind = path.rpartition("/")[0], _kind(storage, path)
        if kind == "other":
            raise NotAFileError(f"{entry!r} is a pipe, socket or device: write it to a file first, and name that")
        if kind == "broken":
            raise FileNotFoundError(f"{entry!r} is a broken link: {Path(path).readlink()} does not exist")
        found = list(_file(storage, path, form, shard_bytes, reading)) if storage.system.exists(path) else []
    if not found:
        wanted = f"of form {form!r}: {FORMS[form]}" if form != "auto" else f"known suffixes: {KNOWN}"
        raise FileNotFoundError(f"{entry!r} matches no file to read ({wanted})")
    return [shard.but(root=storage.url(root or storage.system.root_marker)) for shard in found]


def _opened(entry: str) -> tuple[_Storage, str]:
    """The file system of an entry, and the path in it."""
    if not entry:
        raise FileNotFoundError("an empty path names no file to read; the current directory is '.'")
    try:
        system, path = fsspec.core.url_to_fs(entry)
    except (OSError, ImportError):
        raise
    except Exception as error:  # the errors of file systems and archives have no common kind
        raise StorageError(f"{entry!r} cannot be opened: {type(error).__name__}: {error}") from error
    before, _, behind = links(entry) if "::" in entry else ("", entry, "")
    return _Storage(system, before, behind), path


def _directory(
    storage: _Storage, path: str, form: str, shard_bytes: int | None, reading: Reading
) -> Iterator[InputShard]:
    if form in _TREES:
        yield from _tree(storage, path, form, shard_bytes, reading)
        return
    files = _saved_dataset(storage.system, path) if form in ("auto", "arrow") else []
    files = files or [(name, found) for name in sorted(_documents(storage, path)) if (found := _form(storage, name))]
    for name, found in files:
        if found == form or (form == "auto" and found not in _TREES):
            yield from _cut(_shard(storage, name, found, reading), shard_bytes)
    if form == "auto" and files and all(found in _TREES for _, found in files):
        yield from _tree(storage, path, "text", shard_bytes, reading)


def _documents(storage: _Storage, path: str) -> list[str]:
    """All files below a directory; of a curated corpus only its documents."""
    corpus = storage.system.glob(f"{path.rstrip('/')}/documents-*.parquet")
    # Pipes and devices would be waited for without an end; a link that leads nowhere is told when it is opened.
    return list(corpus) or [name for name in storage.system.find(path) if _kind(storage, name) != "other"]


def _kind(storage: _Storage, path: str) -> str:
    """What a path leads to: "file", "broken" (a link to nothing) or "other"; only local paths can be no files."""
    if not storage.local:
        return "file"
    try:
        mode = Path(path).stat().st_mode
    except OSError:
        return "broken" if Path(path).is_symlink() else "file"
    return "file" if stat.S_ISREG(mode) else "other"


def _form(storage: _Storage, name: str) -> Form | None:
    """The form of a file found in a directory; not every XML file there is a dump of a wiki."""
    found = form_of_name(name)
    if found != "wiki":
        return found
    try:
        return "wiki" if form_of_content(storage.url(name))[0] == "wiki" else None
    except (OSError, ValueError):
        return None


def _saved_dataset(system: Any, path: str) -> list[tuple[str, Form]]:
    """The Arrow files of a folder that `datasets` saved: those of its splits in their order."""
    root = path.rstrip("/")
    if system.exists(f"{root}/dataset_dict.json"):
        about = orjson.loads(system.cat_file(f"{root}/dataset_dict.json"))
        splits = about.get("splits") if isinstance(about, dict) else None
        # Only folders right inside: the file may come from anywhere, and may not name what lies outside, or itself.
        if not isinstance(splits, list) or not all(map(_is_folder_name, splits)):
            raise ValueError(f"{path!r} has a dataset_dict.json whose splits are no names of folders: {splits!r:.200}")
        return [file for split in splits for file in _saved_dataset(system, f"{root}/{split}")]
    if not system.exists(f"{root}/state.json") or not system.exists(f"{root}/dataset_info.json"):
        return []
    state = orjson.loads(system.cat_file(f"{root}/state.json"))
    if state.get("_indices_files"):
        raise ValueError(f"{path!r} was saved as a selection of rows; save it again with `datasets` 2 or later")
    return [(f"{root}/{Path(file['filename']).name}", "arrow") for file in state["_data_files"]]


def _is_folder_name(split: Any) -> bool:
    return isinstance(split, str) and split not in ("", ".", "..") and "/" not in split


def _file(storage: _Storage, path: str, form: str, shard_bytes: int | None, reading: Reading) -> Iterator[InputShard]:
    found: Any = form if form != "auto" else form_of_name(path)
    compression = compression_of(path)
    if found is None or (form != "auto" and form_of_name(path) != form and not compression):
        if compression:
            raise unknown(path)
        try:
            seen, compression = form_of_content(storage.url(path))
            found = found or seen
        except ValueError:
            if found is None:
                raise
    if found in _TREES:
        root, _, name = path.rpartition("/")
        yield _shard(storage, path, found, reading).but(path=storage.url(root), files=(name,), compression="")
    else:
        yield from _cut(_shard(storage, path, found, reading).but(compression=compression), shard_bytes)


def _shard(storage: _Storage, path: str, form: Form, reading: Reading) -> InputShard:
    about = storage.system.info(path) if _kind(storage, path) != "broken" else {}
    compression = compression_of(path) if form not in ("parquet", "arrow") else ""
    return InputShard(
        path=storage.url(path), size=int(about.get("size") or 0), stamp=_stamp(about), form=form,
        compression=compression, reading=reading,
    )  # fmt: skip


def _stamp(about: dict[str, Any]) -> str:
    """What changes when a file is written again."""
    if about.get("type") in ("file", "link") and "ino" in about:
        return str(Path(about["name"]).stat().st_mtime_ns)  # nanoseconds; fsspec rounds to a float
    found = next(
        (about[key] for key in ("ETag", "etag", "mtime", "LastModified", "created", "CRC") if about.get(key)), ""
    )
    return str(found)


def _cut(shard: InputShard, shard_bytes: int | None) -> list[InputShard]:
    """Pieces of a file; a file that cannot be looked into stays whole, and its reader says what is wrong."""
    if shard_bytes is None or shard.size <= shard_bytes or shard.compression:
        return [shard]
    try:
        if shard.form == "jsonl":
            cuts = _line_ends(shard.path, shard.size, shard_bytes)
        elif shard.form == "parquet":
            cuts = _row_groups(shard.path, shard_bytes)
        else:
            return [shard]
    except (OSError, ValueError, pa.ArrowException):
        return [shard]
    ranges = list(pairwise(cuts))
    if len(ranges) < 2:
        return [shard]
    whole = cuts[-1]
    sizes = [end - start if shard.form == "jsonl" else shard.size * (end - start) // whole for start, end in ranges]
    pieces = [shard.but(start=start, end=end, size=size) for (start, end), size in zip(ranges, sizes, strict=True)]
    return cast("list[InputShard]", pieces)


def _line_ends(path: str, size: int, shard_bytes: int) -> list[int]:
    """Offsets to cut at: 0, the first line end after every `shard_bytes`, and the file's size."""
    cuts = [0]
    with fsspec.open(path, "rb") as raw:
        while cuts[-1] + shard_bytes < size:
            at = cuts[-1] + shard_bytes
            raw.seek(at)
            while block := raw.read(_BLOCK):
                end = block.find(b"\n")
                if end >= 0:
                    at += end + 1
                    break
                at += len(block)
            cuts.append(min(at, size))
    return cuts if cuts[-1] == size else [*cuts, size]


def _row_groups(path: str, shard_bytes: int) -> list[int]:
    import pyarrow.parquet as pq

    cuts, held = [0], 0
    with fsspec.open(path, "rb") as raw, pq.ParquetFile(raw) as table:
        for group in range(table.num_row_groups):
            about = table.metadata.row_group(group)
            held += sum(about.column(column).total_compressed_size for column in range(about.num_columns))
            if held >= shard_bytes:
                cuts.append(group + 1)
                held = 0
        last = table.num_row_groups
    return cuts if cuts[-1] == last else [*cuts, last]


def _tree(storage: _Storage, path: str, form: str, shard_bytes: int | None, reading: Reading) -> Iterator[InputShard]:
    """The files of a tree, in sorted order, some to a shard."""
    from glasshouse.data.sources.trees import walk

    root, limit = storage.url(path), TREE_BYTES if shard_bytes is None else shard_bytes
    files, skipped = walk(storage.system, path, form)
    group: list[Any] = []
    groups, held = [], 0
    for file in files:
        group.append(file)
        held += file.size
        if held >= limit or len(group) >= 4096:
            groups.append(group)
            group, held = [], 0
    for number, some in enumerate([*groups, group] if group else groups):
        stamps = orjson.dumps([stamp for _, _, stamp in some])
        yield InputShard(
            path=root, form=cast("Form", form), reading=reading, size=sum(size for _, size, _ in some),
            stamp=_digest(stamps), files=tuple(name for name, _, _ in some),
            skipped=tuple(skipped.items()) if number == 0 else (),
        )  # fmt: skip


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
