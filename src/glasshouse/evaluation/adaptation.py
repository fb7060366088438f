"""What adaptation brought and what it cost, as measures: format and answers, preferences, divergence, recall.

All use held-out items. Format and answers are of greedy answers in the chat form; a preference is won when the implicit
reward of the chosen answer, log p under the model minus log p under the reference, is the larger one (arXiv 2305.18290,
section 5), and a tie counts half.
"""

from __future__ import annotations

import dataclasses
import statistics
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from glasshouse.language.chat import Chat, Message
from glasshouse.language.conversations import Conversation, Preference, prompts_of
from glasshouse.language.divergence import ESTIMATORS, divergence
from glasshouse.language.dpo import encode_preferences, measured, reference_log_probabilities
from glasshouse.language.generation import Sampling, generate
from glasshouse.language.letters import LETTER_TASKS, grade, preferred_form, recall
from glasshouse.nn.loss import IGNORE
from glasshouse.nn.threads import one_thread
from glasshouse.store.panels import Numbers, Panel, Samples, Table
from glasshouse.store.progress import Bar

if TYPE_CHECKING:
    from glasshouse.language.adaptation import Conversations, Preferences
    from glasshouse.language.model import LanguageModel, LoadedModel

Bars = Callable[[str, float | None], Bar]
SHOWN = 6


@dataclasses.dataclass(frozen=True)
class FormatAccuracy:
    """The measure: how many greedy answers to held-out instructions have a form, and how many are right.

    Attributes:
        instructions: of the world of letters (`glasshouse.language.letters`), with their right answers.
        most: of the held-out instructions, the first so many are asked.
    """

    instructions: Conversations
    name: str = "answers"
    most: int = 200
    tokens: int = 24

    def measure(self, model: LoadedModel, bar: Bars) -> dict[str, Any]:
        """Values `<name>/format`, `<name>/right`, `<name>/right/<task>`, `<name>/preferred` (the rule's form)."""
        return grade_answers(model, self.instructions.holdout[: self.most], bar, name=self.name, tokens=self.tokens)

    @staticmethod
    def panels(outcome: Mapping[str, Any]) -> list[Panel]:
        """Shares by task, and a few answers."""
        name, values = outcome["name"], outcome["values"]
        figures = {
            "in a known form": f"{100 * values[f'{name}/format']:.0f} %",
            "right": f"{100 * values[f'{name}/right']:.0f} %",
            "in the preferred form": f"{100 * values[f'{name}/preferred']:.0f} %",
        }
        rows = [(task, count, 100 * values[f"{name}/right/{task}"]) for task, count in outcome["asked"].items()]
        return [
            Numbers("Answers to held-out instructions", figures),
            Table("By task", ["task", "asked", "% right"], rows),
            Samples("What it answers", [(prompt, text) for prompt, text in outcome["samples"]]),
        ]


@dataclasses.dataclass(frozen=True)
class PreferenceAccuracy:
    """The measure: implicit rewards of held-out pairs against a reference model."""

    preferences: Preferences
    reference: LanguageModel
    name: str = "preferences"

    def measure(self, model: LoadedModel, bar: Bars) -> dict[str, Any]:
        """Values `<name>/accuracy`, `margin` (nats), `chosen_log_probability`, … of summed log-probabilities."""
        return weigh(model, self.reference.load(), self.preferences.holdout, bar, name=self.name)

    @staticmethod
    def panels(outcome: Mapping[str, Any]) -> list[Panel]:
        """Accuracy, margin and what became of both log-probabilities."""
        values, name = outcome["values"], outcome["name"]
        figures = {
            "pairs": str(outcome["pairs"]),
            "won": f"{100 * values[f'{name}/accuracy']:.1f} %",
            "margin": f"{values[f'{name}/margin']:.2f} nats",
            "chosen, against the reference": f"{values[f'{name}/chosen_reward']:+.2f} nats",
            "rejected, against the reference": f"{values[f'{name}/rejected_reward']:+.2f} nats",
        }
        note = "Log-probabilities of whole answers, without the factor beta. Both may fall: their difference is tuned."
        return [Numbers("Held-out preferences", figures, note=note)]


@dataclasses.dataclass(frozen=True)
class KullbackLeibler:
    """The measure: KL(model || reference) of answers to held-out prompts (`glasshouse.language.divergence`)."""

    prompts: Conversations | Preferences
    reference: LanguageModel
    name: str = "kl"
    most: int = 100
    tokens: int = 24
    seed: int = 0

    def measure(self, model: LoadedModel, bar: Bars) -> dict[str, Any]:
        """Values `<name>/exact`, `k1`, `k3` in nats per answer, each with `…/error` (standard error over prompts)."""
        prompts = prompts_of(self.prompts.holdout)[: self.most]
        return drift(model, self.reference.load(), prompts, bar, name=self.name, tokens=self.tokens, seed=self.seed)

    @staticmethod
    def panels(outcome: Mapping[str, Any]) -> list[Panel]:
        """The three estimates."""
        values, name = outcome["values"], outcome["name"]
        rows = [(kind, values[f"{name}/{kind}"], values.get(f"{name}/{kind}/error")) for kind in ESTIMATORS]
        note = (
            f"Nats per answer of {outcome['tokens']:.0f} tokens, on one sampled answer to each of {outcome['prompts']} "
            "held-out prompts. exact sums the divergence of every next-token distribution along the answer."
        )
        return [Table("KL to the reference", ["estimator", "KL", "standard error"], rows, note=note)]


