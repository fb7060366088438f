"""Models of this house inside lm-evaluation-harness, as `--model glasshouse`.

The harness (0.4.13) knows models by a registry in its own process and looks for none outside; there is no entry point
to declare. So the name is registered by importing this module, which `python -m glasshouse.evaluation.harness` does
before it hands over to the harness's own command line.
"""

from __future__ import annotations

from typing import Any

import torch
from lm_eval.api.instance import Instance
from lm_eval.api.model import LM
from lm_eval.api.registry import register_model
from lm_eval.models.utils import handle_stop_sequences, normalize_gen_kwargs
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

from glasshouse.evaluation.encoding import Encoded, encoder
from glasshouse.evaluation.likelihood import log_likelihoods
from glasshouse.evaluation.models import open_named
from glasshouse.evaluation.requests import Generate, Likelihood, LogLikelihood, ScoringError, Written
from glasshouse.evaluation.scorers import LocalScorer, answers

DEFAULT_TOKENS = 256
"""What the harness writes at most where a task does not say."""


@register_model("glasshouse")
class GlasshouseLM(LM):
    """A model as the harness asks for one.

    Args:
        path: a model folder, `hf:NAME`, or what the store knows a model by; `pretrained` is another word for it.
        store: where artifacts are kept.
        batch_tokens: tokens of a forward pass; the harness's `batch_size` is ignored, results do not depend on it.
        model: one that is open already, instead of a path.
    """

    def __init__(
        self,
        path: str = "",
        *,
        pretrained: str = "",
        store: str = ".glasshouse",
        device: str | None = None,
        batch_tokens: int = 4096,
        model: Any = None,
        **ignored: Any,
    ) -> None:
        super().__init__()
        if unknown := set(ignored) - {"batch_size", "max_batch_size"}:
            raise TypeError(f"--model glasshouse takes path, store, device and batch_tokens; got {', '.join(unknown)}")
        if device is None or (device.startswith("cuda") and not torch.cuda.is_available()):
            device = "cpu"  # the harness asks for cuda:0 where nothing is said
        opened = model or open_named(path or pretrained, store=store, device=device)
        self.scorer = LocalScorer(opened, batch_tokens=int(batch_tokens))

    def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """log p of continuations, and whether they are what greedy decoding writes."""
        found = answers(self.scorer, [LogLikelihood(*request.args) for request in requests])
        return [(answer.nats, answer.greedy) for answer in found if isinstance(answer, Likelihood)]

    def loglikelihood_rolling(self, requests: list[Instance], disable_tqdm: bool = False) -> list[float]:
        """log p of whole texts, in the harness's windows: each token once, the last window with a full context."""
        model = self.scorer.model
        encoded: list[Encoded] = []
        owners: list[int] = []
        for number, ids in enumerate(encoder(model.tokenizer)([request.args[0] for request in requests])):
            windows = get_rolling_token_windows(
                token_list=ids, prefix_token=model.end_of_sequence, max_seq_len=model.context, context_len=1
            )
            for context, continuation in map(make_disjoint_window, windows):
                encoded.append(Encoded(tuple(context), tuple(continuation)))
                owners.append(number)
        found = log_likelihoods(
            model.transformer, encoded, context=model.context, batch_tokens=self.scorer.batch_tokens
        )
        sums = [0.0] * len(requests)
        for owner, nats in zip(owners, found.log_likelihood, strict=True):
            sums[owner] += float(nats)
        return sums

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """Greedy texts. Raises `ScoringError` for a task that wants them drawn."""
        found = answers(self.scorer, [greedy_request(*request.args) for request in requests])
        return [answer.text for answer in found if isinstance(answer, Written)]


def greedy_request(prompt: str, settings: dict[str, Any]) -> Generate:
    """The harness's settings of a text as a request. Raises `ScoringError` for a text that is to be drawn."""
    said = normalize_gen_kwargs(settings, DEFAULT_TOKENS)
    stop = handle_stop_sequences(said.pop("until", None), eos=None)
    if said.get("do_sample") or said.get("temperature", 0):
        raise ScoringError(f"texts are greedy here, the task wants {settings}: give --gen_kwargs do_sample=False")
    return Generate(prompt, tuple(stop), int(said["max_gen_toks"]))
