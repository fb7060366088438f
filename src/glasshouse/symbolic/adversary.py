"""What an untrained model writes under JSON Schemas: a hard test of constraints, since the model helps in nothing.

The same model, tokenizer and draws with masks alone, cut off at the budget, and with a closing within it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from glasshouse.language.generation import Sampling, choose
from glasshouse.language.model import LoadedModel
from glasshouse.nn.configuration import olmo
from glasshouse.nn.transformer import Transformer
from glasshouse.store.configuration import named_seed
from glasshouse.symbolic.answers import read
from glasshouse.symbolic.call import Budget, Call, Constraint, Message
from glasshouse.symbolic.engines.local import LocalEngine, LocalWriter
from glasshouse.symbolic.errors import AnswerError, RefusalError


def record(**properties: Any) -> dict[str, Any]:
    """An object with these properties and no others."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


_NODE = record(value={"type": "integer"}, children={"type": "array", "items": {"$ref": "#/$defs/node"}})
SCHEMAS: Mapping[str, dict[str, Any]] = {
    "enum and boolean": record(kind={"enum": ["cat", "dog", "cow"]}, tame={"type": "boolean"}),
    "integer -9..42": record(n={"type": "integer", "minimum": -9, "maximum": 42}),
    "number 0..1": record(p={"type": "number", "minimum": 0, "maximum": 1}),
    "string length 2..8": record(name={"type": "string", "minLength": 2, "maxLength": 8}),
    "string pattern": record(code={"type": "string", "pattern": "^[A-Z]{2}-[0-9]{3}$"}),
    "integers, 2..3 items": record(items={"type": "array", "items": {"type": "integer"}, "minItems": 2, "maxItems": 3}),
    "anyOf of two objects": {"anyOf": [record(a={"type": "integer"}), record(b={"type": "string"})]},
    "recursive tree": {"$ref": "#/$defs/node", "$defs": {"node": _NODE}},
    "uniqueItems": record(
        items={"type": "array", "items": {"enum": [1, 2, 3]}, "uniqueItems": True, "minItems": 2, "maxItems": 3}
    ),
    "multipleOf 5": record(n={"type": "integer", "multipleOf": 5}),
}
"""One feature each; masks cannot enforce `uniqueItems`, so that has to be refused."""


@dataclass(frozen=True, slots=True)
class Trial:
    """Texts under one schema.

    Attributes:
        texts: how many were asked for.
        valid: how many a validator accepts; the validator knows nothing of masks.
        masked: how many of those that were written with masks alone.
        refused: why none was written, with the keyword; empty where they were.
    """

    texts: int
    valid: int
    masked: int
    refused: str = ""


def trial(schema: Mapping[str, Any], texts: int, budget: int, seed: int = 0) -> Trial:
    """Have an untrained model write under a schema, at most `budget` tokens each."""
    model = untrained_writer(seed)
    engine = LocalEngine(model, Sampling(temperature=1.0, tokens=budget))
    constraint = Constraint("json_schema", json.dumps(schema))
    call = Call("text", "write", messages=(Message("user", "?"),), constraint=constraint, budget=Budget(budget))
    try:
        valid = sum(_valid(schema, engine.run(call.but(seed=seed + n)).text) for n in range(texts))
    except RefusalError as error:
        return Trial(texts, 0, 0, str(error))
    masked = sum(_valid(schema, _with_masks(model, constraint, budget, seed + n)) for n in range(texts))
    return Trial(texts, valid, masked)


def untrained_writer(seed: int = 0) -> LoadedModel:
    """A transformer of one layer that has learnt nothing, over bytes."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({letter: number for number, letter in enumerate(letters)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<end>"])
    size = {"vocabulary": 257, "width": 32, "layers": 1, "heads": 2, "feed_forward": 64, "context": 1024}
    transformer = Transformer(olmo("7B").but(**size), seed=named_seed(seed, "untrained writer") % 2**31)
    return LoadedModel(transformer, tokenizer, 256)


def _with_masks(model: LoadedModel, constraint: Constraint, budget: int, seed: int) -> str:
    """What masks alone give: tokens until the model or the grammar ends them, or the budget cuts them off."""
    writer = LocalWriter(model)
    vocabulary = writer.vocabulary
    state, scores = vocabulary.compile(constraint).start.deep_copy(), writer.scores(budget + 1)
    draw = torch.Generator().manual_seed(named_seed(seed, "sampling", 0))
    made, fed = list[int](), model.tokenizer.encode("?").ids
    while len(made) < budget and not state.is_stopped():
        allowed = torch.from_numpy(vocabulary.allowed(state).copy())
        token = choose(scores(fed).float().masked_fill(~allowed, -torch.inf), made, Sampling(temperature=1.0), draw)
        if token == vocabulary.end:
            break
        state.consume_token(token)
        made, fed = [*made, token], [token]
    return vocabulary.text_so_far(made)


def _valid(schema: Mapping[str, Any], text: str) -> bool:
    try:
        read({"schema": dict(schema)}, text)
    except AnswerError:
        return False
    return True
