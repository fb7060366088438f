"""A pre-training run as its artifact records it, to be made again: whole, in part, or without a document."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from glasshouse.data.steps import Shards
from glasshouse.data.tokens.shards import TokenShards
from glasshouse.language.model import LanguageModel
from glasshouse.language.pretrain import pretrain, training_rows
from glasshouse.nn.configuration import TransformerConfig
from glasshouse.nn.transformer import Transformer
from glasshouse.store.configuration import ConfigurationError, canonical
from glasshouse.store.files import StoreError, read_json, write_json
from glasshouse.store.store import Store
from glasshouse.training.configuration import Training
from glasshouse.training.parallel import ParallelPlan
from glasshouse.training.trainer import TrainingResult

KEEP_ALL = 1_000_000_000


@dataclass(frozen=True)
class PretrainingRun:
    """What the numbers of a run depend on, code and hardware aside.

    Args:
        model: with the number of rows that the embedding really has.
        end: the end-of-sequence id.
        later: (update, shards) that take over from an update on.
        without: ids of documents that are blanked out.
    """

    shards: Shards
    model: TransformerConfig
    training: Training
    end: int
    device: str = "cpu"
    z_loss: float = 0.0
    later: tuple[tuple[int, Shards], ...] = ()
    without: tuple[str, ...] = ()

    @classmethod
    def of(cls, model: LanguageModel, inputs: Sequence[Shards]) -> PretrainingRun:
        """The run that made a model; `inputs` are the shards of its data stages.

        Raises `StoreError` for a model whose artifact does not say how it was made.
        """
        found = model.training
        if "run" not in found:
            raise StoreError(f"{model} was made before runs were recorded whole; pre-train it again to use this")
        try:
            config, training = TransformerConfig(**_plain(found["run"]["model"])), training_of(model)
        except ConfigurationError as error:
            raise StoreError(
                f"{model} was made by another version, whose settings are not known here: {error}"
            ) from None
        firsts = [int(stage[0]) for stage in found["identity"]["order"].get("stages", [])][1:]
        return cls(
            inputs[0],
            config,
            training,
            int(found["end_of_sequence"]),
            found["run"]["device"],
            float(found["run"]["z_loss"]),
            tuple(zip(firsts, inputs[1:], strict=True)),
            tuple(found["run"]["without"]),
        )

    @property
    def settings(self) -> dict[str, Any]:
        """What `training.json` says beside the run's identity."""
        without = sorted(self.without)
        return {"model": canonical(self.model), "device": self.device, "z_loss": self.z_loss, "without": without}

    @property
    def data_fingerprint(self) -> str:
        """As the run's identity has it."""
        later = [(first, part.train) for first, part in self.later]
        rows = training_rows(
            self.shards.train, self.model.context, self.model.vocabulary, later=later, without=self.without
        )
        return rows.fingerprint

    @property
    def validation(self) -> TokenShards | None:
        """The held-out documents, where the training looks at them; else they may be none, or less than a row."""
        return self.shards.holdout if self.training.validate_every is not None else None

    def transformer(self, *, later: bool = False) -> Transformer:
        """The model before its first update; `later` leaves its weights for the trainer to draw."""
        if later:
            return Transformer(self.model, device="meta")
        return Transformer(self.model, seed=self.training.seed).to(self.device)

    def train(self, transformer: Transformer, directory: Path, **options: Any) -> TrainingResult:
        """Train `transformer` (from `transformer()`), going on where `directory` is; `options` are the trainer's."""
        later = [(first, part.train) for first, part in self.later]
        return pretrain(
            transformer, self.shards.train, self.training, directory,
            eos=self.end, z_loss=self.z_loss, later=later, without=self.without, device=self.device, **options,
        )  # fmt: skip


def training_of(model: LanguageModel) -> Training:
    """The configuration that a model was trained with."""
    return Training(**_plain(model.training["identity"]["configuration"]))


def inputs_of(model: LanguageModel, store: Store) -> list[Shards]:
    """The shards a model was trained on, by data stage. Raises `StoreError` when they are not in the store."""
    inputs = model.manifest["inputs"]
    if "shards" not in inputs:
        base = inputs.get("model", {}).get("artifact", "something else")
        raise StoreError(f"{model} was not trained on token shards but tuned from {base}: ask about that model")
    later = sorted((role for role in inputs if role.startswith("later.")), key=lambda role: int(role.split(".")[1]))
    found = [store.open(inputs[role]["artifact"]) for role in ("shards", *later)]
    shards = [item for item in found if isinstance(item, Shards)]
    if len(shards) != len(found):
        raise StoreError(f"{model} was not trained on token shards, but on {', '.join(map(str, found))}")
    return shards


def same_number_of_processes(model: LanguageModel) -> None:
    """Raise `StoreError` when the batches of a run were shared among another number of processes than run now."""
    then, now = int(model.training["outcome"]["processes"]), ParallelPlan.current().processes
    if then != now:
        raise StoreError(
            f"{model} was trained by {then} processes and this is {now}: sums are then in another order and the "
            f"numbers differ; run this with {then}"
        )


def start_from(
    model: LanguageModel, step: int, directory: Path, *, only: bool = False, data_fingerprint: str | None = None
) -> None:
    """Fill a new run's directory with a model's kept checkpoints up to `step` (or that one only) and its records.

    With a `data_fingerprint` the checkpoints become those of a run on other data, which is only true if that data was
    the same until `step`: it is for the caller to know.
    """
    preparing = directory.with_name(f".preparing-{directory.name}")
    shutil.rmtree(preparing, ignore_errors=True)
    preparing.mkdir(parents=True)
    for number, path in model.checkpoints.items():
        if number == step or (number < step and not only):
            copied = preparing / "checkpoints" / path.name
            shutil.copytree(path, copied)
            if data_fingerprint is not None:
                state = read_json(copied / "state.json")
                state["identity"]["data"]["fingerprint"] = data_fingerprint
                write_json(copied / "state.json", state)
    for name in ("metrics.jsonl", "receipts.jsonl"):
        shutil.copyfile(model.file(name), preparing / name)
    preparing.rename(directory)


def _plain(value: Any) -> Any:
    """Canonical JSON without the names of types, as constructors take it."""
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items() if name != "__type__"}
    return [_plain(item) for item in value] if isinstance(value, list) else value
