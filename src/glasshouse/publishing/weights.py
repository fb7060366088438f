"""The loadable part of a publication: weights, configuration and tokenizer, copied a shard at a time."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

import torch

from glasshouse.nn.families import family_names, to_config
from glasshouse.nn.weight_files import OurTensors, shapes_of, write_json, write_shards
from glasshouse.publishing.facts import ModelFacts

TOKENIZER_FILES = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.json", "merges.txt",
    "tokenizer.model", "chat_template.jinja",
)  # fmt: skip
KEPT = ("eos_token_id", "pad_token_id", "bos_token_id", "dtype")


def copy_model(facts: ModelFacts, target: Path, family: str, shard_bytes: int) -> None:
    """Write the model as `family` into `target`, with shards of at most `shard_bytes`; values are not changed.

    At most one shard is in memory. Raises `ConversionError` when tensors and configuration do not fit.
    """
    source = facts.folder
    tensors = OurTensors(facts.weights, facts.config, facts.family)
    layout, shapes, itemsize = (
        dict(family_names(facts.config, family)),
        shapes_of(facts.config),
        facts.weights.dtype.itemsize,
    )
    sizes = {theirs: itemsize * sum(math.prod(shapes[name]) for name in ours) for theirs, ours in layout.items()}

    def read(name: str) -> torch.Tensor:
        parts = [tensors[ours] for ours in layout[name]]
        return torch.cat(parts) if len(parts) > 1 else parts[0]

    write_shards(sizes, read, target, shard_bytes)
    if family == facts.family:
        shutil.copyfile(source / "config.json", target / "config.json")
    else:
        kept = {key: facts.document[key] for key in KEPT if key in facts.document}
        write_json(target / "config.json", to_config(facts.config, family) | kept)
    for name in ("generation_config.json", *TOKENIZER_FILES):
        if (source / name).is_file():
            shutil.copyfile(source / name, target / name)
