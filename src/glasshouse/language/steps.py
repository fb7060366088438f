"""The step `pretrain`: token shards and a transformer's configuration give a `LanguageModel`."""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Mapping, Sequence
from typing import Any

from glasshouse.data.steps import Shards
from glasshouse.data.tokens.tokenizer import end_of_sequence_id
from glasshouse.language.export import export_checkpoint
from glasshouse.language.measures import InTheLoop, Measure
from glasshouse.language.model import CHECKPOINTS, TRAINING, LanguageModel, LoadedModel
from glasshouse.language.pretraining_run import KEEP_ALL, PretrainingRun
from glasshouse.nn.configuration import TransformerConfig
from glasshouse.store import environment
from glasshouse.store.configuration import ConfigurationError
from glasshouse.store.files import hash_file, read_json
from glasshouse.store.step import Run, step
from glasshouse.training.checkpoint import Checkpoint
from glasshouse.training.configuration import Training
from glasshouse.training.data import DataError
from glasshouse.training.parallel import ParallelPlan
from glasshouse.training.receipts import RECEIPTS, read_receipts
from glasshouse.training.trainer import TrainingResult

VOCABULARY_MULTIPLE = 64
BYTES_PER_PARAMETER = 16
"""While training: float32 weights, gradients and AdamW's two averages."""


@step(together=True)
def pretrain(
    run: Run,
    shards: Shards,
    model: TransformerConfig,
    training: Training,
    device: str = "cpu",
    z_loss: float = 0.0,
    later: Sequence[tuple[int, Shards]] = (),
    keep_checkpoints: bool = False,
    measures: Sequence[Measure] = (),
) -> LanguageModel:
    """Pre-train a transformer on token shards. A killed run goes on from its last checkpoint, bit for bit on a CPU.

    `measures` are taken of the untrained model and then every `training.validate_every` updates; they change nothing
    of the training. Their values are in `metrics.jsonl` as `validation/<name>`, and drawn as curves.

    The embedding gets as many rows as the tokenizer has tokens, rounded up to a multiple of 64. `device` is part of
    the configuration, because other hardware gives other numbers. `z_loss` is the weight of OLMo 2's z-loss. `later`
    are (update, shards) that take over from an update on, made with the same tokenizer. With `keep_checkpoints` the
    checkpoint of every `training.checkpoint_every` updates becomes part of the artifact (12 bytes a parameter each), so
    that `verify` and `retrain` can start there.

    Several processes train together; their layout (`glasshouse.training.parallel`) is no part of the configuration.
    """
    end = end_of_sequence_id(shards.tokenizer)
    refuse_other_tokenizers(shards, later)
    rows = math.ceil(shards.train.vocabulary / VOCABULARY_MULTIPLE) * VOCABULARY_MULTIPLE
    model = model.but(vocabulary=rows)
    refuse_too_large(model, device)
    made = PretrainingRun(
        shards, model, training.but(keep=KEEP_ALL) if keep_checkpoints else training, end, device, z_loss, tuple(later)
    )
    # Where a process holds a part of the model only, it is drawn part by part; measures need it before the training.
    transformer = made.transformer(later=not ParallelPlan.current().whole and not measures)
    steps = training.total_steps(model.context)
    in_loop = measures_in_loop(measures, LoadedModel(transformer, shards.tokenizer, end), training)
    untrained = in_loop() if in_loop is not None else {}  # what cannot be measured is told before the training
    with run.bar("training", steps) as bar:
        result = made.train(
            transformer, run.scratch / "run", validation=made.validation, measures=in_loop, progress=bar
        )
    if not ParallelPlan.current().leads:
        return LanguageModel(run.output)
    more = {}
    if in_loop is not None:
        more["measured"] = {"untrained": untrained, "curves": in_loop.curves}
        run.measure(measuring_seconds=round(in_loop.seconds, 3), measured_times=in_loop.times)
    return write_model(run, made, result, keep_checkpoints=keep_checkpoints, more=more)


