"""The reward of policy optimisation from scores by property and an expression of the algebra.

    reward = ScoredReward(Good("helpful") & Good("harmless"), scores, references)
    LeaveOneOut(policy, module, reference, reward, Rloo(gamma=0.02))

`references` hold one value for every prompt of the data, made once from samples of the base policy
(`combination.references_from`), in the order of the prompts' numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from glasshouse.alignment.algebra import AfterSum, Event, Expression, Reward, Weighted, Worst
from glasshouse.alignment.combination import utility
from glasshouse.alignment.policies import Answers, Prompts
from glasshouse.alignment.transforms import LogSigmoid, PerPrompt, Rewards
from glasshouse.store.configuration import canonical
from glasshouse.training.shards import tensors_hash

Scores = Callable[[Prompts, Answers], Mapping[str, Rewards]]
"""Rewards of answers by property, `[prompts, answers]` each."""


class ScoredReward:
    """u(x, y) for `rloo.LeaveOneOut`. A score that is missing or not finite raises `RewardError`."""

    def __init__(self, expression: Expression, scores: Scores, references: Mapping[str, PerPrompt]) -> None:
        self.expression, self.scores, self.references = expression, scores, dict(references)
        self.scale_matters = is_log_probability(expression)
        kept = tensors_hash(sorted(self.references.items()))
        self.configuration: Any = {"expression": canonical(expression), "references": kept}

    def __call__(self, prompts: Prompts, answers: Answers) -> Rewards:
        numbers = prompts["prompt"]
        known = {name: values.to(numbers.device)[numbers] for name, values in self.references.items()}
        return utility(self.expression, self.scores(prompts, answers), known)


def is_log_probability(expression: Expression) -> bool:
    """Whether a part of the expression is a log-probability of being good."""
    match expression:
        case Event():
            return True
        case Reward(_, transform) | AfterSum(_, transform):
            return isinstance(transform, LogSigmoid)
        case Weighted(weighted):
            return any(is_log_probability(part) for _, part in weighted)
        case Worst(parts):
            return any(is_log_probability(part) for part in parts)
