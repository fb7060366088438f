"""RLOO: policy gradients whose baseline is the other answers to the same prompt [arXiv 2402.14740; Kool et al., 2019].

    R_g = u_g - gamma [log pi(y_g|x) - log pi_0(y_g|x)]              the reward, with the KL inside it (no gradient)
    a_g = R_g - 1/(G-1) sum_{h != g} R_h = G/(G-1) (R_g - mean R)    the advantage of answer g of G
    L   = - 1/(B G) sum_{x, g} a_g log pi(y_g|x)                     whose gradient is that of -E[u] + gamma KL(pi|pi_0)

The answers are drawn from the policy that is then updated, once, so there is no importance ratio and nothing to clip;
log pi is that of the whole answer with its end token. `u` is any function of the prompts and answers: a reward, or a
utility such as LSC (arXiv 2402.00742).

`standardise` divides the advantages of a prompt by their standard deviation, as GRPO does (arXiv 2402.03300, section
4.1.1). It is off: u = log p(good) has a scale with a meaning, and gamma says how much KL a nat of it is worth. Divided
by its spread, the smallest differences among answers that are all good count as much as those between good and bad.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from glasshouse.alignment.policies import Answers, Policy, Prompts
from glasshouse.alignment.transforms import RewardError
from glasshouse.store.configuration import Config
from glasshouse.training.objective import Loss, Step
from glasshouse.training.parallelize import longest_list

SMALLEST_SPREAD = 1e-4
"""Added to the standard deviation, as in TRL."""


class Rloo(Config):
    """Settings: `gamma` is the price of a nat of KL to the reference, `answers` the G of the equations."""

    gamma: float = Field(0.05, ge=0)
    answers: int = Field(16, ge=2)
    standardise: bool = False


class ScaleWarning(UserWarning):
    """Advantages are divided by their spread although the scale of the utility means something."""


class AnswerReward(Protocol):
    """u(x, y) of every answer. May have `scale_matters` (it is log p(good)) and `configuration`, kept with the run."""

    def __call__(self, prompts: Prompts, answers: Answers) -> Float[Tensor, "prompts answers"]: ...


def leave_one_out(
    rewards: Float[Tensor, "prompts answers"], *, standardise: bool = False
) -> Float[Tensor, "prompts answers"]:
    """Advantage of every answer over the mean of the others. Raises `RewardError` for fewer than two answers."""
    answers = rewards.shape[1]
    if answers < 2:
        raise RewardError(f"leaving one out of {answers} answers leaves none to compare with: draw two or more")
    centred = rewards - rewards.mean(1, keepdim=True)
    if standardise:
        return centred / (rewards.std(1, keepdim=True) + SMALLEST_SPREAD)
    return centred * (answers / (answers - 1))


class LeaveOneOut:
    """The objective. A batch is prompts, such as `PromptRows.batch` gives; every update draws answers to them.

    Args:
        module: the policy's weights, which learn.
        reference: weights of the base policy, which do not; of the same kind.
        judges: modules that the reward is computed with, so that a run is not resumed with others.
        measure: values by name, asked when the run validates.
    """

    unit = "prompts"
    concurrent = False

    def __init__(
        self,
        policy: Policy,
        module: nn.Module,
        reference: nn.Module,
        reward: AnswerReward,
        settings: Rloo,
        *,
        judges: Mapping[str, nn.Module] | None = None,
        measure: Callable[[], Mapping[str, float]] | None = None,
    ) -> None:
        if module is reference:
            raise ValueError("the reference has to be a copy: it would change with the policy")
        self.policy, self.module, self.reference, self.reward = policy, module, reference, reward
        self.settings, self.measure = settings, measure
        self.learns: Mapping[str, nn.Module] = {"policy": module}
        self.carries: Mapping[str, nn.Module] = {}
        self.frozen: Mapping[str, nn.Module] = {"reference": reference, **(judges or {})}
        told: Any = getattr(reward, "configuration", None)
        self.configuration = {"settings": settings, "reward": told}
        if settings.standardise and getattr(reward, "scale_matters", False):
            warnings.warn(
                "the utility is a log-probability of being good, and standardise=True divides its advantages by their "
                "spread: how much KL it is worth is lost, and the policy no longer stops by itself. Leave it False",
                ScaleWarning,
                stacklevel=2,
            )

    def weight(self, batch: Prompts) -> float:
        return float(len(batch["prompt"]))

    def loss(self, batch: Prompts, step: Step) -> Loss:
        with torch.no_grad():
            answers = self.policy.draw(self.module, batch, self.settings.answers, step.generator)
            utilities = checked(self.reward(batch, answers), answers)
            expected = self.policy.score(self.reference, batch, answers)
        scores = self.policy.score(self.module, batch, answers)
        ratio = scores.detach() - expected
        rewards = utilities - self.settings.gamma * ratio
        advantages = leave_one_out(rewards, standardise=self.settings.standardise)
        metrics = {
            "utility": utilities.mean(),
            "reward": rewards.mean(),
            "kl": ratio.mean(),
            "length": answers.lengths.float().mean(),
            "entropy": -scores.detach().sum() / answers.lengths.sum(),
            "undecided": (utilities == utilities[:, :1]).all(1).float().mean(),
        }
        return Loss(-(advantages * scores).mean(), metrics)

    def blocks(self) -> list[nn.Module]:
        """The policy's layers."""
        return longest_list(self.module)

    def validate(self) -> dict[str, float]:
        """What `measure` gives."""
        return dict(self.measure()) if self.measure is not None else {}


def checked(utilities: Tensor, answers: Answers) -> Float[Tensor, "prompts answers"]:
    """The utilities in float32. Raises `RewardError` where one is missing or not finite: it must not count as good."""
    if utilities.shape != answers.lengths.shape:
        raise RewardError(
            f"a reward gave {tuple(utilities.shape)} for {tuple(answers.lengths.shape)} (prompts, answers)"
        )
    found = utilities.to(answers.lengths.device, torch.float32)
    if not bool(torch.isfinite(found).all()):
        row, column = (~torch.isfinite(found)).nonzero()[0].tolist()
        raise RewardError(
            f"the reward of answer {column} to prompt {int(answers.prompts[row])} is {float(found[row, column])}: "
            "every answer needs a finite one"
        )
    return found
