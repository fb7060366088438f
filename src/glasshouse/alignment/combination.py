"""Utilities of completions from their rewards, and the references they are measured from.

    both = Good("helpful") & Good("harmless", Canned("I cannot help with that."))
    references = references_from(both, base_scores, score_text=...)     # once, from the base policy's samples
    u = utility(both, scores, references)                               # [batch, candidates]

References come from samples of the base policy, never from the completions being judged: they are an argument of their
own. For events both log p and log (1 - p) are carried through an expression [`algebra`], as
logaddexp(log (1 - p_a), log p_a + log (1 - p_b)) for `&`, so that nothing underflows to certainty.

A score that is missing or not finite never counts as good: it raises, or (`missing="drop"`) its completion gets -inf.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from glasshouse.alignment.algebra import (
    AfterSum,
    And,
    Event,
    Expression,
    Good,
    Not,
    Or,
    Reward,
    Weighted,
    Worst,
    leaves,
    properties,
)
from glasshouse.alignment.transforms import Canned, Column, Moment, PerPrompt, Reference, RewardError, Rewards, centred

Missing = Literal["raise", "drop"]
ScoreText = Callable[[str, str], PerPrompt]
"""Reward of one text under every prompt: (property, text) -> [batch]."""


def references_from(
    expression: Expression,
    base: Mapping[str, Rewards],
    columns: Mapping[str, PerPrompt] | None = None,
    score_text: ScoreText | None = None,
    missing: Missing = "raise",
) -> dict[str, PerPrompt]:
    """The reference values an expression needs, by name.

    Args:
        base: rewards of samples of the base policy, by property.
        columns: values per prompt for `Column` references.
        score_text: rewards of a text for `Canned` references.
        missing: what is done with scores that are not finite: `raise`, or `drop` to leave those samples out.

    Raises `RewardError` for a reference that nobody brings, or fewer than 2 samples of a prompt.
    """
    found: dict[str, PerPrompt] = {}
    for leaf in leaves(expression):
        of, sources = _sources(leaf)
        for name, source in sources.items():
            if isinstance(source, Column):
                found[name] = _column(name, columns or {})
            elif isinstance(source, Canned):
                found[name] = _canned(of, source, score_text)
            else:
                found[name] = source.from_samples(_base(leaf, base, missing))
    return found


def reference_names(expression: Expression) -> tuple[str, ...]:
    """Names of the references an expression needs, each once."""
    return tuple(dict.fromkeys(name for leaf in leaves(expression) for name in _sources(leaf)[1]))


def columns_needed(expression: Expression) -> tuple[str, ...]:
    """Names of the columns per prompt that an expression's references are."""
    sources = (source for leaf in leaves(expression) for source in _sources(leaf)[1].values())
    return tuple(dict.fromkeys(source.column for source in sources if isinstance(source, Column)))


def _sources(leaf: Good | Reward | AfterSum) -> tuple[str, Mapping[str, Reference | Moment]]:
    if isinstance(leaf, Good):
        return leaf.property, {leaf.reference.name(leaf.property): leaf.reference}
    of = leaf.name if isinstance(leaf, AfterSum) else leaf.property
    return of, leaf.transform.sources(of)


def _base(leaf: Good | Reward | AfterSum, base: Mapping[str, Rewards], missing: Missing) -> Rewards:
    scores, bad = checked(properties(leaf), base, missing)
    known = (~bad).sum(1)
    if (few := (known < 2).nonzero()).numel():
        raise RewardError(
            f"prompt {int(few[0])} has {int(known[few[0]])} scored base samples of {' and '.join(scores)}: a reference "
            "from samples takes 2 or more"
        )
    added = sum((centred(value, None) for value in scores.values()), start=torch.zeros(()))
    return added.masked_fill(bad, torch.nan)


def _column(name: str, columns: Mapping[str, PerPrompt]) -> PerPrompt:
    if name not in columns:
        raise RewardError(f"there is no reference {name!r}: columns hold {', '.join(sorted(columns)) or 'nothing'}")
    value = columns[name]
    if value.ndim != 1 or not bool(value.isfinite().all()):
        raise RewardError(f"the reference {name!r} takes one finite number per prompt, got shape {tuple(value.shape)}")
    return value


