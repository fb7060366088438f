"""Requests as tokens, in the way of lm-evaluation-harness.

Where context and continuation meet, tokens may merge. As lm-evaluation-harness does, white space at the end of the
context is moved to the continuation, context + continuation and context are encoded, and the continuation's tokens are
what the whole has after as many tokens as the context has. Deviations: the context is taken from the whole too, so that
the model reads the text as it would be written; and where a merge leaves the continuation no token of its own, the last
token of the whole is scored, instead of an error.

A token that the tokenizer itself puts before texts (Llama's <s>) stands before the context, as in the harness.
A context too long for the model loses tokens on its left, and the number is told; a continuation is never cut. An empty
context is the end-of-sequence token, which stands before every document.
A prompt is cut so that its answer has room.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import tokenizers

from glasshouse.evaluation.requests import Generate, LogLikelihood, ScoringError

Ids = tuple[int, ...]


class Encoded(NamedTuple):
    """A request in tokens. `cut` tokens were taken off the left of the context; at least one token is left of it."""

    context: Ids
    continuation: Ids
    cut: int = 0


class EncodedPrompt(NamedTuple):
    """A prompt in tokens, with what ends its answer; `cut` tokens were taken off its left."""

    prompt: Ids
    stop: tuple[str, ...]
    tokens: int
    cut: int = 0


def encoder(tokenizer: Any) -> Callable[[Sequence[str]], list[list[int]]]:
    """Texts to token ids with nothing added at their ends, of a `tokenizers` or a `transformers` tokenizer."""
    if not isinstance(tokenizer, tokenizers.Tokenizer):
        return lambda texts: [list(tokenizer.encode(text, add_special_tokens=False)) for text in texts]
    plain = tokenizers.Tokenizer.from_str(tokenizer.to_str())
    plain.no_padding()
    plain.no_truncation()
    return lambda texts: [found.ids for found in plain.encode_batch(list(texts), add_special_tokens=False)]


def prefix_of(tokenizer: Any) -> Ids:
    """The special tokens that a tokenizer puts before every text; of most there are none."""
    given = tokenizer.encode("a", add_special_tokens=True)
    ids, plain = list(getattr(given, "ids", given)), encoder(tokenizer)(["a"])[0]
    return tuple(ids[: ids.index(plain[0])]) if plain and plain[0] in ids else ()


def encode_requests(
    tokenizer: Any, requests: Sequence[LogLikelihood], *, end_of_sequence: int, context: int
) -> list[Encoded]:
    """Requests in tokens, their contexts cut to fit.

    Args:
        end_of_sequence: the token that stands for an empty context.
        context: longest input of the model, in tokens.

    Raises:
        ScoringError: an empty continuation, or one longer than the model's context.
    """
    kept = [request.context.rstrip() for request in requests]
    texts = dict.fromkeys(kept) | dict.fromkeys(request.context + request.continuation for request in requests)
    ids = dict(zip(texts, encoder(tokenizer)(list(texts)), strict=True))
    prefix = prefix_of(tokenizer)
    found = []
    for request, before in zip(requests, kept, strict=True):
        whole = ids[request.context + request.continuation]
        if not request.continuation or not whole:
            raise ScoringError(f"there is nothing to score after {request.context[-80:]!r}: the continuation is empty")
        border = min(len(ids[before]), len(whole) - 1)
        given, continuation = (*prefix, *whole[:border]) or (end_of_sequence,), tuple(whole[border:])
        room = context - len(continuation) + 1
        if room < 1:
            raise ScoringError(
                f"the continuation {request.continuation[:80]!r} has {len(continuation)} tokens, the model's context "
                f"is {context}: a continuation is never cut; leave the question out or take a model with more context"
            )
        found.append(Encoded(given[-room:], continuation, max(0, len(given) - room)))
    return found


def encode_prompts(
    tokenizer: Any, requests: Sequence[Generate], *, end_of_sequence: int, context: int
) -> list[EncodedPrompt]:
    """Prompts in tokens, cut to leave room for the answer.

    Raises:
        ScoringError: no tokens are asked for, or the answer alone would fill the context.
    """
    prefix, found = prefix_of(tokenizer), []
    for request, ids in zip(requests, encoder(tokenizer)([r.prompt for r in requests]), strict=True):
        room = context - request.tokens
        if request.tokens < 1 or room < 1:
            raise ScoringError(
                f"{request.tokens} tokens are to be written after {request.prompt[-80:]!r}, the model's context is "
                f"{context}: ask for one or more, and leave room for the prompt"
            )
        given = (*prefix, *ids) or (end_of_sequence,)
        found.append(EncodedPrompt(given[-room:], request.stop, request.tokens, max(0, len(given) - room)))
    return found
