"""The KL-regularised optimum over cached samples: exact, without training.

    max over pi of  E_pi[u] - gamma KL(pi || pi_0)        has the optimum        pi(y) = pi_0(y) exp(u(y) / gamma) / Z

Over n samples of the base policy pi_0 every sample weighs 1/n, so pi is a softmax over them and
KL = sum p_i (log p_i + ln n). A KL near ln n rests on a handful of samples: `trusted_kl` says up to where at least
`EFFECTIVE_SAMPLES` (n exp(-KL)) are left. One gamma serves all prompts, as in training.

Samples with utility -inf (dropped, see `combination`) are left out of the base.
"""

from __future__ import annotations

import dataclasses
import math

import torch

from glasshouse.alignment.transforms import PerPrompt, RewardError, Rewards

EFFECTIVE_SAMPLES = 5
ITERATIONS = 100
PRECISION = 1e-7
"""Of the KL that is asked for, relative to it."""
TINY = 1e-300


@dataclasses.dataclass(frozen=True)
class Reweighted:
    """A policy as weights over the base policy's samples.

    Attributes:
        probabilities: `[batch, candidates]`, rows sum to 1.
        kl: of every prompt, in nats.
        gamma: strength of the KL term that it is the optimum for; `None` where it is no such optimum (best of k).
    """

    probabilities: Rewards
    kl: PerPrompt
    gamma: float | None = None

    def mean(self, values: Rewards) -> PerPrompt:
        """Expectation of values of the samples, for every prompt."""
        return (self.probabilities * values.to(self.probabilities)).sum(1)


def log_base(utility: Rewards) -> Rewards:
    """Log-weights of the samples under the base policy, in float64: uniform over those that are not dropped.

    Raises `RewardError` for utilities of another shape, NaN or +inf, and prompts with fewer than 2 samples left.
    """
    if utility.ndim != 2 or not utility.is_floating_point():
        raise RewardError(f"utilities take a tensor of numbers [batch, candidates], got shape {tuple(utility.shape)}")
    if bool((utility.isnan() | (utility == torch.inf)).any()):
        raise RewardError("some utilities are NaN or +inf: a completion without a score is dropped with -inf")
    kept = utility.isfinite()
    if (few := (kept.sum(1) < 2).nonzero()).numel():
        raise RewardError(f"prompt {int(few[0])} has {int(kept[few[0]].sum())} samples: reweighting takes 2 or more")
    zeros = torch.zeros_like(utility, dtype=torch.float64)
    return zeros.masked_fill(~kept, -torch.inf).log_softmax(1)


def tilt(utility: Rewards, *, gamma: float | None = None, kl: float | None = None) -> Reweighted:
    """The optimum for a given gamma, or the one whose KL, averaged over prompts, is `kl`.

    Raises `RewardError` when both or neither are given, and when `kl` cannot be reached: no reweighting of n samples
    is further than ln n from them, and prompts whose best samples are tied or constant stay nearer.
    """
    if (gamma is None) == (kl is None):
        raise RewardError(f"give gamma or kl, one of them: got gamma={gamma!r}, kl={kl!r}")
    base = log_base(utility)
    if kl is not None:
        gamma = _gamma_for(utility, base, kl)
    if gamma is None or not (math.isfinite(gamma) and gamma > 0):
        raise RewardError(f"gamma got {gamma!r}: it takes a number above 0")
    weights = _weights(utility, base, gamma)
    return Reweighted(weights.exp(), divergence(weights, base), gamma)


def divergence(log_probabilities: Rewards, base: Rewards) -> PerPrompt:
    """KL of every prompt between two rows of log-probabilities; a sample without weight adds nothing."""
    terms = log_probabilities.exp() * (log_probabilities - base)
    return terms.where(log_probabilities.isfinite(), 0.0).sum(1)


def trusted_kl(samples: int) -> float:
    """The KL up to which `EFFECTIVE_SAMPLES` of `samples` carry the policy; the cap itself is ln `samples`."""
    return max(0.0, math.log(samples / EFFECTIVE_SAMPLES))


def reachable_kl(utility: Rewards) -> float:
    """The KL, averaged over prompts, that gamma -> 0 leads to: all weight on each prompt's best samples."""
    base = log_base(utility)
    best = utility == utility.amax(1, keepdim=True)
    return float(-base.masked_fill(~best, -torch.inf).logsumexp(1).mean())


def _weights(utility: Rewards, base: Rewards, gamma: float) -> Rewards:
    # The best sample is subtracted first: at a small gamma its utility over gamma would eat the differences.
    gain = (utility - utility.amax(1, keepdim=True)).to(base)
    return (gain / gamma + base).log_softmax(1)


def _gamma_for(utility: Rewards, base: Rewards, kl: float) -> float:
    limit = reachable_kl(utility)
    if not 0 < kl < limit - 1e-9:
        tied = " (constant utilities have nothing to choose)" if limit < 1e-6 else ""
        raise RewardError(
            f"a mean KL of {kl:g} cannot be reached: these samples allow more than 0 and less than {limit:.3f} nats"
            f"{tied}. Draw more samples per prompt, or ask for less"
        )
    log_gamma, low, high = _first_guess(utility, kl), -math.inf, math.inf
    for _ in range(ITERATIONS):
        weights = _weights(utility, base, math.exp(log_gamma))
        reached = float(divergence(weights, base).mean())
        if abs(reached - kl) <= PRECISION * kl:
            break
        low, high = (log_gamma, high) if reached > kl else (low, log_gamma)
        # Newton on log KL, whose slope over log gamma is -Var(u) / gamma^2 / KL, between the bounds known so far.
        slope = float(_variance(weights, utility).mean()) / math.exp(2 * log_gamma) / max(reached, TINY)
        step = math.log(max(reached, TINY) / kl) / max(slope, TINY)
        log_gamma += max(-3.0, min(3.0, step))
        if not low < log_gamma < high:
            log_gamma = (low + high) / 2
    return math.exp(log_gamma)


def _first_guess(utility: Rewards, kl: float) -> float:
    """log gamma of KL = Var(u) / (2 gamma^2), which holds for a large gamma."""
    variance = float(_variance(log_base(utility), utility).mean())
    return math.log(max(variance, TINY) / (2 * kl)) / 2


def _variance(weights: Rewards, utility: Rewards) -> PerPrompt:
    """Variance of every prompt's utility under log-weights."""
    p, known = weights.exp(), utility.where(utility.isfinite(), 0.0).to(weights)
    known = known - (p * known).sum(1, keepdim=True)  # a variance of large numbers needs their differences
    return (p * known.square()).sum(1)
