"""Headers of index files: JSON that says which files there are, how large they are, and their sha256."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import orjson

from glasshouse.data.search.errors import SearchIndexError
from glasshouse.data.writing import disk_errors_named
from glasshouse.store.configuration import Config, ConfigurationError
from glasshouse.store.files import hash_file, inside

FORMAT = 1


class FileEntry(Config):
    """A file of an index."""

    bytes: int
    sha256: str


Header = TypeVar("Header", bound=Config)


def write_header(path: Path, header: Config) -> None:
    """Writes a header whole or not at all; equal headers give equal bytes."""
    partial = path.with_name(path.name + ".partial")
    with disk_errors_named(path):
        partial.write_bytes(orjson.dumps(header.model_dump(), option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS))
        partial.replace(path)


def read_header(path: Path, kind: type[Header]) -> Header:
    """Reads a header.

    Raises:
        SearchIndexError: there is none, it is not valid JSON, or it lacks something.
    """
    if not path.is_file():
        raise SearchIndexError(f"{path.parent} holds no {path.name}: it is not a finished search index; build it again")
    try:
        return kind(**orjson.loads(path.read_bytes()))
    except (orjson.JSONDecodeError, ConfigurationError, TypeError) as error:
        raise SearchIndexError(f"{path} is damaged ({error}): build the index again") from None


def entries_of(folder: Path, names: list[str]) -> dict[str, FileEntry]:
    """Sizes and hashes of files just written."""
    return {name: FileEntry(bytes=(folder / name).stat().st_size, sha256=hash_file(folder / name)) for name in names}


def check_sizes(folder: Path, files: dict[str, FileEntry]) -> None:
    """Raises `SearchIndexError` naming the first file that is missing or has another size than the header says."""
    for name, entry in files.items():
        path = inside(folder, name)
        if not path.is_file():
            raise SearchIndexError(f"{path} is missing: build the index again")
        if (size := path.stat().st_size) != entry.bytes:
            raise SearchIndexError(
                f"{path} has {size} bytes, its header says {entry.bytes}: it is cut or damaged, build the index again"
            )


def check_hashes(folder: Path, files: dict[str, FileEntry]) -> None:
    """Reads all files; raises `SearchIndexError` naming the first whose sha256 differs."""
    check_sizes(folder, files)
    for name, entry in files.items():
        if hash_file(folder / name) != entry.sha256:
            raise SearchIndexError(
                f"{folder / name} has changed: its sha256 is not the header's; build the index again"
            )
