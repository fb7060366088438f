"""Several answers to every prompt, drawn together, with the log-probability of every token: what policies are made of.

Plain sampling at one temperature, in batches, with a key/value cache. A prompt is read once and its keys and values
are shared out to all of its answers; draws are made for the whole batch at once from one generator (where `generate`
gives every row a seed of its own, and reads every prompt as often as it is answered).

The log-probabilities are those of the distribution that was drawn from, at the temperature, in float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from glasshouse.language.generation import GenerationError, check_prompts, next_scores
from glasshouse.nn.transformer import KeyValueCache, Transformer


class Sampled(NamedTuple):
    """Answers as tokens, each with its end token where it has one; after it `tokens` hold the end token again.

    `lengths` count the tokens of an answer with its end token; `log_probabilities` are zero beyond them.
    """

    tokens: Int[Tensor, "prompts answers longest"]
    lengths: Int[Tensor, "prompts answers"]
    log_probabilities: Float[Tensor, "prompts answers longest"]


@torch.no_grad()
def sample(
    model: Transformer,
    prompts: Sequence[Sequence[int]],
    answers: int,
    tokens: int,
    *,
    end: int,
    generator: torch.Generator,
    temperature: float = 1.0,
) -> Sampled:
    """`answers` answers to every prompt, of at most `tokens` tokens or what the context leaves.

    `generator` lives on the model's device. Raises `GenerationError` for prompts that `generate` refuses too, for none
    at all, and for a temperature that is not above zero.
    """
    if not prompts or answers < 1 or tokens < 1:
        raise GenerationError(f"{len(prompts)} prompts, {answers} answers, {tokens} tokens: each has to be 1 or more")
    if not temperature > 0:
        raise GenerationError(f"nothing is drawn at temperature {temperature}: use `generate` for greedy text")
    check_prompts(model, prompts)
    training = model.training
    model.eval()
    try:
        return _sample(model, prompts, answers, tokens, end, generator, temperature)
    finally:
        model.train(training)


def _sample(
    model: Transformer,
    prompts: Sequence[Sequence[int]],
    answers: int,
    tokens: int,
    end: int,
    generator: torch.Generator,
    temperature: float,
) -> Sampled:
    device, kind = model.embedding.weight.device, model.embedding.weight.dtype
    longest = max(map(len, prompts))
    limit = min(tokens, model.config.context - longest)
    before = torch.tensor([longest - len(prompt) for prompt in prompts])
    padded = torch.tensor([[0] * (longest - len(prompt)) + list(prompt) for prompt in prompts], device=device)
    read = KeyValueCache(model.config, len(prompts), longest, dtype=kind, device=device)
    scores = next_scores(model, padded, read, before.to(device)).repeat_interleave(answers, 0)
    cache = _shared_out(model, read, answers, longest + limit)
    padding = before.repeat_interleave(answers).to(device)
    ended = torch.zeros(len(prompts) * answers, dtype=torch.bool, device=device)
    made, chances = list[Tensor](), list[Tensor]()
    while True:
        spread = (scores / temperature).log_softmax(-1)
        drawn = torch.multinomial(spread.exp(), 1, generator=generator)[:, 0]
        chances.append(spread.gather(1, drawn[:, None])[:, 0].masked_fill(ended, 0))
        made.append(drawn.masked_fill(ended, end))
        ended = ended | (drawn == end)
        if len(made) == limit or bool(ended.all()):
            break
        scores = next_scores(model, made[-1][:, None], cache, padding)
    found = torch.stack(made, 1)
    lengths = ((found == end).cumsum(1) == 0).sum(1) + 1
    shape = (len(prompts), answers)
    return Sampled(
        found.view(*shape, -1), lengths.clamp(max=len(made)).view(shape), torch.stack(chances, 1).view(*shape, -1)
    )


def _shared_out(model: Transformer, read: KeyValueCache, answers: int, capacity: int) -> KeyValueCache:
    """A cache in which every prompt that was read stands `answers` times, with room for what is drawn."""
    rows, device = read.keys.shape[1] * answers, read.keys.device
    cache = KeyValueCache(model.config, rows, capacity, dtype=read.keys.dtype, device=device)
    cache.keys[:, :, :, : read.length] = read.keys.repeat_interleave(answers, 1)
    cache.values[:, :, :, : read.length] = read.values.repeat_interleave(answers, 1)
    cache.length = read.length
    return cache
