"""What a run says about a corpus by itself: files, sources, licences, dates, labels, tokens."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from glasshouse.data.corpus import KEPT, CorpusDirectory
from glasshouse.data.document import strings
from glasshouse.store.files import hash_file

LICENCE_FIELDS = ("license", "licence", "license_name", "license_type", "spdx")
NOT_GIVEN = "not given"
_ISO = re.compile(r"\d{4}(-(0[1-9]|1[0-2])(-(0[1-9]|[12]\d|3[01])([T ]\d\d:.*)?)?)?$")


class FileFact(NamedTuple):
    """One file of documents: name, documents, size and sha256."""

    name: str
    documents: int
    bytes: int
    sha256: str


@dataclass
class DocumentFacts:
    """What the kept documents say.

    Attributes:
        licences: source -> licence named in the metadata -> documents.
        dates: column (created, added) -> (earliest, latest, documents that have one), of ISO dates and times.
        unreadable_dates: column -> documents with something else there.
    """

    licences: dict[str, Counter[str]] = field(default_factory=dict)
    dates: dict[str, tuple[str, str, int]] = field(default_factory=dict)
    unreadable_dates: Counter[str] = field(default_factory=Counter)


def file_facts(corpus: CorpusDirectory) -> list[FileFact]:
    """Every file of documents, in order."""
    return [
        FileFact(file.name, pq.read_metadata(file).num_rows, file.stat().st_size, hash_file(file))
        for file in corpus.document_files
    ]


def merkle_root(files: Sequence[FileFact]) -> str:
    """One sha256 for all files: the root of a Merkle tree over (name, sha256), with RFC 6962's prefixes.

    A leaf is sha256(00, name, 00, sha256 of the file), a node sha256(01, left, right); an odd node moves up unchanged.
    So anyone can prove that one file belongs to the corpus without having the others.
    """
    level = [hashlib.sha256(b"\0" + f.name.encode() + b"\0" + bytes.fromhex(f.sha256)).digest() for f in files]
    while len(level) > 1:
        pairs = [level[at : at + 2] for at in range(0, len(level), 2)]
        level = [hashlib.sha256(b"\1" + pair[0] + pair[1]).digest() if len(pair) == 2 else pair[0] for pair in pairs]
    return level[0].hex() if level else hashlib.sha256(b"").hexdigest()


def document_facts(corpus: CorpusDirectory) -> DocumentFacts:
    """Licences and dates of the kept documents, one pass over the columns that have them (texts are not read)."""
    facts = DocumentFacts()
    for file in corpus.document_files:
        with pq.ParquetFile(file) as table:
            for batch in table.iter_batches(columns=["source", "metadata", "created", "added"]):
                _count_licences(batch, facts)
                for column in ("created", "added"):
                    _widen(facts, column, [value for value in strings(batch, column) if value])
    facts.licences = {source: facts.licences[source] for source in sorted(facts.licences)}
    return facts


def label_shares(corpus: CorpusDirectory) -> dict[str, list[tuple[str, int, int]]]:
    """Every signal that is a word, such as the language: (value, documents in, documents kept), most first."""
    schema = pq.read_schema(corpus.signal_files[0])
    names = [f.name for f in schema if f.name not in ("id", "source", "verdict") and pa.types.is_string(f.type)]
    shares = {}
    for name in names:
        table = corpus.signals([name, "verdict"])
        kept = table.filter(pc.equal(table.column("verdict"), pa.scalar(KEPT))).column(name)
        before, after = Counter(table.column(name).to_pylist()), Counter(kept.to_pylist())
        ranked = sorted(before, key=lambda value: (-before[value], str(value)))
        shares[name] = [(NOT_GIVEN if v is None else str(v), before[v], after[v]) for v in ranked]
    return shares


def token_counts(directories: Sequence[str | Path]) -> dict[str, int]:
    """Tokens by source over splits of token shards.

    Raises `FileNotFoundError` where a directory holds neither shards nor splits of them.
    """
    from glasshouse.data.tokens.shards import MANIFEST, SPANS, TokenShards

    counts: Counter[str] = Counter()
    for directory in map(Path, directories):
        splits = (
            [directory]
            if (directory / MANIFEST).is_file()
            else sorted(p.parent for p in directory.glob(f"*/{MANIFEST}"))
        )
        for split in splits or [directory]:
            shards = TokenShards(split)
            for entry in shards.manifest.shards:
                table = pq.read_table(split / entry.spans_file, columns=["start", "end", "source"], schema=SPANS)
                length = pc.subtract(table.column("end"), table.column("start"))
                grouped = pa.table({"source": table.column("source"), "tokens": length}).group_by("source")
                for row in grouped.aggregate([("tokens", "sum")]).to_pylist():
                    counts[row["source"]] += row["tokens_sum"]
    return dict(sorted(counts.items()))


def manifest_of(corpus: CorpusDirectory) -> dict[str, Any]:
    """The manifest of the artifact the corpus is, or nothing when it was made outside a store."""
    path = corpus.path / "manifest.json"
    return dict(orjson.loads(path.read_bytes())) if path.is_file() else {}


def _count_licences(batch: pa.RecordBatch, facts: DocumentFacts) -> None:
    for source, metadata in zip(strings(batch, "source"), strings(batch, "metadata"), strict=True):
        facts.licences.setdefault(source, Counter())[_licence(metadata)] += 1


def _licence(metadata: str) -> str:
    """The licence a document's metadata names."""
    if not any(name in metadata for name in ("licen", "spdx")):
        return NOT_GIVEN
    values = orjson.loads(metadata or "{}")
    if not isinstance(values, dict):
        return NOT_GIVEN
    found = next((values[name] for name in LICENCE_FIELDS if values.get(name)), None)
    if isinstance(found, list):
        found = ", ".join(str(one) for one in found)
    return str(found)[:120] if found else NOT_GIVEN


def _widen(facts: DocumentFacts, column: str, given: list[str]) -> None:
    values = [value for value in given if _ISO.match(value)]
    if len(values) < len(given):
        facts.unreadable_dates[column] += len(given) - len(values)
    if values:
        first, last, count = facts.dates.get(column, (values[0], values[0], 0))
        facts.dates[column] = (min(first, *values), max(last, *values), count + len(values))
