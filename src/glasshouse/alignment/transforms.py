"""Transforms of rewards, and the reference each is measured from ["Transforming and Combining Rewards", 2402.00742].

A Bradley–Terry reward r(x, y) is known only up to a constant of the prompt, so raw rewards of two prompts or of two
properties have no common unit. Call a response good when it would beat a reference response of the same prompt:

    p(good | x, y) = sigma(r(x, y) - r_ref(x))          u(x, y) = log sigma(r(x, y) - r_ref(x))          (LSC)

The KL-regularised optimum for u is the base policy conditioned on "good", sharpened by 1/gamma, and centring removes
the constant of the prompt. du/dr = sigma(r_ref - r): 1/2 at the reference, 1 far below, 0 far above.

References r_ref(x): a quantile of the rewards of the base policy's samples (the paper's 85th percentile for
helpfulness), the reward of a canned response (the paper's for harmlessness), mean + z_q standard deviations of a few
samples, or a column that the caller brings. Beside LSC: log sigma without centring, the sigmoid of "Reward Shaping to
Mitigate Reward Hacking in RLHF" (PAR, 2502.18770), a z-score over the prompt's samples, clipping, and the reward as it
is.

Shapes: rewards [batch, candidates], references [batch]. Half precision is computed in float32, and log sigma is never
the logarithm of a sigmoid, which is -inf from about -104 on in float32.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from statistics import NormalDist
from typing import Protocol

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

Rewards = Float[Tensor, "batch candidates"]
PerPrompt = Float[Tensor, "batch"]


class RewardError(ValueError):
    """Rewards, references or utilities that cannot be used, with the property and the prompt."""


def log_sigmoid(rewards: Rewards, reference: PerPrompt | None = None) -> Rewards:
    """log sigma(r - r_ref): the log-probability that the response is good; without a reference, log sigma(r)."""
    return functional.logsigmoid(centred(rewards, reference))


def sigmoid(rewards: Rewards, reference: PerPrompt) -> Rewards:
    """sigma(r - r_ref) [2502.18770]."""
    return torch.sigmoid(centred(rewards, reference))


def centred(rewards: Rewards, reference: PerPrompt | None) -> Rewards:
    """r - r_ref, in float32 at least."""
    precise = rewards if rewards.dtype == torch.float64 else rewards.float()
    return precise if reference is None else precise - reference.to(precise)[:, None]


def quantile(rewards: Rewards, level: float) -> PerPrompt:
    """The quantile of every prompt's rewards, with linear interpolation; NaN are left out."""
    precise = rewards if rewards.dtype == torch.float64 else rewards.float()
    return torch.nanquantile(precise, level, dim=1)


def gaussian_quantile(rewards: Rewards, level: float, samples: int) -> PerPrompt:
    """mean + z std of the first `samples` rewards that are no NaN, z the standard normal quantile."""
    return torch.stack([_gaussian(row[~row.isnan()][:samples], level) for row in centred(rewards, None)])


def _gaussian(row: Float[Tensor, " samples"], level: float) -> Float[Tensor, ""]:
    return row.mean() + NormalDist().inv_cdf(level) * row.std()


def _checked_level(level: float) -> None:
    if not 0 < level < 1:
        raise RewardError(f"the level of a quantile got {level!r}: it takes a number between 0 and 1")


@dataclasses.dataclass(frozen=True)
class Quantile:
    """A quantile of the rewards of the base policy's samples of the prompt."""

    level: float

    def __post_init__(self) -> None:
        _checked_level(self.level)

    def name(self, of: str) -> str:
        return f"{of}/quantile {self.level:g}"

    def from_samples(self, base: Rewards) -> PerPrompt:
        return quantile(base, self.level)


PERCENTILE_85 = Quantile(0.85)
"""The paper's reference for helpfulness."""


@dataclasses.dataclass(frozen=True)
class Gaussian:
    """The quantile of a normal distribution with mean and deviation of a few base samples, where few are affordable."""

    level: float = 0.85
    samples: int = 10

    def __post_init__(self) -> None:
        _checked_level(self.level)
        if self.samples < 2:
            raise RewardError(f"a Gaussian reference got {self.samples} samples: a deviation takes 2 or more")

    def name(self, of: str) -> str:
        return f"{of}/gaussian {self.level:g} of {self.samples}"

    def from_samples(self, base: Rewards) -> PerPrompt:
        return gaussian_quantile(base, self.level, self.samples)


