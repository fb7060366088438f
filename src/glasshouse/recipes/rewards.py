"""Transform rewards before they are combined, and see what that is worth at the same KL (arXiv 2402.00742).

The paper aligns a language model with two reward models, of helpfulness and harmlessness. Here the base policy is a
world of two properties in which every policy over samples is exact: reward models are learnt from noisy comparisons,
utilities made from their scores, and what each utility reaches at a given KL is judged by the true rewards.
"""

from __future__ import annotations

from glasshouse.alignment.algebra import AfterSum, Expression, Good, Reward, Worst, total
from glasshouse.alignment.frontier import Preview
from glasshouse.alignment.rewards_steps import preview_worlds
from glasshouse.alignment.transforms import Centred, LogSigmoid, Sigmoid, ZScore
from glasshouse.alignment.worlds.two_properties import PROPERTIES, TwoProperties
from glasshouse.evaluation.steps import Evaluation, conclude
from glasshouse.store.claims import Measures, Verdict, above, below, claim
from glasshouse.store.recipe import recipe

HELPFUL, HARMLESS = PROPERTIES
RAW = total(Reward(HELPFUL), Reward(HARMLESS))
BOTH = Good(HELPFUL) & Good(HARMLESS)
SUMS: dict[str, Expression] = {
    "raw": RAW,
    "LSC": BOTH,
    "PAR": total(Reward(HELPFUL, Sigmoid()), Reward(HARMLESS, Sigmoid())),
    "worst of two": Worst((Reward(HELPFUL, Centred()), Reward(HARMLESS, Centred()))),
    "no centring": total(Reward(HELPFUL, LogSigmoid(None)), Reward(HARMLESS, LogSigmoid(None))),
    "after the sum": AfterSum(PROPERTIES),
    "z-score": total(Reward(HELPFUL, ZScore()), Reward(HARMLESS, ZScore())),
}
"""Ways to combine two rewards; gains are over the first."""
SINGLE: dict[str, Expression] = {
    "raw": Reward(HELPFUL),
    "LSC": Good(HELPFUL),
    "PAR": Reward(HELPFUL, Sigmoid()),
    "z-score": Reward(HELPFUL, ZScore()),
}
LEAST_GAIN = {2: 0.01, 3: 0.02, 4: 0.03}
"""KL -> gain in the chance that both properties are good, in every world."""
FEW = (20, 320)
"""Comparisons that poorer reward models are learnt from."""


@recipe
def rewards(seeds: int = 10, pairs: int = 1000, prompts: int = 200, samples: int = 1024) -> Evaluation:
    """Transform rewards before they are combined, and see what that is worth at the same KL.

    Args:
        seeds: worlds, each with prompts, samples, comparisons and reward models of its own.
        pairs: comparisons that each reward model is learnt from.
        prompts: prompts of every world.
        samples: samples of the base policy for every prompt.
    """
    world, settings = TwoProperties(pairs=pairs, prompts=prompts, samples=samples), Preview()
    chosen = tuple(range(seeds))
    pair = {name: SUMS[name] for name in ("raw", "LSC")}
    parts = {
        "two properties": preview_worlds(world, SUMS, settings, chosen),
        "one property": preview_worlds(world, SINGLE, settings, chosen),
        **{f"{few} pairs": preview_worlds(world.but(pairs=few), pair, settings, chosen) for few in FEW},
    }
    return conclude(
        parts,
        claims=[
            transform_before_the_sum,
            no_property_pays,
            both_properties_gain_on_average,
            worst_property_gains,
            centring_is_needed,
            after_the_sum_is_too_late,
            one_property_wins_more,
            improvement_is_more_even,
            z_scores_do_not_replace_it,
            sigmoid_is_as_good,
            poor_reward_models_leave_little,
        ],
    )


def gain(measures: Measures, name: str, kl: int, of: str, which: str = "") -> float:
    """Gain over the raw sum in the world of two properties: the mean over worlds, or the `least` or `most`."""
    return measures[f"two properties/gain/{name}/kl {kl}/{of}" + (f"/{which}" if which else "")]


