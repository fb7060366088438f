"""Can language models understand context, and does it survive in few bits? (arXiv 2402.00858)

A small and a large model are pre-trained on text that is on this machine and on items of the generated context tasks:
coreference, Winograd schemas, dialogue states, discourse relations, query rewriting. The large one is quantised so that
it takes no more bytes than the small one in 16 bits, and both are asked about people and places that nobody trained on.
The paper compares LLaMA 7B with a LLaMA 30B of 3 bits; here both have less than two million parameters.
"""

from __future__ import annotations

from statistics import fmean

from glasshouse.data.curation.rules import dolma_rules
from glasshouse.data.deduplication.methods import exact
from glasshouse.data.sources.installed import InstalledText
from glasshouse.data.steps import Shards, curate, installed_text, mix, tokenize, train_tokenizer
from glasshouse.evaluation.compression import map_compression
from glasshouse.evaluation.context.steps import ContextTasks, context_texts, readable_sets
from glasshouse.evaluation.steps import Evaluation, Measured, conclude
from glasshouse.language.model import LanguageModel
from glasshouse.language.quantisation.settings import Quantisation
from glasshouse.language.quantisation.steps import quantise
from glasshouse.language.steps import pretrain
from glasshouse.nn.configuration import TransformerConfig, feed_forward_width
from glasshouse.store.claims import Measures, Verdict, above, below, claim
from glasshouse.store.configuration import ConfigurationError
from glasshouse.store.recipe import recipe
from glasshouse.training.configuration import Training

SMALL, LARGE = "small", "large"
SHAPES = {SMALL: (96, 2), LARGE: (128, 4)}
"""Width and layers. The large one at 3 bits has fewer bytes than the small one at 16, embedding included."""
SHARE = 0.9
"""Of the text, what is items of the generated tasks."""
RATES = {SMALL: 6e-3, LARGE: 4e-3}
"""Peak learning rates for rows of `ROWS` x `CONTEXT` tokens an update."""
VOCABULARY, CONTEXT, ROWS = 512, 256, 16
"""So few tokens that no name is one of its own: that could not be copied where it is new."""
BYTES_PER_TOKEN = 2.6
CALIBRATION_ROWS = 64
MATCHED = Quantisation(bits=3, group_size=64)
"""What the large model is quantised to beside the small one."""
LABELS = {(bits, method): f"{LARGE} {bits} bits {method}" for bits in (8, 4, 3, 2) for method in ("gptq", "rtn")}
TASKS = ("coreference", "winograd", "dialogue_state", "discourse", "rewriting")
JUDGED = {
    "coreference": "average", "winograd": "acc", "dialogue_state": "joint", "discourse": "acc", "rewriting": "bleu",
}  # fmt: skip
SHOTS = 3
LEFT_OUT = ("ontogum",)
"""Its documents have a hundred mentions, each with as many choices, of texts longer than these models read."""


