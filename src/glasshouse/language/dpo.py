"""Direct preference optimisation (DPO) [Rafailov et al., arXiv 2305.18290].

    L = - log sigma(beta [(pi_c - pi_r) - (ref_c - ref_r)])                                                      (eq. 7)

pi and ref are log-probabilities of the chosen (c) and rejected (r) answer, with its end token, given the prompt, under
the model that learns and under the one it started from. beta (pi - ref) is the implicit reward (section 5). Options:

- `length_normalised`: log-probabilities per token of the answer instead of their sums (`dpo_norm` in open-instruct,
  used for OLMo 2 with beta 5, arXiv 2501.00656);
- `label_smoothing` e: (1 - e) L(margin) + e L(-margin), for labels that are wrong at that rate (conservative DPO,
  Mitchell 2023).

Settings by default are OLMo's (arXiv 2402.00838): learning rate 5e-7 after 10 % of warm-up, linearly to 0 over 3
epochs, beta 0.1, no weight decay, no clipping. They suit 7B; small models need more (OLMo 2 1B: 2.5e-6).

Deviation: the reference never runs while training. Its log-probabilities are computed once and kept in a file that
names the weights and the data they belong to; others are refused.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from pydantic import Field
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from glasshouse.language.adapters import learning_parts
from glasshouse.language.chat import Chat, Message
from glasshouse.language.conversations import Preference
from glasshouse.language.finetune import Adaptation, checked_context
from glasshouse.language.packing import Example, example
from glasshouse.language.scoring import log_probabilities
from glasshouse.nn.loss import IGNORE
from glasshouse.training.checkpoint import weights_hash
from glasshouse.training.data import DataError
from glasshouse.training.objective import Loss, Step
from glasshouse.training.parallelize import longest_list
from glasshouse.training.trainer import TrainingResult, train


class PreferenceTuning(Adaptation):
    """Settings of DPO; OLMo's by default, for a model of 7B."""

    learning_rate: float = Field(5e-7, gt=0)
    warmup: float = Field(0.1, ge=0)
    batch_size: int = Field(32, ge=1)
    beta: float = Field(0.1, gt=0)
    length_normalised: bool = False
    label_smoothing: float = Field(0.0, ge=0, lt=0.5)


class StaleReferenceError(DataError):
    """Kept log-probabilities belong to another model, other pairs or another precision."""


@dataclasses.dataclass(frozen=True)
class PreferenceRows:
    """Pairs of answers as token rows, chosen before rejected; make them with `encode_preferences`."""

    pairs: Sequence[tuple[Example, Example]]
    names: Sequence[str]
    padding: int
    truncated: int = 0
    left_out: Sequence[str] = ()
    reference: Float[Tensor, "pairs 2"] | None = None

    @property
    def rows(self) -> int:
        return len(self.pairs)

    @cached_property
    def content(self) -> str:
        """sha256 over tokens and targets."""
        digest = hashlib.sha256()
        for item in (item for pair in self.pairs for item in pair):
            digest.update(f"{len(item.tokens)} ".encode() + item.tokens.tobytes() + item.targets.tobytes())
        return digest.hexdigest()

    @cached_property
    def fingerprint(self) -> str:
        known = b"" if self.reference is None else self.reference.numpy().tobytes()
        return hashlib.sha256(self.content.encode() + known).hexdigest()

    def batch(self, indices: NDArray[np.int64]) -> dict[str, Tensor]:
        """`tokens` and `targets` `[batch, 2, seq]`, and `reference` `[batch, 2]` once it is known."""
        chosen = [self.pairs[index] for index in indices.tolist()]
        longest = max(len(item.tokens) for pair in chosen for item in pair)
        tokens = np.full((len(chosen), 2, longest), self.padding)
        targets = np.full((len(chosen), 2, longest), IGNORE)
        for place, pair in enumerate(chosen):
            for side, item in enumerate(pair):
                tokens[place, side, : len(item.tokens)] = item.tokens
                targets[place, side, : len(item.tokens)] = item.targets
        made = {"tokens": torch.from_numpy(tokens), "targets": torch.from_numpy(targets)}
        return made if self.reference is None else made | {"reference": self.reference[torch.from_numpy(indices)]}

    def describe(self, indices: NDArray[np.int64]) -> list[str]:
        return [self.names[index] for index in indices.tolist()]


