"""Ask the right questions: which pairs of answers to have people compare (arXiv 2402.00396).

The paper's agents choose among answers of a language model and are judged by a larger one; here the worlds are such
that the reward is known exactly. In the world of modes good answers are rare and different in kind. In the dense linear
world every pair tells about as much as any other: the control, in which no rule should help. The exact agent has the
same Bayesian model under every rule, so that only the queries differ.
"""

from __future__ import annotations

import itertools

from glasshouse.alignment.exploration import Rule
from glasshouse.alignment.exploration_steps import compare_rules, explore
from glasshouse.alignment.interaction import Interaction
from glasshouse.evaluation.steps import Evaluation, conclude
from glasshouse.store.claims import Measures, Verdict, above, below, claim
from glasshouse.store.recipe import recipe

RULES = {
    "passive": Rule(name="passive"),
    "infomax": Rule(name="infomax"),
    "BAI-TS": Rule(name="bai_ts"),
    "Boltzmann": Rule(name="boltzmann", temperature=0.3),
    "double TS": Rule(name="double_ts"),
}
TEMPERATURES = (0.1, 1.0)
PRIORS = (0.3, 3.0)
"""Other settings of the point agents, so that what double Thompson sampling is compared with is tuned."""


@recipe
def exploration(seeds: int = 10, epochs: int = 60) -> Evaluation:
    """Ask the right questions: which pairs of answers to have people compare.

    Args:
        seeds: worlds, each with its own candidates and answers, the same for every rule.
        epochs: batches of 32 queries.
    """
    interaction = Interaction(epochs=epochs, prompts=32, candidates=50, capacity=32 * epochs)
    modes = {name: explore("modes", rule, interaction, seeds) for name, rule in RULES.items()}
    cold_and_hot = {
        f"Boltzmann, temperature {temperature}": explore(
            "modes", Rule(name="boltzmann", temperature=temperature), interaction, seeds
        )
        for temperature in TEMPERATURES
    }
    tuned = {
        f"passive, prior x {scale}": explore("modes", RULES["passive"], interaction, seeds, scale) for scale in PRIORS
    }
    linear = {name: explore("linear", RULES[name], interaction, seeds) for name in ("passive", "double TS")}
    linear |= {
        f"passive, prior x {scale}": explore("linear", RULES["passive"], interaction, seeds, scale) for scale in PRIORS
    }
    return conclude(
        {
            "modes": compare_rules("Modes, exact agent", modes),
            "settings": compare_rules("Modes, exact agent, settings of the baselines", cold_and_hot | tuned),
            "linear": compare_rules("Dense linear rewards (control), exact agent", linear),
        },
        claims=[
            double_ts_learns_from_fewer_queries,
            passive_needs_more_labels,
            the_order_of_the_paper,
            double_ts_ends_first,
            tuning_passive_is_not_enough,
            no_rule_helps_where_all_pairs_tell_the_same,
            every_query_can_be_traced,
        ],
    )


def gains(measures: Measures, world: str, better: str, worse: str, what: str = "mean") -> list[float]:
    """Differences of win rates, seed by seed."""
    found = []
    for seed in itertools.count():
        if f"{world}/{better}/{what}/seed {seed}" not in measures:
            break
        found.append(measures[f"{world}/{better}/{what}/seed {seed}"] - measures[f"{world}/{worse}/{what}/seed {seed}"])
    if not found:
        raise KeyError(f"{world}/{better}/{what}/seed 0")
    return found


@claim(
    "Double Thompson sampling wins more than passive queries over the whole curve, by at least 0.02 on the average and "
    "with at least nine of ten seeds.",
    "2402.00396, figure of win rates",
)
def double_ts_learns_from_fewer_queries(measures: Measures) -> Verdict:
    found = gains(measures, "modes", "double TS", "passive")
    gain, won = sum(found) / len(found), sum(value > 0 for value in found)
    return Verdict(
        gain >= 0.02 and won >= 0.9 * len(found),
        f"{gain:+.4f}, {won} of {len(found)} seeds",
        "≥ +0.02, ≥ 9 of 10 seeds",
    )


@claim(
    "Passive queries need at least 1.7 times the labels of double Thompson sampling to go 85 % of the way from chance "
    "to the oracle (medians over seeds).",
    "2402.00396, figure of win rates",
)
def passive_needs_more_labels(measures: Measures) -> Verdict:
    ratio = measures["modes/passive/queries to 85%"] / measures["modes/double TS/queries to 85%"]
    return Verdict(ratio >= 1.7, f"{ratio:.3g}x", "≥ 1.7x")


@claim(
    "At the end double Thompson sampling is above infomax, and infomax above passive (means over seeds).",
    "2402.00396, figure of win rates",
)
def the_order_of_the_paper(measures: Measures) -> Verdict:
    best, middle, last = (measures[f"modes/{name}/end"] for name in ("double TS", "infomax", "passive"))
    return above(min(best - middle, middle - last), 0, " win rate")


@claim(
    "Double Thompson sampling ends first of all rules, Boltzmann exploration at each of three temperatures among them.",
    "house (Efficient Exploration)",
)
def double_ts_ends_first(measures: Measures) -> Verdict:
    others = [measures[f"modes/{name}/end"] for name in RULES if name != "double TS"]
    others += [measures[f"settings/Boltzmann, temperature {temperature}/end"] for temperature in TEMPERATURES]
    return above(measures["modes/double TS/end"] - max(others), 0, " win rate")


@claim(
    "The best of three priors for passive queries is still at least 0.02 below double Thompson sampling over the whole "
    "curve.",
    "house (Efficient Exploration)",
)
def tuning_passive_is_not_enough(measures: Measures) -> Verdict:
    tuned = [measures["modes/passive/mean"], *(measures[f"settings/passive, prior x {s}/mean"] for s in PRIORS)]
    gain = measures["modes/double TS/mean"] - max(tuned)
    return Verdict(gain >= 0.02, f"{gain:+.4f} win rate", "≥ +0.02 win rate")


@claim(
    "Control: where the reward is dense and linear, double Thompson sampling is within 0.01 of the best of three "
    "passive agents over the whole curve.",
    "house (Efficient Exploration)",
)
def no_rule_helps_where_all_pairs_tell_the_same(measures: Measures) -> Verdict:
    tuned = [measures["linear/passive/mean"], *(measures[f"linear/passive, prior x {scale}/mean"] for scale in PRIORS)]
    gain = measures["linear/double TS/mean"] - max(tuned)
    return Verdict(abs(gain) <= 0.01, f"{gain:+.4f} win rate", "within ±0.01")


@claim(
    "Every query in the ledgers names its prompt, both answers, the rule, why, who answered and what.",
    "house (Efficient Exploration)",
)
def every_query_can_be_traced(measures: Measures) -> Verdict:
    untraced = [value for name, value in measures.items() if name.endswith("/untraced")]
    if not untraced:
        raise KeyError("untraced")
    return below(sum(untraced), 1, f" of {sum(v for k, v in measures.items() if k.endswith('/queries')):,.0f}")