@recipe
def context(tokens: int = 1_200_000, seeds: int = 3, items: int = 40, data: str = "", limit: int = 20) -> Evaluation:
    """Train a small and a large model on context tasks, quantise the large one, and compare them at matched bytes.

    Args:
        tokens: tokens of pre-training of every model.
        seeds: pairs of models.
        items: documents, dialogues and queries of the generated tasks; of schemas and relations four times as many.
        data: a folder with data sets (a folder each), on which the models of the first seed are measured too.
        limit: most items of every data set.
    """
    if seeds < 1 or items < 1:
        raise ConfigurationError(f"context takes at least 1 seed and 1 item, got {seeds} and {items}")
    shards = texts(tokens)
    tasks = [
        ContextTasks(names=("coreference", "dialogue_state", "rewriting"), limit=items, brief=True),
        ContextTasks(names=("winograd", "discourse"), limit=4 * items, brief=True),
    ]
    parts: dict[str, Measured] = {}
    for seed in range(seeds):
        dense = {name: trained(shards, name, tokens, seed) for name in SHAPES}
        wanted = LABELS if seed == 0 else [(3, "gptq"), (2, "gptq"), (2, "rtn")]
        models = {SMALL: dense[SMALL], LARGE: dense[LARGE]}
        models |= {LABELS[bits, method]: few_bits(dense[LARGE], shards, bits, method) for bits, method in wanted}
        parts[f"seed {seed}"] = map_compression(models, tasks, shards, per_source=10)
        if seed == 0:
            shown = [one.but(shots=SHOTS) for one in tasks]
            parts["with examples"] = map_compression({LARGE: models[LARGE]}, shown)
            if data:
                chosen = tuple(name for name in readable_sets(data) if name not in LEFT_OUT)
                sets = ContextTasks(names=chosen, limit=limit, shots=1, data=data)
                several = {name: models[name] for name in (SMALL, LARGE, LABELS[3, "gptq"])}
                parts["open sets"] = map_compression(several, [sets])
    return conclude(
        parts,
        claims=[
            quantised_fits_the_bytes,
            quantised_large_has_the_lower_perplexity,
            quantised_large_does_more_tasks,
            quantised_large_wins_every_task,
            size_helps,
            gptq_keeps_what_rounding_loses,
            three_bits_cost_less_than_size_gives,
            examples_help,
            trivial_methods_beat_small_models,
            few_bits_repeat_more_than_they_answer,
        ],
    )


