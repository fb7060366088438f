"""Which parts of a text stand word for word in a corpus, and in which documents: as OLMoTrace (arXiv 2504.07096).

1. For every word of the text, the longest run of words that begins there and occurs in the corpus; those inside another
   are not maximal and go (section 3, step 1).
2. The longest and most unusual stay: those of the smallest probability under a unigram model of the corpus (step 2).
3. Their occurrences are fetched with the text around them (step 3); spans that overlap are put together (step 4).

Deviations: spans are made of words (`words.py`) and compared by their bytes, where OLMoTrace's are made of tokens, so
spaces and case count; a span may run over the end of a sentence; the probability of a word is the share of the corpus'
bytes at which its letters begin, also inside longer words, as the suffix array counts them; documents are the first in
the order of the corpus rather than drawn at random, and not ranked again.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from pydantic import Field

from glasshouse.data.search.corpus_index import CorpusIndex
from glasshouse.data.search.errors import QueryError, encoded
from glasshouse.data.search.occurrence import CONTEXT, Occurrence
from glasshouse.data.search.words import Words, split_words
from glasshouse.store.configuration import Config

LONGEST_TEXT = 1 << 16
"""Most bytes of text that are matched at once: seconds for the worst text, a millisecond for an ordinary page."""


class Matching(Config):
    """Which spans are shown.

    Attributes:
        minimum_words: words of the shortest span (symbols do not count).
        share: how many spans stay, as a share of the text's words (OLMoTrace: 0.05), rounded up; 1 keeps all.
        documents: most occurrences shown of a span.
        context: characters shown on either side of an occurrence.
    """

    minimum_words: int = Field(default=4, ge=1)
    share: float = Field(default=0.05, gt=0.0, le=1.0)
    documents: int = Field(default=10, ge=0)
    context: int = Field(default=CONTEXT, ge=0)


@dataclasses.dataclass(frozen=True)
class Span:
    """A maximal part of the text that occurs in the corpus.

    Attributes:
        start, end: characters of the text.
        words: how many it has.
        log_probability: natural logarithm of its probability under the unigram model: the lower, the more unusual.
        count: occurrences as whole words.
        occurrences: the first of them, in the order of the corpus.
    """

    start: int
    end: int
    text: str
    words: int
    log_probability: float
    count: int
    occurrences: tuple[Occurrence, ...]


@dataclasses.dataclass(frozen=True)
class Passage:
    """Characters `[start, end)` of the text that are covered by spans that overlap, and those spans."""

    start: int
    end: int
    text: str
    spans: tuple[Span, ...]


@dataclasses.dataclass(frozen=True)
class TextMatches:
    """What was found of a text.

    Attributes:
        spans: most unusual first.
        passages: the spans put together where they overlap, in the order of the text.
        maximal: number of maximal spans before the most unusual were chosen.
        words: number of words of the text.
    """

    text: str
    spans: tuple[Span, ...]
    passages: tuple[Passage, ...]
    maximal: int
    words: int

    @property
    def coverage(self) -> float:
        """Share of the text's characters that lie in a passage."""
        return sum(passage.end - passage.start for passage in self.passages) / max(len(self.text), 1)


def match_text(index: CorpusIndex, text: str, matching: Matching = Matching()) -> TextMatches:  # noqa: B008 (frozen)
    """The parts of a text that stand in the corpus of an index.

    Raises:
        QueryError: for more than `LONGEST_TEXT` bytes, and for lone surrogates.
    """
    data = encoded(text)
    if len(data) > LONGEST_TEXT:
        raise QueryError(f"the text has {len(data)} bytes, at most {LONGEST_TEXT} are matched at once")
    words = split_words(text)
    found = maximal_spans(index, data, words, matching.minimum_words)
    chances = _log_chances(index, data, words)
    ranked = sorted((_log_probability(words, chances, start, end), start, end) for start, end in found)
    total = int(words.is_word.sum())
    kept = ranked[: math.ceil(matching.share * total)]
    characters = _character_places(data)
    spans = tuple(_span(index, data, words, characters, matching, *item) for item in kept)
    return TextMatches(text, spans, _passages(text, spans), len(found), total)


def maximal_spans(index: CorpusIndex, data: bytes, words: Words, minimum_words: int) -> list[tuple[int, int]]:
    """Byte ranges `(start, end)` of all maximal spans of at least `minimum_words` words, in the order of the text."""
    starts, least = _candidates(words, minimum_words)
    if not len(starts):
        return []
    # The longest over all shards; what is not maximal in its own shard is not maximal at all.
    ends = np.max([shard.longest_spans(data, starts, words.ends, least) for shard in index.shards], axis=0)
    found: list[tuple[int, int]] = []
    furthest = -1
    for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
        if end > furthest:
            found.append((start, end))
            furthest = end
    return found


def _candidates(words: Words, minimum_words: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Where spans of enough words may begin, and the smallest end of each."""
    before = np.concatenate(([0], np.cumsum(words.is_word)))
    # The last word that is needed from each start on.
    needed = np.searchsorted(before, before[:-1] + minimum_words, side="left") - 1
    possible = needed < len(words.ends)
    return words.starts[possible], words.ends[needed[possible]]


def _log_chances(index: CorpusIndex, data: bytes, words: Words) -> npt.NDArray[np.float64]:
    """Logarithm of the probability of every word; a word that never occurs counts as once."""
    known: dict[bytes, float] = {}
    out = np.zeros(len(words.starts))
    for place, (start, end, is_word) in enumerate(zip(*(column.tolist() for column in words), strict=True)):
        if is_word:
            word = data[start:end]
            if word not in known:
                known[word] = math.log(max(index.count(word), 1) / index.header.text_bytes)
            out[place] = known[word]
    return out


def _inside(words: Words, start: int, end: int) -> slice:
    return slice(int(np.searchsorted(words.starts, start)), int(np.searchsorted(words.starts, end)))


def _log_probability(words: Words, chances: npt.NDArray[np.float64], start: int, end: int) -> float:
    return float(chances[_inside(words, start, end)].sum())


def _character_places(data: bytes) -> npt.NDArray[np.int64]:
    """Number of the character that holds every byte, and the number of characters at the end."""
    array = np.frombuffer(data, np.uint8)
    leads = np.cumsum((array & 0xC0) != 0x80)
    return np.append(leads - 1, leads[-1] if len(leads) else 0).astype(np.int64)


def _span(
    index: CorpusIndex, data: bytes, words: Words, characters: npt.NDArray[np.int64], matching: Matching,
    log_probability: float, start: int, end: int,
) -> Span:  # fmt: skip
    text = data[start:end].decode()
    found = index.find_words(text, matching.documents, matching.context)
    size = int(words.is_word[_inside(words, start, end)].sum())
    return Span(
        int(characters[start]), int(characters[end]), text, size, log_probability, found.count, found.occurrences
    )


def _passages(text: str, spans: Sequence[Span]) -> tuple[Passage, ...]:
    groups: list[list[Span]] = []
    furthest = -1
    for span in sorted(spans, key=lambda span: (span.start, span.end)):
        if span.start < furthest:
            groups[-1].append(span)
        else:
            groups.append([span])
        furthest = max(furthest, span.end)
    return tuple(
        Passage(group[0].start, group[-1].end, text[group[0].start : group[-1].end], tuple(group)) for group in groups
    )
