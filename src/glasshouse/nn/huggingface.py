"""Read and write models in Hugging Face's form: a folder with `config.json` and safetensors files.

`olmo`, `olmo2` and `llama` are read and written, and so is OLMo's original layout, `hf_olmo` (see `families`). Only
safetensors is opened, never pickle. The `transformers` package is not needed.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from glasshouse.nn.configuration import TransformerConfig
from glasshouse.nn.families import (
    FAMILIES,
    ConversionError,
    family_for,
    family_names,
    from_config,
    from_names,
    guess_family,
    to_config,
)
from glasshouse.nn.quantised_files import dequantised, packed_layers, put_packed, stated_packing
from glasshouse.nn.transformer import Transformer
from glasshouse.nn.weight_files import SHARD_BYTES, WeightFiles, shapes_of, write_json, write_shards


class TensorsByName(Protocol):
    """A model's tensors under our names: its state in memory, or files that are read when a tensor is asked for."""

    def __getitem__(self, name: str, /) -> Tensor: ...


def save_huggingface(model: Transformer, folder: str | Path, **options: Any) -> None:
    """Write a folder that `AutoModelForCausalLM.from_pretrained` loads unchanged; `options` as `write_huggingface`."""
    write_huggingface(model.state_dict(), model.config, folder, **options)


def write_huggingface(
    tensors: TensorsByName,
    config: TransformerConfig,
    folder: str | Path,
    *,
    end: int | None = None,
    padding: int | None = None,
    begin: int | None = None,
    tokenizer_files: Iterable[str | Path] = (),
    shard_bytes: int = SHARD_BYTES,
    family: str | None = None,
) -> None:
    """Write tensors, read one file of `shard_bytes` at a time, as a model folder with the special token ids given.

    `family` is the one that fits, unless another is named: "hf_olmo" writes an OLMo under its original names (which
    the `ai2-olmo` package loads, not `transformers` alone). Raises `ConversionError` when the folder is not empty, an
    id is outside the vocabulary, a tensor has not the shape that `config` says, or no family fits.
    """
    family, target = family_for(config, family), Path(folder)
    for name, value in (("end", end), ("padding", padding), ("begin", begin)):
        if value is not None and not 0 <= value < config.vocabulary:
            raise ConversionError(f"{name} token {value} is outside the vocabulary of {config.vocabulary}")
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise ConversionError(f"{target} exists and is not empty: save into a new folder")
    files = [Path(file) for file in tokenizer_files]
    if missing := [str(file) for file in files if not file.is_file()]:
        raise ConversionError(f"tokenizer files not found: {', '.join(missing)}")
    target.mkdir(parents=True, exist_ok=True)
    special = {"eos_token_id": end, "pad_token_id": padding, "bos_token_id": begin}
    precision = _write_tensors(tensors, config, family, target, shard_bytes)
    document = to_config(config, family) | special | {"dtype": str(precision).removeprefix("torch.")}
    for file in files:
        shutil.copyfile(file, target / file.name)
    write_json(target / "generation_config.json", {k: v for k, v in special.items() if v is not None})
    write_json(target / "config.json", document)


def _write_tensors(
    tensors: TensorsByName, config: TransformerConfig, family: str, folder: Path, shard_bytes: int
) -> torch.dtype:
    """Write the weights; gives their precision."""
    names, shapes = dict(family_names(config, family)), shapes_of(config)

    def one(name: str) -> Tensor:
        tensor = tensors[name]
        if tuple(tensor.shape) != shapes[name]:
            raise ConversionError(f"{name} has shape {tuple(tensor.shape)}, the configuration says {shapes[name]}")
        return tensor

    def read(theirs: str) -> Tensor:
        parts = [one(name) for name in names[theirs]]
        return torch.cat(parts) if len(parts) > 1 else parts[0]

    precision = one("embedding.weight").dtype
    sizes = {
        theirs: sum(math.prod(shapes[name]) for name in ours) * precision.itemsize for theirs, ours in names.items()
    }
    write_shards(sizes, read, folder, shard_bytes)
    return precision


def load_huggingface(
    folder: str | Path,
    *,
    config: TransformerConfig | None = None,
    dtype: torch.dtype | None = None,
    device: torch.device | str = "cpu",
    packed: bool = False,
) -> Transformer:
    """Read a folder (one safetensors file or an index of shards) in the precision it has, or in `dtype`.

    Layers packed by GPTQ become matrices; with `packed`, modules that run from their few bits. `config` replaces
    `config.json`. Raises `ConversionError` naming every missing, unknown or mis-shaped tensor, and
    every setting of `config.json` that the model here does not have.
    """
    source = Path(folder)
    family = None
    if config is None:
        family, config = read_config(source)
    files = WeightFiles(source, device)
    tensors = {name: files.get(name) for name in files.names}
    packing = stated_packing(source) if packed_layers(tensors) else None
    plain = tensors if packing is None else dequantised(tensors, packing, dtype)
    family = family or guess_family(plain, config)
    state = from_names(plain, config, family)
    if dtype is not None:
        state = {name: tensor.to(dtype) for name, tensor in state.items()}
    model = Transformer(config, device="meta")
    model.load_state_dict(state, assign=True)
    if packed and packing is not None:
        put_packed(model, tensors, packing, {theirs: ours[0] for theirs, ours in family_names(config, family)})
    return model


def read_config(folder: str | Path) -> tuple[str, TransformerConfig]:
    """The family and configuration in a folder's `config.json`."""
    path = Path(folder) / "config.json"
    try:
        document = json.loads(path.read_text())
    except FileNotFoundError:
        raise ConversionError(f"{path} does not exist: is this a model folder?") from None
    except ValueError as error:
        raise ConversionError(f"{path} is not JSON: {error}") from None
    family = document.get("model_type") if isinstance(document, dict) else None
    if family not in FAMILIES:
        raise ConversionError(f"{path}: model_type {family!r} is not one of {', '.join(FAMILIES)}")
    return family, from_config(document, family)
