"""Steps of adaptation: conversations and preferences as artifacts, and the models tuned on them.

`finetune` and `prefer` are thin: the methods are `glasshouse.language.finetune` and `glasshouse.language.dpo`.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch

from glasshouse.data.quarantine import Quarantine
from glasshouse.data.sources.reading import fingerprint_files
from glasshouse.language.adapters import add_adapters, merge_adapters, save_adapters
from glasshouse.language.chat import Chat, write_chat_template
from glasshouse.language.conversations import (
    Conversation,
    Preference,
    Record,
    RoleMarkers,
    read_conversations,
    read_preferences,
    write_rows,
)
from glasshouse.language.dpo import PreferenceTuning
from glasshouse.language.dpo import prefer as prefer_pairs
from glasshouse.language.export import export_checkpoint
from glasshouse.language.finetune import Adaptation, FineTuning
from glasshouse.language.finetune import finetune as finetune_on_conversations
from glasshouse.language.model import LanguageModel, LoadedModel
from glasshouse.language.steps import write_record
from glasshouse.nn.huggingface import save_huggingface
from glasshouse.nn.transformer import Transformer
from glasshouse.store.artifact import Artifact
from glasshouse.store.configuration import ConfigurationError, named_seed
from glasshouse.store.files import StoreError
from glasshouse.store.panels import Numbers, Panel, Table
from glasshouse.store.step import Run, step
from glasshouse.training.checkpoint import Checkpoint
from glasshouse.training.parallel import ParallelPlan
from glasshouse.training.trainer import TrainingResult

TRAIN, HOLDOUT, QUARANTINE = "train.jsonl", "holdout.jsonl", "quarantine.jsonl"
R = TypeVar("R", bound=Record)


class Conversations(Artifact):
    """Conversations to learn from, and some held out, as JSON Lines of `messages`."""

    @property
    def train(self) -> list[Conversation]:
        """To learn from."""
        return _split(self, TRAIN, read_conversations)

    @property
    def holdout(self) -> list[Conversation]:
        """Held out by the hash of the prompt."""
        return _split(self, HOLDOUT, read_conversations)

    def panels(self) -> list[Panel]:
        """How many, and what was put aside."""
        return _reading_panels(self, "Conversations")


class Preferences(Artifact):
    """Pairs of answers to learn from, and some held out, as JSON Lines in TRL's conversational form."""

    @property
    def train(self) -> list[Preference]:
        """To learn from."""
        return _split(self, TRAIN, read_preferences)

    @property
    def holdout(self) -> list[Preference]:
        """Held out by the hash of the prompt."""
        return _split(self, HOLDOUT, read_preferences)

    def panels(self) -> list[Panel]:
        """How many, and what was put aside."""
        return _reading_panels(self, "Preferences")


def _fingerprint(paths: str | Sequence[str], **_: Any) -> list[list[str | int]]:
    return [list(entry) for entry in fingerprint_files(_listed(paths))]


@step(observe=_fingerprint)
def conversations(
    run: Run, paths: str | Sequence[str], holdout: float = 0.05, role_markers: RoleMarkers = "keep", seed: int = 0
) -> Conversations:
    """Read conversations from JSON Lines or Parquet; bad rows go to quarantine."""
    with Quarantine(run.output / QUARANTINE) as quarantine:
        found = list(read_conversations(_listed(paths), quarantine, role_markers=role_markers))
    _write_rows(run, found, quarantine, holdout, seed)
    return Conversations(run.output)


@step(observe=_fingerprint)
def preferences(
    run: Run, paths: str | Sequence[str], holdout: float = 0.05, role_markers: RoleMarkers = "keep", seed: int = 0
) -> Preferences:
    """Read preferences from JSON Lines or Parquet; bad rows go to quarantine."""
    with Quarantine(run.output / QUARANTINE) as quarantine:
        found = list(read_preferences(_listed(paths), quarantine, role_markers=role_markers))
    _write_rows(run, found, quarantine, holdout, seed)
    return Preferences(run.output)


@step(together=True)
def finetune(
    run: Run, model: LanguageModel, data: Conversations, settings: FineTuning, device: str = "cpu"
) -> LanguageModel:
    """Fine-tune a language model on conversations; the result has the chat template. A killed run goes on.

    Several processes train together, as in `pretrain`.
    """
    loaded, learner, chat = _open(model, settings, device)
    with run.bar("fine-tuning", None) as bar:
        result, rows = finetune_on_conversations(
            learner, data.train, chat, settings, run.scratch / "run", validation=_held_out(data, settings), progress=bar
        )
    run.measure(**rows.counts, filled=round(rows.filled, 4))
    tokens = sum(item.learnt for item in rows.examples) * settings.epochs
    return _finish(run, "finetune", model, loaded, learner, settings, result, tokens)


@step(together=True)
def prefer(
    run: Run, model: LanguageModel, data: Preferences, settings: PreferenceTuning, device: str = "cpu"
) -> LanguageModel:
    """Tune a language model on preferences with DPO; the model given is the reference. A killed run goes on.

    Several processes train together; each finds the reference's log-probabilities of all pairs by itself.
    """
    loaded, learner, chat = _open(model, settings, device)
    with run.bar("tuning on preferences", None) as bar:
        result, rows = prefer_pairs(
            learner, data.train, chat, settings, run.scratch / "run", validation=_held_out(data, settings), progress=bar
        )
    run.measure(pairs=rows.rows, truncated=rows.truncated, left_out=len(rows.left_out))
    tokens = sum(side.learnt for pair in rows.pairs for side in pair) * settings.epochs
    return _finish(run, "prefer", model, loaded, learner, settings, result, tokens)


