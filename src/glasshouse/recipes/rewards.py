"""Transform rewards before they are combined, and see what that is worth at the same KL (arXiv 2402.00742).

The paper aligns a language model with two reward models, of helpfulness and harmlessness. Here the base policy is a
world of two properties in which every policy over samples is exact: reward models are learnt from noisy comparisons,
utilities made from their scores, and what each utility reaches at a given KL is judged by the true rewards. In a second
world, of tokens, policies are trained against learnt rewards that are wrong where the base policy does not go.
"""

from __future__ import annotations

from collections.abc import Mapping

from glasshouse.alignment.algebra import AfterSum, Expression, Good, Reward, Worst, total
from glasshouse.alignment.frontier import Preview
from glasshouse.alignment.hacking_steps import token_hacking
from glasshouse.alignment.language_policy import PolicyTuning
from glasshouse.alignment.language_steps import optimise_policy
from glasshouse.alignment.own_model import own_model, own_text
from glasshouse.alignment.reward_model_steps import train_reward_model
from glasshouse.alignment.reward_models import RewardTraining
from glasshouse.alignment.rewards_steps import preview_worlds
from glasshouse.alignment.rloo import Rloo
from glasshouse.alignment.transforms import Centred, LogSigmoid, Sigmoid, ZScore
from glasshouse.alignment.worlds.two_properties import PROPERTIES, TwoProperties
from glasshouse.evaluation.steps import Evaluation, Measured, conclude
from glasshouse.language.adaptation import preferences
from glasshouse.store.claims import Measures, Verdict, above, below, claim
from glasshouse.store.configuration import ConfigurationError
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
LOOKED_AT = Preview(kl=(0.5, 1, 1.5, 2, 3, 4, 5), best_of=(4, 16, 64))


@recipe
def rewards(
    seeds: int = 10,
    pairs: int = 1000,
    prompts: int = 200,
    samples: int = 1024,
    policies: int = 5,
    scale: str = "exact",
    helpful: str = "",
    harmless: str = "",
    depth: int = 2,
    tokens: int = 500_000,
    updates: int = 100,
) -> Evaluation:
    """Transform rewards before they are combined, and see what that is worth at the same KL.

    Args:
        seeds: worlds, each with prompts, samples, comparisons and reward models of its own.
        pairs: comparisons that each reward model is learnt from.
        prompts: prompts of every world.
        samples: samples of the base policy for every prompt.
        policies: worlds of tokens in which policies are trained.
        scale: `exact` worlds, or `language`: a small model of our own, trained with RLOO against learnt rewards.
        helpful: with `language`, a file of preferences for help, in TRL's or Anthropic's form.
        harmless: with `language`, one for harmlessness.
        depth: with `language`, layers of the policy and of the model under its rewards; who judges has two more.
        tokens: with `language`, tokens of pre-training.
        updates: with `language`, updates of policies.
    """
    if scale == "language":
        return with_language_model({HELPFUL: helpful, HARMLESS: harmless}, depth, tokens, updates)
    if scale != "exact":
        raise ConfigurationError(f"rewards.scale got {scale!r}: it is exact or language")
    world, settings = TwoProperties(pairs=pairs, prompts=prompts, samples=samples), LOOKED_AT
    chosen = tuple(range(seeds))
    pair = {name: SUMS[name] for name in ("raw", "LSC")}
    parts: dict[str, Measured] = {
        "two properties": preview_worlds(world, SUMS, settings, chosen),
        "one property": preview_worlds(world, SINGLE, settings, chosen),
        **{f"{few} pairs": preview_worlds(world.but(pairs=few), pair, settings, chosen) for few in FEW},
        "training": token_hacking(seeds=policies),
        "training, 320 pairs": token_hacking(seeds=policies, pairs=320),
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
            raw_rewards_are_hacked,
            the_transform_limits_itself,
            training_gains_far_from_the_base,
            the_simulator_warns_in_time,
            no_gain_is_claimed_for_poor_reward_models,
        ],
    )


def with_language_model(files: Mapping[str, str], depth: int, tokens: int, updates: int) -> Evaluation:
    """A model of our own is optimised against two learnt rewards, and judged by those on a larger one."""
    if missing := [name for name, path in files.items() if not path]:
        raise ConfigurationError(f"rewards.scale is 'language', which needs preferences: give {' and '.join(missing)}")
    data, shards = {name: preferences([path], holdout=0.1) for name, path in files.items()}, own_text()
    policy, larger = (own_model(shards, data[HELPFUL], layers, tokens) for layers in (depth, depth + 2))
    judges, others = (
        {name: train_reward_model(model, pairs, RewardTraining()) for name, pairs in data.items()}
        for model in (policy, larger)
    )
    parts: dict[str, Measured] = {f"reward {name}": judge for name, judge in judges.items()}
    parts |= {f"larger reward {name}": judge for name, judge in others.items()}
    rules: dict[str, tuple[Expression, float]] = {"raw": (RAW, 0.05), "LSC": (BOTH, 0.02)}
    for name, (expression, gamma) in rules.items():
        settings = PolicyTuning(rloo=Rloo(gamma=gamma, answers=8), steps=updates)
        parts[name] = optimise_policy(policy, data[HARMLESS], judges, others, expression, settings)
    return conclude(parts, claims=[a_language_model_gains_in_both, the_worse_property_is_not_given_up])


