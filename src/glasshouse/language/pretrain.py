"""Pre-training: next-token prediction on token shards.

    L = - 1/|M| sum_{i in M} log p(x_{i+1} | x_{<=i})  +  m 1/|M| sum_{i in M} logsumexp(z_i)^2

M are the positions with a real target: all but the last of a row, as in OLMo (arXiv 2402.00838), whose rows are
consecutive chunks and whose labels are the row shifted by one. Cross-entropy and z-loss are in float32. Deviation: OLMo
divides by all T positions and so reports (T - 1) / T of this loss. The z-loss (m = 1e-5) is OLMo 2's, off by default.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from glasshouse.language.scoring import mean_loss, token_loss
from glasshouse.language.token_rows import BlankedRows, TokenRows, TokenShards
from glasshouse.nn.loss import IGNORE, TokenLoss
from glasshouse.training.configuration import Training
from glasshouse.training.data import DataError, TrainingData
from glasshouse.training.meters import transformer_flops_per_token
from glasshouse.training.objective import Loss, Step
from glasshouse.training.parallelize import longest_list
from glasshouse.training.stages import DataStages
from glasshouse.training.trainer import TrainingResult, train


class LanguageModelling:
    """Next-token prediction on any module that maps tokens to logits: ours or a Hugging Face causal model.

    A batch is `{"tokens"}`, or with `targets` aligned to the tokens and `IGNORE` where there is none (fine-tuning on
    answers only), and with `positions` and `segments` where examples share a row (`glasshouse.language.scoring`).
    """

    unit = "tokens"
    concurrent = True

    def __init__(
        self,
        model: nn.Module,
        *,
        z_loss: float = 0.0,
        validation: TrainingData | None = None,
        measures: Callable[[], Mapping[str, float]] | None = None,
    ) -> None:
        self.model, self.z_loss, self.validation, self.measures = model, z_loss, validation, measures
        self.learns: Mapping[str, nn.Module] = {"model": model}
        self.carries: Mapping[str, nn.Module] = {}
        self.frozen: Mapping[str, nn.Module] = {}
        self.configuration = {"z_loss": z_loss}
        self.flops_per_example: float | None = None

    def weight(self, batch: Mapping[str, Tensor]) -> float:
        if "targets" in batch:
            return float((batch["targets"] != IGNORE).sum())
        rows, length = batch["tokens"].shape
        return float(rows * (length - 1))

    def loss(self, batch: Mapping[str, Tensor], step: Step) -> Loss:
        found = self.token_loss(batch)
        metrics = {"cross_entropy": found.cross_entropy / found.counted} if self.z_loss else {}
        return Loss(found.mean, metrics)

    def token_loss(self, batch: Mapping[str, Tensor]) -> TokenLoss:
        """Summed loss over the targets of a batch, in nats."""
        return token_loss(self.model, batch, z_loss=self.z_loss)

    def blocks(self) -> list[nn.Module]:
        """The model's layers."""
        return longest_list(self.model)

    def validate(self) -> dict[str, float]:
        """`loss` (nats per target) on the validation rows, and the values of `measures`."""
        measured = dict(self.measures()) if self.measures is not None else {}
        return ({"loss": mean_loss(self.model, self.validation)} if self.validation is not None else {}) | measured


def pretrain(
    model: nn.Module,
    shards: TokenShards,
    training: Training,
    directory: Path | str,
    *,
    context: int | None = None,
    eos: int | None = None,
    z_loss: float = 0.0,
    validation: TokenShards | None = None,
    later: Sequence[tuple[int, TokenShards]] = (),
    without: Collection[str] = (),
    measures: Callable[[], Mapping[str, float]] | None = None,
    **options: Any,
) -> TrainingResult:
    """Train `model` in place on `shards`; `options` go to `glasshouse.training.trainer.train`.

    `later` are (update, shards) that take over from an update on; `without` are documents that are blanked out
    (`BlankedRows`). `measures` gives values by name and is asked every `training.validate_every` updates, with the
    validation loss (see `glasshouse.language.measures.InTheLoop`). `context` defaults to the model's; `eos` is the
    tokenizer's end-of-sequence id, checked against the shards and the model before anything is trained. Raises
    `DataError` when tokenizer, shards and model do not belong together.
    """
    length = context or model_context(model)
    vocabulary = embedding(model).num_embeddings
    for part in (shards, *(part for _, part in later)):
        check_tokens(model, part, eos=eos)
    data = training_rows(shards, length, vocabulary, later=later, without=without)
    held_out = TokenRows(validation, length, vocabulary) if validation is not None else None
    objective = LanguageModelling(model, z_loss=z_loss, validation=held_out, measures=measures)
    objective.flops_per_example = model_flops_per_row(model, length)
    return train(objective, data, training, directory, **options)


