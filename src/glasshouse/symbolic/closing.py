"""The shortest way to end a text that a constraint allows, in tokens: what makes a budget a guarantee.

Before a token is committed, a closing must be known that fits into what is then left of the budget. A closing is found
by walking greedily towards the end (quotes, brackets, digits first), or by a search over states in which such walks
estimate the rest. Every closing is checked by the matcher, token by token: the search may miss a shorter one, but it
never gives one that is not allowed.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from glasshouse.symbolic.call import Constraint
from glasshouse.symbolic.constrain import Compiled, Vocabulary

if TYPE_CHECKING:
    from llguidance import LLMatcher

QUOTES, BRACKETS, OPENERS = b"\"'", b"}])>", b"{[(<"
CLOSERS = QUOTES + BRACKETS + b"."
SEPARATORS = b",:; "
WORDS = (b"true", b"null", b"false")
LONGEST, DEEPEST = 512, 64
"""Tokens after which a walk, and the search, are given up."""
STAYS, VISITS, KEPT = 3, 24, 64
"""How often in a row, and in all, a walk takes tokens of one class where the same are allowed; closings remembered."""
REUSED = 24
"""Bytes of an earlier closing that may be skipped."""
WIDTH, TWINS, FIRST, SPREAD = 12, 2, 8, 6
"""States kept per level of the search; states kept that allow the same tokens; tokens tried: closing, long, short."""


class _Path(NamedTuple):
    state: LLMatcher
    tokens: list[int]


class _Order(NamedTuple):
    """Tokens as they are tried on the way to the end, with the class of each."""

    tokens: NDArray[np.int64]
    classes: NDArray[np.int64]

    @classmethod
    def of(cls, pieces: list[bytes], written: list[int], first: bytes) -> _Order:
        def rank(token: int) -> tuple[int, int, int, int]:
            return (*_urgency(pieces[token], first), -len(pieces[token].strip()), token)

        tokens = sorted(written, key=rank)
        return cls(np.array(tokens, np.int64), np.array([rank(token)[0] for token in tokens], np.int64))


class Closer:
    """Finds closings for one vocabulary."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary, self.end = vocabulary, vocabulary.end
        pieces = vocabulary.pieces
        written = [token for token, piece in enumerate(pieces) if piece and token != vocabulary.end]
        content = [len(piece.strip()) for piece in pieces]
        self._known: dict[Constraint, list[int] | None] = {}
        self._orders = tuple(_Order.of(pieces, written, first) for first in (QUOTES, BRACKETS))
        self._closing = self._orders[0].tokens
        self._long = np.array(sorted(written, key=lambda token: (-content[token], token)))
        self._short = np.array(sorted(written, key=lambda token: (content[token] == 0, len(pieces[token]), token)))

    def walk(self, state: LLMatcher, most: int = LONGEST) -> list[int] | None:
        """A closing of at most `most` tokens, found greedily; None when the walks lead nowhere."""
        best = None
        for order in self._orders:
            found = self._walk(state.deep_copy(), order, most if best is None else len(best) - 1)
            best = best if found is None else found
        return best

    def _walk(self, state: LLMatcher, order: _Order, most: int) -> list[int] | None:
        """Tokens in the order of their classes; a state that comes again and again is left by another class."""
        tokens, visits, before, stays = list[int](), Counter[bytes](), b"", 0
        while not state.is_accepting():
            mask = state.compute_bitmask()
            allowed = self._vocabulary.unpack(mask)[order.tokens]
            if len(tokens) >= most or not allowed.any():
                return None
            classes = np.unique(order.classes[allowed])
            stays, before = (stays + 1 if mask == before else 0), mask
            wanted = classes[(stays // STAYS + visits[mask] // VISITS) % len(classes)]
            visits[mask] += 1
            tokens.append(int(order.tokens[(allowed & (order.classes == wanted)).argmax()]))
            if not state.consume_token(tokens[-1]):
                return None
        return tokens

    def again(self, state: LLMatcher, plan: list[int], most: int) -> list[int] | None:
        """The end of an earlier closing's text as a closing from a state a little further on; None if it is none."""
        text = self._vocabulary.tokens.decode_bytes(plan)
        for start in range(min(len(text), REUSED) + 1):
            tokens = self._vocabulary.tokens.tokenize_bytes(text[start:])
            if len(tokens) <= most and still_closes(state, tokens):
                return tokens
        return None

    def least(self, compiled: Compiled) -> list[int] | None:
        """The shortest whole text that the search finds, remembered by constraint."""
        if compiled.constraint not in self._known:
            if len(self._known) >= KEPT:
                self._known.pop(next(iter(self._known)))
            self._known[compiled.constraint] = self.shortest(compiled.start)
        return self._known[compiled.constraint]

    def shortest(self, state: LLMatcher) -> list[int] | None:
        """The shortest closing that the search finds; None when it finds none."""
        best = self.walk(state)
        level = [_Path(state, [])]
        while level and (best is None or len(level[0].tokens) + 1 < len(best)) and len(level[0].tokens) < DEEPEST:
            ranked = list[tuple[int, int, _Path]]()
            for path in self._next(level):
                rest = self.walk(path.state, LONGEST if best is None else len(best))
                if rest is not None and (best is None or len(path.tokens) + len(rest) < len(best)):
                    best = path.tokens + rest
                ranked.append((LONGEST if rest is None else len(rest), len(ranked), path))
            level = [path for _, _, path in sorted(ranked)[:WIDTH]]
        return best

    def _next(self, level: list[_Path]) -> list[_Path]:
        """The states one token further, few of those that allow the same tokens."""
        seen: dict[bytes, int] = {}
        found = list[_Path]()
        for path in level:
            for token in self._candidates(path.state):
                state = path.state.deep_copy()
                if not state.consume_token(token):
                    continue
                mask = state.compute_bitmask()
                seen[mask] = seen.get(mask, 0) + 1
                if seen[mask] <= TWINS:
                    found.append(_Path(state, [*path.tokens, token]))
        return found

    def _candidates(self, state: LLMatcher) -> list[int]:
        allowed = self._vocabulary.allowed(state)
        orders = ((self._closing, FIRST), (self._long, SPREAD), (self._short, SPREAD))
        some = np.concatenate([order[np.flatnonzero(allowed[order])[:count]] for order, count in orders])
        return list(dict.fromkeys(some.tolist()))


def still_closes(state: LLMatcher, tokens: list[int]) -> bool:
    """Whether the tokens lead from the state to where the text may end."""
    after = state.deep_copy()
    return after.try_consume_tokens(tokens) == len(tokens) and after.is_accepting()


def _urgency(piece: bytes, first: bytes) -> tuple[int, int]:
    """The class of a token, and its place in it: the lower, the sooner it is tried on the way to the end."""
    opened = sum(piece.count(letter) for letter in OPENERS)
    single = len(piece) == 1 and piece.isascii()
    if not piece.strip():
        return 8, 0
    if not piece.strip(CLOSERS):
        return 0, piece[:1] not in first
    if not piece.strip(SEPARATORS):
        return 1, 0
    if single and piece.isdigit():
        return 2, 0
    if piece in WORDS:
        return 3, 0
    if opened:
        return 7, opened
    return (6 if piece.isalpha() else 5, 0) if single else (4, 0)
