"""A suffix array over token shards: how often any n-gram of tokens occurs, and what follows it, for any n.

As infini-gram (arXiv 2401.17377): tokens as big-endian bytes are sorted as bytes, and the suffixes that begin at a
whole token stay; their order is that of the token ids. The tokens themselves stay where they are (`TokenShards`), only
the suffixes are written: 4 bytes per token. A suffix array covers whole documents of one shard, at most `piece_tokens`
tokens of them; sorting takes about 20 bytes of memory per token of 2 bytes, 40 per token of 4.

The end-of-sequence token stands after every document, and an n-gram may end with it, but not go on after it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from glasshouse.data.resumption import work_key
from glasshouse.data.search.errors import QueryError, SearchIndexError
from glasshouse.data.search.header import (
    FORMAT,
    FileEntry,
    check_hashes,
    check_sizes,
    entries_of,
    read_header,
    write_header,
)
from glasshouse.data.search.suffix_array import SAMPLED
from glasshouse.data.suffixes import sorted_suffixes
from glasshouse.data.tokens.shards import TokenShards
from glasshouse.data.writing import disk_errors_named
from glasshouse.store.configuration import Config

HEADER = "tokens.json"
PIECE_TOKENS = 1 << 25


class Piece(Config):
    """Tokens `[start, end)` of a shard that one suffix array covers."""

    shard: int
    start: int
    end: int
    file: str


class TokenHeader(Config):
    """`tokens.json`."""

    format: int
    shards: str
    pieces: tuple[Piece, ...]
    files: dict[str, FileEntry]


class NextToken(NamedTuple):
    """A token that follows an n-gram, how often, and its share of all that follows."""

    token: int
    occurrences: int
    share: float


class TokenPlace(NamedTuple):
    """Where an n-gram begins: a shard and a token of it."""

    shard: int
    token: int


def shards_fingerprint(shards: TokenShards) -> str:
    """Says which tokens a split holds: the sha256 of its shards, as its manifest records them."""
    return work_key("tokens", shards.manifest.dtype, *(entry.tokens_sha256 for entry in shards.manifest.shards))


def write_token_suffixes(shards: TokenShards, out: str | Path, piece_tokens: int = PIECE_TOKENS) -> TokenIndex:
    """Sorts a split's tokens into a new directory and opens it. A stopped run goes on after its last whole piece.

    Raises:
        SearchIndexError: `out` exists already, a document is longer than a suffix array can be, or no piece can be.
    """
    home, partial = Path(out), Path(f"{out}.partial")
    if home.exists():
        raise SearchIndexError(f"{home} exists already: remove it, or give another directory")
    if piece_tokens < 1:
        raise SearchIndexError(f"a piece needs at least 1 token, got {piece_tokens}")
    partial.mkdir(parents=True, exist_ok=True)
    pieces = list(_pieces(shards, piece_tokens))
    known = work_key(shards_fingerprint(shards), [piece.model_dump() for piece in pieces])
    for piece in pieces:
        path = partial / f"{known[:16]}-{piece.file}"
        if not path.exists():
            _write_piece(shards, piece, path)
    for piece in pieces:
        (partial / f"{known[:16]}-{piece.file}").rename(partial / piece.file)
    names = [piece.file for piece in pieces]
    for path in partial.iterdir():
        if path.name not in names:
            path.unlink()
    header = TokenHeader(
        format=FORMAT, shards=shards_fingerprint(shards), pieces=tuple(pieces), files=entries_of(partial, names)
    )
    write_header(partial / HEADER, header)
    partial.rename(home)
    return TokenIndex(home, shards)


class TokenIndex:
    """Counts n-grams of tokens.

    Args:
        path: what `write_token_suffixes` made.
        shards: the split it was made from.

    Raises on opening: `SearchIndexError` when it is damaged, or the split is another.
    """

    def __init__(self, path: str | Path, shards: TokenShards) -> None:
        self.path, self.shards = Path(path), shards
        self.header = read_header(self.path / HEADER, TokenHeader)
        if self.header.format != FORMAT:
            raise SearchIndexError(f"{self.path} has format {self.header.format}, this version reads {FORMAT}")
        if self.header.shards != shards_fingerprint(shards):
            raise SearchIndexError(f"{self.path} was not made from the tokens in {shards.directory}: build it again")
        check_sizes(self.path, self.header.files)
        self._pieces = [self._opened(piece) for piece in self.header.pieces]

    def count(self, tokens: Sequence[int]) -> int:
        """How often an n-gram occurs.

        Raises `QueryError` for an empty n-gram, an id outside the vocabulary, or one that goes on after a document.
        """
        return sum(high - low for low, high in self._intervals(self._query(tokens)))

    def find(self, tokens: Sequence[int], limit: int = 10) -> list[TokenPlace]:
        """The first places of an n-gram, in the order of the shards."""
        query = self._query(tokens)
        found: list[TokenPlace] = []
        for piece, (_, suffixes), (low, high) in zip(
            self.header.pieces, self._pieces, self._intervals(query), strict=True
        ):
            places = np.sort(suffixes[low:high])[: limit - len(found)]
            found += [TokenPlace(piece.shard, piece.start + int(place)) for place in places]
        return found

    def next_tokens(self, tokens: Sequence[int]) -> list[NextToken]:
        """What follows an n-gram: tokens by falling count, equal ones by id; empty when nothing does.

        An empty n-gram gives the counts of all tokens. Raises as `count`, and for an n-gram that ends a document.
        """
        from glasshouse.data.search.kernel import next_runs

        if tokens and tokens[-1] == self.shards.eos_id:
            raise QueryError("the n-gram ends with the end-of-sequence token: nothing follows inside the document")
        query = self._query(tokens) if tokens else np.zeros(0, self.shards.dtype)
        totals = np.zeros(self.shards.vocabulary, np.int64)
        ids, counts = np.zeros(self.shards.vocabulary, np.int64), np.zeros(self.shards.vocabulary, np.int64)
        for (text, suffixes), (low, high) in zip(self._pieces, self._intervals(query), strict=True):
            found = next_runs(text, suffixes, low, high, len(query), ids, counts)
            if found < 0:
                raise self._damaged()
            totals[ids[:found]] += counts[:found]
        order = np.lexsort((np.arange(len(totals)), -totals))
        everything = max(int(totals.sum()), 1)
        return [NextToken(int(t), int(totals[t]), int(totals[t]) / everything) for t in order if totals[t]]

    def verify(self) -> None:
        """Raises `SearchIndexError` unless every file has its recorded sha256."""
        check_hashes(self.path, self.header.files)

    def _query(self, tokens: Sequence[int]) -> npt.NDArray[Any]:
        if not len(tokens):
            raise QueryError("the n-gram is empty: give at least one token")
        wrong = [token for token in tokens if not 0 <= token < self.shards.vocabulary]
        if wrong:
            raise QueryError(f"token {wrong[0]} is outside the vocabulary of {self.shards.vocabulary}")
        if self.shards.eos_id in tokens[:-1]:
            raise QueryError("the n-gram goes on after the end-of-sequence token: no document does")
        query = np.array(tokens, dtype=self.shards.dtype)
        query.flags.writeable = False
        return query

    def _intervals(self, query: npt.NDArray[Any]) -> list[tuple[int, int]]:
        from glasshouse.data.search.kernel import interval

        found = [interval(text, suffixes, query, 0, len(query)) for text, suffixes in self._pieces]
        if any(low < 0 for low, _ in found):
            raise self._damaged()
        return [(int(low), int(high)) for low, high in found]

    def _opened(self, piece: Piece) -> tuple[npt.NDArray[Any], npt.NDArray[np.int32]]:
        from glasshouse.data.search.kernel import count_disorder

        entry = self.shards.manifest.shards[piece.shard]
        tokens = np.memmap(self.shards.directory / entry.tokens_file, self.shards.dtype, "r")[piece.start : piece.end]
        suffixes = np.asarray(np.memmap(self.path / piece.file, np.dtype("<i4"), "r"))
        text = np.asarray(tokens)
        size = len(text)
        places = np.unique(np.linspace(0, size - 2, min(SAMPLED, size - 1)).astype(np.int64))
        if len(suffixes) != size or (size > 1 and count_disorder(text, suffixes, places)):
            raise self._damaged()
        return text, suffixes

    def _damaged(self) -> SearchIndexError:
        return SearchIndexError(f"{self.path} is damaged: it is not the sorted order of the tokens; build it again")


def _pieces(shards: TokenShards, most: int) -> Iterator[Piece]:
    """Whole documents of one shard, at most `most` tokens unless one document alone has more."""
    table, limit, number = shards.documents(), (2**31 - 1) // shards.dtype.itemsize, 0
    columns = [table.column(name).to_numpy() for name in ("shard", "start", "end")]
    begun: tuple[int, int, int] | None = None
    for shard, start, end in zip(*(column.tolist() for column in columns), strict=True):
        if end - start > limit:
            raise SearchIndexError(f"a document of {end - start} tokens cannot be sorted, the most is {limit}")
        if begun is not None and (begun[0] != shard or end - begun[1] > most):
            yield Piece(shard=begun[0], start=begun[1], end=begun[2], file=f"suffixes-{number:05d}.bin")
            number, begun = number + 1, None
        begun = (shard, start if begun is None else begun[1], end)
    if begun is not None:
        yield Piece(shard=begun[0], start=begun[1], end=begun[2], file=f"suffixes-{number:05d}.bin")


def _write_piece(shards: TokenShards, piece: Piece, path: Path) -> None:
    entry, width = shards.manifest.shards[piece.shard], shards.dtype.itemsize
    tokens = np.memmap(shards.directory / entry.tokens_file, shards.dtype, "r")[piece.start : piece.end]
    swapped = tokens.astype(shards.dtype.newbyteorder(">"))
    order = sorted_suffixes(swapped.view(np.uint8))
    whole = (order[order % width == 0] // width).astype("<i4")
    partial = path.with_name(path.name + ".partial")
    with disk_errors_named(path):
        whole.tofile(partial)
        partial.rename(path)
