"""Alarms of over-optimisation: is the policy still getting better, or only its learnt reward?

A run is looked at now and then. Two things can be watched that the run does not optimise:

- answers scored by a held-out simulator (a person, a better reward model): the alarm rings when their mean is below
  that of the best look so far by 5 % of it and by three standard errors, while the learnt reward is above;
- the disagreement of an ensemble of reward models, which needs no labels: the alarm rings when more than half of the
  answers are further apart than nearly all answers of the base policy are.

The first says that things got worse. The second only says that answers are unlike those that the rewards were learnt
from, which is true of every policy that has moved far, also of one that is still improving.
"""

from __future__ import annotations

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

FALL, ERRORS = 0.05, 3.0
SHARE = 0.5
USUAL = 0.99
"""Quantile of the base policy's disagreement that counts as usual."""


def fallen(means: Sequence[float], errors: Sequence[float], learnt: Sequence[float]) -> int | None:
    """The first look at which the simulator's mean has fallen from its best although the learnt reward has risen.

    `errors` are standard errors of the means, `learnt` the learnt rewards of the same answers' policy.
    """
    best = 0
    for look, (mean, error) in enumerate(zip(means, errors, strict=True)):
        if mean >= means[best]:
            best = look
            continue
        fall = means[best] - mean
        noise = ERRORS * (error**2 + errors[best] ** 2) ** 0.5
        if fall > max(noise, FALL * abs(means[best])) and learnt[look] > learnt[best]:
            return look
    return None


def mean_of_prompts(scores: Float[Tensor, "prompts answers"]) -> tuple[float, float]:
    """Mean score and its standard error over other answers to the same prompts.

    Raises `ValueError` for fewer than two answers per prompt, of which there is no error.
    """
    prompts, answers = scores.shape
    if answers < 2:
        raise ValueError(f"{answers} answers to a prompt have no spread: score two or more")
    return float(scores.mean()), float((scores.var(1).mean() / (prompts * answers)).sqrt())


def usual_disagreement(rewards: Float[Tensor, "particles prompts answers"]) -> float:
    """What nearly all answers of the base policy stay below."""
    return float(disagreement(rewards).flatten().quantile(USUAL))


def disagreement(rewards: Float[Tensor, "particles prompts answers"]) -> Float[Tensor, "prompts answers"]:
    """Standard deviation over particles, of rewards that are measured from a common point of their prompt."""
    if len(rewards) < 2:
        raise ValueError(f"an ensemble of {len(rewards)} has nothing to disagree: give two particles or more")
    return rewards.std(0)


def outside(shares: Sequence[float], share: float = SHARE) -> int | None:
    """The first look at which more than `share` of the answers disagree unusually."""
    return next((look for look, value in enumerate(shares) if value > share), None)


def lost(values: Sequence[float], share: float = 0.1) -> int | None:
    """The first look at which a value is below its best so far by more than `share` of it."""
    best = float("-inf")
    for look, value in enumerate(values):
        best = max(best, value)
        if value < best - share * abs(best):
            return look
    return None