def encode_preferences(preferences: Sequence[Preference], chat: Chat, context: int) -> PreferenceRows:
    """Preferences as rows. What exceeds the context is cut and counted; pairs left without an answer are named.

    A pair whose sides are the same after the cut is left out too: nothing is preferred in it.
    """
    pairs, names, truncated, left_out = list[tuple[Example, Example]](), list[str](), 0, list[str]()
    for item in preferences:
        learn = len(item.prompt)
        answers = [Message("assistant", text) for text in (item.chosen, item.rejected)]
        encoded = [chat.encode([*item.prompt, answer], learn_from=learn) for answer in answers]
        chosen, rejected = (example(side, context) for side in encoded)
        if not chosen.learnt or not rejected.learnt or np.array_equal(chosen.tokens, rejected.tokens):
            left_out.append(item.name)
            continue
        truncated += any(len(side.tokens) > context for side in encoded)
        pairs.append((chosen, rejected))
        names.append(item.name)
    if not pairs:
        raise DataError(f"none of {len(preferences)} preferences has two answers inside the first {context} tokens")
    return PreferenceRows(pairs, names, chat.end, truncated, left_out)


class DirectPreference:
    """The objective. A batch is `PreferenceRows.batch` with its `reference`."""

    unit = "pairs"

    def __init__(
        self, model: nn.Module, settings: PreferenceTuning, *, validation: PreferenceRows | None = None
    ) -> None:
        self.model, self.settings, self.held_out = model, settings, validation
        self.learns, self.frozen, self.concurrent = learning_parts(model)
        self.carries: Mapping[str, nn.Module] = {}
        chosen = ("beta", "length_normalised", "label_smoothing")
        self.configuration = {name: getattr(settings, name) for name in chosen}

    def weight(self, batch: Mapping[str, Tensor]) -> float:
        return float(len(batch["tokens"]))

    def loss(self, batch: Mapping[str, Tensor], step: Step) -> Loss:
        scores = self.scores(batch)
        rewards = self.settings.beta * (scores - self.references(batch))
        margin = rewards[:, 0] - rewards[:, 1]
        smooth = self.settings.label_smoothing
        losses = -functional.logsigmoid(margin) * (1 - smooth) - functional.logsigmoid(-margin) * smooth
        return Loss(losses.mean(), measured(scores.detach(), rewards.detach()))

    def scores(self, batch: Mapping[str, Tensor]) -> Float[Tensor, "batch 2"]:
        """Log-probabilities of both answers, per token when normalised."""
        return self._normalised(answer_log_probabilities(self.model, batch), batch)

    def references(self, batch: Mapping[str, Tensor]) -> Float[Tensor, "batch 2"]:
        """The same under the reference."""
        return self._normalised(batch["reference"], batch)

    def _normalised(self, sums: Tensor, batch: Mapping[str, Tensor]) -> Tensor:
        return sums / (batch["targets"] != IGNORE).sum(-1) if self.settings.length_normalised else sums

    def blocks(self) -> list[nn.Module]:
        """The model's layers."""
        return longest_list(self.model)

    def validate(self) -> dict[str, float]:
        """Loss and rewards on held-out pairs."""
        if self.held_out is None:
            return {}
        rows, device = self.held_out, next(self.model.parameters()).device
        found: dict[str, float] = {}
        for start in range(0, rows.rows, 16):
            batch = rows.batch(np.arange(start, min(start + 16, rows.rows)))
            loss = self.loss({name: tensor.to(device) for name, tensor in batch.items()}, _NO_STEP)
            for name, value in {"loss": loss.value, **loss.metrics}.items():
                found[name] = found.get(name, 0.0) + float(value) * self.weight(batch) / rows.rows
        return found


_NO_STEP = Step(1, 1, 0, torch.Generator())