@dataclasses.dataclass(frozen=True)
class Recall:
    """The measure: how many colours of houses the model still knows, a skill that no instruction is about."""

    name: str = "recall"

    def measure(self, model: LoadedModel, bar: Bars) -> dict[str, Any]:
        """The value `<name>`: share of houses whose colour greedily follows in prose."""
        asked = recall()
        with bar("recalling houses", len(asked)) as shown, one_thread():
            prompts = [[model.end_of_sequence, *model.tokenizer.encode(text).ids] for text, _ in asked]
            made = generate(model.transformer, prompts, Sampling(tokens=6), end=model.end_of_sequence)
            shown.advance(len(asked))
        known = [
            model.tokenizer.decode(tokens).strip().startswith(end) for tokens, (_, end) in zip(made, asked, strict=True)
        ]
        return {"values": {self.name: statistics.fmean(known)}, "name": self.name, "asked": len(asked)}

    @staticmethod
    def panels(outcome: Mapping[str, Any]) -> list[Panel]:
        """The share."""
        share = f"{100 * outcome['values'][outcome['name']]:.0f} % of {outcome['asked']}"
        note = "A skill of pre-training that fine-tuning has no examples of: what it loses is the cost of adaptation."
        return [Numbers("Houses recalled in prose", {"known": share}, note=note)]


def grade_answers(
    model: LoadedModel, asked: Sequence[Conversation], bar: Bars, *, name: str = "answers", tokens: int = 24
) -> dict[str, Any]:
    """Greedy answers to instructions of the world of letters, judged (see `FormatAccuracy`)."""
    chat = Chat(model.tokenizer, model.end_of_sequence)
    written: list[str] = []
    with bar("answering held-out instructions", len(asked)) as shown, one_thread():
        for start in range(0, len(asked), 50):
            prompts = [chat.prompt(item.prompt) for item in asked[start : start + 50]]
            made = generate(model.transformer, prompts, Sampling(tokens=tokens), end=model.end_of_sequence)
            written += [chat.decode(answer) for answer in made]
            shown.advance(len(prompts))
    grades = [grade(text, item.about["answer"]) for text, item in zip(written, asked, strict=True)]
    tasks = [item.about["task"] for item in asked]
    values = {
        f"{name}/format": statistics.fmean(found.form is not None for found in grades),
        f"{name}/right": statistics.fmean(found.right for found in grades),
        f"{name}/preferred": statistics.fmean(
            found.form == preferred_form(task) for found, task in zip(grades, tasks, strict=True)
        ),
    }
    for task in dict.fromkeys(tasks):
        right = [found.right for found, other in zip(grades, tasks, strict=True) if other == task]
        values[f"{name}/right/{task}"] = statistics.fmean(right)
    letters = [found.right for found, task in zip(grades, tasks, strict=True) if task in LETTER_TASKS]
    values[f"{name}/right/letters"] = statistics.fmean(letters) if letters else 0.0
    samples = [[item.prompt[-1].content, text] for item, text in zip(asked[:SHOWN], written, strict=False)]
    return {"values": values, "name": name, "asked": dict(Counter(tasks)), "samples": samples}


def weigh(
    model: LoadedModel, reference: LoadedModel, pairs: Sequence[Preference], bar: Bars, *, name: str = "preferences"
) -> dict[str, Any]:
    """Implicit rewards of pairs (see `PreferenceAccuracy`)."""
    rows = encode_preferences(pairs, Chat(model.tokenizer, model.end_of_sequence), model.context)
    with bar("weighing held-out preferences", 2 * rows.rows) as shown, one_thread():
        ours, theirs = (
            reference_log_probabilities(each.transformer, rows, advance=shown.advance) for each in (model, reference)
        )
    values = {f"{name}/{key}": float(value) for key, value in measured(ours, ours - theirs).items()}
    lengths = [sum(int((side.targets != IGNORE).sum()) for side in pair) / 2 for pair in rows.pairs]
    return {"values": values, "name": name, "pairs": rows.rows, "tokens": statistics.fmean(lengths)}


def drift(
    model: LoadedModel,
    reference: LoadedModel,
    prompts: Sequence[Sequence[Message]],
    bar: Bars,
    *,
    name: str = "kl",
    tokens: int = 24,
    seed: int = 0,
) -> dict[str, Any]:
    """KL to the reference on answers to prompts (see `KullbackLeibler`)."""
    chat = Chat(model.tokenizer, model.end_of_sequence)
    encoded = [chat.prompt(prompt) for prompt in prompts]
    with bar("sampling answers", len(prompts)) as shown, one_thread():
        found = divergence(
            model.transformer, reference.transformer, encoded,
            end=model.end_of_sequence, tokens=tokens, seed=seed, advance=shown.advance,
        )  # fmt: skip
    values = {f"{name}/{kind}": found.value[kind] for kind in ESTIMATORS}
    values |= {f"{name}/{kind}/error": found.error[kind] for kind in ESTIMATORS if len(prompts) > 1}
    return {"values": values, "name": name, "prompts": len(prompts), "tokens": found.tokens}


def format_accuracy(instructions: Conversations, name: str = "answers") -> FormatAccuracy:
    """How many greedy answers to held-out instructions have a form and are right."""
    return FormatAccuracy(instructions, name)


def preference_accuracy(preferences: Preferences, reference: LanguageModel) -> PreferenceAccuracy:
    """How many held-out preferences the model's implicit rewards agree with."""
    return PreferenceAccuracy(preferences, reference)


def kl_to(reference: LanguageModel, prompts: Conversations | Preferences) -> KullbackLeibler:
    """How far the model has moved from `reference` on held-out prompts."""
    return KullbackLeibler(prompts, reference)
