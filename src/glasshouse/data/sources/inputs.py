"""Inputs as shards: what can be read on its own, on any worker, in an order that depends on the inputs alone."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import fsspec
import pyarrow as pa

from glasshouse.data.quarantine import Quarantine
from glasshouse.data.sources.forms import FORMS, Form
from glasshouse.data.sources.naming import below, inside, joined, links, root_names
from glasshouse.data.sources.rows import SeenIds
from glasshouse.data.sources.settings import Reading
from glasshouse.store.configuration import Config, fingerprint

Reader = Callable[["InputShard", Quarantine, SeenIds], Iterator[pa.RecordBatch]]


class InputShard(Config):
    """A file of documents, a range of one, or some files of a tree. It can be pickled and holds no open file.

    Attributes:
        path: the file, or the root of the tree; a local path or an fsspec URL.
        size: bytes on disk.
        stamp: time of modification (or entity tag), as the storage tells it.
        form: how to read it.
        compression: "gz", "zst", "bz2" or "" for none.
        start, end: the range: bytes of uncompressed JSON Lines, row groups of Parquet; all of it by default.
        files: of a tree: names below the root.
        skipped: of a tree: files and folders that are no documents, by the rule that says so.
        reading: settings.
        root, root_name: the directory that was named for it, and what that is called (`naming.py`).
    """

    path: str
    size: int
    stamp: str = ""
    form: Form = "jsonl"
    compression: str = ""
    start: int = 0
    end: int | None = None
    files: tuple[str, ...] = ()
    skipped: tuple[tuple[str, int], ...] = ()
    reading: Reading = Reading()
    root: str = ""
    root_name: str = ""

    def called(self, name: str = "") -> str:
        """What origins and the quarantine call the file, or a file of the tree."""
        return joined([self.root_name, below(self.path, self.root), name]) if self.root else inside(self.path, name)

    def location(self, name: str) -> str:
        """Where a file of the tree is."""
        return inside(self.path, name)

    @property
    def name(self) -> str:
        """The file's name, with the range where it is one; of a tree, its first file."""
        base = links(self.path)[1].rstrip("/").rsplit("/", 1)[-1]
        return f"{base}/{self.files[0]}" if self.files else f"{base}{self._range}"

    @property
    def listed(self) -> str:
        """What it is called, with the range where it is one; of a tree, its first file."""
        return self.called(self.files[0]) if self.files else f"{self.called()}{self._range}"

    @property
    def _range(self) -> str:
        return "" if self.end is None else f"#{self.start}-{self.end}"

    def fingerprint(self, strong: bool = False) -> str:
        """Says whether the documents may have changed.

        Cheap: path, size and time of modification. `strong`: the sha256 of the bytes, whatever their path and time.
        Both say how they are read.
        """
        how = "" if self.reading == Reading() else fingerprint(self.reading)
        form = f"{self.form} {self.compression} {self.start}-{self.end} {how}".rstrip()
        if strong:
            return f"sha256 {self._sha256()} {form}"
        tree = fingerprint([list(self.files), list(map(list, self.skipped))]) if self.files else ""
        return f"{self.path} {self.size} {self.stamp} {form} {tree}".rstrip()

    def batches(self, quarantine: Quarantine, seen: SeenIds | None = None) -> Iterator[pa.RecordBatch]:
        """The documents, in order, as batches of `document.DOCUMENT`.

        Args:
            quarantine: where bad records go; afterwards `rows_seen == rows_kept + rows_quarantined`.
            seen: ids read before; by default an id only may not come twice in this shard.
        """
        for rule, count in self.skipped:
            quarantine.skip(rule, count)
        reader: Reader = _reader(self.form)
        return reader(self, quarantine, SeenIds() if seen is None else seen)

    def _sha256(self) -> str:
        digest = hashlib.sha256()
        for name in self.files or ("",):
            digest.update(f"{name}\0".encode() if name else b"")
            with fsspec.open(self.location(name), "rb") as raw:
                left = -1
                if self.form == "jsonl" and self.end is not None:
                    raw.seek(self.start)
                    left = self.end - self.start
                while left and (block := raw.read(min(left, 1 << 20) if left > 0 else 1 << 20)):
                    digest.update(block)
                    left -= len(block) if left > 0 else 0
        return digest.hexdigest()


def _reader(form: str) -> Any:
    if form == "jsonl":
        from glasshouse.data.sources.json_lines import read_json_lines as reader
    elif form == "parquet":
        from glasshouse.data.sources.tables import read_parquet as reader
    elif form == "arrow":
        from glasshouse.data.sources.tables import read_arrow as reader
    elif form == "warc":
        from glasshouse.data.sources.web_archive import read_web_archive as reader
    elif form == "wiki":
        from glasshouse.data.sources.wiki_dump import read_wiki_dump as reader
    elif form == "text":
        from glasshouse.data.sources.trees import read_text_tree as reader
    else:
        from glasshouse.data.sources.code_trees import read_code_tree as reader
    return reader


def shards_from(inputs: Sequence[str | Path] | Sequence[InputShard]) -> list[InputShard]:
    """Shards that were planned as they are, or those of paths. Raises as `plan_inputs`, and `TypeError` for both."""
    planned = [entry for entry in inputs if isinstance(entry, InputShard)]
    if planned and len(planned) < len(inputs):
        raise TypeError(f"give paths or planned shards, not both: {len(planned)} of {len(inputs)} are shards")
    return planned or plan_inputs(cast("Sequence[str | Path]", inputs))


def plan_inputs(
    paths: str | Path | Iterable[str | Path],
    form: str = "auto",
    *,
    shard_bytes: int | None = None,
    reading: Reading | None = None,
) -> list[InputShard]:
    """The shards of files, directories, patterns and URLs: in sorted order per entry, whoever works on them.

    Args:
        paths: directories are searched. A curated corpus means its documents, a folder of `save_to_disk` its Arrow
            files, and a directory with nothing but text files is a tree of plain text.
        form: one of `forms.FORMS`, or "auto": by suffix, for a file named outright also by its first bytes.
        shard_bytes: split uncompressed JSON Lines (at line ends) and Parquet (between row groups) into pieces of about
            this size on disk; `None` makes every file one shard. Trees of files are always cut, by default at 32 MiB.
        reading: settings for all of them.

    Raises:
        FileNotFoundError: when an entry of `paths` matches no file (nothing has been read then).
        UnknownFormatError: when a file named outright is in no known form; lists the forms.
        ValueError: for a form that is not one.
    """
    from glasshouse.data.sources.planning import shards_of

    if form != "auto" and form not in FORMS:
        raise ValueError(f"form must be 'auto' or one of {', '.join(FORMS)}; got {form!r}")
    if shard_bytes is not None and shard_bytes < 1:
        raise ValueError(f"shard_bytes must be at least 1, got {shard_bytes}")
    entries = [paths] if isinstance(paths, str | Path) else list(paths)
    found = [shard for entry in entries for shard in shards_of(str(entry), form, shard_bytes, reading or Reading())]
    if not found:
        raise FileNotFoundError("no files to read: the list of paths is empty")
    names = root_names(shard.root for shard in found)
    return [shard.but(root_name=names[shard.root]) if names[shard.root] else shard for shard in found]
