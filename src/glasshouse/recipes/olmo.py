"""Pre-train, anneal, fine-tune on instructions and tune on preferences, as OLMo was (arXiv 2402.00838).

The chain has one model: text that is on this machine and a small world of letters are mixed, a model is pre-trained on
them and annealed, fine-tuned on instructions of that world, and tuned on preferences about it. Beside it stand
ablations with models of 0.4 million parameters: the end of the learning rate, the arithmetic, and where a source helps.
What is compared is the order of the choices; the paper's models are up to seventeen thousand times as large.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import Literal, get_args

from glasshouse.data.curation.rules import dolma_code_rules, dolma_rules, dolma_web_rules
from glasshouse.data.deduplication.methods import exact, minhash
from glasshouse.data.sources.installed import InstalledText
from glasshouse.data.steps import (
    Documents,
    Shards,
    Tokenizer,
    curate,
    installed_text,
    mix,
    read_text,
    tokenize,
    train_tokenizer,
)
from glasshouse.evaluation.adaptation import FormatAccuracy, KullbackLeibler, PreferenceAccuracy, Recall
from glasshouse.evaluation.carbon_table import CarbonTable
from glasshouse.evaluation.comparison import Comparison
from glasshouse.evaluation.perplexity import perplexity
from glasshouse.evaluation.samples import samples
from glasshouse.evaluation.several import Of
from glasshouse.evaluation.steps import Evaluation, evaluate
from glasshouse.language.adaptation import Preferences, finetune, prefer
from glasshouse.language.dpo import PreferenceTuning
from glasshouse.language.finetune import FineTuning
from glasshouse.language.letter_steps import letter_conversations, letter_preferences, letter_prose
from glasshouse.language.measures import Measure
from glasshouse.language.model import LanguageModel
from glasshouse.language.published import olmo_training
from glasshouse.language.steps import pretrain
from glasshouse.nn.configuration import olmo as transformer
from glasshouse.recipes.dolma import BYTES_PER_TOKEN, Part, part_of
from glasshouse.store.claims import Measures, Verdict, above, below, claim
from glasshouse.store.recipe import recipe
from glasshouse.training.configuration import Training

End = Literal["a tenth", "a tenth, longer", "zero", "the peak", "zero after the peak"]
"""Where a learning rate ends. The first three come down all the time, the second and third with 5 % more updates than
the first; the last two stay at the peak, one of them until a last fifth of its updates, and have as many as the first.
"""
SOURCES: tuple[Part, ...] = ("web", "code", "reference")
LETTERS = 0.6
"""Share of the letters' prose in the text of the chain."""
ANNEALING = 0.05
"""Updates over which the learning rate goes to zero, as a share of those before: the paper's 1000 after 477 thousand
are 0.2 %, of which little could be seen in a run of some hundred updates."""
SCORED = 30_000
"""Tokens of every held-out source that the ablations are compared on."""
SMALL_SFT = FineTuning(epochs=2, learning_rate=1e-3, batch_size=8, micro_batch_size=4)
SMALL_DPO = PreferenceTuning(epochs=1, learning_rate=1e-4, beta=1.0, batch_size=16, micro_batch_size=8)
"""As in `benchmarks/adaptation.py`; the published values are for models of seven billion parameters."""


