"""A small language model that reads sentences and writes programs, trained on generated pairs.

The model reads the sentence and a line break and writes the program: next-token prediction on the programs only, by the
objective and the trainer of the house's language models. Its tokenizer is a byte-level BPE trained on the pairs. What
it may write is the grammar's business (`parsing`): the loss knows nothing of grammars.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from pydantic import Field

from glasshouse.data.tokens.tokenizer import end_of_sequence_id, train_bpe
from glasshouse.language.model import LoadedModel
from glasshouse.language.packing import ConversationRows, Example
from glasshouse.language.pretrain import LanguageModelling
from glasshouse.nn.configuration import TransformerConfig
from glasshouse.nn.loss import IGNORE
from glasshouse.nn.transformer import Transformer
from glasshouse.store.configuration import Config, named_seed
from glasshouse.symbolic.invented import spellings, with_invented_words
from glasshouse.symbolic.paraphrases import Pair, Templates
from glasshouse.training.configuration import Training
from glasshouse.training.data import DataError
from glasshouse.training.trainer import TrainingResult, train

if TYPE_CHECKING:
    from tokenizers import Tokenizer

ASKED = "\n"
"""What stands between a sentence and its program."""


class ParserTraining(Config):
    """How a parser is made. The defaults take 40 seconds of one core.

    Attributes:
        vocabulary: tokens, the 256 bytes and two special ones included.
        context: longest sentence with its program, in tokens; longer pairs are refused.
        steps, batch_size: updates, and pairs in each.
    """

    vocabulary: int = Field(512, ge=258)
    width: int = Field(64, ge=8)
    layers: int = Field(2, ge=1)
    heads: int = Field(4, ge=1)
    context: int = Field(96, ge=8)
    steps: int = Field(800, ge=1)
    batch_size: int = Field(64, ge=1)
    learning_rate: float = Field(3e-3, gt=0)
    seed: int = Field(0, ge=0)

    def shape(self, vocabulary: int) -> TransformerConfig:
        """The model's configuration."""
        return TransformerConfig(
            vocabulary=vocabulary,
            width=self.width,
            layers=self.layers,
            heads=self.heads,
            feed_forward=3 * self.width,
            context=self.context,
            norm="rms_norm",
            tied=True,
        )

    def training(self, steps: int) -> Training:
        """The trainer's configuration."""
        return Training(
            steps=steps,
            batch_size=self.batch_size,
            micro_batch_size=self.batch_size,
            seed=self.seed,
            learning_rate=self.learning_rate,
            weight_decay=0.01,
            warmup=0.05,
            final_fraction=0.0,
            precision="fp32",
            compile=False,
            checkpoint_every=None,
        )


def training_pairs(
    templates: Templates,
    styles: Sequence[str],
    count: int,
    *,
    invented: int = 1000,
    without: Collection[str] = (),
    seed: int = 0,
) -> list[Pair]:
    """Pairs in some styles. Half of them are about made-up words (`invented` of each class), so that names are copied.

    Without made-up words (`invented` is 0) a parser knows the words of its templates by heart, and no others. Sentences
    in `without` are left out, so that there are fewer pairs: those of problems that the parser will be asked.
    """
    made_up = with_invented_words(templates, invented, seed, spellings(templates)) if invented else None
    pairs = list(templates.pairs(count - count // 2 if made_up else count, styles, seed))
    pairs += made_up.pairs(count // 2, styles, seed + 1) if made_up else []
    random.Random(named_seed(seed, "order of pairs")).shuffle(pairs)  # noqa: S311 - an order of data, no secret
    return [pair for pair in pairs if pair.text not in without]


def parser_tokenizer(pairs: Iterable[Pair], vocabulary: int) -> Tokenizer:
    """A byte-level BPE. Raises `VocabularyError` where the pairs give fewer tokens."""
    return train_bpe(sorted({f"{pair.text}{ASKED}{pair.program}" for pair in pairs}), vocabulary)


def untrained_parser(tokenizer: Tokenizer, settings: ParserTraining) -> LoadedModel:
    """The model before its first update."""
    with torch.random.fork_rng([]):
        torch.manual_seed(named_seed(settings.seed, "parser"))
        transformer = Transformer(settings.shape(tokenizer.get_vocab_size(with_added_tokens=True)))
    return LoadedModel(transformer, tokenizer, end_of_sequence_id(tokenizer))


def parser_rows(pairs: Sequence[Pair], model: LoadedModel) -> ConversationRows:
    """Pairs as rows to train on, one each. Raises `DataError` naming a pair that is longer than the context."""
    examples = [_example(pair, model) for pair in pairs]
    names = [f"{number}: {pair.text}" for number, pair in enumerate(pairs)]
    rows = [[number] for number in range(len(examples))]
    return ConversationRows(examples, names, rows, model.context, model.end_of_sequence, 0, ())


def _example(pair: Pair, model: LoadedModel) -> Example:
    asked, answer = (model.tokenizer.encode(text).ids for text in (pair.text + ASKED, pair.program))
    tokens = np.array([*asked, *answer, model.end_of_sequence], np.int64)
    if len(tokens) > model.context:
        raise DataError(f"{pair.text!r} and its program are {len(tokens)} tokens; the context holds {model.context}")
    targets = np.full(len(tokens), IGNORE)
    targets[len(asked) - 1 : -1] = tokens[len(asked) :]
    return Example(tokens, targets)


def train_parser(
    model: LoadedModel,
    pairs: Sequence[Pair],
    settings: ParserTraining,
    directory: Path | str,
    *,
    steps: int | None = None,
    **options: Any,
) -> TrainingResult:
    """Train a parser in place on pairs; `options` go to `glasshouse.training.trainer.train`."""
    rows = parser_rows(pairs, model)
    objective = LanguageModelling(model.transformer)
    return train(objective, rows, settings.training(steps or settings.steps), directory, **options)
