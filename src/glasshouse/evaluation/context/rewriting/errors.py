"""Which kind of error a rewrite is: the last query again, or an answer instead of a rewrite.

The paper's authors sorted errors by hand (its Table 9): about four of five were one of two kinds. Both can be told by
comparison. A wrong rewrite

- repeats when it is the query, or a stretch of it of four fifths and more;
- answers ("language modelling") when it continues the conversation instead: it begins the next turn, or shares next to
  nothing with query and rewrite;
- else it resolves something wrongly.

Compared are words in lower case without punctuation. Nothing is an error that equals the right rewrite so compared.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import Literal

Kind = Literal["right", "repeat", "answer", "other"]
SHARED = 0.3
"""An answer shares fewer of its words (once each) than this with query and rewrite together."""
STRETCH = 0.8
_SPEAKER = re.compile(r"^\s*(user|bot|assistant|system|answer)\s*:", re.IGNORECASE)


def words(text: str) -> list[str]:
    """Words in lower case, without punctuation."""
    return re.findall(r"\w+", text.lower())


def error_kind(text: str, query: str, rewrite: str) -> Kind:
    """What kind of error a text is as the rewrite of a query."""
    given, asked, right = words(text), words(query), words(rewrite)
    if given == right:
        return "right"
    if given == asked or (len(given) >= STRETCH * len(asked) and _within(given, asked)):
        return "repeat"
    if _SPEAKER.match(text) or _shared(given, asked + right) < SHARED:
        return "answer"
    return "other"


def _within(part: list[str], whole: list[str]) -> bool:
    return bool(part) and any(whole[at : at + len(part)] == part for at in range(len(whole) - len(part) + 1))


def _shared(given: list[str], known: list[str]) -> float:
    """Share of the content words of `given` that are known, once each; of all its words where it has no content."""
    content = [word for word in given if word not in _FUNCTION_WORDS] or given
    common = Counter(content) & Counter(set(known))
    return sum(common.values()) / len(content) if content else 0.0


_FUNCTION = """
a an the of in on at to for by with from and or is are was were be been do does did has have had i you he she it we they
me him her us them my your his its our their this that these those there what which who when where how why can could
would will shall should may might must not no yes as if so
"""
_FUNCTION_WORDS = frozenset(_FUNCTION.split())
