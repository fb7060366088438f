"""A query in the middle of a conversation, and what it means when it is said alone."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Query:
    """A query to be rewritten.

    Attributes:
        history: what was said before, as (speaker, text), in order.
        text: the query.
        rewrite: the query in a form that can be understood without the conversation.
        group: the conversation; queries of one are not independent.
        needed: whether a rewrite differs, where a data set tells; otherwise whether it does.
    """

    id: str
    history: tuple[tuple[str, str], ...]
    text: str
    rewrite: str
    group: str
    needed: bool = True
