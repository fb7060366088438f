"""Text from a language model: greedy or sampled, batched, with a key/value cache, token by token.

Temperature; top-k [Fan et al., arXiv 1805.04833]; nucleus sampling [Holtzman et al., arXiv 1904.09751]; repetition
penalty, which divides positive and multiplies negative scores of tokens already present [CTRL, arXiv 1909.05858,
section 4.1]; and a guard against repeating any n-gram [Paulus et al., arXiv 1705.04304, section 2.5]. They apply in
the order guard, penalty, temperature, top-k, top-p. Greedy decoding equals `transformers`' token for token.

Deviation: every row of a batch draws from its own named seed, so that its text does not depend on its neighbours.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field
from torch import Tensor

from glasshouse.nn.transformer import KeyValueCache, Transformer
from glasshouse.store.configuration import Config, named_seed

if TYPE_CHECKING:
    from tokenizers import Tokenizer


class GenerationError(ValueError):
    """The prompt, the tokenizer and the model do not fit together."""


class Sampling(Config):
    """How the next token is chosen. Temperature 0 is greedy: the most likely token, nothing drawn."""

    tokens: int = Field(default=128, ge=1, description="most new tokens")
    temperature: float = Field(default=0.0, ge=0)
    top_k: int | None = Field(default=None, ge=1, description="draw among the k most likely tokens")
    top_p: float | None = Field(default=None, gt=0, le=1, description="draw among the fewest tokens of this mass")
    repetition_penalty: float = Field(default=1.0, gt=0, description="above 1 makes tokens already present less likely")
    no_repeat: int | None = Field(default=None, ge=1, description="never repeat a sequence of this many tokens")
    seed: int = 0


def generate(
    model: Transformer,
    prompts: Sequence[Sequence[int]],
    sampling: Sampling | None = None,
    *,
    end: int | None = None,
) -> list[list[int]]:
    """New tokens for every prompt, each stopped before `end` (not included), at `tokens`, or at the model's context.

    Raises `GenerationError` for an empty prompt, one as long as the context, or ids outside the vocabulary.
    """
    made: list[list[int]] = [[] for _ in prompts]
    finished = [False] * len(prompts)
    for step in _steps(model, prompts, sampling or Sampling(), finished):
        for row, token in enumerate(step):
            if token == end:
                finished[row] = True
            elif not finished[row]:
                made[row].append(token)
        if all(finished):
            break
    return made


def stream(
    model: Transformer, prompt: Sequence[int], sampling: Sampling | None = None, *, end: int | None = None
) -> Iterator[int]:
    """The new tokens of one prompt as they are made; stops before `end`. Raises as `generate` does, on first use."""
    for (token,) in _steps(model, [prompt], sampling or Sampling(), [False]):
        if token == end:
            return
        yield token


def generate_text(
    model: Transformer,
    tokenizer: Tokenizer,
    prompts: Sequence[str],
    sampling: Sampling | None = None,
    *,
    end: str | None = None,
) -> list[str]:
    """Continuations of texts; an empty prompt starts from the `end` token, as training documents do."""
    stop = check_vocabulary(model, tokenizer, end)
    made = generate(model, [encode_prompt(tokenizer, text, stop) for text in prompts], sampling, end=stop)
    return [tokenizer.decode(tokens) for tokens in made]


def stream_text(
    model: Transformer,
    tokenizer: Tokenizer,
    prompt: str,
    sampling: Sampling | None = None,
    *,
    end: str | None = None,
) -> Iterator[str]:
    """Pieces of the continuation as they are made; a character split over tokens waits until it is whole."""
    stop = check_vocabulary(model, tokenizer, end)
    yield from whole_characters(
        stream(model, encode_prompt(tokenizer, prompt, stop), sampling, end=stop), tokenizer.decode
    )


def whole_characters(tokens: Iterable[int], decode: Callable[[list[int]], str]) -> Iterator[str]:
    """Tokens as pieces of text; a character split over tokens waits until it is whole."""
    made: list[int] = []
    shown = ""
    for token in tokens:
        made.append(token)
        text = decode(made)
        if not text.endswith("\N{REPLACEMENT CHARACTER}"):
            yield text[len(shown) :]
            shown = text
    if tail := decode(made)[len(shown) :]:
        yield tail


def check_vocabulary(model: Transformer, tokenizer: Tokenizer, end: str | None = None) -> int | None:
    """The id of the `end` token. Raises `GenerationError` when the tokenizer has ids the model has no row for."""
    known, rows = tokenizer.get_vocab_size(with_added_tokens=True), model.config.vocabulary
    highest = max(tokenizer.get_vocab(with_added_tokens=True).values(), default=-1)
    if highest >= rows:
        raise GenerationError(
            f"the tokenizer has {known} tokens up to id {highest}, but the model's embedding has {rows} rows: "
            "use the tokenizer the model was trained with"
        )
    if end is None:
        return None
    stop: int | None = tokenizer.token_to_id(end)
    if stop is None:
        raise GenerationError(f"the end token {end!r} is not in the tokenizer's vocabulary of {known} tokens")
    return stop


def encode_prompt(tokenizer: Tokenizer, text: str, end: int | None) -> list[int]:
    """Token ids of a prompt; the `end` token alone when it is empty."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise GenerationError("the prompt is not valid UTF-8 text: give it in UTF-8") from None
    tokens: list[int] = tokenizer.encode(text, add_special_tokens=False).ids
    if not tokens and end is None:
        raise GenerationError("the prompt is empty, and there is no end-of-text token to start from: give a prompt")
    return tokens or [end]  # type: ignore[list-item]


