"""A small tokenizer and a small random model, the same everywhere: a function of seeds."""

import random

import torch

from glasshouse.data.tokens.tokenizer import end_of_sequence_id, train_bpe
from glasshouse.evaluation.requests import LogLikelihood
from glasshouse.language.model import LoadedModel
from glasshouse.nn.configuration import olmo
from glasshouse.nn.transformer import Transformer

WORDS = "what colour does the old gate have after rain it is green and the door by the river stands open".split()  # noqa: SIM905


def texts(count=60, seed=0):
    draw = random.Random(seed)
    return [" ".join(draw.choices(WORDS, k=draw.randint(4, 14))).capitalize() + "." for _ in range(count)]


def loaded_model(context=64, vocabulary=300, depth=2, seed=3):
    """Weights three times as large as at the start of training, so that likelihoods differ by a lot."""
    torch.set_num_threads(1)
    tokenizer = train_bpe(texts(), vocabulary)
    transformer = Transformer(olmo(depth=depth).but(vocabulary=320, context=context), seed=seed).eval()
    with torch.no_grad():
        for parameter in transformer.parameters():
            parameter.mul_(3)
    return LoadedModel(transformer, tokenizer, end_of_sequence_id(tokenizer))


def requests(count=24, seed=1):
    """Pairs with every kind of border: a space before the continuation, after the context, inside a word, none."""
    draw = random.Random(seed)
    found = []
    for number in range(count):
        context = " ".join(draw.choices(WORDS, k=draw.randint(1, 30)))
        answer = " ".join(draw.choices(WORDS, k=draw.randint(1, 5)))
        border = [("", " "), (" ", ""), ("\n", ""), ("", "")][number % 4]
        found.append(LogLikelihood(context + border[0], border[1] + answer))
    return [*found, LogLikelihood("", " the gate"), LogLikelihood("green", "er")]
