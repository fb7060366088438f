"""The methods of de-duplication by name.

Methods on documents remove those that repeat an earlier one; methods on pieces cut what repeats an earlier piece. Each
works in two parts: keys of a batch (pure, on any worker), and one global step over all keys (see `keys.py`). The keeper
is always the smallest (shard, row), so the result does not depend on workers or timing.
"""

from __future__ import annotations

import difflib
from typing import Any

from glasshouse.data.deduplication.exact import Exact, exact
from glasshouse.data.deduplication.minhash import MinHash, minhash
from glasshouse.data.deduplication.ngrams import Ngrams, ngrams
from glasshouse.data.deduplication.paragraphs import Paragraphs, paragraphs
from glasshouse.data.deduplication.url import UniqueUrl, url
from glasshouse.store.configuration import Config

__all__ = [
    "METHODS", "Exact", "MinHash", "Ngrams", "Paragraphs", "UniqueUrl", "UnknownMethodError", "exact", "method",
    "method_type", "minhash", "ngrams", "paragraphs", "url",
]  # fmt: skip

METHODS: dict[str, type[Exact] | type[UniqueUrl] | type[MinHash] | type[Paragraphs] | type[Ngrams]] = {
    "url": UniqueUrl, "exact": Exact, "minhash": MinHash, "paragraphs": Paragraphs, "ngrams": Ngrams,
}  # fmt: skip
"""In the order in which they make sense one after the other."""


class UnknownMethodError(ValueError):
    """No method of de-duplication has that name."""


def method(name: str, **settings: Any) -> Any:
    """A method by name, with its default settings or those given. Raises `UnknownMethodError` with what there is."""
    return method_type(name)(**settings)


def method_type(name: str) -> type[Config]:
    """The configuration of the method called `name`. Raises `UnknownMethodError` with what there is."""
    if name not in METHODS:
        near = difflib.get_close_matches(name, METHODS, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise UnknownMethodError(
            f"no method of de-duplication is called {name!r}; {hint}there are: {', '.join(METHODS)}"
        )
    return METHODS[name]