def texts(tokens: int) -> Shards:
    """Text on this machine and items of the tasks, tokenised."""
    prose = curate(installed_text(InstalledText(megabytes=4)), keep=dolma_rules, deduplicate=[exact()])
    examples = context_texts(items=max(2000, tokens // 40), most=3)
    mixed = mix({"text": prose, "context": examples}, {"text": 1 - SHARE, "context": SHARE}, total=size(tokens))
    return tokenize(mixed, train_tokenizer(examples, vocabulary=VOCABULARY), holdout=0.02)


def size(tokens: int) -> int:
    """Bytes of text that have at least so many tokens."""
    return int(BYTES_PER_TOKEN * tokens)


def trained(shards: Shards, name: str, tokens: int, seed: int) -> LanguageModel:
    """A model of `SHAPES`."""
    width, layers = SHAPES[name]
    shape = TransformerConfig(
        vocabulary=VOCABULARY, width=width, layers=layers, heads=width // 32, context=CONTEXT, tied=True,
        feed_forward=feed_forward_width(width, 64),
    )  # fmt: skip
    training = Training(
        tokens=tokens, batch_size=ROWS, micro_batch_size=ROWS // 2, seed=seed, learning_rate=RATES[name], warmup=0.05,
        precision="fp32", compile=False, checkpoint_every=200,
    )  # fmt: skip
    return pretrain(shards, shape, training)


def few_bits(model: LanguageModel, shards: Shards, bits: int, method: str) -> LanguageModel:
    """The model quantised."""
    settings: Quantisation = MATCHED.but(bits=bits, method=method)
    return quantise(model, settings, shards, rows=CALIBRATION_ROWS)


def over_seeds(measures: Measures, label: str, name: str) -> list[float]:
    """A value of a model by seed; `KeyError` when there is none of the first."""
    seeds = sum(key.startswith("seed ") and key.endswith(f"/{SMALL}/bytes") for key in measures) or 1
    return [measures[f"seed {seed}/{label}/{name}"] for seed in range(seeds)]


def gains(measures: Measures, label: str, other: str, name: str) -> list[float]:
    """By how much a model has more of a value than another, by seed."""
    pairs = zip(over_seeds(measures, label, name), over_seeds(measures, other, name), strict=True)
    return [one - two for one, two in pairs]


def task_value(task: str) -> str:
    """What a generated task is judged by."""
    return f"tasks/context/{task}/{JUDGED[task]}"


THREE, TWO, TWO_ROUNDED = LABELS[3, "gptq"], LABELS[2, "gptq"], LABELS[2, "rtn"]
MACRO = "tasks/macro/normalised"


@claim(
    "The large model at 3 bits has no more bytes than the small one at 16, embedding included.",
    "house (Can LLMs Understand Context?)",
)
def quantised_fits_the_bytes(measures: Measures) -> Verdict:
    return below(max(gains(measures, THREE, SMALL, "bytes")), 1, " bytes more")


@claim(
    "At no more bytes the large model of 3 bits has the lower perplexity on held-out text, with every seed.",
    "2402.00858, table 6",
)
def quantised_large_has_the_lower_perplexity(measures: Measures) -> Verdict:
    return below(max(gains(measures, THREE, SMALL, "perplexity")), 0, " of perplexity")


@claim(
    "At no more bytes the large model of 3 bits does better in the generated context tasks (mean of what each is "
    "judged by, normalised over the best trivial method), with every seed.",
    "2402.00858, table 6",
)
def quantised_large_does_more_tasks(measures: Measures) -> Verdict:
    return above(min(gains(measures, THREE, SMALL, MACRO)), 0, " of the headroom")


@claim("It does better in each of the five tasks (means over seeds).", "2402.00858, table 6")
def quantised_large_wins_every_task(measures: Measures) -> Verdict:
    least = {task: fmean(gains(measures, THREE, SMALL, task_value(task))) for task in TASKS}
    lost = [task for task, gain in least.items() if gain <= 0]
    told = ", ".join(f"{task} {gain:+.3f}" for task, gain in least.items())
    return Verdict(not lost, told, "more than 0 in each")


@claim("Prompting gets better with size: dense, the larger model does better, with every seed.", "2402.00858, table 5")
def size_helps(measures: Measures) -> Verdict:
    return above(min(gains(measures, LARGE, SMALL, MACRO)), 0, " of the headroom")


@claim(
    "At 2 bits GPTQ keeps at least half of the perplexity that round-to-nearest loses, with every seed.",
    "house (Can LLMs Understand Context?)",
)
def gptq_keeps_what_rounding_loses(measures: Measures) -> Verdict:
    dense, kept, rounded = (over_seeds(measures, label, "perplexity") for label in (LARGE, TWO, TWO_ROUNDED))
    shares = [1 - (two - one) / (three - one) for one, two, three in zip(dense, kept, rounded, strict=True)]
    return above(min(shares), 0.5, " of the loss")


@claim(
    "Three bits cost the large model less of the tasks than its size gives over the small one (means over seeds).",
    "2402.00858, table 6",
)
def three_bits_cost_less_than_size_gives(measures: Measures) -> Verdict:
    cost, given = (fmean(gains(measures, LARGE, label, MACRO)) for label in (THREE, SMALL))
    return below(cost / given if given > 0 else float("inf"), 1, " of what size gives")


@claim(
    f"Examples help: with {SHOTS} before every item the large model does better than with none.",
    "2402.00858, section 4",
)
def examples_help(measures: Measures) -> Verdict:
    gain = measures[f"with examples/{LARGE}/{MACRO}"] - measures[f"seed 0/{LARGE}/{MACRO}"]
    return above(gain, 0, " of the headroom")


@claim(
    "A trivial method beats the small model in at least one task, with every seed.",
    "house (Can LLMs Understand Context?)",
)
def trivial_methods_beat_small_models(measures: Measures) -> Verdict:
    normalised = [over_seeds(measures, SMALL, f"{task_value(task)}/normalised") for task in TASKS]
    beaten = [sum(value < 0 for value in of_seed) for of_seed in zip(*normalised, strict=True)]
    return above(min(beaten), 0, " tasks")


@claim(
    "Rounded to 2 bits, the large model repeats the query more often by more than it answers it more often (means over "
    "seeds, shares of the queries to be rewritten).",
    "2402.00858, table 9",
)
def few_bits_repeat_more_than_they_answer(measures: Measures) -> Verdict:
    more = {
        kind: fmean(gains(measures, TWO_ROUNDED, LARGE, f"tasks/context/rewriting/{kind}"))
        for kind in ("repeat", "answer")
    }
    return above(more["repeat"] - more["answer"], 0, f" of queries (repeat {more['repeat']:+.3f})")
