"""Steps of alignment on a language model of our own: answers, exploration, policies.

Thin: the methods are `language_world`, `online` and `language_policy`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import cached_property

from safetensors.torch import load_file, save_file

from glasshouse.alignment.algebra import Expression
from glasshouse.alignment.exploration import Rule
from glasshouse.alignment.exploration_steps import Explored, explored
from glasshouse.alignment.interaction import Curve, Interaction
from glasshouse.alignment.language_answers import asked
from glasshouse.alignment.language_policy import Comparison, PolicyTuning, optimise
from glasshouse.alignment.language_world import AnswerPool, draw_pool
from glasshouse.alignment.ledger import Query
from glasshouse.alignment.online import NeuralAgent
from glasshouse.alignment.online import explore as explore_online
from glasshouse.alignment.reward_model_steps import RewardModel
from glasshouse.alignment.reward_models import LoadedRewardModel
from glasshouse.language.adaptation import Preferences, write_splits
from glasshouse.language.chat import Chat, write_chat_template
from glasshouse.language.export import export_checkpoint
from glasshouse.language.model import LanguageModel
from glasshouse.language.steps import write_record
from glasshouse.store.artifact import Artifact
from glasshouse.store.configuration import ConfigurationError
from glasshouse.store.panels import Curves, Panel
from glasshouse.store.step import Run, step
from glasshouse.training.checkpoint import Checkpoint

COMPARED, POOL = "compared.json", "pool"


class Pool(Artifact):
    """Answers of a language model with embeddings and rewards."""

    @cached_property
    def answers(self) -> AnswerPool:
        """All of them."""
        kept = json.loads(self.file(f"{POOL}.json").read_text(encoding="utf-8"))
        tensors = load_file(self.file(f"{POOL}.safetensors"))
        return AnswerPool(kept["prompts"], kept["texts"], tensors["embeddings"], tensors["rewards"])


@step()
def answer_pool(
    run: Run,
    model: LanguageModel,
    judge: RewardModel,
    data: Preferences,
    prompts: int = 256,
    answers: int = 48,
    tokens: int = 32,
    seed: int = 0,
) -> Pool:
    """Have a language model answer the prompts of some preferences, many times each, and a reward model judge it."""
    loaded = model.load()
    chat = Chat(loaded.tokenizer, loaded.end_of_sequence)
    single = [item for item in data.train if len(item.prompt) == 1]  # a ledger keeps the prompt as one text
    questions = asked(single, chat, loaded.context, tokens, prompts)
    with run.bar("answers", None) as bar:
        pool = draw_pool(loaded.transformer, questions, judge.load(), answers, seed, advance=bar.advance)
    words = {"prompts": list(pool.prompts), "texts": [list(several) for several in pool.texts]}
    (run.output / f"{POOL}.json").write_text(json.dumps(words) + "\n", encoding="utf-8")
    save_file({"embeddings": pool.embeddings, "rewards": pool.rewards}, run.output / f"{POOL}.safetensors")
    run.measure(prompts=len(pool.prompts), answers=answers)
    return Pool(run.output)


@step()
def explore_answers(
    run: Run, pool: Pool, rule: Rule, interaction: Interaction, agent: NeuralAgent, seeds: int = 2
) -> Explored:
    """Let a neural agent ask about a language model's answers by a rule, for several seeds."""
    world = pool.answers.world()

    def one(seed: int, advance: Callable[[int], object]) -> Curve:
        curve = explore_online(world, rule, interaction.but(seed=seed), agent, run.scratch / f"seed-{seed}")
        advance(interaction.epochs)
        return curve

    return explored(run, f"{rule.name}, language", one, range(seeds), interaction)


@step()
def collected(run: Run, queries: Explored) -> Preferences:
    """The pairs that were asked about and answered, as preferences to tune on: the ledger's rows in TRL's form."""
    found = [Query(**row | {"why": dict(row["why"])}).preference for row in queries.queries().to_pylist()]
    kept = [item for item in found if item is not None]
    if not kept:
        raise ConfigurationError(f"none of {len(found)} queries has a preference: there is nothing to tune on")
    write_splits(run, kept, ())
    return Preferences(run.output)


