"""Documents to measure perplexity on: token shards, or files of text in any form; which of them were trained on.

Paloma (arXiv 2312.10523) has domains inside sources, and a file for each: `<source>/<split>/<split>_<domain>.jsonl.gz`.
A document's domain is its metadata's `subdomain` or `domain`, else what that layout says, else its source: a source
without domains is one domain.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from glasshouse.data.contamination.evaluation_sets import EvaluationItem, EvaluationSet, EvaluationSetError
from glasshouse.data.contamination.paragraphs import ParagraphIndex, ParagraphRule
from glasshouse.data.document import Document, Origin, batches, strings
from glasshouse.data.quarantine import Quarantine
from glasshouse.data.sources.reading import UNKNOWN_SOURCE, fingerprint_files, read_documents
from glasshouse.evaluation.encoding import encoder
from glasshouse.store.configuration import named_seed

if TYPE_CHECKING:
    from glasshouse.data.tokens.shards import TokenShards
    from glasshouse.language.measures import CausalModel

_LAYOUT = re.compile(r"([^/]+)/(val|test|dev|validation)/(?:\2_)?([^/]+?)(?:_\d{5,})?\.jsonl?(?:\.\w+)?$")


class HeldOutError(ValueError):
    """There are no documents to measure on, or a file of them has changed."""


@dataclasses.dataclass(frozen=True)
class TextFiles:
    """Files of documents nobody trained on, in any form that curation reads.

    Attributes:
        files: name, size and sha256 of each, when the set was made.
    """

    paths: tuple[str, ...]
    files: tuple[tuple[str, int, str], ...] = ()


def text_files(*paths: str | Path) -> TextFiles:
    """Held-out documents in files, directories or patterns. Raises `FileNotFoundError` when there are none."""
    names = tuple(str(path) for path in paths)
    return TextFiles(names, tuple(fingerprint_files(names)))


class HeldOut(NamedTuple):
    """Documents in a model's tokens, without end-of-sequence tokens; empty ones are left out."""

    tokens: list[npt.NDArray[np.int64]]
    size: npt.NDArray[np.float64]
    """UTF-8 bytes."""
    sources: list[str]
    domains: list[str]
    texts: list[str]

    def without(self, left_out: set[int]) -> HeldOut:
        """The other documents. Raises `HeldOutError` when there are none."""
        kept = [index for index in range(len(self.tokens)) if index not in left_out]
        if not kept:
            raise HeldOutError("every held-out document shares a paragraph with the training documents")
        return HeldOut(
            [self.tokens[index] for index in kept],
            self.size[kept],
            *([column[index] for index in kept] for column in (self.sources, self.domains, self.texts)),
        )


def read_held_out(
    held_out: TokenShards | TextFiles, model: CausalModel, *, per_domain: int | None = None, seed: int = 0
) -> HeldOut:
    """The documents as the model sees them.

    Args:
        per_domain: a seeded sample of at most this many documents of every domain.

    Raises:
        HeldOutError: no documents, or files that changed since the set was made.
    """
    rows = _of_files(held_out, model) if isinstance(held_out, TextFiles) else _of_shards(held_out, model)
    found = [row for row in rows if len(row[0])]
    if per_domain is not None:
        found = _sample(found, per_domain, seed)
    if not found:
        raise HeldOutError("there are no held-out documents with text in them")
    tokens, texts, sources, domains = (list(column) for column in zip(*found, strict=True))
    return HeldOut(tokens, np.array([len(text.encode()) for text in texts], np.float64), sources, domains, texts)


_Row = tuple[npt.NDArray[np.int64], str, str, str]


def _sample(rows: list[_Row], most: int, seed: int) -> list[_Row]:
    groups: dict[tuple[str, str], list[int]] = {}
    for index, row in enumerate(rows):
        groups.setdefault(row[2:], []).append(index)
    kept: list[int] = []
    for (source, domain), members in groups.items():
        generator = np.random.default_rng(named_seed(seed, "held out", source, domain))
        kept += [members[place] for place in generator.permutation(len(members))[:most]]
    return [rows[index] for index in sorted(kept)]


def documents_of(shards: TokenShards) -> Iterator[tuple[npt.NDArray[np.int64], str]]:
    """Token ids of every document without its end-of-sequence token, and its source; empty documents are left out."""
    table = shards.documents()
    columns = (table.column(name).to_pylist() for name in ("shard", "start", "end", "source"))
    for shard, start, end, source in zip(*columns, strict=True):
        if end - start > 1:
            yield shards.document_tokens(shard, start, end - 1), source


def _of_shards(shards: TokenShards, model: CausalModel) -> Iterator[_Row]:
    for tokens, source in documents_of(shards):
        yield tokens, model.tokenizer.decode(tokens.tolist(), skip_special_tokens=False), source, source


def _of_files(files: TextFiles, model: CausalModel) -> Iterator[_Row]:
    if files.files and (changed := set(files.files) ^ set(fingerprint_files(files.paths))):
        raise HeldOutError(
            f"held-out files have changed since the set was made: {', '.join(sorted({c[0] for c in changed}))}"
        )
    encode = encoder(model.tokenizer)
    quarantine = Quarantine()
    for batch in read_documents(files.paths, quarantine):
        texts = strings(batch, "text")
        places = zip(strings(batch, "source"), strings(batch, "metadata"), files_of(batch), strict=True)
        for text, ids, (source, metadata, file) in zip(texts, encode(texts), places, strict=True):
            yield np.array(ids, np.int64), text, *domain_of(source, metadata, file)
    if quarantine.records:
        first = quarantine.records[0]
        raise HeldOutError(
            f"{len(quarantine.records)} documents cannot be read, first {first['file']}, line {first['line']}: "
            f"{first['message']}"
        )


def files_of(batch: pa.RecordBatch) -> list[str]:
    """The file each document came from."""
    return [str(name) for name in pc.struct_field(batch.column("origin"), "file").to_pylist()]


def domain_of(source: str, metadata: str, file: str) -> tuple[str, str]:
    """Source and domain of a document, from its fields and the file it came from."""
    fields: dict[str, Any] = orjson.loads(metadata or "{}")
    place = _LAYOUT.search(file)
    if source == UNKNOWN_SOURCE:
        source = place[1] if place else re.sub(r"(\.\w+)+$", "", file.rsplit("/", 1)[-1])
    named = fields.get("subdomain") or fields.get("domain")
    if named:
        return source, str(named)
    return source, place[3].removeprefix(f"{source}_") if place else source


def trained_on(texts: Sequence[str], training: Iterable[pa.RecordBatch], rule: ParagraphRule | None = None) -> set[int]:
    """Numbers of those texts that share a long paragraph with a training document (see `contamination.paragraphs`)."""
    items = tuple(EvaluationItem(str(number), (text,)) for number, text in enumerate(texts))
    try:
        index = ParagraphIndex([EvaluationSet("held out", items)], rule)
    except EvaluationSetError:  # no paragraph is long enough to be looked for
        return set()
    return {int(str(item)) for batch in training for item in index.scan(batch).column("item").to_pylist()}


def texts_of_shards(shards: TokenShards, tokenizer: Any) -> Iterator[pa.RecordBatch]:
    """The documents of token shards, decoded."""
    texts = (
        (tokenizer.decode(ids.tolist(), skip_special_tokens=False), source) for ids, source in documents_of(shards)
    )
    return batches(Document(str(n), text, source, Origin("", 0, 0)) for n, (text, source) in enumerate(texts))
