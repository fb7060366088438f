"""Greedy text in batches, up to a stop text: what tasks with free answers are made of.

A row ends at an end token of the model, before the first of its stop texts, or after as many tokens as were asked for.
This is what lm-evaluation-harness does.

Deviation: decoding is greedy and nothing else; a repetition penalty that a Hugging Face model brings in its
`generation_config.json` is not applied.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Container, Iterator, Sequence
from itertools import groupby
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from glasshouse.evaluation.encoding import EncodedPrompt
from glasshouse.evaluation.requests import ScoringError, Written
from glasshouse.language.generation import next_scores
from glasshouse.nn.threads import threads_for
from glasshouse.nn.transformer import KeyValueCache, Transformer

LOOK_BACK = 8
"""Tokens beyond the bytes of a stop text that are decoded to look for it at every step."""


def written_batches(
    model: nn.Module,
    tokenizer: Any,
    prompts: Sequence[EncodedPrompt],
    *,
    ends: Collection[int],
    batch_tokens: int = 4096,
    known: Container[int] = (),
) -> Iterator[tuple[list[int], list[Written]]]:
    """What the model writes after every prompt, batch by batch: the numbers of the prompts, and their texts.

    Args:
        model: in evaluation mode; ours, or a causal model of `transformers`.
        ends: tokens that end a text.
        batch_tokens: tokens of a batch, prompts and answers; texts do not depend on it beyond rounding.
        known: prompts that need no answer; a batch of which all are known is left out.

    Raises:
        ScoringError: the model's scores are not numbers.
    """
    order = sorted(range(len(prompts)), key=lambda n: (prompts[n].tokens, -len(prompts[n].prompt)))
    for tokens, group in groupby(order, key=lambda n: prompts[n].tokens):
        waiting = list(group)
        while waiting:
            most = max(1, batch_tokens // (len(prompts[waiting[0]].prompt) + tokens))
            numbers, waiting = waiting[:most], waiting[most:]
            if all(number in known for number in numbers):
                continue
            chosen = [prompts[number] for number in numbers]
            write = _write if isinstance(model, Transformer) else _write_theirs
            with threads_for(model), torch.no_grad():
                made = write(model, chosen, _Endings(tokenizer, chosen, ends))  # type: ignore[arg-type]
            yield numbers, [_written(tokenizer, ids, prompt) for ids, prompt in zip(made, chosen, strict=True)]


def _decoder(tokenizer: Any) -> Callable[[Sequence[int]], str]:
    return lambda ids: str(tokenizer.decode(list(ids), skip_special_tokens=True))


def _written(tokenizer: Any, ids: Sequence[int], prompt: EncodedPrompt) -> Written:
    text = _decoder(tokenizer)(ids)
    for stop in filter(None, prompt.stop):
        text = text.split(stop, 1)[0]
    return Written(text, len(ids), prompt.cut)


class _Endings:
    """Which rows of a batch have ended, told token by token."""

    def __init__(self, tokenizer: Any, prompts: Sequence[EncodedPrompt], ends: Collection[int]) -> None:
        self.made: list[list[int]] = [[] for _ in prompts]
        self.ended = [False] * len(prompts)
        self._decode, self._ends = _decoder(tokenizer), frozenset(ends)
        self._stops = [tuple(filter(None, prompt.stop)) for prompt in prompts]
        self._tails = [max((len(stop.encode()) for stop in stops), default=0) + LOOK_BACK for stops in self._stops]

    def tell(self, tokens: Sequence[int]) -> bool:
        """One more token of every row, those of ended rows ignored; whether all rows have ended."""
        for row, token in enumerate(tokens):
            if self.ended[row]:
                continue
            if token in self._ends:
                self.ended[row] = True
                continue
            self.made[row].append(token)
            if self._stops[row]:
                tail = self._decode(self.made[row][-self._tails[row] :])
                self.ended[row] = any(stop in tail for stop in self._stops[row])
        return all(self.ended)


def _write(model: Transformer, prompts: Sequence[EncodedPrompt], endings: _Endings) -> list[list[int]]:
    device, kind = model.embedding.weight.device, model.embedding.weight.dtype
    longest, limit = max(len(prompt.prompt) for prompt in prompts), prompts[0].tokens
    before = torch.tensor([longest - len(prompt.prompt) for prompt in prompts], device=device)
    fed = torch.tensor([[0] * (longest - len(p.prompt)) + list(p.prompt) for p in prompts], device=device)
    cache = KeyValueCache(model.config, len(prompts), longest + limit, dtype=kind, device=device)
    for _ in range(limit):
        chosen = _likeliest(next_scores(model, fed, cache, before))
        if endings.tell(chosen.tolist()):
            break
        fed = chosen[:, None]
    return endings.made


def _likeliest(scores: Float[Tensor, "batch vocabulary"]) -> Tensor:
    """The best token of every row. Raises `ScoringError` where a score is not a number."""
    best = scores.max(-1)
    if best.values.isnan().any():
        raise ScoringError("the model's scores for the next token are not numbers: its weights are damaged")
    return best.indices


def _write_theirs(model: Any, prompts: Sequence[EncodedPrompt], endings: _Endings) -> list[list[int]]:
    """By `generate` of `transformers`, which knows how each of its families wants padding and cache."""
    from transformers import GenerationConfig, LogitsProcessorList, StoppingCriteriaList

    device, longest = next(model.parameters()).device, max(len(prompt.prompt) for prompt in prompts)
    padding = [longest - len(prompt.prompt) for prompt in prompts]
    fed = [[0] * before + list(prompt.prompt) for before, prompt in zip(padding, prompts, strict=True)]
    mask = [[0] * before + [1] * (longest - before) for before in padding]

    def check(_: Tensor, scores: Tensor) -> Tensor:
        _likeliest(scores)
        return scores

    def ended(ids: Tensor, _: Tensor, **__: Any) -> Tensor:
        endings.tell(ids[:, -1].tolist())
        return torch.tensor(endings.ended, device=ids.device)

    plain: Any = GenerationConfig
    own, model.generation_config = model.generation_config, plain()
    try:
        model.generate(
            input_ids=torch.tensor(fed, device=device),
            attention_mask=torch.tensor(mask, device=device),
            generation_config=plain(do_sample=False, max_new_tokens=prompts[0].tokens, pad_token_id=0),
            logits_processor=LogitsProcessorList([check]),
            stopping_criteria=StoppingCriteriaList([ended]),
        )
    finally:
        model.generation_config = own
    return endings.made
