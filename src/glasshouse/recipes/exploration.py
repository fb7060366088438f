"""Ask the right questions: which pairs of answers to have people compare (arXiv 2402.00396).

The paper's agents choose among answers of a language model and are judged by a larger one; here the worlds are such
that the reward is known exactly. In the world of modes good answers are rare and different in kind. In the dense linear
world every pair tells about as much as any other: the control, in which no rule should help. The exact agent has the
same Bayesian model under every rule, so that only the queries differ; the neural agent is the paper's, an ensemble
with prior networks on embeddings. The joint log-loss asks whether such a head knows its doubt.
"""

from __future__ import annotations

import itertools

from glasshouse.alignment.doubt import HeadTraining
from glasshouse.alignment.doubt_steps import compare_heads
from glasshouse.alignment.exploration import Rule
from glasshouse.alignment.exploration_steps import explore
from glasshouse.alignment.interaction import Interaction
from glasshouse.alignment.language_policy import PolicyTuning
from glasshouse.alignment.language_steps import answer_pool, collected, compare_policies, explore_answers
from glasshouse.alignment.online import NeuralAgent
from glasshouse.alignment.online_steps import explore_with_a_network
from glasshouse.alignment.own_model import own_model, own_text
from glasshouse.alignment.reward_model_steps import train_reward_model
from glasshouse.alignment.reward_models import RewardTraining
from glasshouse.alignment.rule_comparison import compare_rules
from glasshouse.evaluation.steps import Evaluation, Measured, conclude
from glasshouse.language.adaptation import prefer, preferences
from glasshouse.language.dpo import PreferenceTuning
from glasshouse.nn.epistemic import EpistemicConfig
from glasshouse.store.claims import Measures, Verdict, above, below, claim
from glasshouse.store.configuration import ConfigurationError
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
"""Other settings of the exact baselines, so that what double Thompson sampling is compared with is tuned."""
DPO = PreferenceTuning(epochs=1, learning_rate=1e-4, batch_size=16, micro_batch_size=8)
ENSEMBLE = NeuralAgent()
POINT = NeuralAgent(head=EpistemicConfig(kind="point", hidden=(64, 64)))
NETWORKS = {
    "passive": (RULES["passive"], ENSEMBLE),
    "infomax": (RULES["infomax"], ENSEMBLE),
    "double TS": (RULES["double TS"], ENSEMBLE),
    "Boltzmann, point": (RULES["Boltzmann"], POINT),
}
TUNED = {
    "passive, point": POINT,
    "passive, point, rate 3e-4, penalty 5": POINT.but(learning_rate=3e-4, penalty=5.0),
    "passive, point, penalty 0.3": POINT.but(penalty=0.3),
}
HEADS = {
    "point": EpistemicConfig(kind="point", hidden=(64,)),
    "ensemble": EpistemicConfig(kind="ensemble", hidden=(64,)),
    "epinet": EpistemicConfig(kind="epinet", hidden=(64,)),
}


