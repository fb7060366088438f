"""What can be wrong with an index or with a query."""

from __future__ import annotations


class SearchIndexError(ValueError):
    """A search index is damaged, incomplete, or not what was asked for; the message names the file."""


class CorpusChangedError(SearchIndexError):
    """The corpus is not the one that was indexed."""


class QueryError(ValueError):
    """A query that cannot be answered; the message says what is wrong with it."""


def encoded(text: str) -> bytes:
    """A text in UTF-8. Raises `QueryError` for lone surrogates, which have no UTF-8 form."""
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise QueryError(
            f"character {error.start} of the text is half a surrogate pair and no character: remove it"
        ) from None