def _canned(of: str, source: Canned, score_text: ScoreText | None) -> PerPrompt:
    if score_text is None:
        raise RewardError(
            f"the reference of {of!r} is the reward of a canned response: give score_text, which scores it"
        )
    return _column(source.name(of), {source.name(of): score_text(of, source.text)})


def checked(
    names: tuple[str, ...], scores: Mapping[str, Rewards], missing: Missing
) -> tuple[dict[str, Rewards], Tensor]:
    """The scores of some properties, what is not finite replaced by 0, and where that was so `[batch, candidates]`."""
    found: dict[str, Rewards] = {}
    for name in names:
        value = scores.get(name)
        if value is None:
            raise RewardError(f"there are no scores {name!r}: got {', '.join(sorted(scores)) or 'none'}")
        if not isinstance(value, Tensor) or value.ndim != 2 or not value.is_floating_point():
            shape = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise RewardError(f"scores {name!r} take a tensor of numbers [batch, candidates], got {shape}")
        found[name] = value
    shapes = {name: tuple(value.shape) for name, value in found.items()}
    if len(set(shapes.values())) > 1:
        raise RewardError(f"scores differ in shape: {shapes}")
    finite = torch.stack([value.isfinite() for value in found.values()]).all(0)
    if missing == "raise" and not bool(finite.all()):
        for name, value in found.items():
            if (places := (~value.isfinite()).nonzero()).numel():
                prompt, candidate = places[0].tolist()
                raise RewardError(
                    f"score {name!r} of candidate {candidate} of prompt {prompt} is {float(value[prompt, candidate])} "
                    f"({len(places)} such scores): a missing score never counts as good. Mend it, or drop those "
                    'completions with missing="drop"'
                )
    return {name: value.where(finite, 0.0) for name, value in found.items()}, ~finite


def utility(
    expression: Expression,
    scores: Mapping[str, Rewards],
    references: Mapping[str, PerPrompt],
    missing: Missing = "raise",
) -> Rewards:
    """The utility of every completion, in float32 at least.

    Args:
        scores: rewards of completions by property, [batch, candidates] each.
        references: from `references_from`, one value per prompt each.
        missing: what is done with a completion without a finite score in every property the expression names: `raise`
            a `RewardError`, or `drop` it, which gives it the utility -inf.
    """
    known, bad = checked(properties(expression), scores, missing)
    batch = len(bad)
    for leaf in leaves(expression):
        for name in _sources(leaf)[1]:
            if name not in references:
                have = ", ".join(sorted(references)) or "none"
                raise RewardError(f"there is no reference {name!r} (have {have}): make them with references_from")
            if tuple(references[name].shape) != (batch,):
                raise RewardError(f"reference {name!r} has shape {tuple(references[name].shape)} for {batch} prompts")
    return _utility(expression, known, references).masked_fill(bad, -torch.inf)


def _utility(expression: Expression, scores: Mapping[str, Rewards], references: Mapping[str, PerPrompt]) -> Rewards:
    match expression:
        case Reward(name, transform):
            return transform(scores[name], name, references)
        case AfterSum(names, transform):
            added = sum((centred(scores[name], None) for name in names), start=torch.zeros(()))
            return transform(added, expression.name, references)
        case Weighted(parts):
            return torch.stack([weight * _utility(part, scores, references) for weight, part in parts]).sum(0)
        case Worst(parts):
            return torch.stack([_utility(part, scores, references) for part in parts]).amin(0)
    return log_probabilities(expression, scores, references)[0]


def log_probabilities(
    event: Event, scores: Mapping[str, Rewards], references: Mapping[str, PerPrompt]
) -> tuple[Rewards, Rewards]:
    """log p and log (1 - p) of an event, both finite for finite scores."""
    match event:
        case Good(name, reference):
            distance = centred(scores[name], references[reference.name(name)])
            return functional.logsigmoid(distance), functional.logsigmoid(-distance)
        case Not(part):
            yes, no = log_probabilities(part, scores, references)
            return no, yes
        case Or(parts):
            no, yes = log_probabilities(And(tuple(Not(part) for part in parts)), scores, references)
            return yes, no
        case And(parts):
            yes, no = log_probabilities(parts[0], scores, references)
            for part in parts[1:]:
                also, not_also = log_probabilities(part, scores, references)
                yes, no = yes + also, torch.logaddexp(no, yes + not_also)
            return yes, no
    raise RewardError(f"{event!r} has no probability")
