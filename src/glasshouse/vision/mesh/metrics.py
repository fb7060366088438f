"""How well generated objects are recognised as what was asked for.

CLIP R-precision (Park et al., 2021) asks a model of pictures and texts which prompt of a set a picture shows. For an
object i made for prompt t_i and seen from K cameras, with p(j | picture) the softmax over the set:

    p_ij = 1/K sum_k p(j | picture_ik)     R-probability = mean_i p_i,t_i     R@1 = share of i with argmax_j p_ij = t_i

Here the judge is a small network trained on the world at hand (`judge`), so numbers are comparable within a world only.
Chance is 1 / (prompts in the set).
"""

from __future__ import annotations

import dataclasses

import torch
from jaxtyping import Float, Int
from torch import Tensor


@dataclasses.dataclass(frozen=True)
class Retrieval:
    """What a judge made of some objects.

    Attributes:
        r_probability: mean probability of the prompts that were asked for.
        r_at_1: share of objects whose likeliest prompt is theirs.
        each: the probability of each object's own prompt.
        chance: what guessing would reach.
    """

    r_probability: float
    r_at_1: float
    each: tuple[float, ...]
    chance: float


def retrieval(probabilities: Float[Tensor, "n prompts"], truth: Int[Tensor, " objects"], views: int = 1) -> Retrieval:
    """Scores of objects whose `views` pictures follow one another.

    Args:
        probabilities: of the prompts of the set, for every picture.
        truth: the place of each object's prompt in the set.

    Raises:
        ValueError: where numbers do not fit together, or a row is no distribution.
    """
    if not len(truth) or len(probabilities) != len(truth) * views:
        raise ValueError(f"{len(truth)} objects with {views} views need as many pictures, got {len(probabilities)}")
    if int(truth.min()) < 0 or int(truth.max()) >= probabilities.shape[1]:
        raise ValueError(f"prompts are numbered 0 .. {probabilities.shape[1] - 1}, got {truth.tolist()[:8]}")
    if not torch.isfinite(probabilities).all() or ((probabilities.sum(1) - 1).abs() > 1e-3).any():
        raise ValueError("the probabilities of a picture must be finite and sum to 1")
    each = probabilities.double().reshape(len(truth), views, -1).mean(1)
    own = each.gather(1, truth[:, None])[:, 0]
    # the first of equals would favour low numbers: a tie is won in part
    tied = (each == own[:, None]).sum(1)
    won = (own >= each.amax(1)).double() / tied
    return Retrieval(float(own.mean()), float(won.mean()), tuple(own.tolist()), 1 / probabilities.shape[1])


__all__ = ["Retrieval", "retrieval"]
