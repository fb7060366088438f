"""How far a model has moved from its reference: KL(pi || ref) of whole answers, estimated on answers of the model.

With y drawn from pi at temperature 1 and cut at a number of tokens, three estimators of the same number, in nats per
answer:

    exact    sum_t sum_v pi(v | y_<t) log [pi(v | y_<t) / ref(v | y_<t)]      the chain rule; only the path is drawn
    k1       sum_t log [pi(y_t | y_<t) / ref(y_t | y_<t)]
    k3       sum_t (r_t - 1 - log r_t),   r_t = ref(y_t | y_<t) / pi(y_t | y_<t)

k1 and k3 are Schulman's ("Approximating KL divergence", 2020); exact has the smallest variance, because only the prefix
is random (a Rao-Blackwellised k1; Amini et al., arXiv 2504.10637), and needs the scores of the whole vocabulary of both
models. The standard error is over prompts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from glasshouse.language.generation import Sampling, generate
from glasshouse.nn.loss import IGNORE
from glasshouse.nn.transformer import Transformer
from glasshouse.store.configuration import named_seed

ESTIMATORS = ("exact", "k1", "k3")


class Divergence(NamedTuple):
    """Estimates with their standard errors, in nats per answer, by estimator; `tokens` is the mean length."""

    value: dict[str, float]
    error: dict[str, float]
    tokens: float
    answers: int


@torch.no_grad()
def divergence(
    policy: Transformer,
    reference: Transformer,
    prompts: Sequence[Sequence[int]],
    *,
    end: int,
    tokens: int = 64,
    per_prompt: int = 1,
    seed: int = 0,
    batch: int = 32,
    advance: Callable[[int], object] = lambda _: None,
) -> Divergence:
    """KL(policy || reference) of answers of at most `tokens` tokens, the end token counted as one of them."""
    found: list[NDArray[np.float64]] = []
    lengths: list[int] = []
    repeated = [prompt for prompt in prompts for _ in range(per_prompt)]
    for start in range(0, len(repeated), batch):
        given = repeated[start : start + batch]
        answers = sampled_answers(policy, given, end=end, tokens=tokens, seed=named_seed(seed, "divergence", start))
        found.append(_estimates(policy, reference, given, answers))
        lengths += [len(answer) for answer in answers]
        advance(len(given))
    by_prompt = np.concatenate(found).reshape(len(prompts), per_prompt, len(ESTIMATORS)).mean(1)
    spread = by_prompt.std(0, ddof=1) / math.sqrt(len(prompts)) if len(prompts) > 1 else np.full(3, np.nan)
    return Divergence(
        dict(zip(ESTIMATORS, by_prompt.mean(0).tolist(), strict=True)),
        dict(zip(ESTIMATORS, spread.tolist(), strict=True)),
        float(np.mean(lengths)),
        len(repeated),
    )


def sampled_answers(
    model: Transformer, prompts: Sequence[Sequence[int]], *, end: int, tokens: int, seed: int
) -> list[list[int]]:
    """Answers at temperature 1, each with its end token where it has one."""
    room = min(tokens, model.config.context - max(map(len, prompts)))
    made = generate(model, prompts, Sampling(tokens=tokens, temperature=1.0, seed=seed), end=end)
    return [answer if len(answer) == room else [*answer, end] for answer in made]


def _estimates(
    policy: Transformer, reference: Transformer, prompts: Sequence[Sequence[int]], answers: Sequence[Sequence[int]]
) -> NDArray[np.float64]:
    """One row of `ESTIMATORS` per answer."""
    longest = max(len(prompt) + len(answer) for prompt, answer in zip(prompts, answers, strict=True))
    device = policy.embedding.weight.device
    tokens = torch.zeros(len(prompts), longest, dtype=torch.long)
    targets = torch.full_like(tokens, IGNORE)
    for row, (prompt, answer) in enumerate(zip(prompts, answers, strict=True)):
        tokens[row, : len(prompt) + len(answer)] = torch.tensor([*prompt, *answer])
        targets[row, len(prompt) - 1 : len(prompt) - 1 + len(answer)] = torch.tensor(answer)
    tokens, targets = tokens.to(device), targets.to(device)
    counted = targets != IGNORE
    ours, theirs = (_log_softmax(model, tokens, counted) for model in (policy, reference))
    drawn = targets[counted][:, None]
    ratio = (ours.gather(1, drawn) - theirs.gather(1, drawn))[:, 0]
    exact = (ours.exp() * (ours - theirs)).sum(-1)
    rows = counted.nonzero()[:, 0].cpu()
    sums = torch.zeros(len(prompts), len(ESTIMATORS), dtype=torch.float64)
    each = torch.stack([exact, ratio, torch.expm1(-ratio) + ratio], 1).double().cpu()
    return sums.index_add_(0, rows, each).numpy()


def _log_softmax(model: Transformer, tokens: Tensor, counted: Tensor) -> Float[Tensor, "places vocabulary"]:
    hidden = model(tokens, logits=False).hidden[counted]
    return torch.nn.functional.linear(hidden, model.head_weight).float().log_softmax(-1)