@torch.no_grad()
def _steps(
    model: Transformer, prompts: Sequence[Sequence[int]], sampling: Sampling, finished: list[bool]
) -> Iterator[list[int]]:
    """One token for every row per step. Rows marked in `finished` go on being fed, but nothing is drawn for them."""
    if not prompts:
        return
    check_prompts(model, prompts)
    device = model.embedding.weight.device
    longest = max(map(len, prompts))
    limit = min(sampling.tokens, model.config.context - longest)
    before = torch.tensor([longest - len(prompt) for prompt in prompts], device=device)
    rows = [[0] * (longest - len(prompt)) + list(prompt) for prompt in prompts]
    seen = [list(prompt) for prompt in prompts]
    draws = [torch.Generator().manual_seed(named_seed(sampling.seed, "sampling", row)) for row in range(len(prompts))]
    cache = KeyValueCache(
        model.config, len(prompts), longest + limit, dtype=model.embedding.weight.dtype, device=device
    )
    fed = torch.tensor(rows, device=device)
    training = model.training
    model.eval()
    try:
        for _ in range(limit):
            logits = next_scores(model, fed, cache, before)
            chosen = [
                0 if finished[row] else choose(logits[row], seen[row], sampling, draws[row])
                for row in range(len(prompts))
            ]
            for row, token in enumerate(chosen):
                seen[row].append(token)
            yield chosen
            fed = torch.tensor(chosen, device=device)[:, None]
    finally:
        model.train(training)


def next_scores(
    model: Transformer, tokens: Int[Tensor, "batch seq"], cache: KeyValueCache, before: Int[Tensor, "*batch"]
) -> Float[Tensor, "batch vocabulary"]:
    """Float32 scores of the next token; `before` counts the padding in front of each row."""
    start, end = cache.length, cache.length + tokens.shape[1]
    mask = positions = None
    if before.any():
        positions = (torch.arange(start, end, device=before.device)[None] - before[:, None]).clamp(min=0)
        mask = _padded_mask(before, start, end)
    hidden = model(tokens, cache=cache, mask=mask, positions=positions, logits=False).hidden[:, -1]
    return torch.nn.functional.linear(hidden, model.head_weight).float()


def _padded_mask(before: Int[Tensor, "*batch"], start: int, end: int) -> Bool[Tensor, "batch 1 query key"]:
    keys = torch.arange(end, device=before.device)
    queries = torch.arange(start, end, device=before.device)
    causal = keys[None] <= queries[:, None]
    real = keys[None] >= before[:, None]
    itself = keys[None] == queries[:, None]  # a padding position looks at itself, else its softmax is empty
    return (causal & real[:, None] | itself)[:, None]


def choose(logits: Float[Tensor, "*vocabulary"], seen: list[int], sampling: Sampling, draw: torch.Generator) -> int:
    """The next token by its scores, after the tokens `seen`. Forbidden tokens have the score minus infinity."""
    logits = logits.cpu()
    if sampling.no_repeat is not None and (banned := _completions(seen, sampling.no_repeat)):
        logits = logits.index_fill(0, torch.tensor(banned), -torch.inf)
    if sampling.repetition_penalty != 1:
        index = torch.tensor(sorted(set(seen)))
        scores = logits[index]
        penalty = sampling.repetition_penalty
        logits = logits.index_copy(0, index, torch.where(scores < 0, scores * penalty, scores / penalty))
    if sampling.temperature == 0:
        return int(logits.argmax())
    logits = logits / sampling.temperature
    if sampling.top_k is not None and sampling.top_k < len(logits):
        logits = logits.masked_fill(logits < logits.topk(sampling.top_k).values[-1], -torch.inf)
    if sampling.top_p is not None:
        logits = _nucleus(logits, sampling.top_p)
    return int(torch.multinomial(logits.softmax(-1), 1, generator=draw))


def _nucleus(logits: Float[Tensor, "*vocabulary"], mass: float) -> Float[Tensor, "*vocabulary"]:
    ordered, index = logits.softmax(-1).sort(descending=True)
    outside = ordered.cumsum(-1) - ordered >= mass  # what comes before a token already has the mass
    return logits.index_fill(0, index[outside], -torch.inf)


def _completions(seen: list[int], size: int) -> list[int]:
    """Tokens that would complete an n-gram already present."""
    tail = seen[len(seen) - size + 1 :]
    return [seen[i + size - 1] for i in range(len(seen) - size + 1) if seen[i : i + size - 1] == tail]


def check_prompts(model: Transformer, prompts: Sequence[Sequence[int]]) -> None:
    """Raises `GenerationError` for a prompt that is empty, as long as the context, or outside the vocabulary."""
    context, vocabulary = model.config.context, model.config.vocabulary
    for row, prompt in enumerate(prompts):
        if not prompt:
            raise GenerationError(f"prompt {row} is empty: give at least one token")
        if len(prompt) >= context:
            raise GenerationError(
                f"prompt {row} has {len(prompt)} tokens; the model's context is {context}, with room for the answer: "
                "shorten the prompt"
            )
        if not 0 <= min(prompt) <= max(prompt) < vocabulary:
            raise GenerationError(
                f"prompt {row} has token ids from {min(prompt)} to {max(prompt)}; the model's vocabulary is "
                f"{vocabulary}: use the tokenizer the model was trained with"
            )