def _held_out(data: Any, settings: Adaptation) -> Any:
    """What is held out, if it is looked at while training."""
    return data.holdout if settings.validate_every is not None else ()


def _open(model: LanguageModel, settings: Adaptation, device: str) -> tuple[LoadedModel, torch.nn.Module, Chat]:
    """The model, what learns of it (itself, or adapters around it), and its chat form."""
    if settings.lora is not None and not ParallelPlan.current().whole:
        raise ConfigurationError("adapters are small and stay whole: leave shard and tensor out for lora, or lora out")
    loaded = model.load(device)
    learner = add_adapters(loaded.transformer, settings.lora) if settings.lora else loaded.transformer
    return loaded, learner, Chat(loaded.tokenizer, loaded.end_of_sequence)


def _finish(
    run: Run,
    stage: str,
    base: LanguageModel,
    loaded: LoadedModel,
    learner: torch.nn.Module,
    settings: Adaptation,
    result: TrainingResult,
    tokens: int,
) -> LanguageModel:
    """Write the model folder with the chat template, the adapters apart, and how it was trained."""
    if not ParallelPlan.current().leads:
        return LanguageModel(run.output)
    end, shape = loaded.end_of_sequence, loaded.transformer.config
    files = [base.file(name) for name in ("tokenizer.json", "tokenizer_config.json")]
    if settings.lora is None:
        checkpoint = Checkpoint.at(result.checkpoint)
        export_checkpoint(checkpoint, shape, run.output, end=end, begin=end, tokenizer_files=files)
    else:
        save_adapters(learner, run.scratch / "adapters", base=f"artifact {base.id}")
        merged = merge_adapters(learner)
        assert isinstance(merged, Transformer)  # noqa: S101 (it was before it had adapters)
        save_huggingface(merged.cpu(), run.output, end=end, begin=end, tokenizer_files=files)
        shutil.copytree(run.scratch / "adapters", run.output / "adapters")
    write_chat_template(run.output)
    run.measure(seconds=round(result.seconds, 3), resumed_from=result.resumed_from)
    about = {"stage": stage, "end_of_sequence": end, "context": loaded.context}
    return write_record(run, result, tokens=tokens, parameters=shape.parameters, about=about)


def _write_rows(
    run: Run, records: Sequence[Conversation | Preference], quarantine: Quarantine, holdout: float, seed: int
) -> None:
    """Rows that were read in two splits, and what became of the others."""
    if not 0 <= holdout < 1:
        raise ConfigurationError(f"holdout got {holdout}: it should be at least 0 and below 1")
    splits: dict[str, list[Record]] = {TRAIN: [], HOLDOUT: []}
    for record in records:
        place = named_seed(seed, "holdout", *(part for message in record.prompt for part in message)) / (1 << 63)
        splits[HOLDOUT if place < holdout else TRAIN].append(record)
    if not splits[TRAIN]:
        raise ConfigurationError(
            f"there is nothing to learn from: {len(records)} rows were read, none is left to train"
        )
    write_splits(run, splits[TRAIN], splits[HOLDOUT])
    run.measure(
        seen=quarantine.rows_seen,
        quarantined=quarantine.rows_quarantined,
        reasons=dict(quarantine.by_reason),
        noted=dict(quarantine.noted),
    )


def write_splits(run: Run, train: Iterable[Record], holdout: Iterable[Record]) -> None:
    """Rows to learn from and rows held out as JSON Lines, counted."""
    run.measure(train=write_rows(train, run.output / TRAIN), holdout=write_rows(holdout, run.output / HOLDOUT))


def _split(artifact: Artifact, name: str, read: Callable[[Path, Quarantine], Iterator[R]]) -> list[R]:
    """The rows of a split. Raises `StoreError` where one cannot be read, which was written here and is damaged."""
    path, quarantine = artifact.file(name), Quarantine()
    found = list(read(path, quarantine)) if path.stat().st_size else []
    if quarantine.records:
        damage = quarantine.records[0]
        raise StoreError(f"{artifact} is damaged: {name}, line {damage['line']}: {damage['message']}")
    return found


def _listed(paths: str | Sequence[str]) -> list[str]:
    return [paths] if isinstance(paths, str) else list(paths)


def _reading_panels(artifact: Artifact, title: str) -> list[Panel]:
    counts = artifact.manifest["measurements"]
    figures = {"to learn from": f"{counts['train']:,}", "held out": f"{counts['holdout']:,}"}
    figures |= (
        {"rows seen": f"{counts['seen']:,}", "quarantined": f"{counts['quarantined']:,}"} if "seen" in counts else {}
    )
    rows = [*counts.get("reasons", {}).items(), *counts.get("noted", {}).items()]
    return [Numbers(title, figures), *([Table("Put aside or noted", ["what", "rows"], rows)] if rows else [])]
