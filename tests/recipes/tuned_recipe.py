"""A recipe that pre-trains and fine-tunes on the world of letters, in seconds."""

from __future__ import annotations

from glasshouse.data.steps import tokenize, train_tokenizer
from glasshouse.evaluation.adaptation import format_accuracy
from glasshouse.evaluation.steps import Evaluation, evaluate
from glasshouse.language.adaptation import finetune, prefer
from glasshouse.language.dpo import PreferenceTuning
from glasshouse.language.finetune import FineTuning
from glasshouse.language.letter_steps import letter_conversations, letter_preferences, letter_prose
from glasshouse.language.steps import pretrain
from glasshouse.nn.configuration import olmo
from glasshouse.store.recipe import recipe
from glasshouse.training.configuration import Training


@recipe
def tuned(steps: int = 6) -> Evaluation:
    """Pre-train, fine-tune, prefer.

    Args:
        steps: updates of pre-training.
    """
    prose = letter_prose(documents=300)
    shards = tokenize(prose, train_tokenizer(prose, vocabulary=300), holdout=0.1)
    training = Training(steps=steps, batch_size=4, precision="fp32", compile=False)
    base = pretrain(shards, olmo(depth=2).but(context=128), training)
    instructions = letter_conversations(train=40, holdout=8)
    settings = {"epochs": 1, "learning_rate": 1e-3, "batch_size": 4, "precision": "fp32"}
    sft = finetune(base, instructions, FineTuning(**settings))
    dpo = prefer(sft, letter_preferences(train=16, holdout=8), PreferenceTuning(**settings))
    return evaluate(dpo, [format_accuracy(instructions)])
