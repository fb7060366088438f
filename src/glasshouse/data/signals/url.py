"""Where a document comes from: host and registered domain of its URL, and whether a block list names it.

The URL is `metadata.url`, or the id when that is one. Lists are the user's files; none is shipped or downloaded. Two
defects of Dolma are not repeated: hosts lose one leading `www.` only (`lstrip("www.")` turned `wikipedia.org` into
`ikipedia.org`), and no pattern holds a backspace for a word boundary. A listed host stands for its subdomains too.
"""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
from pydantic import model_validator

from glasshouse.data.document import strings
from glasshouse.data.signals.signal import Signal, flag, label
from glasshouse.data.signals.span_columns import metadata_of
from glasshouse.data.signals.url_blocklist import (
    BlockList,
    BlockListError,
    host_of,
    read_block_list,
    registered_domain,
)
from glasshouse.store.configuration import Config

_CITATION = "arXiv 2402.00159, section 5 (URL block lists)"
_SCHEMES = ("http://", "https://")


class Url(Config):
    """Host, domain, and block lists.

    Attributes:
        lists: files of block lists, asked in this order.
        hashes: sha256 of each; filled in when left empty, so that the configuration names the exact lists.
    """

    name: Literal["url"] = "url"
    lists: tuple[str, ...] = ()
    hashes: tuple[str, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _pin(cls, values: dict[str, Any]) -> dict[str, Any]:
        given = values.get("lists") or ()
        if isinstance(given, list | tuple) and all(isinstance(path, str | Path) for path in given):
            paths = [str(Path(path).resolve()) for path in given]
            values = values | {"lists": tuple(paths)}
            if not values.get("hashes"):
                values["hashes"] = tuple(_file_hash(path) for path in paths)
        return values

    @model_validator(mode="after")
    def _readable(self) -> Url:
        if len(self.hashes) != len(self.lists):
            raise ValueError(f"{len(self.lists)} lists need as many hashes, got {len(self.hashes)}")
        for path, sha256 in zip(self.lists, self.hashes, strict=True):
            _list(path, sha256)
        return self

    @property
    def signals(self) -> tuple[Signal, ...]:
        return (
            label("url_host", "host of the URL, without www.; empty where there is no URL", _CITATION),
            label("url_domain", "registered domain of the URL, by rule of thumb", _CITATION),
            flag("url_blocked", "a block list names the host, a domain above it, or the address", _CITATION),
            label("url_block_list", "name of the first block list that does; empty where none", _CITATION),
        )

    def compute(self, batch: pa.RecordBatch) -> list[pa.Array[Any]]:
        urls = urls_of(batch)
        hosts = [host_of(url) if url else "" for url in urls]
        lists = [(Path(path).name, _list(path, sha256)) for path, sha256 in zip(self.lists, self.hashes, strict=True)]
        named = [next((name for name, entries in lists if entries.matches(url)), "") for url in urls]
        return [
            pa.array(hosts, pa.string()),
            pa.array([registered_domain(host) for host in hosts], pa.string()),
            pa.array([bool(name) for name in named], pa.bool_()),
            pa.array(named, pa.string()),
        ]


def urls_of(batch: pa.RecordBatch) -> list[str]:
    """The URL of every document: `metadata.url`, or the id when it is one; "" where there is none."""
    found = []
    for identifier, about in zip(strings(batch, "id"), metadata_of(batch, '"url"'), strict=True):
        url = about.get("url")
        if not isinstance(url, str) or not url.strip():
            url = identifier if identifier.lower().startswith(_SCHEMES) else ""
        found.append(url.strip())
    return found


def _file_hash(path: str) -> str:
    if not Path(path).is_file():
        raise BlockListError(f"{path} is missing: give the file of a block list")
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


@functools.lru_cache(maxsize=64)
def _list(path: str, sha256: str) -> BlockList:
    if _file_hash(path) != sha256:
        raise BlockListError(f"{path} has changed since it was configured (sha256 {sha256})")
    return read_block_list(path)