def worse_win(measures: Measures, name: str) -> float:
    """The lower of both win rates over the model before, by the judge that nothing was optimised against."""
    return min(measures[f"{name}/win/other judge/{of}"] for of in PROPERTIES)


@claim(
    "A language model trained on the sum of log-sigmoid-centred rewards beats the one before in both properties, by a "
    "larger judge that nothing was optimised against.",
    "2402.00742, combined rewards",
)
def a_language_model_gains_in_both(measures: Measures) -> Verdict:
    return above(worse_win(measures, "LSC"), 0.5, " win rate")


@claim(
    "Its worse property wins more than that of the model trained on the sum of rewards.",
    "house (Transforming and Combining Rewards)",
)
def the_worse_property_is_not_given_up(measures: Measures) -> Verdict:
    return above(worse_win(measures, "LSC") - worse_win(measures, "raw"), 0, " win rate")


def gain(measures: Measures, name: str, kl: int, of: str, which: str = "") -> float:
    """Gain over the raw sum in the world of two properties: the mean over worlds, or the `least` or `most`."""
    return measures[f"two properties/gain/{name}/kl {kl}/{of}" + (f"/{which}" if which else "")]


@claim(
    "The sum of log-sigmoid-centred rewards has both properties good more often than the sum of rewards at the same "
    "KL, in every world: by 0.01 at KL 2, 0.02 at 3, 0.03 at 4.",
    "2402.00742, abstract",
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
    "2402.00742, abstract",
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


@claim(
    "Log-sigmoid without centring on the prompt's reference is worse than with it.",
    "house (Transforming and Combining Rewards)",
)
def centring_is_needed(measures: Measures) -> Verdict:
    return above(behind(measures, "no centring"), 0, " of responses good in both")


@claim("Transforming the sum is worse than summing what is transformed.", "house (Transforming and Combining Rewards)")
def after_the_sum_is_too_late(measures: Measures) -> Verdict:
    return above(behind(measures, "after the sum"), 0, " of responses good in both")


@claim(
    "With one property too, the transform wins more often at the same KL (2 and 3), in every world.",
    "2402.00742, abstract",
)
def one_property_wins_more(measures: Measures) -> Verdict:
    gains = [measures[f"one property/gain/LSC/kl {kl}/win/{HELPFUL}/least"] for kl in (2, 3)]
    return above(min(gains), 0, " of comparisons")


@claim(
    "Improvement is more even over prompts: at KL 2 its spread is at most half of that of the raw reward.",
    "2402.00742, abstract",
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


@claim(
    "Trained against the sum of learnt rewards with a weak KL term, policies end at least 3 below the best true reward "
    "on their way, the learnt one within 1 % of its maximum (means over worlds).",
    "house (Transforming and Combining Rewards)",
)
def raw_rewards_are_hacked(measures: Measures) -> Verdict:
    at_its_best = measures["training/raw/learnt below its best"] <= 0.01 * measures["training/raw/learnt at the end"]
    verdict = above(measures["training/raw/true lost"], 3, " of reward")
    return Verdict(verdict.holds and at_its_best, verdict.measured, verdict.expected)


@claim(
    "With the transform the true reward ends at most 0.6 below its best, as weak as the KL term is (mean over worlds).",
    "2402.00742, abstract",
)
def the_transform_limits_itself(measures: Measures) -> Verdict:
    return below(measures["training/lsc/true lost"], 0.6, " of reward")


@claim(
    "At KL 16 trained policies have both properties good more often with the transform: by 0.02 on the average, and in "
    "at least 80 % of the worlds.",
    "2402.00742, abstract",
)
def training_gains_far_from_the_base(measures: Measures) -> Verdict:
    gained = measures["training/joint gain at KL 16"]
    won, seeds = measures["training/seeds that gain at KL 16"], measures["training/seeds"]
    return Verdict(
        gained >= 0.02 and won >= 0.8 * seeds,
        f"{gained:+.4f}, {won:.0f} of {seeds:.0f} worlds",
        "≥ +0.02, ≥ 80 % of worlds",
    )


@claim(
    "A held-out simulator rings the alarm before a tenth of the best true reward is lost, in every run that loses it.",
    "house (Transforming and Combining Rewards)",
)
def the_simulator_warns_in_time(measures: Measures) -> Verdict:
    share = measures["training/raw/simulator in time"]
    return Verdict(share == 1, f"{share:.0%} of runs", "100 % of runs")


@claim(
    "Control: with reward models from 320 comparisons trained policies gain nothing that counts at KL 8: within 0.02.",
    "house (Transforming and Combining Rewards)",
)
def no_gain_is_claimed_for_poor_reward_models(measures: Measures) -> Verdict:
    return below(abs(measures["training, 320 pairs/joint gain at KL 8"]), 0.02, " of answers good in both")
