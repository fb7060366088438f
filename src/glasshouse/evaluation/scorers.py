"""Who answers requests: a model in memory here, a served one in `endpoints`."""

from __future__ import annotations

import hashlib
from collections.abc import Container, Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

import tokenizers
import torch
from torch import nn

from glasshouse.evaluation.likelihood import encode_requests, likelihood_batches
from glasshouse.evaluation.requests import Answer, Generate, Likelihood, LogLikelihood, Request
from glasshouse.evaluation.writing import encode_prompts, written_batches

if TYPE_CHECKING:
    from glasshouse.language.measures import CausalModel


class Scorer(Protocol):
    """A model that answers requests.

    Attributes:
        identity: a hash of all that its answers depend on.
    """

    @property
    def identity(self) -> str: ...

    def batches(self, requests: Sequence[Request], known: Container[int] = ()) -> Iterator[Mapping[int, Answer]]:
        """Answers by the number of the request, as batches are finished.

        Batches are a function of all requests: leaving out those whose requests are all `known` changes no other, so
        that a run that was interrupted finds the numbers it would have found.
        """
        ...


def answers(scorer: Scorer, requests: Sequence[Request]) -> list[Answer]:
    """The answers of all requests, in their order."""
    found: dict[int, Answer] = {}
    for batch in scorer.batches(requests):
        found |= batch
    return [found[number] for number in range(len(requests))]


class LocalScorer:
    """A causal model of this house or of `transformers`, in memory.

    Args:
        model: as of `open_folder`, `scored_model` or `LanguageModel.load`.
        batch_tokens: tokens of a forward pass; results do not depend on it beyond rounding.
        ends: tokens that end a text, beside the model's own.
    """

    def __init__(self, model: CausalModel, *, batch_tokens: int = 4096) -> None:
        self.model, self.batch_tokens = model, batch_tokens
        self._ends: frozenset[int] = getattr(model, "ends", None) or frozenset({model.end_of_sequence})

    @cached_property
    def identity(self) -> str:
        """A hash of the weights and the tokenizer."""
        return identity_of(self.model.transformer, self.model.tokenizer)

    def batches(self, requests: Sequence[Request], known: Container[int] = ()) -> Iterator[dict[int, Answer]]:
        """Log-likelihoods first, then texts. Raises `ScoringError` naming what cannot be answered."""
        yield from self._likelihoods(requests, known)
        yield from self._texts(requests, known)

    def _likelihoods(self, requests: Sequence[Request], known: Container[int]) -> Iterator[dict[int, Answer]]:
        asked = {number: request for number, request in enumerate(requests) if isinstance(request, LogLikelihood)}
        if not asked:
            return
        model, places = self.model, list(asked)
        encoded = encode_requests(
            model.tokenizer, list(asked.values()), end_of_sequence=model.end_of_sequence, context=model.context
        )
        for chosen, found in likelihood_batches(
            model.transformer, encoded, context=model.context, batch_tokens=self.batch_tokens,
            known={index for index, place in enumerate(places) if place in known},
        ):  # fmt: skip
            yield {
                places[index]: Likelihood(
                    float(nats), bool(greedy), len(encoded[index].continuation), encoded[index].cut
                )
                for index, nats, greedy in zip(chosen, found.log_likelihood, found.greedy, strict=True)
            }

    def _texts(self, requests: Sequence[Request], known: Container[int]) -> Iterator[dict[int, Answer]]:
        asked = {number: request for number, request in enumerate(requests) if isinstance(request, Generate)}
        if not asked:
            return
        model, places = self.model, list(asked)
        prompts = encode_prompts(
            model.tokenizer, list(asked.values()), end_of_sequence=model.end_of_sequence, context=model.context
        )
        for chosen, texts in written_batches(
            model.transformer, model.tokenizer, prompts, ends=self._ends, batch_tokens=self.batch_tokens,
            known={index for index, place in enumerate(places) if place in known},
        ):  # fmt: skip
            yield dict(zip([places[index] for index in chosen], texts, strict=True))


def identity_of(model: nn.Module, tokenizer: Any) -> str:
    """A hash of a model's weights, by name, and of its tokenizer."""
    found = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        found.update(tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy().tobytes())
    if isinstance(tokenizer, tokenizers.Tokenizer):
        found.update(tokenizer.to_str().encode())
    else:
        found.update(tokenizer.backend_tokenizer.to_str().encode())
    return found.hexdigest()