class PolicyComparison(Artifact):
    """How a language model compares with the one before (`language_policy.Comparison`)."""

    @property
    def values(self) -> dict[str, float]:
        """KL, length and win rates against the model before, on held-out prompts."""
        found: dict[str, float] = json.loads(self.file(COMPARED).read_text(encoding="utf-8"))
        return found


@step()
def compare_policies(
    run: Run,
    model: LanguageModel,
    base: LanguageModel,
    data: Preferences,
    judges: Mapping[str, RewardModel],
    settings: PolicyTuning,
) -> PolicyComparison:
    """Compare a language model with the one it came from, on the held-out prompts of some preferences."""
    loaded, before = model.load(), base.load()
    chat = Chat(before.tokenizer, before.end_of_sequence)
    held_out = asked(data.holdout, chat, before.context, settings.tokens, settings.held_out)
    with run.bar("comparing policies", None):
        compared = Comparison(before.transformer, held_out, {"judge": _loaded(judges, "cpu")}, settings)
        found = compared(loaded.transformer)
    _write_values(run, found)
    return PolicyComparison(run.output)


class OptimisedPolicy(LanguageModel):
    """A language model after policy optimisation, and how it compares with the model before."""

    @property
    def values(self) -> dict[str, float]:
        """KL, length and win rates against the model before, on held-out prompts (`language_policy.Comparison`)."""
        return PolicyComparison(self.path).values

    def panels(self) -> list[Panel]:
        """Win rates by KL, and the run."""
        records = [record for record in self.metrics if "validation/kl" in record]
        names = [name for name in self.values if name.startswith("win/")]
        series = {
            name.removeprefix("win/"): [(r["validation/kl"], r[f"validation/{name}"]) for r in records]
            for name in names
        }
        title = "Answers that beat those of the model before, by KL"
        return [Curves(title, "KL, nats", "win rate", series, levels={"as before": 0.5}), *super().panels()]


@step()
def optimise_policy(
    run: Run,
    model: LanguageModel,
    data: Preferences,
    judges: Mapping[str, RewardModel],
    others: Mapping[str, RewardModel],
    expression: Expression,
    settings: PolicyTuning,
    device: str = "cpu",
) -> OptimisedPolicy:
    """Optimise a language model by RLOO against reward models; `others` only measure. A killed run goes on."""
    loaded = model.load(device)
    chat = Chat(loaded.tokenizer, loaded.end_of_sequence)
    questions, held_out = (
        asked(part, chat, loaded.context, settings.tokens, most)
        for part, most in ((data.train, settings.prompts), (data.holdout, settings.held_out))
    )
    with run.bar("policy optimisation", settings.steps) as bar:
        result, compared = optimise(
            loaded.transformer, questions, held_out, _loaded(judges, device), _loaded(others, device), expression,
            settings, run.scratch / "run", progress=bar,
        )  # fmt: skip
    shape, end = loaded.transformer.config, loaded.end_of_sequence
    files = [model.file(name) for name in ("tokenizer.json", "tokenizer_config.json")]
    checkpoint = Checkpoint.at(result.checkpoint)
    export_checkpoint(checkpoint, shape, run.output, component="policy", end=end, begin=end, tokenizer_files=files)
    write_chat_template(run.output)
    _write_values(run, compared)
    about = {"stage": "rloo", "end_of_sequence": end, "context": loaded.context}
    write_record(run, result, tokens=0, parameters=shape.parameters, about=about)
    run.measure(seconds=round(result.seconds, 3), resumed_from=result.resumed_from)
    return OptimisedPolicy(run.output)


def _loaded(models: Mapping[str, RewardModel], device: str) -> dict[str, LoadedRewardModel]:
    return {name: model.load(device) for name, model in models.items()}


def _write_values(run: Run, values: Mapping[str, float]) -> None:
    (run.output / COMPARED).write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
