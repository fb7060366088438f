"""The depth dial: from a number of layers and of tokens to a model and its training.

    width = 32 depth    heads = depth    feed-forward = 8/3 width, to a multiple of 128        [`nn.configuration.olmo`]
    best batch = e D^f    best rate = a N^b D^c B^d

N are the parameters without embeddings, D the tokens of the training, B the tokens of an update. The form is that of
DeepSeek (arXiv 2401.02954, section 3.1) and of the Step Law (arXiv 2503.04715, which finds D^0.57 for the batch); the
numbers were fitted by `benchmarks/scaling_cpu.py` to the held-out losses of some hundred small runs, and a test holds
them to its JSON. They are for OLMo's block with AdamW, a linear schedule to zero with 5 % of warm-up, 256 tokens of
context and a vocabulary of 4096; the fit covers depths 2 to 6 and a quarter to one million tokens, and what lies beyond
is extrapolation. For the published sizes take the published values (`published`).
"""

from __future__ import annotations

import math
from typing import NamedTuple

from glasshouse.nn.configuration import TransformerConfig, olmo
from glasshouse.store.configuration import ConfigurationError
from glasshouse.training.configuration import Training

RATE = {"factor": 0.08163, "without_embeddings": -0.3069, "tokens": -0.1281, "batch_tokens": 0.4380}
BATCH = {"factor": 0.08173, "tokens": 0.6764}


class Dial(NamedTuple):
    """What a depth comes to."""

    model: TransformerConfig
    training: Training


def best_rate(parameters: float, tokens: float, batch_tokens: float) -> float:
    """Peak learning rate for `parameters` without embeddings, `tokens` in all and `batch_tokens` an update."""
    size, length = parameters ** RATE["without_embeddings"], tokens ** RATE["tokens"]
    return float(RATE["factor"] * size * length * batch_tokens ** RATE["batch_tokens"])


def best_batch(tokens: float) -> float:
    """Tokens of an update for a training of `tokens`."""
    return float(BATCH["factor"] * tokens ** BATCH["tokens"])


def dial(depth: int, tokens: int, *, seed: int = 0) -> Dial:
    """A model of `depth` layers and its training on `tokens`; both are ordinary values, to be changed with `.but(...)`.

    Rows per update are the power of two nearest to the best batch, at least 2, the rate has two digits. Raises
    `ConfigurationError` when either is not positive.
    """
    if tokens < 1:
        raise ConfigurationError(f"dial: tokens got {tokens!r}: it should be at least 1")
    model = olmo(depth=depth)
    rows = max(2, 2 ** round(math.log2(best_batch(tokens) / model.context)))
    without_embeddings = model.parameters - model.vocabulary * model.width
    rate = float(f"{best_rate(without_embeddings, tokens, rows * model.context):.2g}")
    training = Training(
        tokens=tokens, batch_size=rows, micro_batch_size=rows // 2, seed=seed,
        learning_rate=rate, warmup=0.05, final_fraction=0.0, compile=False,
    )  # fmt: skip
    return Dial(model, training)
