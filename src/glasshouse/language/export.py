"""From a checkpoint, sharded or not, to a folder that `transformers` loads, one tensor after the other.

A process reads the parts of a tensor from the files of all, so no process needs the whole model: at most the tensors of
one safetensors file of the folder (`shard_bytes`) are in memory.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from glasshouse.nn.configuration import TransformerConfig
from glasshouse.nn.huggingface import write_huggingface
from glasshouse.training.checkpoint import Checkpoint, CheckpointError
from glasshouse.training.shards import StoredTensors


def export_checkpoint(
    checkpoint: Checkpoint, config: TransformerConfig, folder: str | Path, *, component: str = "model", **options: Any
) -> None:
    """Write the weights of `component` (a name in `Objective.learns`) in Hugging Face's form.

    `options` are those of `glasshouse.nn.huggingface.save_huggingface`: special token ids, tokenizer files, the size of
    a file. Call it in one process. Raises `CheckpointError` when the checkpoint does not hold the component's tensors
    in the shapes of `config`, `ConversionError` as `save_huggingface` does.
    """
    with checkpoint.tensors("learns") as stored:
        write_huggingface(_Component(stored, component, checkpoint.path), config, folder, **options)


class _Component:
    def __init__(self, stored: StoredTensors, name: str, origin: Path) -> None:
        self._stored, self._name, self._origin = stored, name, origin

    def __getitem__(self, name: str) -> Tensor:
        full = f"{self._name}.{name}"
        if full not in self._stored:
            raise CheckpointError(
                f"{self._origin} has no tensor {full}: it holds {', '.join(sorted(self._stored)[:5])}"
            )
        return self._stored[full]