@claim(
    "The sum of log-sigmoid-centred rewards has both properties good more often than the sum of rewards at the same "
    "KL, in every world: by 0.01 at KL 2, 0.02 at 3, 0.03 at 4.",
    "2402.00742, combined rewards",
)
def transform_before_the_sum(measures: Measures) -> Verdict:
    spare = [gain(measures, "LSC", kl, "joint", "least") - least for kl, least in LEAST_GAIN.items()]
    return above(min(spare), 0, " above the least gain")


@claim(
    "Neither property pays for it: at KL 2, 3 and 4 no win rate is below that of the sum of rewards, in any world.",
    "house (Transforming and Combining Rewards)",
)
def no_property_pays(measures: Measures) -> Verdict:
    gains = [gain(measures, "LSC", kl, f"win/{name}", "least") for kl in LEAST_GAIN for name in PROPERTIES]
    return above(min(gains), 0, " of comparisons")


@claim(
    "On the average over worlds both properties win more at KL 2, 3 and 4.",
    "2402.00742, combined rewards",
)
def both_properties_gain_on_average(measures: Measures) -> Verdict:
    gains = [gain(measures, "LSC", kl, f"win/{name}") for kl in LEAST_GAIN for name in PROPERTIES]
    return above(min(gains), 0, " of comparisons")


@claim(
    "The worse of a response's two properties gains, in every world at KL 2, 3 and 4.",
    "house (Transforming and Combining Rewards)",
)
def worst_property_gains(measures: Measures) -> Verdict:
    return above(min(gain(measures, "LSC", kl, "worst", "least") for kl in LEAST_GAIN), 0, " of reward")


def behind(measures: Measures, name: str) -> float:
    """By how much less an ablation gains than LSC, where it comes nearest (the mean over worlds)."""
    return min(gain(measures, "LSC", kl, "joint") - gain(measures, name, kl, "joint") for kl in LEAST_GAIN)


@claim("Log-sigmoid without centring on the prompt's reference is worse than with it.", "2402.00742, ablations")
def centring_is_needed(measures: Measures) -> Verdict:
    return above(behind(measures, "no centring"), 0, " of responses good in both")


@claim("Transforming the sum is worse than summing what is transformed.", "2402.00742, ablations")
def after_the_sum_is_too_late(measures: Measures) -> Verdict:
    return above(behind(measures, "after the sum"), 0, " of responses good in both")


@claim(
    "With one property too, the transform wins more often at the same KL (2 and 3), in every world.",
    "2402.00742, one reward",
)
def one_property_wins_more(measures: Measures) -> Verdict:
    gains = [measures[f"one property/gain/LSC/kl {kl}/win/{HELPFUL}/least"] for kl in (2, 3)]
    return above(min(gains), 0, " of comparisons")


@claim(
    "Improvement is more even over prompts: at KL 2 its spread is at most half of that of the raw reward.",
    "2402.00742, underfitting",
)
def improvement_is_more_even(measures: Measures) -> Verdict:
    of = f"kl 2/improvement/{HELPFUL}/sd"
    return below(measures[f"one property/LSC/{of}"] / measures[f"one property/raw/{of}"], 0.5, " of the spread")


@claim(
    "Scores normalised over a prompt's samples are no substitute: at KL 2, 3 and 4 within 0.003 of the raw sum, in "
    "every world.",
    "house (Transforming and Combining Rewards)",
)
def z_scores_do_not_replace_it(measures: Measures) -> Verdict:
    gains = [gain(measures, "z-score", kl, "joint", which) for kl in LEAST_GAIN for which in ("least", "most")]
    return below(max(map(abs, gains)), 0.003, " of responses good in both")


@claim(
    "The sigmoid of the distance to the median (PAR, 2502.18770) does as well: within 0.005 of LSC at KL 2, 3 and 4.",
    "house (Transforming and Combining Rewards)",
)
def sigmoid_is_as_good(measures: Measures) -> Verdict:
    apart = [gain(measures, "PAR", kl, "joint") - gain(measures, "LSC", kl, "joint") for kl in LEAST_GAIN]
    return below(max(map(abs, apart)), 0.005, " of responses good in both")


@claim(
    "A reward model from 20 comparisons leaves at most half of the gain at KL 2.",
    "house (Transforming and Combining Rewards)",
)
def poor_reward_models_leave_little(measures: Measures) -> Verdict:
    poor = measures["20 pairs/gain/LSC/kl 2/joint"]
    return below(poor / gain(measures, "LSC", 2, "joint"), 0.5, " of the gain")
