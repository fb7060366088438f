"""Best of k: draw k responses of the base policy and keep the one of the highest utility.

Over n equally likely samples with ranks 1..n the best of k (drawn with replacement) has rank j with probability
(j/n)^k - ((j-1)/n)^k; samples of equal utility share what falls to them. So the policy, and its KL from the base, are
exact. For continuous utilities, n -> infinity, the KL is log k - (k-1)/k, which bounds every other case from above
[Beirami et al., "Theoretical guarantees on the best-of-n alignment policy", 2401.01879].
"""

from __future__ import annotations

import math

import torch

from glasshouse.alignment.tilt import Reweighted, divergence, log_base
from glasshouse.alignment.transforms import RewardError, Rewards


def best_of(utility: Rewards, k: int) -> Reweighted:
    """The policy "best of k" over cached samples; samples with utility -inf are left out of the base."""
    if k < 1:
        raise RewardError(f"best of {k}: k is 1 or more")
    base = log_base(utility)
    count = utility.isfinite().sum(1, keepdim=True).double()
    ordered = utility.double().sort(1).values
    below = torch.searchsorted(ordered, utility.double().contiguous(), side="left")
    up_to = torch.searchsorted(ordered, utility.double().contiguous(), side="right")
    dropped = utility.shape[1] - count  # they stand first in the order
    lower, upper = (below - dropped) / count, (up_to - dropped) / count
    shared = (upper**k - lower**k) / (up_to - below)
    probabilities = shared.where(utility.isfinite(), 0.0)
    return Reweighted(probabilities, divergence(probabilities.log(), base))


def best_of_kl(k: int) -> float:
    """log k - (k-1)/k: the KL of best of k for utilities without ties."""
    if k < 1:
        raise RewardError(f"best of {k}: k is 1 or more")
    return math.log(k) - (k - 1) / k