def training_rows(
    shards: TokenShards,
    context: int,
    vocabulary: int,
    *,
    later: Sequence[tuple[int, TokenShards]] = (),
    without: Collection[str] = (),
) -> TrainingData:
    """The rows that a run sees: of one set of shards or several in turn, with documents blanked out or whole."""
    stages: list[tuple[int, TrainingData]] = []
    for first, part in ((1, shards), *later):
        rows = TokenRows(part, context, vocabulary)
        stages.append((first, BlankedRows(rows, frozenset(without)) if without else rows))
    return DataStages(tuple(stages)) if later else stages[0][1]


def check_tokens(model: nn.Module, shards: TokenShards, *, eos: int | None = None) -> None:
    """Refuse shards whose vocabulary or end-of-sequence id is not the model's or the tokenizer's.

    Official OLMo configurations named a tokenizer whose id 50279 was not the end of sequence that their data used
    (allenai/OLMo#757); nothing noticed. Here every stated id has to agree.
    """
    rows = embedding(model).num_embeddings
    vocabulary = getattr(shards, "vocabulary", None)
    if vocabulary is not None and vocabulary > rows:
        raise DataError(
            f"the shards' tokenizer has {vocabulary} tokens, the model embeds only {rows}: enlarge the model"
        )
    config = getattr(model, "config", None)
    stated = {
        "the tokenizer": eos,
        "the shards": shards.eos_id,
        "the model's configuration": getattr(config, "eos_token_id", None),
    }
    ids = {who: number for who, number in stated.items() if isinstance(number, int)}
    if len(set(ids.values())) > 1:
        told = ", ".join(f"{who} says {number}" for who, number in ids.items())
        raise DataError(f"the end-of-sequence id is not the same everywhere: {told}; tokenize again or fix the model")
    if any(number >= rows or number < 0 for number in ids.values()):
        raise DataError(f"the end-of-sequence id {next(iter(ids.values()))} has no row in an embedding of {rows}")


def embedding(model: nn.Module) -> nn.Embedding:
    """The token embedding. Raises `DataError` when the model has none."""
    found = next((module for module in model.modules() if isinstance(module, nn.Embedding)), None)
    if found is None:
        raise DataError(f"{type(model).__name__} has no token embedding (nn.Embedding)")
    return found


def model_context(model: nn.Module) -> int:
    """Longest row the model's configuration allows."""
    config = getattr(model, "config", None)
    for name in ("context", "max_position_embeddings"):
        if isinstance(value := getattr(config, name, None), int):
            return value
    raise DataError(f"{type(model).__name__}.config states no context length: pass context=...")


def model_flops_per_row(model: nn.Module, context: int) -> float | None:
    """Model FLOPs of training on one row, by OLMo's formula; None when the configuration does not state the shape."""
    config = getattr(model, "config", None)
    layers = getattr(config, "layers", getattr(config, "num_hidden_layers", None))
    width = getattr(config, "width", getattr(config, "hidden_size", None))
    if not isinstance(layers, int) or not isinstance(width, int):
        return None
    parameters = sum(parameter.numel() for parameter in model.parameters())
    per_token = transformer_flops_per_token(
        parameters=parameters,
        embedding_parameters=embedding(model).weight.numel(),
        layers=layers,
        width=width,
        context=context,
    )
    return per_token * context