@dataclasses.dataclass(frozen=True)
class Canned:
    """The reward of one and the same response, such as a refusal, under every prompt."""

    text: str

    def name(self, of: str) -> str:
        return f"{of}/canned {self.text!r}"


@dataclasses.dataclass(frozen=True)
class Column:
    """A value for every prompt that the caller brings under this name."""

    column: str

    def name(self, of: str) -> str:
        return self.column


Reference = Quantile | Gaussian | Canned | Column


class Transform(Protocol):
    """From rewards to a utility. `sources` are the values per prompt that it needs, by the name they are kept under."""

    def sources(self, of: str) -> Mapping[str, Reference | Moment]: ...

    def __call__(self, rewards: Rewards, of: str, references: Mapping[str, PerPrompt]) -> Rewards: ...


@dataclasses.dataclass(frozen=True)
class Moment:
    """Mean or standard deviation over the base policy's samples of the prompt."""

    deviation: bool

    def name(self, of: str) -> str:
        return f"{of}/{'deviation' if self.deviation else 'mean'}"

    def from_samples(self, base: Rewards) -> PerPrompt:
        precise = centred(base, None)
        mean = precise.nanmean(1)
        if not self.deviation:
            return mean
        count = (~precise.isnan()).sum(1)
        return (((precise - mean[:, None]) ** 2).nansum(1) / (count - 1)).sqrt()


@dataclasses.dataclass(frozen=True)
class Identity:
    """The reward as it is."""

    def sources(self, of: str) -> Mapping[str, Reference | Moment]:
        return {}

    def __call__(self, rewards: Rewards, of: str, references: Mapping[str, PerPrompt]) -> Rewards:
        return centred(rewards, None)


@dataclasses.dataclass(frozen=True)
class Centred:
    """r - r_ref."""

    reference: Reference = PERCENTILE_85

    def sources(self, of: str) -> Mapping[str, Reference | Moment]:
        return {self.reference.name(of): self.reference}

    def __call__(self, rewards: Rewards, of: str, references: Mapping[str, PerPrompt]) -> Rewards:
        return centred(rewards, references[self.reference.name(of)])


@dataclasses.dataclass(frozen=True)
class LogSigmoid:
    """log sigma(r - r_ref), the paper's transform; without a reference, log sigma(r), which it is compared with."""

    reference: Reference | None = PERCENTILE_85

    def sources(self, of: str) -> Mapping[str, Reference | Moment]:
        return {} if self.reference is None else {self.reference.name(of): self.reference}

    def __call__(self, rewards: Rewards, of: str, references: Mapping[str, PerPrompt]) -> Rewards:
        return log_sigmoid(rewards, None if self.reference is None else references[self.reference.name(of)])


@dataclasses.dataclass(frozen=True)
class Sigmoid:
    """sigma(r - r_ref) with the median as reference [2502.18770]."""

    reference: Reference = Quantile(0.5)

    def sources(self, of: str) -> Mapping[str, Reference | Moment]:
        return {self.reference.name(of): self.reference}

    def __call__(self, rewards: Rewards, of: str, references: Mapping[str, PerPrompt]) -> Rewards:
        return sigmoid(rewards, references[self.reference.name(of)])


@dataclasses.dataclass(frozen=True)
class ZScore:
    """(r - mean) / deviation over the base policy's samples of the prompt; constant rewards are refused."""

    def sources(self, of: str) -> Mapping[str, Reference | Moment]:
        return {moment.name(of): moment for moment in (Moment(deviation=False), Moment(deviation=True))}

    def __call__(self, rewards: Rewards, of: str, references: Mapping[str, PerPrompt]) -> Rewards:
        mean, deviation = (references[name] for name in self.sources(of))
        if (flat := (deviation <= 0).nonzero()).numel():
            raise RewardError(f"all base rewards {of!r} of prompt {int(flat[0])} are equal: they have no z-score")
        return centred(rewards, mean) / deviation.to(mean)[:, None]


@dataclasses.dataclass(frozen=True)
class Clip:
    """The reward kept between two bounds."""

    low: float
    high: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise RewardError(f"the bounds of a clip got {self.low!r} and {self.high!r}: low has to be below high")

    def sources(self, of: str) -> Mapping[str, Reference | Moment]:
        return {}

    def __call__(self, rewards: Rewards, of: str, references: Mapping[str, PerPrompt]) -> Rewards:
        return centred(rewards, None).clamp(self.low, self.high)


AS_IT_IS = Identity()
LSC = LogSigmoid()
"""The paper's transform with the 85th percentile as reference."""
