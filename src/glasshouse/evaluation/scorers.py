"""Who answers requests: a model in memory here, a served one in `endpoints`."""

from __future__ import annotations

import hashlib
from collections.abc import Container, Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

import tokenizers
import torch
from torch import nn

from glasshouse.evaluation.encoding import encode_prompts, encode_requests
from glasshouse.evaluation.likelihood import likelihood_batches
from glasshouse.evaluation.requests import Answer, Generate, Likelihood, LogLikelihood, Request, Written
from glasshouse.evaluation.writing import written_batches
from glasshouse.store.configuration import canonical_json

if TYPE_CHECKING:
    from glasshouse.language.measures import CausalModel


class Scorer(Protocol):
    """A model that answers requests.

    Attributes:
        identity: a hash of the model.
        setting: how it is asked, where that may change the last bits of its answers.
    """

    @property
    def identity(self) -> str: ...

    @property
    def setting(self) -> str: ...

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
        batch_tokens: tokens of a forward pass, by default 4096 on a processor and eight times as many on a GPU;
            results do not depend on it beyond rounding.
    """

    def __init__(self, model: CausalModel, *, batch_tokens: int | None = None) -> None:
        on_processor = next(model.transformer.parameters()).device.type == "cpu"
        self.model, self.batch_tokens = model, batch_tokens or (4096 if on_processor else 8 * 4096)
        self._ends: frozenset[int] = getattr(model, "ends", None) or frozenset({model.end_of_sequence})

    @cached_property
    def identity(self) -> str:
        """A hash of the weights and the tokenizer."""
        return identity_of(self.model.transformer, self.model.tokenizer)

    @property
    def setting(self) -> str:
        """Device, precision and size of batches."""
        weight = next(self.model.transformer.parameters())
        return f"{weight.device.type}, {weight.dtype}, {self.batch_tokens} tokens a batch"

    def batches(self, requests: Sequence[Request], known: Container[int] = ()) -> Iterator[dict[int, Answer]]:
        """Log-likelihoods first, then texts. Raises `ScoringError` naming what cannot be answered."""
        for kind, answer in ((LogLikelihood, self._likelihoods), (Generate, self._texts)):
            places = [number for number, request in enumerate(requests) if isinstance(request, kind)]
            asked: list[Any] = [requests[place] for place in places]
            for chosen, found in answer(asked, {index for index, place in enumerate(places) if place in known}):
                yield dict(zip([places[index] for index in chosen], found, strict=True))

    def _likelihoods(
        self, asked: Sequence[LogLikelihood], known: Container[int]
    ) -> Iterator[tuple[list[int], list[Likelihood]]]:
        model = self.model
        encoded = encode_requests(model.tokenizer, asked, end_of_sequence=model.end_of_sequence, context=model.context)
        for chosen, found in likelihood_batches(
            model.transformer, encoded, context=model.context, batch_tokens=self.batch_tokens, known=known
        ):
            yield (
                chosen,
                [
                    Likelihood(float(nats), bool(greedy), len(encoded[index].continuation), encoded[index].cut)
                    for index, nats, greedy in zip(chosen, found.log_likelihood, found.greedy, strict=True)
                ],
            )

    def _texts(self, asked: Sequence[Generate], known: Container[int]) -> Iterator[tuple[list[int], list[Written]]]:
        model = self.model
        prompts = encode_prompts(model.tokenizer, asked, end_of_sequence=model.end_of_sequence, context=model.context)
        yield from written_batches(
            model.transformer, model.tokenizer, prompts, ends=self._ends, batch_tokens=self.batch_tokens, known=known
        )


def identity_of(model: nn.Module, tokenizer: Any) -> str:
    """A hash of a model's weights, by name, and of its tokenizer."""
    found = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        found.update(tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy().tobytes())
    quick = tokenizer if isinstance(tokenizer, tokenizers.Tokenizer) else getattr(tokenizer, "backend_tokenizer", None)
    words = canonical_json(tokenizer.get_vocab()) if quick is None else quick.to_str()
    found.update(words.encode())
    return found.hexdigest()
