"""The step `pretrain`: token shards and a transformer's configuration give a `LanguageModel`."""

from __future__ import annotations

import json
import math
import shutil

from glasshouse.data.steps import Shards
from glasshouse.data.tokens.tokenizer import end_of_sequence_id
from glasshouse.language.model import TRAINING, LanguageModel
from glasshouse.language.pretrain import pretrain as pretrain_on_shards
from glasshouse.nn.configuration import TransformerConfig
from glasshouse.nn.huggingface import save_huggingface
from glasshouse.nn.transformer import Transformer
from glasshouse.store import environment
from glasshouse.store.configuration import ConfigurationError
from glasshouse.store.step import Run, step
from glasshouse.training.configuration import Training
from glasshouse.training.parallel import ParallelPlan
from glasshouse.training.trainer import TrainingResult

VOCABULARY_MULTIPLE = 64
BYTES_PER_PARAMETER = 16
"""While training: float32 weights, gradients and AdamW's two averages."""


@step()
def pretrain(
    run: Run,
    shards: Shards,
    model: TransformerConfig,
    training: Training,
    device: str = "cpu",
    z_loss: float = 0.0,
) -> LanguageModel:
    """Pre-train a transformer on token shards. A killed run goes on from its last checkpoint, bit for bit on a CPU.

    The embedding gets as many rows as the tokenizer has tokens, rounded up to a multiple of 64. `device` is part of
    the configuration, because other hardware gives other numbers. `z_loss` is the weight of OLMo 2's z-loss.
    """
    tokenizer = shards.tokenizer
    end = end_of_sequence_id(tokenizer)
    rows = math.ceil(shards.train.vocabulary / VOCABULARY_MULTIPLE) * VOCABULARY_MULTIPLE
    model = model.but(vocabulary=rows)
    refuse_too_large(model, device)
    transformer = Transformer(model, seed=training.seed).to(device)
    steps = training.total_steps(model.context)
    with run.bar("training", steps) as bar:
        result = pretrain_on_shards(
            transformer, shards.train, training, run.scratch / "run",
            eos=end, z_loss=z_loss, validation=shards.holdout, progress=bar,
        )  # fmt: skip
    files = [shards.file(f"tokenizer/{name}") for name in ("tokenizer.json", "tokenizer_config.json")]
    save_huggingface(transformer.cpu(), run.output, end=end, begin=end, tokenizer_files=files)
    identity = json.loads((run.scratch / "run" / "run.json").read_text(encoding="utf-8"))
    tokens = result.examples * model.context
    outcome = {
        "steps": result.step,
        "tokens": tokens,
        "loss": result.loss,
        "parameters": sum(parameter.numel() for parameter in transformer.parameters()),
        "weights_hash": result.weights_hash,
        "processes": ParallelPlan.current().world,
    }
    document = {"end_of_sequence": end, "context": model.context, "identity": identity, "outcome": outcome}
    (run.output / TRAINING).write_text(json.dumps(document, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    shutil.copyfile(result.metrics, run.output / "metrics.jsonl")
    made = LanguageModel(run.output)
    shutil.copyfile(run.scratch / "run" / "timings.jsonl", made.record / "timings.jsonl")
    run.measure(
        seconds=round(result.seconds, 3),
        tokens_per_second=_speed(result, training.batch_size * model.context),
        compiled=result.compiled,
        resumed_from=result.resumed_from,
    )
    return made


def _speed(result: TrainingResult, tokens_per_update: int) -> float | None:
    """Tokens per second of the updates this process made; None when it found all of them made."""
    made = result.step - result.resumed_from
    return round(made * tokens_per_update / result.seconds, 1) if made and result.seconds else None


def refuse_too_large(model: TransformerConfig, device: str) -> None:
    """Raise `ConfigurationError` when weights and optimiser state alone exceed this machine's memory."""
    memory = environment.hardware()["memory_bytes"]
    needed = model.parameters * BYTES_PER_PARAMETER
    if memory is not None and needed > memory and device == "cpu":
        raise ConfigurationError(
            f"a model of {model.layers} layers and width {model.width} has {model.parameters / 1e9:,.1f} billion "
            f"parameters; training it takes at least {needed / 2**30:,.0f} GiB of memory and this machine has "
            f"{memory / 2**30:,.0f} GiB: choose a smaller depth or size"
        )
