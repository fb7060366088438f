"""How well rewards predict preferences: one at a time, and jointly.

Of particles s = 1..S and rows t, everything is made of log p(c_t | z_s), the log-likelihood of the label that was seen:

    marginal  - 1/T sum_t log 1/S sum_s p(c_t | z_s)
    joint     - log 1/S sum_s prod_t p(c_t | z_s)   over batches of tau rows, averaged over the batches

Marginal log-loss cannot tell doubt that more data would remove from doubt that stays; the joint one can [Osband et al.,
The Neural Testbed, arXiv 2110.04629; arXiv 2402.00396]. Batches of unrelated rows hardly correlate
under any model, so the dyadic form takes two rows (anchors) and draws tau times from them with replacement [Osband et
al., Evaluating high-order predictive distributions, arXiv 2202.13509]; the label of an anchor stays what it is.

Deviation from `google-deepmind/enn` (`make_nll_polyadic_calculator(tau=10, kappa=2)`): they draw once for every pair of
anchors; here the mean over all draws is taken exactly, k times the first and tau - k times the second anchor with
probability C(tau, k) / 2^tau. With their draws given as `first_anchor` the result is theirs.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional


def preference_log_likelihoods(
    rewards: Float[Tensor, "particles pairs 2"], first_preferred: Float[Tensor, " pairs"] | None = None
) -> Float[Tensor, "particles pairs"]:
    """log p(c | z) of labels under Bradley-Terry; by default the first of each pair was preferred.

    `first_preferred` holds 0 or 1; a probability in between gives the expected log-likelihood.
    """
    difference = rewards[..., 0] - rewards[..., 1]
    if first_preferred is None:
        return functional.logsigmoid(difference)
    return -preference_cross_entropy(difference, first_preferred)


def preference_cross_entropy(
    difference: Float[Tensor, "*particles pairs"], first_preferred: Float[Tensor, " pairs"]
) -> Float[Tensor, "*particles pairs"]:
    """- q log sigma(d) - (1 - q) log sigma(-d), for q the probability that the first is preferred."""
    return functional.softplus(-difference) + (1 - first_preferred) * difference


def marginal_nll(log_likelihoods: Float[Tensor, "particles rows"]) -> Float[Tensor, ""]:
    """Mean negative log-likelihood of single rows, in nats."""
    _refuse_fewer(log_likelihoods, 1, "the marginal log-loss")
    return -mean_likelihood(log_likelihoods).mean()


def joint_nll(log_likelihoods: Float[Tensor, "particles rows"], tau: int = 10) -> Float[Tensor, ""]:
    """Mean negative log-likelihood of batches of `tau` consecutive rows; what does not fill a batch is left out."""
    _refuse_fewer(log_likelihoods, tau, f"batches of {tau} rows")
    batches = log_likelihoods.shape[1] // tau
    summed = log_likelihoods[:, : batches * tau].reshape(-1, batches, tau).sum(-1)
    return -mean_likelihood(summed).mean()


def dyadic_nll(
    log_likelihoods: Float[Tensor, "particles rows"],
    tau: int = 10,
    *,
    first_anchor: Int[Tensor, " dyads"] | None = None,
) -> Float[Tensor, ""]:
    """Mean negative log-likelihood of `tau` draws from two anchors, in nats; consecutive rows are a dyad.

    The mean is over all draws, unless `first_anchor` says how often the first row of each dyad was drawn.
    """
    _refuse_fewer(log_likelihoods, 2, "two anchors")
    dyads = log_likelihoods.shape[1] // 2
    first, second = log_likelihoods[:, : 2 * dyads].reshape(-1, dyads, 2).unbind(-1)
    if first_anchor is not None:
        if first_anchor.shape != (dyads,) or not bool(((first_anchor >= 0) & (first_anchor <= tau)).all()):
            raise ValueError(f"first_anchor needs a number from 0 to {tau} for each of {dyads} dyads")
        return -mean_likelihood(first_anchor * first + (tau - first_anchor) * second).mean()
    times = torch.arange(tau + 1, dtype=first.dtype, device=first.device)[:, None, None]
    probability = torch.tensor([math.comb(tau, k) / 2**tau for k in range(tau + 1)], dtype=first.dtype)
    each = -mean_likelihood((times * first + (tau - times) * second).transpose(0, 1)).mean(-1)
    return (probability.to(each) * each).sum()


def mean_likelihood(log_likelihoods: Float[Tensor, "particles *rows"]) -> Float[Tensor, "*rows"]:  # noqa: UP037
    """log 1/S sum_s exp(l_s), without leaving the logarithms."""
    return log_likelihoods.logsumexp(0) - math.log(len(log_likelihoods))


def _refuse_fewer(log_likelihoods: Tensor, rows: int, what: str) -> None:
    if log_likelihoods.ndim != 2 or log_likelihoods.shape[0] < 1 or log_likelihoods.shape[1] < rows or rows < 1:
        raise ValueError(
            f"{what} need log-likelihoods [particles, rows] with at least {max(rows, 1)} rows, "
            f"got {tuple(log_likelihoods.shape)}"
        )