@recipe
def exploration(
    seeds: int = 10,
    epochs: int = 60,
    network_seeds: int = 4,
    pairs: str = "",
    scale: str = "exact",
    depth: int = 2,
    tokens: int = 500_000,
) -> Evaluation:
    """Ask the right questions: which pairs of answers to have people compare.

    Args:
        seeds: worlds, each with its own candidates and answers, the same for every rule.
        epochs: batches of 32 queries; a third more for neural agents.
        network_seeds: the same for neural agents.
        pairs: a file of real preference pairs (JSON Lines), on which heads are compared too; `language` needs one.
        scale: `exact` worlds, or `language`: answers of a small model of our own, judged by what pairs teach.
        depth: with `language`, layers of the model that answers; the judge's has two more.
        tokens: with `language`, tokens of pre-training.
    """
    if scale == "language":
        return with_language_model(pairs, network_seeds, epochs, depth, tokens)
    if scale != "exact":
        raise ConfigurationError(f"exploration.scale got {scale!r}: it is exact or language")
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
    longer = interaction.but(epochs=4 * epochs // 3, capacity=1600, assessed_prompts=200)
    networks = {
        name: explore_with_a_network("modes", rule, longer, agent, network_seeds)
        for name, (rule, agent) in NETWORKS.items()
    }
    points = {
        name: explore_with_a_network("modes", RULES["passive"], longer, agent, network_seeds)
        for name, agent in TUNED.items()
    }
    parts: dict[str, Measured] = {
        "modes": compare_rules("Modes, exact agent", modes),
        "settings": compare_rules("Modes, exact agent, settings of the baselines", cold_and_hot | tuned),
        "linear": compare_rules("Dense linear rewards (control), exact agent", linear),
        "networks": compare_rules("Modes, neural agents", networks),
        "points": compare_rules("Modes, passive neural agents with a point estimate", points),
        "heads": compare_heads(HEADS, HeadTraining(), seeds),
    }
    if pairs:
        real = preferences(pairs, holdout=0.26)
        parts["real pairs"] = compare_heads(HEADS, HeadTraining(), network_seeds, preferences=real)
    return conclude(
        dict(reversed(parts.items())),  # a report shows what was made last first
        claims=[
            double_ts_learns_from_fewer_queries,
            passive_needs_more_labels,
            the_order_of_the_paper,
            double_ts_ends_first,
            tuning_passive_is_not_enough,
            no_rule_helps_where_all_pairs_tell_the_same,
            networks_gain_from_double_ts_too,
            tuning_a_passive_network_is_not_enough,
            an_ensemble_knows_its_doubt,
            its_doubt_is_not_noise,
            *([an_ensemble_knows_its_doubt_about_people] if pairs else []),
            every_query_can_be_traced,
        ],
    )


def with_language_model(pairs: str, seeds: int, epochs: int, depth: int, tokens: int) -> Evaluation:
    """The loop of the paper: a model of our own answers, agents ask a judge, what was asked is tuned on with DPO."""
    if not pairs:
        raise ConfigurationError("exploration.scale is 'language', which needs a file of preferences: give pairs")
    data, shards = preferences([pairs], holdout=0.1), own_text()
    policy, larger = (own_model(shards, data, layers, tokens) for layers in (depth, depth + 2))
    judge = train_reward_model(larger, data, RewardTraining())
    pool = answer_pool(policy, judge, data)
    interaction = Interaction(epochs=epochs, prompts=32, candidates=40, assessed_prompts=200)
    agents = NETWORKS | {"passive, point": (RULES["passive"], POINT)}
    asked = {name: explore_answers(pool, rule, interaction, agent, seeds) for name, (rule, agent) in agents.items()}
    tuned = prefer(policy, collected(asked["double TS"]), DPO)
    return conclude(
        {
            "language": compare_rules("Answers of a language model, neural agents", asked),
            "judge": judge,
            "tuned on what was asked": compare_policies(tuned, policy, data, {"reward": judge}, PolicyTuning()),
        },
        claims=[questions_matter_to_a_language_model, collected_pairs_are_worth_tuning_on],
    )


@claim(
    "With answers of a language model too, an ensemble that asks by double Thompson sampling is at least 0.02 above "
    "the same ensemble with passive queries (last quarter, mean over seeds).",
    "2402.00396, figure of win rates",
)
def questions_matter_to_a_language_model(measures: Measures) -> Verdict:
    found = gains(measures, "language", "double TS", "passive", "last quarter")
    return above(sum(found) / len(found), 0.02, " win rate")


@claim(
    "Tuned with DPO on the pairs that were asked about, the model's answers beat those from before, by the judge.",
    "house (Efficient Exploration)",
)
def collected_pairs_are_worth_tuning_on(measures: Measures) -> Verdict:
    return above(measures["tuned on what was asked/win/judge/reward"], 0.5, " win rate")


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
    "Neural agents: with the same ensemble, double Thompson sampling is at least 0.02 above passive queries over the "
    "last quarter of the curve.",
    "2402.00396, figure of win rates",
)
def networks_gain_from_double_ts_too(measures: Measures) -> Verdict:
    found = gains(measures, "networks", "double TS", "passive", "last quarter")
    gain, won = sum(found) / len(found), sum(value > 0 for value in found)
    return Verdict(gain >= 0.02, f"{gain:+.4f}, {won} of {len(found)} seeds", "≥ +0.02")


@claim(
    "Neural agents: the best of three settings of a passive point agent is still at least 0.02 below double Thompson "
    "sampling over the last quarter of the curve.",
    "house (Efficient Exploration)",
)
def tuning_a_passive_network_is_not_enough(measures: Measures) -> Verdict:
    best = max(measures[f"points/{name}/last quarter"] for name in TUNED)
    gain = measures["networks/double TS/last quarter"] - best
    return Verdict(gain >= 0.02, f"{gain:+.4f} win rate", "≥ +0.02 win rate")


@claim(
    "An ensemble has a lower dyadic joint log-loss than a point estimate by at least 0.15 nats with every seed, at a "
    "marginal log-loss within 0.03.",
    "2402.00396, joint log-loss of reward models",
)
def an_ensemble_knows_its_doubt(measures: Measures) -> Verdict:
    return _knows(measures, "heads")


@claim(
    "On pairs that people judged, too, an ensemble has a lower dyadic joint log-loss than a point estimate by at least "
    "0.15 nats with every seed, at a marginal log-loss within 0.03.",
    "2402.00396, joint log-loss of reward models",
)
def an_ensemble_knows_its_doubt_about_people(measures: Measures) -> Verdict:
    return _knows(measures, "real pairs")


def _knows(measures: Measures, part: str) -> Verdict:
    least = min(gains(measures, part, "point", "ensemble", "dyadic_nll"))
    marginal = measures[f"{part}/ensemble/marginal_nll"] - measures[f"{part}/point/marginal_nll"]
    return Verdict(
        least >= 0.15 and abs(marginal) <= 0.03,
        f"{least:.3f} nats lower at least, marginal {marginal:+.3f}",
        "≥ 0.15 nats, within ±0.03",
    )


@claim(
    "That is not noise: with labels drawn anew every time, which noise cannot win, the ensemble's joint log-loss is "
    "lower than the point estimate's with every seed.",
    "house (Efficient Exploration)",
)
def its_doubt_is_not_noise(measures: Measures) -> Verdict:
    return above(min(gains(measures, "heads", "point", "ensemble", "redrawn_nll")), 0, " nats lower at least")


@claim(
    "Every query in the ledgers names its prompt, both answers, the rule, why, who answered and what.",
    "house (Efficient Exploration)",
)
def every_query_can_be_traced(measures: Measures) -> Verdict:
    untraced = [value for name, value in measures.items() if name.endswith("/untraced")]
    if not untraced:
        raise KeyError("untraced")
    return below(sum(untraced), 1, f" of {sum(v for k, v in measures.items() if k.endswith('/queries')):,.0f}")