def measured(scores: Float[Tensor, "batch 2"], rewards: Float[Tensor, "batch 2"]) -> dict[str, Tensor]:
    """Means over pairs: rewards, margin, accuracy (a tie counts half), log-probabilities."""
    margin = rewards[:, 0] - rewards[:, 1]
    return {
        "accuracy": (margin > 0).float().mean() + (margin == 0).float().mean() / 2,
        "margin": margin.mean(),
        "chosen_reward": rewards[:, 0].mean(),
        "rejected_reward": rewards[:, 1].mean(),
        "chosen_log_probability": scores[:, 0].mean(),
        "rejected_log_probability": scores[:, 1].mean(),
    }


def answer_log_probabilities(model: nn.Module, batch: Mapping[str, Tensor]) -> Float[Tensor, "batch 2"]:
    """Summed log p of the answers of pairs `[batch, 2, seq]`."""
    flat = {name: batch[name].flatten(0, 1) for name in ("tokens", "targets")}
    return log_probabilities(model, flat).sum(-1).view(-1, 2)


@torch.no_grad()
def reference_log_probabilities(
    model: nn.Module,
    rows: PreferenceRows,
    *,
    batch: int = 16,
    precision: str = "fp32",
    advance: Callable[[int], object] = lambda _: None,
) -> Float[Tensor, "pairs 2"]:
    """Summed log p of both answers of every pair, on the host, in the order of the rows."""
    device, training = next(model.parameters()).device, model.training
    model.eval()
    found = []
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16"):
        for start in range(0, rows.rows, batch):
            given = rows.batch(np.arange(start, min(start + batch, rows.rows)))
            on_device = {name: tensor.to(device) for name, tensor in given.items()}
            found.append(answer_log_probabilities(model, on_device).float().cpu())
            advance(len(found[-1]))
    model.train(training)
    return torch.cat(found)


def with_reference(
    rows: PreferenceRows, model: nn.Module, file: str | Path, *, precision: str = "fp32", **options: Any
) -> PreferenceRows:
    """The rows with the reference's log-probabilities, read from `file` or computed and written there.

    Raises `StaleReferenceError` when the file was made with other weights, other pairs or another precision.
    """
    path = Path(file)
    key = {"weights": weights_hash(model), "pairs": rows.content, "precision": precision}
    if path.exists():
        with safe_open(path, framework="pt") as opened:
            kept, reference = opened.metadata() or {}, opened.get_tensor("reference")
        if changed := [
            f"{name} were {kept.get(name)!r}, now {value!r}" for name, value in key.items() if kept.get(name) != value
        ]:
            raise StaleReferenceError(
                f"the reference log-probabilities in {path} are not of this model and these pairs: "
                f"{'; '.join(changed)}. Remove the file to compute them anew"
            )
        return dataclasses.replace(rows, reference=reference)
    reference = reference_log_probabilities(model, rows, precision=precision, **options)
    path.parent.mkdir(parents=True, exist_ok=True)
    written = path.with_name(f".writing-{path.name}-{os.getpid()}")
    save_file({"reference": reference}, written, metadata=key)
    written.rename(path)
    return dataclasses.replace(rows, reference=reference)


def prefer(
    model: nn.Module,
    preferences: Sequence[Preference],
    chat: Chat,
    settings: PreferenceTuning,
    directory: Path | str,
    *,
    validation: Sequence[Preference] = (),
    **options: Any,
) -> tuple[TrainingResult, PreferenceRows]:
    """Tune `model` in place towards the chosen answers; as it is given it is the reference.

    The reference's log-probabilities are kept beside `directory`. `options` go to the trainer.
    """
    context = checked_context(model, chat, settings.context)
    home, kept = Path(directory), {"precision": settings.precision}
    rows = encode_preferences(preferences, chat, context)
    rows = with_reference(rows, model, home.with_name(f"{home.name}.reference.safetensors"), **kept)
    held_out = None
    if validation:
        held_out = encode_preferences(validation, chat, context)
        held_out = with_reference(held_out, model, home.with_name(f"{home.name}.held-out.safetensors"), **kept)
    objective = DirectPreference(model, settings, validation=held_out)
    return train(objective, rows, settings.training(rows.rows), directory, **options), rows