@recipe
def olmo(
    size: str = "",
    depth: int = 4,
    tokens: int = 2_500_000,
    ablation_tokens: int = 500_000,
    seeds: int = 3,
    texts: str = "",
    device: str = "cpu",
) -> Evaluation:
    """Pre-train, anneal, fine-tune on instructions and tune on preferences, as OLMo was; then decide its claims.

    Args:
        size: a published size, such as 1B, in place of the depth: for GPUs, under torchrun when one is not enough.
        depth: layers of the model; width, heads and feed-forward follow from it.
        tokens: tokens of pre-training and annealing.
        ablation_tokens: tokens of every small model of the ablations.
        seeds: runs of every ablation and of both kinds of adaptation.
        texts: files of your own (JSON Lines, Parquet, a directory of them) in place of the text on this machine.
        device: where to train, such as cuda.
    """
    everything = read_text([texts]) if texts else installed_text(InstalledText(megabytes=20))
    corpus = curate(everything, keep=dolma_rules, deduplicate=[exact(), minhash()])
    weights = {"text": 1 - LETTERS, "letters": LETTERS}
    letters = letter_prose(documents=max(1000, tokens // 60))
    mixed = mix({"text": corpus, "letters": letters}, weights, total=tokens * BYTES_PER_TOKEN)
    tokenizer = train_tokenizer(mixed, vocabulary=4096)
    shards = tokenize(mixed, tokenizer, holdout=0.02)

    base = pretrained(shards, size, depth, tokens, device)
    sft, dpo = (FineTuning(), PreferenceTuning()) if size else (SMALL_SFT, SMALL_DPO)
    instructions, preferences = letter_conversations(train=3000), letter_preferences(train=800)
    shuffled = letter_conversations(train=3000, shuffled=True)
    unruled = letter_preferences(train=800, random_labels=True)
    tuned = [finetune(base, instructions, sft.but(seed=seed), device) for seed in range(seeds)]
    control = finetune(base, shuffled, sft.but(seed=0), device)
    preferred = [prefer(model, preferences, dpo.but(seed=seed), device) for seed, model in enumerate(tuned)]
    unpreferred = [prefer(model, unruled, dpo.but(seed=seed), device) for seed, model in enumerate(tuned)]

    answers = FormatAccuracy(instructions)
    measures: list[Measure] = [
        Of("base", base, perplexity(shards.holdout, against=shards.train)),
        Of("base", base, answers),
        Of("base", base, Recall()),
        Of("shuffled answers", control, answers),
        *adapted(tuned, preferred, unpreferred, answers, preferences),
        *(Of(f"dpo/seed {seed}", model, perplexity(shards.holdout)) for seed, model in enumerate(preferred)),
        # Their sources are those of the installed text.
        *(() if texts else ablations(everything, tokenizer, ablation_tokens, seeds)),
        CarbonTable(),
        samples("The letters a b c sorted are", "import numpy as np\n\ndef ", tokens=40),
    ]
    return evaluate(
        preferred[0],
        measures,
        claims=[
            annealing_to_zero_helps,
            annealing_is_more_than_updates,
            annealing_from_the_peak_helps,
            the_arithmetic_matters_little,
            training_helps_most_where_evaluation_is_alike,
            fine_tuning_teaches_the_form,
            fine_tuning_teaches_answers,
            preferences_are_learnt,
            preferences_without_a_rule_are_not,
            adaptation_costs_recall,
            adaptation_costs_ordinary_text,
            carbon_of_published_runs,
        ],
    )


def pretrained(shards: Shards, size: str, depth: int, tokens: int, device: str) -> LanguageModel:
    """The chain's model: a linear schedule to a tenth, then the learning rate goes to zero."""
    if size:
        published = olmo_training(size)
        shape = transformer(size)
        steps = max(1, tokens // (published.batch_size * shape.context))
        training = published.but(
            steps=None, tokens=tokens, warmup=min(published.warmup, steps // 20), anneal_steps=round(ANNEALING * steps)
        )
        return pretrain(shards, shape, training, device)
    training = small_training(tokens, 6e-3, seed=0, end="a tenth").but(validate_every=200)
    annealed = training.but(anneal_steps=round(ANNEALING * training.total_steps()))
    return pretrain(shards, transformer(depth=depth), annealed, device)


def small_training(tokens: int, rate: float, seed: int, end: End, precision: str = "bf16") -> Training:
    """How small models are trained: to a tenth, perhaps with updates more, those perhaps to zero; or at the peak."""
    steps = -(-tokens // (8 * 256))
    more = round(ANNEALING * steps) if end in ("a tenth, longer", "zero") else 0
    anneal = {"zero": more, "zero after the peak": steps // 5}.get(end, 0)
    return Training(
        steps=steps + more, batch_size=8, micro_batch_size=4, seed=seed, learning_rate=rate, warmup=0.05,
        schedule="constant" if end.endswith("the peak") else "linear", final_fraction=0.1, anneal_steps=anneal,
        precision=precision, compile=False, checkpoint_every=200,
    )  # fmt: skip


def adapted(
    tuned: Sequence[LanguageModel],
    preferred: Sequence[LanguageModel],
    unpreferred: Sequence[LanguageModel],
    answers: FormatAccuracy,
    preferences: Preferences,
) -> list[Measure]:
    """What is asked of every fine-tuned model and of every model tuned on preferences from it."""
    asked: list[Measure] = []
    for seed, (before, after, other) in enumerate(zip(tuned, preferred, unpreferred, strict=True)):
        asked += [Of(f"sft/seed {seed}", before, inner) for inner in (answers, Recall())]
        compared = (PreferenceAccuracy(preferences, before), KullbackLeibler(preferences, before))
        asked += [Of(f"dpo/seed {seed}", after, inner) for inner in (answers, Recall(), *compared)]
        asked.append(Of(f"dpo without a rule/seed {seed}", other, compared[0]))
    return asked


def ablations(everything: Documents, tokenizer: Tokenizer, tokens: int, seeds: int) -> list[Measure]:
    """Small models: annealed or not, in bf16 or fp32, and on one source alone; on held-out texts of every source."""
    rules = {"web": dolma_web_rules, "code": dolma_code_rules, "reference": None}
    sources: dict[str, Documents] = {part: curate(part_of(everything, part), keep=rules[part]) for part in SOURCES}
    aside: dict[str, Part] = {"web": "held out web", "code": "held out code", "reference": "held out reference"}
    held_out = {
        name: tokenize(curate(part_of(everything, part), keep=rules[name]), tokenizer, holdout=0).train
        for name, part in aside.items()
    }
    shares = {"web": 0.6, "code": 0.3, "reference": 0.1}
    together = tokenize(mix(sources, shares, total=tokens * BYTES_PER_TOKEN), tokenizer, holdout=0.02)
    alone = {name: tokenize(corpus, tokenizer, holdout=0.02) for name, corpus in sources.items()}

    def grown(shards: Shards, seed: int, end: End = "zero", precision: str = "bf16") -> LanguageModel:
        return pretrain(shards, transformer(depth=2), small_training(tokens, 8e-3, seed, end, precision))

    ends = {end: [grown(together, seed, end) for seed in range(seeds)] for end in get_args(End)}
    arithmetic = {"bf16": [ends["zero"][0]], "fp32": [grown(together, 0, precision="fp32")]}
    singles = {f"{name} only": [grown(shards, 0)] for name, shards in alone.items()}
    return [
        Comparison("learning rate ends at", ends, held_out, most_tokens=SCORED),
        Comparison("arithmetic", arithmetic, held_out, most_tokens=SCORED),
        Comparison("sources", singles | {"together": [ends["zero"][0]]}, held_out, most_tokens=SCORED),
    ]


def by_seed(measures: Measures, stage: str, name: str) -> list[float]:
    """The value of every seed of a stage. Raises `KeyError` when there is none: the claim was not measured."""
    found = [value for key, value in measures.items() if key.startswith(f"{stage}/seed ") and key.endswith(f"/{name}")]
    if not found:
        raise KeyError(f"{stage}/seed 0/{name}")
    return found


@claim(
    "Some updates more, over which the learning rate goes to zero, lower the loss on every source, for every seed.",
    "2402.00838, learning rate to zero over the last updates",
)
def annealing_to_zero_helps(measures: Measures) -> Verdict:
    return above(least_gain(measures, "a tenth"), 0, " bits/byte")


@claim(
    "It is not only that there are more updates: as many at a tenth of the peak do less, on every source, for every "
    "seed.",
    "house (OLMo)",
)
def annealing_is_more_than_updates(measures: Measures) -> Verdict:
    return above(least_gain(measures, "a tenth, longer"), 0, " bits/byte")


@claim(
    "A learning rate at its peak leaves noise in the weights: taking it to zero in the last fifth of the same updates "
    "lowers the loss on every source, for every seed.",
    "house (OLMo)",
)
def annealing_from_the_peak_helps(measures: Measures) -> Verdict:
    return above(least_gain(measures, "the peak", "zero after the peak"), 0, " bits/byte")


def least_gain(measures: Measures, end: End, other: End = "zero") -> float:
    """What the other end saves, on the worst source with the worst seed."""
    there, zero = f"learning rate ends at/{end}/", f"learning rate ends at/{other}/"
    keys = [f"{part}/seed 0" for part in SOURCES]
    keys += [key.removeprefix(there) for key in measures if key.startswith(there) and "/seed " in key]
    return min(measures[there + key] - measures[zero + key] for key in keys)


@claim(
    "Another arithmetic (bf16 in place of fp32) gives nearly the same model: bits per byte within 1 % on every source.",
    "2402.00838, the same training on two kinds of hardware",
)
def the_arithmetic_matters_little(measures: Measures) -> Verdict:
    return below(
        max(abs(measures[f"arithmetic/bf16/{part}"] / measures[f"arithmetic/fp32/{part}"] - 1) for part in SOURCES),
        0.01, " of bits/byte",
    )  # fmt: skip


@claim(
    "A token helps most on text like it: of the models of one source, each is the best on its own source.",
    "2402.00838, sample efficiency by source of the evaluation",
)
def training_helps_most_where_evaluation_is_alike(measures: Measures) -> Verdict:
    margins = [
        measures[f"sources/{other} only/{own}"] - measures[f"sources/{own} only/{own}"]
        for own in SOURCES
        for other in SOURCES
        if own != other
    ]
    return above(min(margins), 0, " bits/byte")


@claim(
    "Fine-tuning on instructions teaches to answer: held-out answers in the asked-for form go from under 5 % to over "
    "90 %, for every seed.",
    "2402.00838, adaptation: instruction tuning",
)
def fine_tuning_teaches_the_form(measures: Measures) -> Verdict:
    if measures["base/answers/format"] >= 0.05:
        return below(measures["base/answers/format"], 0.05, " of the base model's answers")
    return above(min(by_seed(measures, "sft", "answers/format")), 0.9, " of answers")


@claim(
    "What it teaches are answers, not only their form: more are right than after tuning on shuffled answers.",
    "house (OLMo)",
)
def fine_tuning_teaches_answers(measures: Measures) -> Verdict:
    least = min(by_seed(measures, "sft", "answers/right"))
    return above(least - measures["shuffled answers/answers/right"], 0, " of answers")


@claim(
    "Tuning on preferences is learnt: at least 90 % of held-out pairs are ranked as preferred, for every seed.",
    "2402.00838, adaptation: preference tuning",
)
def preferences_are_learnt(measures: Measures) -> Verdict:
    return above(min(by_seed(measures, "dpo", "preferences/accuracy")), 0.9, " of pairs")


@claim(
    "Preferences without a rule teach no rule: at most 60 % of held-out pairs are ranked as the rule has it, for every "
    "seed.",
    "house (OLMo)",
)
def preferences_without_a_rule_are_not(measures: Measures) -> Verdict:
    return below(max(by_seed(measures, "dpo without a rule", "preferences/accuracy")), 0.6, " of pairs")


@claim(
    "Adaptation has a price: fewer colours of houses, which no instruction is about, are recalled, for every seed.",
    "2402.00838, adaptation: other skills",
)
def adaptation_costs_recall(measures: Measures) -> Verdict:
    return above(measures["base/recall"] - max(by_seed(measures, "dpo", "recall")), 0, " of houses recalled")


@claim(
    "Adaptation has a price: ordinary text costs more bits, on the average over its sources, for every seed.",
    "2402.00838, adaptation: other skills",
)
def adaptation_costs_ordinary_text(measures: Measures) -> Verdict:
    prefix = "bits_per_byte/model/"
    names = [key.removeprefix(f"base/{prefix}") for key in measures if key.startswith(f"base/{prefix}")]
    sources = [name for name in names if name not in ("letters", "micro", "macro")]
    before = fmean(measures[f"base/{prefix}{name}"] for name in sources) if sources else measures[f"base/{prefix}web"]
    after = [fmean(bits) for bits in zip(*(by_seed(measures, "dpo", prefix + name) for name in sources), strict=True)]
    return above(min(after) - before, 0, " bits/byte")


@claim(
    "The carbon of the published runs follows from energy, PUE and grid: all eight rows to half a tonne.",
    "2402.00838, table 8",
)
def carbon_of_published_runs(measures: Measures) -> Verdict:
    return below(measures["carbon/largest_difference"], 0.5, " t CO2e")