def write_model(
    run: Run,
    made: PretrainingRun,
    result: TrainingResult,
    *,
    keep_checkpoints: bool,
    more: Mapping[str, Any] | None = None,
) -> LanguageModel:
    """The artifact of a finished run in `run.scratch / "run"`; `more` goes into `training.json`."""
    home, context = run.scratch / "run", made.model.context
    files = [made.shards.file(f"tokenizer/{name}") for name in ("tokenizer.json", "tokenizer_config.json")]
    checkpoint = Checkpoint.at(result.checkpoint)
    export_checkpoint(checkpoint, made.model, run.output, end=made.end, begin=made.end, tokenizer_files=files)
    artifact = write_record(
        run,
        result,
        tokens=result.examples * context,
        parameters=made.model.parameters,
        about={"end_of_sequence": made.end, "context": context, "run": made.settings, **(more or {})},
    )
    shutil.copyfile(result.receipts, run.output / RECEIPTS)
    if keep_checkpoints:
        for scheduled in read_receipts(result.receipts):
            name = f"{CHECKPOINTS}/step-{scheduled.step:08d}"
            shutil.copytree(home / name, run.output / name)
    run.measure(
        seconds=round(result.seconds, 3),
        tokens_per_second=_speed(result, artifact),
        compiled=result.compiled,
        resumed_from=result.resumed_from,
    )
    return artifact


def write_record(
    run: Run, result: TrainingResult, *, tokens: int, parameters: int, about: Mapping[str, Any]
) -> LanguageModel:
    """How the model in `run.output` was trained by the run in `run.scratch / "run"`: `training.json`, metrics, timings.

    `about` goes into `training.json` beside the run's identity and outcome.
    """
    home = run.scratch / "run"
    outcome = {
        "steps": result.step,
        "tokens": tokens,
        "loss": result.loss,
        "parameters": parameters,
        "weights_hash": result.weights_hash,
        "processes": ParallelPlan.current().processes,
    }
    document = {"identity": read_json(home / "run.json"), "outcome": outcome, **about}
    (run.output / TRAINING).write_text(json.dumps(document, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    shutil.copyfile(result.metrics, run.output / "metrics.jsonl")
    artifact = LanguageModel(run.output)
    shutil.copyfile(home / "timings.jsonl", artifact.record / "timings.jsonl")
    return artifact


def measures_in_loop(measures: Sequence[Measure], model: LoadedModel, training: Training) -> InTheLoop | None:
    """The measures bound to the model in training; None when there are none.

    Raises `ConfigurationError` when they would never be taken.
    """
    if measures and training.validate_every is None:
        raise ConfigurationError(
            f"{len(measures)} measures were given, but Training.validate_every is None: they would never be taken; "
            "set it to a number of updates"
        )
    return InTheLoop(measures, model) if measures else None


def _speed(result: TrainingResult, artifact: LanguageModel) -> float | None:
    """Tokens per second of the updates this process made; None when it found all of them made."""
    tokens = (result.examples - artifact.order().plan.seen(result.resumed_from)) * int(artifact.training["context"])
    return round(tokens / result.seconds, 1) if tokens and result.seconds else None


def refuse_other_tokenizers(shards: Shards, later: Sequence[tuple[int, Shards]]) -> None:
    """Raise `DataError` when a later data stage was tokenised with another tokenizer."""
    names = [hash_file(part.file("tokenizer/tokenizer.json")) for part in (shards, *(part for _, part in later))]
    for (first, _), name in zip(later, names[1:], strict=True):
        if name != names[0]:
            raise DataError(
                f"the data that begins at update {first} was made with another tokenizer (sha256 {name[:12]}…, not "
                f"{names[0][:12]}…): tokenize it with the first one"
            )


def refuse_too_large(model: TransformerConfig, device: str) -> None:
    """Raise `ConfigurationError` when weights and optimiser state alone exceed this machine's memory."""
    memory = environment.hardware()["memory_bytes"]
    needed = model.parameters * BYTES_PER_PARAMETER
    layout = ParallelPlan.current().layout
    needed = needed * int(os.environ.get("LOCAL_WORLD_SIZE", "1")) // (layout.shard * layout.tensor)
    if memory is not None and needed > memory and device == "cpu":
        raise ConfigurationError(
            f"a model of {model.layers} layers and width {model.width} has {model.parameters / 1e9:,.1f} billion "
            f"parameters; training it takes at least {needed / 2**30:,.0f} GiB of memory and this machine has "
            f"{memory / 2**30:,.0f} GiB: choose a smaller depth or size"
        )
