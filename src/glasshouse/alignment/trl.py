"""Our utilities inside TRL's trainers, and TRL's preference rows here. TRL itself is not imported.

    funcs = to_trl_reward_funcs(Good("helpful") & Good("harmless"), {"helpful": score_help, "harmless": score_harm})
    rows = to_trl_prompts(prompts, references_from(expression, base_scores))
    RLOOTrainer(model, reward_funcs=funcs, train_dataset=Dataset.from_list(rows), ...)
    GRPOTrainer(..., args=GRPOConfig(scale_rewards="none", ...))

Of events that are joined by `&` every part is a reward function of its own, log p of it: TRL adds them with weights of
1, which is log p of all, and logs each under its name. Any other expression is one function. References travel as
columns of the dataset, which TRL hands to every reward function.

TRL drops a reward of None from the sum, where it then counts as log-probability 0: certainly good. A score that is
missing or not finite therefore raises `RewardError` here. GRPO's default divides rewards by their spread in the group:
`scale_rewards="none"` keeps the meaning of the scale.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from glasshouse.alignment.algebra import And, Expression, properties
from glasshouse.alignment.combination import reference_names, utility
from glasshouse.alignment.transforms import PerPrompt, RewardError, Rewards
from glasshouse.data.quarantine import Quarantine
from glasshouse.language.conversations import Preference, RowError

Score = Callable[..., Sequence[float | None]]
"""A score per completion, called as TRL calls reward functions: `prompts`, `completions`, and columns by name."""
RewardFunction = Callable[..., list[float]]


def to_trl_reward_funcs(expression: Expression, scores: Mapping[str, Score]) -> list[RewardFunction]:
    """Reward functions for `RLOOTrainer` and `GRPOTrainer`, to be added with weights of 1.

    Raises `RewardError` for a property without a score.
    """
    if unknown := [name for name in properties(expression) if name not in scores]:
        raise RewardError(f"there is no score for {', '.join(unknown)}: got {', '.join(sorted(scores)) or 'none'}")
    parts: Sequence[Expression] = expression.parts if isinstance(expression, And) else [expression]
    return [_reward_function(part, scores) for part in parts]


def _reward_function(expression: Expression, scores: Mapping[str, Score]) -> RewardFunction:
    names = properties(expression)

    def reward(prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> list[float]:
        found = {name: _scored(name, scores[name], prompts, completions, columns) for name in names}
        references = {name: _column(name, columns, len(completions)) for name in reference_names(expression)}
        values: list[float] = utility(expression, found, references)[:, 0].tolist()
        return values

    reward.__name__ = "_and_".join(re.sub(r"\W+", "_", name) for name in names)
    return reward


def _scored(
    name: str, score: Score, prompts: Sequence[Any], completions: Sequence[Any], columns: Mapping[str, Any]
) -> Rewards:
    values = list(score(prompts=prompts, completions=completions, **columns))
    if len(values) != len(completions):
        raise RewardError(f"the score {name!r} gave {len(values)} values for {len(completions)} completions")
    return torch.tensor([float("nan") if value is None else float(value) for value in values])[:, None]


def _column(name: str, columns: Mapping[str, Any], rows: int) -> PerPrompt:
    if name not in columns:
        raise RewardError(f"the dataset has no column {name!r}: make its rows with to_trl_prompts")
    return torch.tensor([float("nan") if value is None else float(value) for value in columns[name]]).view(rows)


def to_trl_prompts(prompts: Sequence[Any], references: Mapping[str, Tensor]) -> list[dict[str, Any]]:
    """Rows of a prompt-only dataset (texts or messages) with the references of every prompt as columns."""
    for name, values in references.items():
        if values.shape != (len(prompts),):
            raise RewardError(f"reference {name!r} has shape {tuple(values.shape)} for {len(prompts)} prompts")
    columns = {name: values.tolist() for name, values in references.items()}
    return [
        {"prompt": prompt, **{name: values[row] for name, values in columns.items()}}
        for row, prompt in enumerate(prompts)
    ]


def from_trl_rows(rows: Iterable[Mapping[str, Any]], quarantine: Quarantine | None = None) -> list[Preference]:
    """Preferences of TRL's rows (`prompt`, `chosen`, `rejected`, as texts or messages, the prompt also implicit).

    `rows` may be a `datasets.Dataset`. A row that is no preference is put aside with its reason; without a quarantine
    it raises `RowError` with its number.
    """
    found = []
    for number, row in enumerate(rows):
        try:
            found.append(Preference.of_row(row, f"row {number}"))
        except RowError as bad:
            if quarantine is None:
                raise RowError(bad.reason, f"row {number}: {bad}") from None
            quarantine.add(bad.reason, str(bad), file="rows", line=number)
        else:
            if quarantine is not None:
                quarantine.keep()
    return found
